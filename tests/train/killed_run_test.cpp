// SPDX-License-Identifier: Apache-2.0
// A training process that is killed at random moments, again and again, must end with the very
// curve of one that was left alone. FORESIGHT_KILLS sets how often (3).
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "catch.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/learn.hpp"
#include "metric_curve.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::killed_run_test {
namespace {

constexpr const char* kFolderVariable = "FORESIGHT_KILLED_RUN";

LearnOptions short_learning() {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 1;
  options.validation = 0.2;
  options.training.steps = 60;
  options.training.log_every = 1;
  options.training.validate_every = 20;
  options.training.checkpoint_every = 7;
  options.training.average = 0.9;
  options.training.keep = Keep::lowest_loss;
  options.critic_training.steps = 40;
  options.critic_training.log_every = 1;
  options.critic_training.checkpoint_every = 9;
  options.seed = 4;
  return options;
}

LearnResult learn_square(const std::filesystem::path& folder) {
  return learn(std::make_shared<TensorDataset>(pushed_square()), short_learning(),
               {folder, /*resume=*/true}, at::kCPU, ProgressStyle::silent);
}

// This program again, running only the training below: a fresh process, as after a power cut.
pid_t start_training(const std::filesystem::path& folder) {
  const auto child = fork();
  if (child != 0) return child;
  setenv(kFolderVariable, folder.c_str(), 1);
  setenv("OMP_NUM_THREADS", "1", 1);
  const int silent = open("/dev/null", O_WRONLY);
  dup2(silent, STDOUT_FILENO);
  dup2(silent, STDERR_FILENO);
  execl("/proc/self/exe", "test_train", "[killed run]", static_cast<char*>(nullptr));
  _exit(97);
}

}  // namespace

TEST_CASE("the training that is killed", "[.][killed run]") {
  const char* folder = std::getenv(kFolderVariable);
  REQUIRE(folder != nullptr);
  at::set_num_threads(1);
  REQUIRE(learn_square(folder).outcome == Outcome::finished);
}

TEST_CASE("a run killed at random moments ends with the curve of one that was left alone") {
  const TemporaryFolder folder;
  const auto wait_for = [](pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  };
  timespec begin{}, end{};
  clock_gettime(CLOCK_MONOTONIC, &begin);
  REQUIRE(wait_for(start_training(folder / "whole")) == 0);
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double whole_seconds = static_cast<double>(end.tv_sec - begin.tv_sec) +
                               1e-9 * static_cast<double>(end.tv_nsec - begin.tv_nsec);

  const auto weights_of = [&](const char* run) {
    return models::read_jepa(folder / run / "bundle")->named_parameters();
  };
  const auto numbers = metric_curve(folder / "whole");
  const auto weights = weights_of("whole");
  const auto check_finished_run = [&] {
    CHECK(metric_curve(folder / "killed") == numbers);
    for (const auto& item : weights_of("killed")) {
      INFO(item.key());
      CHECK(at::equal(item.value(), weights[item.key()]));
    }
  };

  const char* asked = std::getenv("FORESIGHT_KILLS");
  const int kills = asked != nullptr ? std::atoi(asked) : 3;
  PhiloxNoise moments(static_cast<std::uint64_t>(getpid()));
  for (int killed = 0; killed < kills;) {
    const auto child = start_training(folder / "killed");
    REQUIRE(child > 0);
    const double delay = moments.uniform({1}).item<double>() * whole_seconds;
    usleep(static_cast<useconds_t>(1e6 * delay));
    kill(child, SIGKILL);
    const int code = wait_for(child);
    REQUIRE((code == -SIGKILL || code == 0));
    if (code == 0) {  // it was faster: it has to be right, and the next one begins anew
      check_finished_run();
      std::filesystem::remove_all(folder / "killed");
    } else {
      ++killed;
    }
  }
  REQUIRE(wait_for(start_training(folder / "killed")) == 0);
  check_finished_run();
}

}  // namespace foresight::train::killed_run_test
