// SPDX-License-Identifier: Apache-2.0
// Batches of held-out windows, where a loss compares the windows of a batch.
#include <cmath>
#include <filesystem>

#include "../../src/train/learning_data.hpp"
#include "catch.hpp"
#include "error_message.hpp"
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

}  // namespace

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
