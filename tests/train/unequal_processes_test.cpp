// SPDX-License-Identifier: Apache-2.0
// Processes that do not have the same options, the same step, or the same readable files.
#include <ATen/Parallel.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/learn.hpp"
#include "processes.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::unequal_processes_test {
namespace {

LearnOptions skipping_options() {
  auto options = tiny_learning(15);
  options.loader.unreadable = data::Unreadable::skip;
  options.cache.budget_mb = 0;
  options.critic.mlp.hidden = {8};
  options.critic_training.steps = 2;
  return options;
}

int64_t damaged_episode() {
  const auto options = skipping_options();
  return data::split_episodes(10, options.validation, static_cast<std::uint64_t>(options.seed))
      .train.front();
}

// One process cannot read an episode that the others read.
class PartlyMissing final : public TensorDataset {
 public:
  explicit PartlyMissing(bool missing) : TensorDataset(pushed_square()), missing_(missing) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    require(!missing_ || episode != damaged_episode(), ErrorCategory::not_found, "it is gone");
    return TensorDataset::read_frames(episode, rows);
  }

 private:
  bool missing_;
};

std::unique_ptr<DataParallel> joined_processes() {
  at::set_num_threads(1);
  return std::make_unique<DataParallel>(
      ProcessGroup::connect(Launch::from_environment(), {.timeout = 60}));
}

}  // namespace

TEST_CASE("part: an episode that rank 1 cannot read", "[.]") {
  const auto parallel = joined_processes();
  const auto result = learn(std::make_shared<PartlyMissing>(parallel->rank() == 1),
                            skipping_options(), {processes_folder() / "run"}, at::kCPU,
                            ProgressStyle::silent, {.reducer = parallel.get()});
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.unreadable_episodes.size() == 1);  // in both
}

TEST_CASE("what one process cannot read, all leave out, and the first one names") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: an episode that rank 1 cannot read", folder.path());
  REQUIRE(processes.failures() == "");
  const auto bundle = io::read_bundle(folder / "run" / "bundle");
  const auto& told = bundle.config.provenance;
  CHECK(told["skipped_windows"] > 0);
  const auto name = PartlyMissing(false).episode_name(damaged_episode());
  CHECK_THAT(told["unreadable_episodes"].at(name).get<std::string>(), Catch::Contains("gone"));
}

TEST_CASE("part: steps and options of its own", "[.]") {
  const auto parallel = joined_processes();
  // Relative to such a number one step is little.
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { parallel->synchronise(1'000'000 + parallel->rank(), {}); }, "rank 1 is at step 1000001",
      "rank 0 is at step 1000000"));
  TableFit task(8);
  auto options = every_step_logged(4);
  options.optimizer.lr = parallel->rank() == 0 ? 0.02 : 0.03;
  auto metrics = EventWriter::nowhere();
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        train(task, options, {processes_folder()}, metrics, ProgressStyle::silent,
              {.reducer = parallel.get()});
      },
      "rank 1: optimizer.lr: 0.03 here, 0.02 in rank 0"));
  auto learning = skipping_options();
  learning.windows.frames = parallel->rank() == 0 ? 5 : 6;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        learn(std::make_shared<TensorDataset>(pushed_square()), learning,
              {processes_folder() / "never"}, at::kCPU, ProgressStyle::silent,
              {.reducer = parallel.get()});
      },
      "learn.windows.frames: 6 here, 5 in rank 0"));
  CHECK_FALSE(std::filesystem::exists(processes_folder() / "never"));
}

TEST_CASE("processes at other steps or with other options are told so, whatever the numbers") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: steps and options of its own", folder.path());
  CHECK(processes.failures() == "");
}

}  // namespace foresight::train::unequal_processes_test
