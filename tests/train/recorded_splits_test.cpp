// SPDX-License-Identifier: Apache-2.0
// Trainings on the splits that recordings tell of themselves.
#include <map>
#include <mutex>
#include <set>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/train/learn.hpp"
#include "foresight/train/learn_family.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::recorded_splits_test {
namespace {

using Episodes = std::vector<int64_t>;

// The pushed square with splits, that knows which episodes' frames were read.
class SplitSquare final : public data::ForwardedDataset {
 public:
  SplitSquare() : ForwardedDataset(std::make_shared<TensorDataset>(pushed_square())) {}
  std::vector<std::string> splits() const override { return {"empty", "few", "train", "valid"}; }
  Episodes episodes_of_split(const std::string& split) const override {
    const std::map<std::string, Episodes> known = {
        {"empty", {}}, {"few", {1, 2}}, {"train", {0, 2, 4, 5}}, {"valid", {1, 3}}};
    return known.at(split);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    const std::lock_guard lock(mutex_);
    seen_.insert(episode);
    return ForwardedDataset::read_frames(episode, indices);
  }
  std::set<int64_t> seen() const { return seen_; }

 private:
  mutable std::mutex mutex_;
  mutable std::set<int64_t> seen_;
};

LearnOptions two_steps() {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 8;
  options.loader.threads = 0;
  options.training.steps = 2;
  options.training.log_every = 1;
  options.critic_training.steps = 0;
  options.seed = 4;
  return options;
}

struct Learned {
  std::set<int64_t> seen;
  Episodes held_out;
};

Learned learn_on(const LearnOptions& options) {
  const TemporaryFolder folder;
  const auto square = std::make_shared<SplitSquare>();
  const auto result = learn(square, options, {folder / "run"}, at::kCPU, ProgressStyle::silent);
  REQUIRE(result.outcome == Outcome::finished);
  const auto provenance = io::read_bundle(result.bundle).config.provenance;
  return {square->seen(), provenance.at("validation_episodes").get<Episodes>()};
}

}  // namespace

TEST_CASE("a training learns from one recorded split and validates on another") {
  auto options = two_steps();
  options.split = "train";
  options.validation_split = "valid";
  options.training.keep = Keep::lowest_loss;
  options.validation = 0;  // is not looked at
  const auto learned = learn_on(options);
  CHECK(learned.held_out == Episodes{1, 3});
  CHECK(learned.seen == std::set<int64_t>{0, 1, 2, 3, 4, 5});  // no frame of another
}

TEST_CASE("of a split that is learned from a part is held out, unless it says which") {
  auto options = two_steps();
  options.split = "train";
  options.validation = 0.25;
  const auto learned = learn_on(options);
  CHECK(learned.held_out.size() == 1);
  CHECK(learned.seen == std::set<int64_t>{0, 2, 4, 5});
  CHECK(learned.seen.contains(learned.held_out.front()));

  options = two_steps();
  options.validation_split = "valid";  // all others are learned from
  const auto rest = learn_on(options);
  CHECK(rest.held_out == Episodes{1, 3});
  CHECK(static_cast<int64_t>(rest.seen.size()) == SplitSquare().num_episodes());
}

TEST_CASE("splits that there are not, or that share episodes, are refused by name") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& split, const std::string& held,
                           const std::string& why) {
    auto options = two_steps();
    options.split = split;
    options.validation_split = held;
    return fails_with(
        ErrorCategory::invalid_option,
        [&] {
          learn(std::make_shared<SplitSquare>(), options, {folder / "run"}, at::kCPU,
                ProgressStyle::silent);
        },
        why);
  };
  CHECK(
      refused("tran", "valid",
              "split = 'tran': pushed square has no such split; it has: empty, few, train, valid"));
  CHECK(refused("train", "test", "validation_split = 'test'"));
  CHECK(refused("empty", "valid", "split = 'empty': no episode of pushed square is in it"));
  CHECK(
      refused("few", "valid",
              "split = 'few' and validation_split = 'valid' of pushed square share 1 episode(s)"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        auto options = IJepaLearnOptions::tiny();
        options.split = "train";
        learn(std::make_shared<TensorDataset>(pushed_square()), options, {folder / "run"}, at::kCPU,
              ProgressStyle::silent);
      },
      "split = 'train': pushed square has no such split; it has: none"));
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

}  // namespace foresight::train::recorded_splits_test
