// SPDX-License-Identifier: Apache-2.0
// Frames are decoded before the first step, for hours where there are many, and encoded before that
// of a cost-to-go: Ctrl-C ends that, too.
#include <csignal>

#include <atomic>
#include <filesystem>

#include "brief_families.hpp"
#include "catch.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/interrupt.hpp"
#include "one_of_two.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;

// Whoever reads frames for the nth time is interrupted.
class Interrupting final : public TensorDataset {
 public:
  explicit Interrupting(int reads) : TensorDataset(moving_gripper(kBriefSide)), left_(reads) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (--left_ == 0) std::raise(SIGINT);
    return TensorDataset::read_frames(episode, rows);
  }

 private:
  mutable std::atomic<int> left_;
};

TEST_CASE("a run that is interrupted while frames are decoded ends, leaves none, and goes on") {
  const TemporaryFolder folder;
  auto options = brief_vjepa2();
  options.cache.folder = (folder / "frames").string();
  options.cache.threads = 1;
  const auto learned = [&](std::shared_ptr<const data::Dataset> dataset, bool resume) {
    return learn(std::move(dataset), options, {folder / "run", resume}, at::kCPU,
                 ProgressStyle::silent);
  };
  const auto episodes = static_cast<int>(brief_recordings()->num_episodes());
  {
    const InterruptGuard guard;
    // A frame or two of every episode tell the recordings apart.
    const auto stopped = learned(std::make_shared<Interrupting>(episodes + 2), false);
    CHECK(stopped.outcome == Outcome::interrupted);
    CHECK(fs::is_empty(folder / "frames"));
  }
  CHECK(learned(brief_recordings(), true).outcome == Outcome::finished);
  CHECK_FALSE(fs::is_empty(folder / "frames"));
}

// Whoever reads frames once a file is there is interrupted.
class InterruptingAfter final : public TensorDataset {
 public:
  explicit InterruptingAfter(fs::path file)
      : TensorDataset(pushed_square()), file_(std::move(file)) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (fs::exists(file_) && ++reads == 1) std::raise(SIGINT);
    return TensorDataset::read_frames(episode, rows);
  }
  mutable int reads = 0;

 private:
  fs::path file_;
};

TEST_CASE("a run that is interrupted while a cost-to-go's latents are encoded ends and goes on") {
  const TemporaryFolder folder;
  auto options = tiny_learning(2);
  options.critic_training.steps = 2;
  options.cache.budget_mb = 0;  // frames are read where they are encoded
  const auto learned = [&](std::shared_ptr<const data::Dataset> dataset, const char* run) {
    return learn(std::move(dataset), options, {folder / run, fs::exists(folder / run)}, at::kCPU,
                 ProgressStyle::silent);
  };
  {
    const InterruptGuard guard;
    const auto dataset = std::make_shared<InterruptingAfter>(
        checkpoint_path(folder / "run" / "checkpoints" / "jepa", 2));
    const auto stopped = learned(dataset, "run");
    CHECK(stopped.outcome == Outcome::interrupted);
    CHECK(stopped.message == "cost-to-go: interrupted while episodes were encoded");
    CHECK(dataset->reads == 1);
  }
  const auto square = std::make_shared<TensorDataset>(pushed_square());
  const auto resumed = learned(square, "run"), whole = learned(square, "whole");
  CHECK(resumed.outcome == Outcome::finished);
  CHECK(resumed.critic.loss == whole.critic.loss);

  // Of two processes that hold no common batch none ends before an update, in which they agree.
  OneOfTwo first(0);
  LearnHooks hooks;
  hooks.reducer = &first;
  const InterruptGuard guard;
  const auto together =
      learn(std::make_shared<InterruptingAfter>(
                checkpoint_path(folder / "together" / "checkpoints" / "jepa", 2)),
            options, {folder / "together"}, at::kCPU, ProgressStyle::silent, hooks);
  CHECK(together.outcome == Outcome::interrupted);
  CHECK(together.message == "cost-to-go: interrupted after step 1");
}

}  // namespace
}  // namespace foresight::train
