// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/staged_loader.hpp"

#include "catch.hpp"
#include "error_message.hpp"
#include "memory_dataset.hpp"
#include "test_device.hpp"

namespace foresight::data::staged_loader_test {
namespace {

class Recorded {
 public:
  explicit Recorded(int64_t broken_row = -1)
      : data_(std::make_shared<MemoryDataset>(std::vector<int64_t>{4, 9, 20, 12})) {
    if (broken_row >= 0) data_->break_frame(2, broken_row);
    actions_.dim = 2;
    actions_.block = 2;
  }
  std::unique_ptr<Loader> loader(int64_t threads) const {
    const WindowIndex windows(*data_, {.frames = 3, .stride = 2});
    return std::make_unique<Loader>(
        std::make_shared<FrameCache>(data_, FrameCacheOptions{.budget_mb = 0}), windows, actions_,
        LoaderOptions{.batch = 3, .threads = threads, .seed = 9});
  }

 private:
  std::shared_ptr<MemoryDataset> data_;
  ActionSpace actions_;
};

void check_same_batch(const std::optional<Batch>& actual, const std::optional<Batch>& expected) {
  REQUIRE(actual.has_value() == expected.has_value());
  if (!expected) return;
  CHECK(actual->position == expected->position);
  CHECK(at::equal(actual->windows, expected->windows));
  CHECK(actual->pixels.device() == test_device());
  CHECK(at::equal(actual->pixels.cpu(), expected->pixels));
  CHECK(at::equal(actual->actions.cpu(), expected->actions));
  CHECK(at::equal(actual->states.cpu(), expected->states));
}

TEST_CASE("a staged loader delivers what its loader does, epoch by epoch", "[device]") {
  const Recorded recorded;
  for (const int64_t threads : {0, 2}) {
    const auto plain = recorded.loader(threads);
    StagedLoader staged(recorded.loader(threads), test_device());
    for (int64_t i = 0; i < 3 * (plain->batches_per_epoch() + 1); ++i) {
      CHECK(staged.position() == plain->position());
      check_same_batch(staged.next(), plain->next());
    }
  }
}

TEST_CASE("a staged loader goes on from a position, whatever is under way", "[device]") {
  const Recorded recorded;
  const auto plain = recorded.loader(2);
  StagedLoader staged(recorded.loader(2), test_device());
  for (int i = 0; i < 3; ++i) staged.next();
  for (const LoaderPosition from : {LoaderPosition{1, 2}, {0, 0}, {0, 4}}) {
    staged.seek(from);
    plain->seek(from);
    CHECK(staged.position() == from);
    for (int i = 0; i < 3; ++i) check_same_batch(staged.next(), plain->next());
  }
  const auto stands = staged.position();
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        staged.seek({0, 1000});
      },
      "no batch"));
  CHECK(staged.position() == stands);
  check_same_batch(staged.next(), plain->next());
}

TEST_CASE("what fails is thrown in the place of its batch, not one too early", "[device]") {
  const Recorded recorded(/*broken_row=*/8);
  for (const int64_t threads : {0, 2}) {
    const auto plain = recorded.loader(threads);
    StagedLoader staged(recorded.loader(threads), test_device());
    int failed = 0;
    for (int64_t i = 0; i < 2 * (plain->batches_per_epoch() + 1); ++i) {
      CHECK(staged.position() == plain->position());
      std::optional<Batch> expected;
      const auto message =
          error_message(ErrorCategory::bad_file, [&] { expected = plain->next(); });
      if (message == "NOTHING WAS THROWN") {
        check_same_batch(staged.next(), expected);
      } else {
        CHECK(error_message(ErrorCategory::bad_file, [&] { staged.next(); }) == message);
        ++failed;
      }
    }
    CHECK(failed > 0);
  }
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { StagedLoader(nullptr, at::kCPU); }, "no loader"));
}

}  // namespace
}  // namespace foresight::data::staged_loader_test
