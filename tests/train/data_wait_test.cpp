// SPDX-License-Identifier: Apache-2.0
// How much of its steps' time a training waits for data, as its metrics say.
#include <torch/torch.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "catch.hpp"
#include "foresight/train/loader_task.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::data_wait_test {
namespace {

using std::chrono::milliseconds;

class SlowRecordings final : public TensorDataset {
 public:
  SlowRecordings() : TensorDataset(moving_bar()) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    std::this_thread::sleep_for(each.load());
    return TensorDataset::read_frames(episode, indices);
  }
  std::atomic<milliseconds> each = milliseconds(0);
};

// Fits one number. From batch `late` on, the disk is slow.
class SlowTask final : public LoaderTask {
 public:
  SlowTask(std::shared_ptr<SlowRecordings> recordings, milliseconds read, milliseconds compute,
           int late)
      : LoaderTask("slow", data_of(recordings)),
        recordings_(std::move(recordings)),
        read_(read),
        compute_(compute),
        late_(late) {
    if (late_ == 0) recordings_->each = read_;
  }
  torch::nn::Module& module() override { return *net_; }

 private:
  // Two windows a batch, made when they are asked for.
  static TaskData data_of(const std::shared_ptr<SlowRecordings>& recordings) {
    const auto loader = [&](int64_t batch) {
      return std::make_unique<data::Loader>(
          std::make_shared<const data::FrameCache>(recordings,
                                                   data::FrameCacheOptions{.budget_mb = 0}),
          data::WindowIndex(*recordings, {.frames = 2, .stride = 1}), ActionSpace{},
          data::LoaderOptions{.batch = batch, .threads = 0});
    };
    return {.training = loader(2), .validation = loader(2), .validation_batches = 2};
  }
  losses::Terms batch_loss(const data::Batch&, Noise&) override {
    const bool trains = at::GradMode::is_enabled();
    if (trains && ++batches_ == late_) recordings_->each = read_;
    // A validation takes much longer than steps.
    std::this_thread::sleep_for(trains ? compute_ : milliseconds(150));
    losses::Terms terms;
    terms.add("fit", 1.0, (net_->forward(at::ones({1, 1})) - 2.0).square().mean());
    return terms;
  }

  std::shared_ptr<SlowRecordings> recordings_;
  milliseconds read_, compute_;
  int late_, batches_ = 0;
  torch::nn::Linear net_{1, 1};
};

// "data_wait" of every row: of step 1, and of five steps each.
std::vector<double> waited(milliseconds read, milliseconds compute, int late = 0) {
  const TemporaryFolder folder;
  SlowTask task(std::make_shared<SlowRecordings>(), read, compute, late);
  auto options = every_step_logged(15);
  options.log_every = 5;
  options.validate_every = 5;
  train_table(task, options, folder.path());
  const auto rows = curve(folder.path(), "slow/data_wait");
  REQUIRE(rows.size() == 4);
  for (const auto part : rows) CHECK((part >= 0 && part <= 1));
  return rows;
}

}  // namespace

TEST_CASE("metrics say which part of the steps' time training waited for data") {
  CHECK(waited(milliseconds(50), milliseconds(0)).back() > 0.8);
  const double none = waited(milliseconds(0), milliseconds(20)).back(),
               half = waited(milliseconds(10), milliseconds(20)).back();
  CHECK(none < 0.3);
  CHECK((half > 0.25 && half < 0.75));
}

TEST_CASE("a disk that turns slow late is seen in the next row, whatever validation takes") {
  const auto rows = waited(milliseconds(30), milliseconds(5), /*late=*/10);
  CHECK(rows[1] < 0.5);
  CHECK(rows[3] > 0.75);
}

}  // namespace foresight::train::data_wait_test
