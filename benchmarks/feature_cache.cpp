// SPDX-License-Identifier: Apache-2.0
// Question: what does it gain to keep the features of a frozen encoder? DINO-WM
// as published (DINOv2-S at 196 pixels, six blocks, windows of four frames)
// takes training steps on the same windows with a FeatureCache that holds every
// frame, with one that holds none, and with none at all, in turns. Random
// weights and pictures: neither changes what a step costs. Prints one JSON
// object.
//
//   benchmark_feature_cache [rounds=4] [batch=8] [threads=2]
#include <ATen/Parallel.h>

#include <cstdlib>
#include <iostream>
#include <memory>

#include "foresight/train/adamw.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

constexpr int64_t kPictureSide = 196, kStride = 5, kEpisodes = 2, kRows = 24;
constexpr int kMostFillingSteps = 20;

// Pictures of noise.
class NoiseRecordings final : public data::Dataset {
 public:
  const std::string &name() const override { return name_; }
  int64_t num_episodes() const override { return kEpisodes; }
  int64_t length(int64_t) const override { return kRows; }
  std::string episode_name(int64_t episode) const override { return std::to_string(episode); }
  data::ImageSize image_size() const override { return {kPictureSide, kPictureSide}; }
  double fps() const override { return 10; }
  const std::vector<std::string> &columns() const override { return actions_; }
  const std::vector<std::string> &action_columns() const override { return actions_; }
  const std::vector<std::string> &state_columns() const override { return states_; }
  data::LastAction last_action() const override { return data::LastAction::applied; }
  Tensor read_rows(const std::vector<std::string> &columns, int64_t, int64_t,
                   int64_t count) const override {
    return at::zeros({count, static_cast<int64_t>(columns.size())}, at::kDouble);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    return frames_[episode].index_select(0, at::tensor(indices, at::kLong));
  }

 private:
  std::string name_ = "noise";
  std::vector<std::string> actions_ = {"a", "b"}, states_ = {};
  Tensor frames_ =
      at::randint(0, 256, {kEpisodes, kRows, kPictureSide, kPictureSide, 3}, at::kByte);
};

// One way to take a training step.
class Training {
 public:
  Training(std::shared_ptr<models::DinoWm> model, int64_t batch,
           std::shared_ptr<train::FeatureCache> cache)
      : optimizer_(*model, {}) {
    const auto recordings = std::make_shared<NoiseRecordings>();
    const auto actions = model->options().action;
    task_ = std::make_unique<train::DinoWmTask>(
        std::move(model),
        train::TaskData{.training = std::make_unique<data::Loader>(
                            std::make_shared<const data::FrameCache>(recordings),
                            data::WindowIndex(*recordings, {.frames = 4, .stride = kStride}),
                            actions, data::LoaderOptions{.batch = batch, .threads = 1})},
        std::move(cache));
  }

  /// Milliseconds.
  double step() {
    return benchmark::milliseconds([this] {
      optimizer_.zero_grad();
      task_->loss().total().backward();
      optimizer_.step(1.0);
    });
  }

 private:
  train::AdamW optimizer_;
  std::unique_ptr<train::DinoWmTask> task_;
};

}  // namespace

int main(int argc, char **argv) {
  const auto argument = [&](int i, int usual) { return argc > i ? std::atoi(argv[i]) : usual; };
  const int rounds = argument(1, 4), batch = argument(2, 8);
  at::set_num_threads(argument(3, 2));
  models::DinoWmOptions options;
  options.image.size = kPictureSide;
  options.action.dim = 2;
  options.action.block = kStride;
  const auto model = std::make_shared<models::DinoWm>(options, 0);
  model->train();
  const auto cache = [&](int64_t budget_mb) {
    return std::make_shared<train::FeatureCache>(
        [model](const Tensor &pixels) { return model->encode_pixels(pixels); }, at::kCPU, kStride,
        train::FeatureCacheOptions{.budget_mb = budget_mb});
  };
  const auto filled = cache(4096);
  Training kept(model, batch, filled), nothing_kept(model, batch, cache(0)),
      no_cache(model, batch, nullptr);
  for (int i = 0; filled->frames_held() < kEpisodes * kRows && i < kMostFillingSteps; ++i)
    kept.step();
  const auto times =
      benchmark::in_turns({[&] { return no_cache.step(); }, [&] { return kept.step(); },
                           [&] { return nothing_kept.step(); }},
                          rounds, /*warm_up=*/1);
  const nlohmann::json report = {
      {"machine", benchmark::machine()},
      {"threads", at::get_num_threads()},
      {"batch", batch},
      {"frames_a_window", 4},
      {"frames_held", filled->frames_held()},
      {"no_cache", benchmark::summary(times[0])},
      {"every_frame_kept", benchmark::summary(times[1])},
      {"nothing_kept", benchmark::summary(times[2])},
      {"times_faster", benchmark::median(times[0]) / benchmark::median(times[1])}};
  std::cout << report.dump(2) << "\n";
}
