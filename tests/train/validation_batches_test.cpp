// SPDX-License-Identifier: Apache-2.0
// Batches of held-out windows: where a loss compares the windows of a batch, where there are none,
// and where the run is asked to stop between two; a measurement of success that is asked to stop.
#include <fmt/format.h>
#include <torch/nn.h>

#include <cmath>
#include <csignal>
#include <filesystem>

#include "../../src/train/learning_data.hpp"
#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/loader_task.hpp"
#include "metric_curve.hpp"
#include "one_of_two.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::validation_batches_test {
namespace {

LearnOptions learning_of_spread() {
  auto options = tiny_learning(1);
  options.model.loss.std = 1;
  options.model.loss.cov = 1;
  return options;
}

LearnResult learned(const LearnOptions& options, const std::filesystem::path& run) {
  return learn(std::make_shared<TensorDataset>(pushed_square()), options, {run}, at::kCPU,
               ProgressStyle::silent);
}

// The last episode, a recorded split of its own, is of three rows.
class WithShortEpisode final : public TensorDataset {
 public:
  WithShortEpisode() : TensorDataset(pushed_square()) {}
  int64_t length(int64_t episode) const override {
    return episode == 9 ? 3 : TensorDataset::length(episode);
  }
  std::vector<std::string> splits() const override { return {"short"}; }
  std::vector<int64_t> episodes_of_split(const std::string&) const override { return {9}; }
};

// Fits the brightness of pictures. Ctrl-C comes at a held-out batch.
class Brightness final : public LoaderTask {
 public:
  explicit Brightness(int interrupt_at = -1)
      : LoaderTask("brightness", {.training = windows_of(pushed_square(), 1, 16, {}, {0, 1, 2, 3}),
                                  .validation = windows_of(pushed_square(), 1, 12, {}, {8, 9}),
                                  .validation_batches = 4}),
        interrupt_at_(interrupt_at) {
    torch::manual_seed(2);
    line_ = torch::nn::Linear(1, 1);
  }
  torch::nn::Module& module() override { return *line_; }
  int validated = 0;

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise&) override {
    if (!line_->is_training() && ++validated == interrupt_at_) std::raise(SIGINT);
    const auto light = batch.pixels.to(at::kFloat).flatten(1).mean(1, true) / 255;
    losses::Terms terms;
    terms.add("fit", 1.0, (line_->forward(light) - light).square().mean());
    return terms;
  }
  torch::nn::Linear line_{nullptr};
  int interrupt_at_;
};

}  // namespace

TEST_CASE("a validation ends when the run is asked to stop, and the one that goes on does it") {
  const TemporaryFolder folder;
  const auto losses = [&](const char* run) {
    return curve(folder / run, "brightness/validation/loss");
  };
  for (const int64_t steps : {2, 0}) {
    INFO(steps << " steps");
    const auto whole = fmt::format("whole {}", steps), parts = fmt::format("parts {}", steps);
    Brightness uninterrupted, first(2), second;
    train_table(uninterrupted, every_step_logged(steps), folder / whole);
    CHECK(uninterrupted.validated == 4);
    {
      const InterruptGuard guard;
      const auto result = train_table(first, every_step_logged(steps), folder / parts);
      CHECK(result.outcome == Outcome::interrupted);
      CHECK(result.step == steps);
      CHECK(std::isnan(result.validation_loss));
    }
    CHECK(first.validated == 2);
    CHECK(losses(parts.c_str()).empty());
    const auto result = train_table(second, every_step_logged(steps), folder / parts, {}, true);
    CHECK(result.outcome == Outcome::finished);
    CHECK(losses(parts.c_str()) == losses(whole.c_str()));
    CHECK(losses(parts.c_str()).size() == 1);
  }
}

TEST_CASE("success is measured by the run that goes on where one is asked to stop before it ends") {
  const TemporaryFolder folder;
  auto options = every_step_logged(4);
  options.validate_every = 2;
  options.success_every = 2;
  options.keep = Keep::highest_success;
  int measured = 0, cut_at = -1;
  TrainHooks hooks;
  hooks.success = [&] {
    if (++measured == cut_at) {
      std::raise(SIGINT);
      throw Interrupted();
    }
    return 0.1 * static_cast<double>(measured);
  };
  TableFit uninterrupted(8);
  const auto whole = train_table(uninterrupted, options, folder / "whole", hooks);
  REQUIRE(measured == 2);
  // In the first measurement, in the last, and in the step before the first.
  const std::vector<std::pair<int, int>> wishes = {{1, -1}, {2, -1}, {-1, 2}};
  for (const auto& [measurement, call] : wishes) {
    INFO("measurement " << measurement << ", call " << call);
    const auto run = folder / fmt::format("cut {}", measurement);
    measured = 0;
    cut_at = measurement;
    const int64_t step = measurement == 2 ? 4 : 2;
    {
      const InterruptGuard guard;
      TableFit first(8);
      first.interrupt_at = call;
      const auto result = train_table(first, options, run, hooks);
      CHECK(result.outcome == Outcome::interrupted);
      CHECK(result.step == step);
      CHECK(measured == (measurement > 0 ? measurement : 0));
    }
    CHECK(curve(run, "table/validation/success").size() == (measurement == 2 ? 1 : 0));
    cut_at = -1;
    measured = measurement == 2 ? 1 : 0;  // what it draws next
    TableFit second(8);
    const auto result = train_table(second, options, run, hooks, /*resume=*/true);
    CHECK(result.outcome == Outcome::finished);
    CHECK(result.kept_step == whole.kept_step);
    CHECK(result.kept_success == whole.kept_success);
    CHECK(result.kept_validation_loss == whole.kept_validation_loss);
    CHECK(metric_curve(run) == metric_curve(folder / "whole"));
  }
}

TEST_CASE("a measurement that is cut in the process that makes it is one in the others") {
  // Rank 1 of two, of which the first was asked to stop while it measured.
  class SecondOfTwo final : public OneOfTwo {
   public:
    SecondOfTwo() : OneOfTwo(1) {}
    void average(std::vector<double>& values) override {
      if (values.size() == 1) values[0] = 0.5;
    }
  } second;
  const TemporaryFolder folder;
  auto options = every_step_logged(4);
  options.success_every = 2;
  TableFit task(8);
  const auto result = train_table(task, options, folder / "run",
                                  {.reducer = &second, .success = [] { return std::nan(""); }});
  CHECK(result.outcome == Outcome::interrupted);
  CHECK(result.step == 2);
}

TEST_CASE(
    "a process of several that validate each by itself ends no validation before the others") {
  // Rank 0 of two that hold no common batch, of which the other has not been asked to stop yet.
  OneOfTwo first(0);
  const TemporaryFolder folder;
  const InterruptGuard guard;
  Brightness task(2);
  const auto result = train_table(task, every_step_logged(2), folder / "run", {.reducer = &first});
  CHECK(task.validated == 4);
  CHECK(result.outcome == Outcome::finished);
  CHECK(std::isfinite(result.validation_loss));
}

TEST_CASE(
    "held-out episodes without a window are told, and refused where weights are kept by them") {
  const TemporaryFolder folder;
  auto options = tiny_learning(1);
  options.validation_split = "short";
  const auto learn_there = [&] {
    return learn(std::make_shared<WithShortEpisode>(), options, {folder / "run"}, at::kCPU,
                 ProgressStyle::silent);
  };
  constexpr const char* kProblem =
      "pushed square: none of the 1 held-out episode(s), as e9, has the 5 rows of a window";
  options.training.keep = Keep::lowest_loss;
  CHECK(fails_with(ErrorCategory::invalid_option, learn_there, kProblem,
                   "training.keep = lowest_loss has nothing to choose by"));
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
  options.training.keep = Keep::last;
  const CapturedLog log;
  CHECK(learn_there().outcome == Outcome::finished);
  CHECK(log.says(kProblem));

  // A run that an earlier version began with it goes on.
  options.training.keep = Keep::lowest_loss;
  const auto resumed = learn(std::make_shared<WithShortEpisode>(), options,
                             {folder / "begun", /*resume=*/true}, at::kCPU, ProgressStyle::silent);
  CHECK(resumed.outcome == Outcome::finished);

  auto alone = pushed_square();
  for (auto* part : {&alone.frames, &alone.actions}) *part = part->narrow(0, 0, 1);
  options.validation_split.clear();
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        learn(std::make_shared<TensorDataset>(alone), options, {folder / "alone"}, at::kCPU,
              ProgressStyle::silent);
      },
      "pushed square: validation = 0.1 of its 1 episode(s) holds none out"));
}

TEST_CASE("held-out windows come in batches of two at least, each once") {
  const auto dataset = std::make_shared<TensorDataset>(pushed_square());
  const auto frames = std::make_shared<const data::FrameCache>(dataset);
  const auto space = data_action_space(*dataset, 1, {}, {});
  for (const int64_t rows : {24, 23, 20, 12})
    for (int64_t batch = 2; batch <= 26; ++batch) {
      const int64_t windows = 25 - rows;
      CAPTURE(windows, batch);
      const auto loader =
          validation_loader(frames, {.frames = rows, .stride = 1}, {.batch = batch}, space, {4});
      int64_t seen = 0;
      while (const auto made = loader->next()) {
        CHECK((made->pixels.size(0) >= 2 || windows == 1));
        CHECK(made->pixels.size(0) <= batch + 3);
        seen += made->pixels.size(0);
      }
      CHECK(seen == windows);
    }
  const auto single =
      validation_loader(frames, {.frames = 12, .stride = 1}, {.batch = 1}, space, {4});
  CHECK(single->batches_per_epoch() == 13);
}

TEST_CASE("a training validates where one held-out window is left over a batch") {
  const TemporaryFolder folder;
  auto options = learning_of_spread();
  options.loader.batch = 19;  // of the 20 windows of the episode that is held out
  const auto result = learned(options, folder / "run");
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(std::isfinite(result.world_model.validation_loss));
}

TEST_CASE("where windows are compared, one of a kind is refused before anything is written") {
  const TemporaryFolder folder;
  auto options = learning_of_spread();
  options.windows.frames = 24;  // one window of an episode
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learned(options, folder / "run"); },
      "validation: the 1 held-out episode(s) of pushed square have one window in all"));
  options.validation = 0.2;
  CHECK(learned(options, folder / "two").outcome == Outcome::finished);
  options.validation = 0.1;
  options.model.loss.std = options.model.loss.cov = 0;  // nothing is compared
  CHECK(learned(options, folder / "one").outcome == Outcome::finished);

  options = learning_of_spread();
  options.loader.batch = 1;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { learned(options, folder / "run"); },
      "loader.batch = 1 must be >= 2"));
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

}  // namespace foresight::train::validation_batches_test
