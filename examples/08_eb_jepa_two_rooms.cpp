// SPDX-License-Identifier: Apache-2.0
// Example 8: a world model that is trained on data made in memory, and planning with it judged in
// the world that it models. A small EB-JEPA learns Two Rooms from random walks; then MPPI plans
// through the door, from scratch at every step.
//
//   example_08_eb_jepa_two_rooms [STEPS [EPISODES [fixed|random [FOLDER [PLANNER]]]]]
//
// STEPS of training: 12 by default, a few seconds, to see the loss fall. EPISODES of planning: none
// by default, because so little training reaches no goal; docs/models/eb_jepa.md has the figures of
// a longer run. fixed: the wall is always in the same place; random: anywhere. FOLDER keeps the
// run and its bundle: given again, training goes on from its last checkpoint or is not repeated;
// without it nothing stays. PLANNER: JSON that changes the planner's options, e.g.
// '{"samples": 200, "elites": 20, "iterations": 20}' for the published budget.
#include <ATen/core/grad_mode.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/eval/probe.hpp"
#include "foresight/eval/replanning_policy.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "foresight/train/eb_jepa_task.hpp"
#include "scratch.hpp"

using namespace foresight;

namespace {

// Smaller than published so that two cores train it in minutes: see docs/models/eb_jepa.md.
models::EbJepaOptions model_options() {
  auto options = models::EbJepaOptions::small();
  options.predicted_steps = 8;
  return options;
}

envs::EbTrajectoryOptions walks(envs::WallPlacement wall) {
  envs::EbTrajectoryOptions options;
  options.geometry.wall = wall;
  options.window = 9;  // published: 17
  return options;
}

// The published planner with a smaller budget: 200 candidates, 20 iterations and 90 steps there.
AgentOptions planner_options() {
  auto options = AgentOptions::eb_jepa();
  options.sampling.samples = 64;
  options.sampling.elites = 8;
  options.sampling.iterations = 6;
  options.sampling.evaluate_result = false;
  options.control.horizon = 60;
  return options;
}

// How well a linear map reads the dot's position off the latent, px.
double position_error(const models::EbJepa& model, const envs::EbTrajectoryOptions& options) {
  const at::NoGradGuard no_grad;
  const envs::EbTrajectorySource source(options, /*seed=*/12345);
  const auto fit = source.batch(0, 64), judge = source.batch(64, 32);
  const auto latents = [&](const envs::EbBatch& batch) {
    return model.encode_images(model.preprocess(batch.pixels)).flatten(0, 1);
  };
  const auto probe =
      eval::fit_linear_probe(latents(fit), fit.positions.flatten(0, 1), {"x", "y"}, 1e-3);
  return eval::evaluate_probe(probe, latents(judge), judge.positions.flatten(0, 1)).rmse;
}

// The whole number that an argument is, or nothing.
std::optional<int64_t> whole_number(const char* text) {
  int64_t value = 0;
  const auto* end = text + std::strlen(text);
  const auto [rest, problem] = std::from_chars(text, end, value);
  return rest == end && problem == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto number = [&](int i, int64_t standard) {
    return argc > i ? whole_number(argv[i]) : std::optional(standard);
  };
  const auto given_steps = number(1, 12), given_episodes = number(2, 0);
  const std::string place = argc > 3 ? argv[3] : "fixed";
  if (given_steps.value_or(0) < 1 || given_episodes.value_or(-1) < 0 ||
      (place != "fixed" && place != "random") || argc > 6) {
    std::fprintf(stderr, "usage: %s [STEPS [EPISODES [fixed|random [FOLDER [PLANNER]]]]]\n",
                 argv[0]);
    return 2;
  }
  const int64_t steps = *given_steps, episodes = *given_episodes;
  const auto wall = place == "random" ? envs::WallPlacement::random : envs::WallPlacement::fixed;
  const bool keeps_run = argc > 4;
  const Scratch scratch("eb_jepa");
  const auto folder = keeps_run ? std::filesystem::path(argv[4]) : scratch.path();
  auto planner = planner_options();
  if (argc > 5) read_options(planner.sampling, nlohmann::json::parse(argv[5]), "PLANNER");

  const auto data = walks(wall);
  auto model = std::make_shared<models::EbJepa>(model_options(), /*seed=*/1);
  train::EbJepaTask task(model, data, {.batch = 32, .validation_clips = 64, .seed = 1});
  const double before = task.validate().total().item<double>();
  auto training = train::eb_jepa_training(steps);
  training.validate_every = 0;
  training.checkpoint_every = 200;  // minutes of a run of hours
  const train::RunFolder run{folder, /*resume=*/true};
  train::EventWriter metrics(folder, train::resume_step(run, task.name()));
  const auto result = train::train(task, training, run, metrics);
  std::printf("loss on held-out walks: %.2f before, %.2f after %lld steps (%.0f s)\n", before,
              result.validation_loss, static_cast<long long>(result.step), result.seconds);
  std::printf("a linear map reads the position off the latent within %.2f px\n",
              position_error(*model, data));
  if (keeps_run) {
    auto config = models::eb_jepa_bundle_config(*model);
    config.planner = write_options(planner);  // what `foresight eval` plans with, unless told
    models::write_eb_jepa(folder / "bundle", *model, config);
    std::printf("bundle in %s\n", (folder / "bundle").c_str());
  }
  if (episodes < 1) return result.validation_loss < before ? 0 : 1;

  const envs::EnvFactory rooms = [&data] {
    envs::EbTwoRoomsOptions options;
    options.geometry = data.geometry;
    return std::make_unique<envs::EbTwoRooms>(options);
  };
  Objective objective;
  objective.add("goal", 1.0, goal_distance(planner.objective.distance));
  eval::ReplanningPolicy policy(model, objective,
                                std::make_shared<SamplingPlanner>(planner.sampling),
                                {.horizon = planner.control.horizon}, "eb_jepa");
  const auto room = rooms();
  const auto problems =
      eval::sample_environment_protocol(*room, room->spec().problem_steps, episodes, /*seed=*/0);
  const auto report =
      eval::evaluate_planning(policy, rooms, problems, nullptr,
                              {.image_size = data.geometry.image_size, .batch = episodes});
  std::printf(
      "near the goal at the end of %lld of %lld episodes (95 %% interval %.0f-%.0f %%), "
      "%.1f s per episode\n",
      static_cast<long long>(report.successes), static_cast<long long>(report.trials),
      100 * report.interval.low, 100 * report.interval.high,
      report.total_seconds / static_cast<double>(report.trials));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
