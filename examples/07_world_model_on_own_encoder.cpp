// SPDX-License-Identifier: Apache-2.0
// Example 7: a world model on an encoder of your own. LeJEPA learns from single frames what to see,
// watched by a linear probe for the state; then the encoder is frozen, and DINO-WM learns on its
// features what actions do. The result is a bundle that plans.
//
//   example_07_world_model_on_own_encoder [FOLDER [STEPS [OUT]]]
//
// FOLDER: recorded episodes with actions and state columns; by default a few episodes of TwoRoom
// are recorded first. STEPS of each training: 40 by default, a few seconds, to see the losses fall.
// OUT keeps both runs and their bundles; without it nothing stays. On the command line the same is
//
//   foresight train lejepa  --data FOLDER --out encoder --task.probe.columns 2
//   foresight train dino_wm --data FOLDER --out world --backbone encoder/bundle
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>

#include "foresight/control/agent.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/envs/recording.hpp"
#include "foresight/envs/two_room.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/train/learn_family.hpp"
#include "scratch.hpp"

using namespace foresight;
namespace fs = std::filesystem;

namespace {

void record_episodes(const fs::path& folder, int64_t episodes) {
  constexpr int64_t kPixels = 64;
  envs::TwoRoom env;
  envs::RandomPolicy policy;
  data::FolderWriterOptions options;
  options.video.fps = env.spec().fps;
  options.actions = {"action_0", "action_1"};
  options.states = {"state_0", "state_1"};
  data::FolderWriter writer(folder, options);
  for (int64_t i = 0; i < episodes; ++i) {
    const auto episode = envs::record_episode(env, policy, static_cast<std::uint64_t>(i), kPixels);
    writer.write_episode(
        episode.frames,
        at::cat({episode.actions.to(at::kDouble), episode.states.to(at::kDouble)}, 1));
  }
}

// First and last value of one of a run's metrics.
std::pair<double, double> course(const fs::path& run, const std::string& name) {
  std::pair<double, double> ends{NAN, NAN};
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [scalar, value] : row.scalars) {
      if (scalar != name) continue;
      if (std::isnan(ends.first)) ends.first = value;
      ends.second = value;
    }
  return ends;
}

bool report(const fs::path& run, const std::string& name, const char* text) {
  const auto [first, last] = course(run, name);
  std::printf("%s: %.3f at first, %.3f in the end\n", text, first, last);
  return last < first;
}

}  // namespace

int main(int argc, char** argv) try {
  const Scratch scratch("own_encoder");
  const fs::path folder = argc > 1 ? fs::path(argv[1]) : scratch.path() / "recorded";
  const int64_t steps = argc > 2 ? std::atoll(argv[2]) : 40;
  const bool keeps_runs = argc > 3;
  const fs::path out = keeps_runs ? fs::path(argv[3]) : scratch.path();
  if (argc <= 1) record_episodes(folder, 12);
  const auto dataset = data::open_dataset(folder);

  // What to see. The probe reads two numbers of the state off the features and teaches them
  // nothing: it tells whether they are any good, which the loss does not.
  auto seeing = train::LeJepaLearnOptions::tiny();
  seeing.training = train::LeJepaLearnOptions::recipe(steps);
  seeing.training.optimizer.lr = 2e-3;
  seeing.training.validate_every = 10;
  seeing.task.probe.columns = 2;
  const auto encoder = train::learn(dataset, seeing, {out / "encoder"});
  bool learned = report(out / "encoder", "lejepa/validation/loss", "LeJEPA's loss");
  report(out / "encoder", "lejepa/validation/probe_error", "error of the probe, in deviations");

  // What actions do. Every frame is encoded once; all epochs after the first find its features in
  // memory.
  auto imagining = train::DinoWmLearnOptions::small();
  imagining.backbone = encoder.bundle.string();
  imagining.training = train::DinoWmLearnOptions::recipe(steps);
  imagining.training.validate_every = 10;
  const auto world = train::learn(dataset, imagining, {out / "world"});
  learned = report(out / "world", "dino_wm/validation/loss", "DINO-WM's loss") && learned;

  // The bundle plans: from the first frame of an episode towards its last.
  auto agent = Agent::load(world.bundle);
  agent.options.sampling.samples = 32;
  agent.options.sampling.elites = 4;
  agent.options.sampling.iterations = 3;
  auto mpc = agent.controller();
  const auto picture = [&](int64_t row) {
    return Observation(kPixels, dataset->read_frames(0, {row}));
  };
  mpc.set_goal(picture(dataset->length(0) - 1));
  const auto decision = mpc.act(picture(0));
  std::printf("first action towards the last frame: (%.2f, %.2f), planned in %.0f ms\n",
              decision.action[0][0].item<double>(), decision.action[0][1].item<double>(),
              1e3 * decision.plan_seconds);
  if (keeps_runs)
    std::printf("bundles in %s and %s\n", encoder.bundle.c_str(), world.bundle.c_str());
  return learned ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
