// SPDX-License-Identifier: Apache-2.0
// Example 6: learn what to see in video by predicting what is hidden of it. A small V-JEPA 2 is
// pre-trained on clips without any label; then a linear probe asks how much its features hold of
// where things are, next to features of the same network with random weights.
//
//   example_06_vjepa_pretraining [STEPS [FOLDER [FOLDER]] [SEED [OUT]]]
//
// FOLDER: recordings of any format, or videos alone; files that cannot be read are left out. By
// default a few episodes of TwoRoom are recorded first; of two folders each gives half of every
// batch. The probe is asked for the state columns; where there are none, for the place in the
// picture that changes most during the clip. STEPS: 60 by default, half a minute, to see the loss
// fall; from 300 on the features are probed. SEED, digits alone that name nothing that is there: of
// the weights, the masks and the order of the clips, 0 by default; which episodes are held out does
// not depend on it. OUT, a new folder or one of an earlier call, keeps the run and its bundle;
// without it nothing stays.
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/data/folder_writer.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/envs/recording.hpp"
#include "foresight/envs/two_room.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/eval/probe.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/masked_video_task.hpp"
#include "foresight/train/trainer.hpp"
#include "scratch.hpp"

using namespace foresight;
namespace fs = std::filesystem;

namespace {

constexpr int64_t kSize = 64, kStride = 2;  // pixels; rows between frames of a clip
constexpr int64_t kBatch = 16, kStepsToProbe = 300;

void record_episodes(const fs::path& folder, int64_t episodes) {
  envs::TwoRoom env;
  envs::RandomPolicy policy;
  data::FolderWriterOptions options;
  options.video.fps = env.spec().fps;
  options.actions = {"action_0", "action_1"};
  options.states = {"state_0", "state_1"};
  data::FolderWriter writer(folder, options);
  for (int64_t i = 0; i < episodes; ++i) {
    const auto episode = envs::record_episode(env, policy, static_cast<std::uint64_t>(i), kSize);
    writer.write_episode(
        episode.frames,
        at::cat({episode.actions.to(at::kDouble), episode.states.to(at::kDouble)}, 1));
  }
}

// Masked prediction does not look at actions, and films have none.
class WithoutActions final : public data::ForwardedDataset {
 public:
  using ForwardedDataset::ForwardedDataset;
  const std::vector<std::string>& action_columns() const override {
    static const std::vector<std::string> none;
    return none;
  }
};

// A folder's pictures, and which of its episodes are held out.
struct Recordings {
  explicit Recordings(const fs::path& folder)
      : dataset(std::make_shared<WithoutActions>(data::open_dataset(
            folder,
            {.video = {.height = kSize, .width = kSize}, .unreadable = data::Unreadable::skip}))),
        frames(std::make_shared<const data::FrameCache>(
            dataset, data::FrameCacheOptions{}, std::vector<int64_t>{}, data::Unreadable::skip)),
        split(data::split_episodes(dataset->num_episodes(), 0.25, /*seed=*/0)) {}

  std::unique_ptr<data::Loader> clips(const std::vector<int64_t>& episodes, int64_t length,
                                      data::Order order, int64_t batch = kBatch,
                                      int64_t seed = 0) const {
    const data::WindowIndex windows(*dataset, {.frames = length, .stride = kStride}, episodes);
    ActionSpace none;
    none.dim = 0;
    none.block = kStride;
    return std::make_unique<data::Loader>(
        frames, windows, none,
        data::LoaderOptions{.batch = batch,
                            .seed = seed,
                            .order = order,
                            .last_batch = data::LastBatch::drop,
                            .unreadable = data::Unreadable::skip});
  }

  std::shared_ptr<const data::Dataset> dataset;
  std::shared_ptr<const data::FrameCache> frames;
  data::EpisodeSplit split;
};

// Column and row [N,2], in pixels, about which clips [N,T,H,W,3] change from first to last frame.
Tensor centre_of_change(const Tensor& clips) {
  const auto frame = [&](int64_t t) { return clips.select(1, t).to(at::kFloat); };
  const auto change = (frame(-1) - frame(0)).square().mean(-1) + 1e-3;  // [N,H,W]
  const auto mean_place = [&](int64_t along) {
    const auto profile = change.sum(3 - along);
    return (profile * at::arange(profile.size(1), at::kFloat)).sum(1) / profile.sum(1);
  };
  return at::stack({mean_place(2), mean_place(1)}, 1);
}

// The mean token of each clip [N,D], and what is asked of it: the state in its last frame [N,K], or
// where it changes.
struct Features {
  Tensor latents, states;
};

Features features_of(const models::VJepa2& model, const nn::VideoVit& encoder,
                     data::Loader& loader) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> latents, states;
  int64_t number = 0;
  while (const auto batch = loader.next()) {
    if (number++ % 2 == 1) continue;  // windows overlap: half of them say as much
    latents.push_back(encoder.forward(model.preprocess(batch->pixels)).mean(1));
    states.push_back(batch->states.defined() ? batch->states.select(1, -1)
                                             : centre_of_change(batch->pixels));
  }
  return {at::cat(latents), at::cat(states)};
}

// Error of a linear probe that is fitted on some episodes and judged on others.
eval::ProbeReport probe(const Features& fit, const Features& judge) {
  return eval::evaluate_probe(eval::fit_linear_probe(fit.latents, fit.states, {}, 1e-3),
                              judge.latents, judge.states);
}

// Whether a word is the seed: a folder of recordings may be called 2024.
bool is_seed(const fs::path& word) {
  return !word.empty() && word.string().find_first_not_of("0123456789") == std::string::npos &&
         !fs::exists(word);
}

// Whether a run may be written there: nobody's data are mixed with it.
bool is_free(const fs::path& out) {
  return !fs::exists(out) || (fs::is_directory(out) && fs::is_empty(out)) ||
         fs::exists(out / "run" / "metrics.jsonl") || fs::exists(out / "bundle" / "config.json");
}

}  // namespace

int main(int argc, char** argv) try {
  const Scratch scratch("vjepa");
  const int64_t steps = argc > 1 ? std::atoll(argv[1]) : 60;
  // Folders of data, then the seed, then where to.
  std::vector<fs::path> folders(argv + std::min(argc, 2), argv + argc);
  const auto last_two = folders.end() - std::min<std::ptrdiff_t>(2, std::ssize(folders));
  const auto seed_at = std::find_if(last_two, folders.end(), is_seed);
  const std::vector<fs::path> behind(seed_at, folders.end());
  folders.erase(seed_at, folders.end());
  const int64_t seed = behind.empty() ? 0 : std::atoll(behind.front().c_str());
  const bool keeps_run = behind.size() == 2;
  const fs::path out = keeps_run ? behind.back() : scratch.path();
  if (steps < 1 || folders.size() > 2) {
    std::fprintf(stderr, "usage: %s [STEPS [FOLDER [FOLDER]] [SEED [OUT]]]\n", argv[0]);
    return 2;
  }
  if (keeps_run && !is_free(out)) {
    std::fprintf(stderr, "%s holds something else than a run of this example: choose another OUT\n",
                 out.c_str());
    return 2;
  }
  if (folders.empty()) {
    folders.push_back(scratch.path() / "recorded");
    record_episodes(folders.front(), 16);
  }
  const std::vector<Recordings> recordings(folders.begin(), folders.end());

  const auto options = models::VJepa2Options::tiny();
  const auto length = options.encoder.frames;
  auto model = std::make_shared<models::VJepa2>(options, static_cast<std::uint64_t>(seed));
  train::TaskData data;
  data.seed = static_cast<std::uint64_t>(seed);
  const auto share = kBatch / static_cast<int64_t>(recordings.size());
  const auto training = [&](const Recordings& some) {
    return some.clips(some.split.train, length, data::Order::shuffled, share, seed);
  };
  data.training = training(recordings.front());
  if (recordings.size() > 1) data.replay = training(recordings.back());
  data.validation =
      recordings.front().clips(recordings.front().split.validation, length, data::Order::shuffled);
  data.validation_batches = 2;
  train::MaskedVideoTask task(model, std::move(data), {.momentum = 0.99});
  const auto held_out_loss = [&](const Recordings& some) {
    const auto windows = some.clips(some.split.validation, length, data::Order::shuffled);
    return task.loss_on(windows.get()).total().item<double>();
  };
  std::vector<double> before;
  for (const auto& some : recordings) before.push_back(held_out_loss(some));
  train::EventWriter metrics(out / "run");
  const auto result = train::train(
      task,
      {.steps = steps,
       .validate_every = 0,
       .checkpoint_every = 0,
       .optimizer = {.lr = 1e-3, .weight_decay = 0.04, .decay = train::Decay::matrices},
       .schedule = {.warmup = steps / 10}},
      {out / "run"}, metrics);
  std::printf("%lld steps (%.0f s)\n", static_cast<long long>(result.step), result.seconds);

  const models::VJepa2 random(options, static_cast<std::uint64_t>(seed) + 1);
  bool learned = true;
  for (std::size_t i = 0; i < recordings.size(); ++i) {
    const auto& some = recordings[i];
    const double after = held_out_loss(some);
    std::printf("%s\n  loss on held-out clips: %.3f before, %.3f after\n", folders[i].c_str(),
                before[i], after);
    const auto sequential = [&](const std::vector<int64_t>& episodes) {
      return some.clips(episodes, length, data::Order::sequential);
    };
    // Has the target collapsed? Then the loss would be small and the features worthless.
    const auto rank = [&](const nn::VideoVit& encoder) {
      at::NoGradGuard no_grad;
      const auto batch = sequential(some.split.validation)->next();
      const auto tokens = encoder.forward(model->preprocess(batch->pixels));
      return eval::measure_collapse(tokens.flatten(0, 1)).effective_rank;
    };
    const double target_rank = rank(task.target());
    std::printf("  effective rank of the target's tokens: %.1f (random weights: %.1f) of %lld\n",
                target_rank, rank(random.encoder()), static_cast<long long>(options.encoder.width));
    learned = learned && after < 0.7 * before[i] && target_rank > 2;
    if (steps < kStepsToProbe) continue;

    const bool films = some.dataset->state_columns().empty();
    const auto error = [&](const nn::VideoVit& encoder) {
      return probe(features_of(*model, encoder, *sequential(some.split.train)),
                   features_of(*model, encoder, *sequential(some.split.validation)))
          .rmse;
    };
    const double trained = error(task.target()), untrained = error(random.encoder());
    std::printf("  error of a linear probe for the %s: %.1f (random weights: %.1f)\n",
                films ? "centre of change" : "state", trained, untrained);
    // Films differ in too much else for the place of change to be a fair question to a few of them:
    // of those the errors are only told.
    learned = learned && (films || trained < untrained);
  }

  if (keeps_run) {
    models::write_vjepa2(out / "bundle", *model, models::vjepa2_bundle_config(*model));
    std::printf("bundle in %s\n", (out / "bundle").c_str());
  }
  return learned ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
