// SPDX-License-Identifier: Apache-2.0
// Dropout in several processes: each drops units of its own, and an interrupted
// run of several goes on bit for bit all the same.
#include <ATen/Parallel.h>

#include <cstdlib>

#include "catch.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/interrupt.hpp"
#include "processes.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::dropout_processes_test {
namespace {

constexpr const char *kFirstCalls = "FORESIGHT_INTERRUPT";

// All processes see the same rows, so that nothing but dropout tells them
// apart.
TrainResult train_dropout(const std::filesystem::path &folder, GradientReducer *reducer,
                          int interrupt_at) {
  TableFit task(8, 0.3);
  task.interrupt_at = interrupt_at;
  auto options = every_step_logged(8);
  options.accumulate = 2;
  const RunFolder run{folder, /*resume=*/true};
  const bool first = reducer == nullptr || reducer->rank() == 0;
  auto metrics =
      first ? EventWriter(folder, resume_step(run, task.name())) : EventWriter::nowhere();
  const InterruptGuard guard;
  return train(task, options, run, metrics, ProgressStyle::silent, {.reducer = reducer});
}

io::NamedTensors weights_at_the_end(const std::filesystem::path &folder) {
  return read_checkpoint(checkpoint_path(folder / "checkpoints" / "table", 8)).section("model/");
}

}  // namespace

TEST_CASE("part: drop units", "[.]") {
  at::set_num_threads(1);
  DataParallel parallel(ProcessGroup::connect(Launch::from_environment(), {.timeout = 30}));
  torch::manual_seed(static_cast<std::uint64_t>(::getpid()));  // whatever a process starts with
  const int interrupt_at = std::atoi(std::getenv(kFirstCalls));
  const auto result = train_dropout(processes_folder(), &parallel, interrupt_at);
  CHECK(result.outcome == (interrupt_at > 0 ? Outcome::interrupted : Outcome::finished));
}

TEST_CASE(
    "processes drop different units, and an interrupted run goes on bit "
    "for bit") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder alone, whole, parts;
  const auto in_two_processes = [](const TemporaryFolder &folder, const char *interrupt_at) {
    ::setenv(kFirstCalls, interrupt_at, 1);
    Processes processes(2, "part: drop units", folder.path());
    return processes.failures();
  };
  train_dropout(alone.path(), nullptr, -1);
  REQUIRE(in_two_processes(whole, "0") == "");
  REQUIRE(in_two_processes(parts, "5") == "");  // in the third step
  REQUIRE(in_two_processes(parts, "0") == "");
  // The mean of two equal losses would be the loss of one.
  const auto one = curve(alone.path(), "table/train/loss"),
             two = curve(whole.path(), "table/train/loss");
  REQUIRE(one.size() == 8);
  REQUIRE(two.size() == 8);
  CHECK(std::abs(one[0] - two[0]) > 1e-6 * one[0]);
  CHECK(curve(parts.path(), "table/train/loss") == two);
  const auto expected = weights_at_the_end(whole.path()), actual = weights_at_the_end(parts.path());
  REQUIRE(expected.size() == actual.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(at::equal(actual[i].second, expected[i].second));
}

}  // namespace foresight::train::dropout_processes_test
