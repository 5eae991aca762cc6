// SPDX-License-Identifier: Apache-2.0
// Frames are decoded before the first step, for hours where there are many: Ctrl-C ends that, too.
#include <csignal>

#include <atomic>
#include <filesystem>

#include "brief_families.hpp"
#include "catch.hpp"
#include "foresight/train/interrupt.hpp"
#include "temporary_folder.hpp"

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

}  // namespace
}  // namespace foresight::train
