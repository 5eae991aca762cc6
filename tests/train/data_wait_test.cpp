// SPDX-License-Identifier: Apache-2.0
// How much of a training's time is spent waiting for data, as its metrics say.
#include <torch/torch.h>

#include <chrono>
#include <thread>

#include "catch.hpp"
#include "foresight/train/loader_task.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::data_wait_test {
namespace {

using std::chrono::milliseconds;

class SlowRecordings final : public TensorDataset {
 public:
  explicit SlowRecordings(milliseconds each) : TensorDataset(moving_bar()), each_(each) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    std::this_thread::sleep_for(each_);
    return TensorDataset::read_frames(episode, indices);
  }

 private:
  milliseconds each_;
};

class SlowTask final : public LoaderTask {
 public:
  SlowTask(milliseconds batch, TaskData data)
      : LoaderTask("slow", std::move(data)), batch_(batch) {}
  torch::nn::Module& module() override { return module_; }

 private:
  losses::Terms batch_loss(const data::Batch&, Noise&) override {
    std::this_thread::sleep_for(batch_);
    return {};
  }
  milliseconds batch_;
  torch::nn::Module module_;
};

// Part of the time waited, with batches of two windows made when they are asked for.
double waited(milliseconds read, milliseconds compute) {
  const auto recordings = std::make_shared<SlowRecordings>(read);
  TaskData data;
  data.training = std::make_unique<data::Loader>(
      std::make_shared<const data::FrameCache>(recordings, data::FrameCacheOptions{.budget_mb = 0}),
      data::WindowIndex(*recordings, {.frames = 2, .stride = 1}), ActionSpace{},
      data::LoaderOptions{.batch = 2, .threads = 0});
  SlowTask task(compute, std::move(data));
  CHECK(task.counters().empty());  // before the first batch there is no time to speak of
  for (int i = 0; i < 5; ++i) task.loss();
  const auto counters = task.counters();
  REQUIRE(counters.size() == 1);
  CHECK(counters[0].first == "data_wait");
  return counters[0].second;
}

}  // namespace

TEST_CASE("metrics say which part of the time training waited for data") {
  CHECK(waited(milliseconds(10), milliseconds(0)) > 0.9);
  const double none = waited(milliseconds(0), milliseconds(20)),
               half = waited(milliseconds(10), milliseconds(20));
  CHECK(none < 0.3);
  CHECK((half > 0.25 && half < 0.75));
}

}  // namespace foresight::train::data_wait_test
