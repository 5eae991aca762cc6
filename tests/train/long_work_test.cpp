// SPDX-License-Identifier: Apache-2.0
// What takes one of several processes longer than an exchange may wait: planning success that rank
// 0 measures, frames that one machine decodes. The others wait, and notice who is gone.
#include <ATen/Parallel.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/learn.hpp"
#include "processes.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "tiny_learning.hpp"

namespace foresight::train::long_work_test {
namespace {

constexpr double kTimeout = 3;  // seconds that an exchange may wait
constexpr auto kLong = std::chrono::milliseconds(7000), kWhile = std::chrono::milliseconds(1000);
constexpr const char* kDeed = "FORESIGHT_VARIANT";

std::unique_ptr<DataParallel> joined_processes() {
  at::set_num_threads(1);
  return std::make_unique<DataParallel>(
      ProcessGroup::connect(Launch::from_environment(), {.timeout = kTimeout}));
}

// What happens while rank 0 measures.
double measured(int64_t rank, const std::string& deed) {
  if (deed == "partner dies" && rank == 1)
    std::thread([] {
      std::this_thread::sleep_for(kWhile);
      ::kill(::getpid(), SIGKILL);
    }).detach();
  if (rank != 0) return std::nan("");
  std::this_thread::sleep_for(deed == "end" ? kLong : kWhile);
  if (deed == "die") ::kill(::getpid(), SIGKILL);
  if (deed == "hang") ::kill(::getpid(), SIGSTOP);
  if (deed == "throw") throw Error(ErrorCategory::bad_file, "the candidate is damaged");
  if (deed == "partner dies") std::this_thread::sleep_for(2 * kWhile);
  return 0.5;
}

// Its frames take long to decode, once.
class SlowlyDecoded final : public TensorDataset {
 public:
  explicit SlowlyDecoded(bool slow) : TensorDataset(pushed_square()), slow_(slow) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    if (slow_) std::call_once(once_, [] { std::this_thread::sleep_for(kLong); });
    return TensorDataset::read_frames(episode, rows);
  }

 private:
  bool slow_;
  mutable std::once_flag once_;
};

}  // namespace

TEST_CASE("part: a long measurement", "[.]") {
  const std::string deed = std::getenv(kDeed);
  const auto parallel = joined_processes();
  const auto rank = parallel->rank();
  TableFit task(8);
  auto options = every_step_logged(4);
  options.success_every = 2;
  TrainHooks hooks;
  hooks.reducer = parallel.get();
  hooks.success = [&] { return measured(rank, deed); };
  const auto folder = processes_folder();
  auto metrics = rank == 0 ? EventWriter(folder) : EventWriter::nowhere();
  const auto training = [&] {
    return train(task, options, {folder, false}, metrics, ProgressStyle::silent, hooks);
  };
  if (deed == "end") {
    const auto result = training();
    CHECK(result.outcome == Outcome::finished);
    CHECK(result.step == 4);
    if (rank == 0) CHECK(result.success == 0.5);
    return;
  }
  if (deed == "throw" && rank == 0) {
    CHECK(fails_with(ErrorCategory::bad_file, training, "the candidate is damaged"));
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  CHECK(fails_with(ErrorCategory::io_failure, training, "rank " + std::to_string(rank) + " of 2",
                   deed == "throw" ? "another process failed" : "another process is gone"));
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - start;
  CHECK(waited.count() < 20);
}

TEST_CASE("processes wait for a measurement that takes longer than an exchange may wait") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  ::setenv(kDeed, "end", 1);
  const TemporaryFolder folder;
  Processes processes(2, "part: a long measurement", folder.path());
  REQUIRE(processes.failures() == "");
  CHECK(curve(folder.path(), "table/validation/success") == std::vector<double>{0.5, 0.5});
}

TEST_CASE("who is gone during a long measurement is noticed, and a checkpoint is there") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  for (const std::string deed : {"die", "hang", "throw", "partner dies"}) {
    INFO(deed);
    ::setenv(kDeed, deed.c_str(), 1);
    const TemporaryFolder folder;
    Processes processes(2, "part: a long measurement", folder.path());
    const int lost = deed == "partner dies" ? 1 : 0, left = 1 - lost;
    const auto code = processes.wait(left);
    INFO(processes.output(left));
    CHECK(code == 0);
    if (deed == "hang") processes.kill(lost, SIGKILL);
    CHECK(processes.wait(lost) == (deed == "throw" ? 0 : -SIGKILL));
    if (deed != "throw" && deed != "partner dies") continue;  // rank 0 could write none
    const auto checkpoint = read_newest_checkpoint(folder / "checkpoints" / "table");
    REQUIRE(checkpoint);
    CHECK(checkpoint->step == 2);
  }
}

TEST_CASE("part: frames that rank 1 has to decode", "[.]") {
  const auto parallel = joined_processes();
  const auto result = learn(std::make_shared<SlowlyDecoded>(parallel->rank() == 1),
                            tiny_learning(2), {processes_folder() / "run"}, at::kCPU,
                            ProgressStyle::silent, {.reducer = parallel.get()});
  INFO(result.message);
  CHECK(result.outcome == Outcome::finished);
}

TEST_CASE("processes whose frames are there wait for one that has to decode them") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: frames that rank 1 has to decode", folder.path());
  CHECK(processes.failures() == "");
}

}  // namespace foresight::train::long_work_test
