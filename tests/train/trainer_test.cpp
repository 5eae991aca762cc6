// SPDX-License-Identifier: Apache-2.0
// The loop around a task: curves that resume exactly, a clean end on NaN, signals and full disks.
#include "foresight/train/trainer.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <torch/nn.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/interrupt.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::trainer_test {

namespace fs = std::filesystem;

namespace {

// Fits y = x w with noise-driven batches and dropout, so that every kind of random state matters.
class Regression final : public Task {
 public:
  Regression() : noise_(5) {
    torch::manual_seed(1);
    net_->push_back(torch::nn::Linear(3, 8));
    net_->push_back(torch::nn::Dropout(0.2));
    net_->push_back(torch::nn::Linear(8, 1));
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  int64_t samples() const override { return 16; }
  losses::Terms loss() override {
    ++calls;
    const auto x = noise_.normal({16, 3});
    const auto y = (x * at::tensor({1.0F, -2.0F, 0.5F})).sum(-1, true);
    auto value = (net_->forward(x) - y).square().mean();
    if (calls == poison) value = value * NAN;
    if (calls == raise_at) std::raise(SIGINT);
    if (calls == throw_at) throw Error(ErrorCategory::bad_file, "episode_0003.mp4: damaged");
    losses::Terms terms;
    terms.add("fit", 2.0, value);
    terms.add("size", 0.01, net_->parameters()[0].square().mean());
    return terms;
  }
  losses::Terms validate() override {
    PhiloxNoise fixed(9);
    const auto x = fixed.normal({64, 3});
    const auto y = (x * at::tensor({1.0F, -2.0F, 0.5F})).sum(-1, true);
    losses::Terms terms;
    terms.add("fit", 1.0, (net_->forward(x) - y).square().mean());
    return terms;
  }
  std::string position() const override { return std::to_string(noise_.position()); }
  void seek(const std::string& position) override { noise_.seek(std::stoull(position)); }

  int calls = 0, poison = -1, raise_at = -1, throw_at = -1;

 private:
  std::string name_ = "regression";
  torch::nn::Sequential net_;
  PhiloxNoise noise_;
};

TrainOptions options(int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.log_every = 1;
  options.validate_every = 0;
  options.checkpoint_every = 10;
  options.optimizer.lr = 0.02;
  options.schedule.warmup = 3;
  return options;
}

TrainResult run(Task& task, const TrainOptions& options, const fs::path& path,
                bool resume = false) {
  EventWriter metrics(
      path, resume ? std::optional(resume_step({path, true}, task.name())) : std::nullopt);
  return train::train(task, options, {path, resume}, metrics, ProgressStyle::silent);
}

std::vector<double> losses_of(const fs::path& path) { return curve(path, "regression/train/loss"); }

}  // namespace

TEST_CASE("training lowers the loss, logs every step and validates at the end") {
  const TemporaryFolder folder;
  Regression task;
  const auto result = run(task, options(200), folder.path());
  CHECK(result.outcome == Outcome::finished);
  CHECK(result.step == 200);
  const auto losses = losses_of(folder.path());
  REQUIRE(losses.size() == 200);
  CHECK(losses.front() > 2.0);
  CHECK(result.validation_loss < 0.2);
  CHECK_FALSE(task.module().is_training());
}

TEST_CASE("an interrupted run goes on with the very same loss curve and weights") {
  const TemporaryFolder whole, parts;
  Regression uninterrupted;
  run(uninterrupted, options(60), whole.path());
  {
    Regression first;
    first.raise_at = 34;
    InterruptGuard guard;
    const auto result = run(first, options(60), parts.path());
    CHECK(result.outcome == Outcome::interrupted);
    CHECK(result.step == 34);  // the step during which the signal came is finished
  }
  Regression second;
  torch::manual_seed(99);  // whatever state the new process has
  const auto result = run(second, options(60), parts.path(), true);
  CHECK(result.outcome == Outcome::finished);
  CHECK(second.calls == 60 - 34);
  CHECK(losses_of(parts.path()) == losses_of(whole.path()));
  const auto expected = nn::state_dict(uninterrupted.module());
  const auto actual = nn::state_dict(second.module());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(at::equal(actual[i].second, expected[i].second));
}

TEST_CASE("a non-finite term ends the run, is named, and leaves the last good weights") {
  const TemporaryFolder folder;
  Regression task;
  task.poison = 13;
  const auto result = run(task, options(60), folder.path());
  CHECK(result.outcome == Outcome::diverged);
  CHECK(result.step == 12);
  CHECK_THAT(result.message, Catch::Contains("'fit'") && Catch::Contains("step 13"));
  const auto checkpoint = read_newest_checkpoint(folder.path() / "checkpoints" / "regression");
  REQUIRE(checkpoint);
  CHECK(checkpoint->step == 12);
  for (const auto& [name, tensor] : checkpoint->section("model/"))
    CHECK(at::isfinite(tensor).all().item<bool>());
}

TEST_CASE("an error while a batch is made is passed on after a checkpoint of the last whole step") {
  const TemporaryFolder folder;
  Regression task;
  task.throw_at = 26;
  CHECK_THROWS_WITH(run(task, options(60), folder.path()), Catch::Contains("episode_0003.mp4"));
  const auto checkpoint = read_newest_checkpoint(folder.path() / "checkpoints" / "regression");
  REQUIRE(checkpoint);
  CHECK(checkpoint->step == 25);
  Regression again;
  run(again, options(60), folder.path(), true);
  const TemporaryFolder other;
  Regression whole;  // made last: it seeds torch's generator, from which dropout draws
  run(whole, options(60), other.path());
  CHECK(losses_of(folder.path()) == losses_of(other.path()));
}

TEST_CASE("a damaged newest checkpoint is skipped, older ones beyond the limit are removed") {
  const TemporaryFolder folder;
  Regression task;
  run(task, options(40), folder.path());
  const auto checkpoints = folder.path() / "checkpoints" / "regression";
  CHECK(fs::exists(checkpoint_path(checkpoints, 40)));
  CHECK(fs::exists(checkpoint_path(checkpoints, 30)));
  CHECK_FALSE(fs::exists(checkpoint_path(checkpoints, 20)));
  fs::resize_file(checkpoint_path(checkpoints, 40),
                  fs::file_size(checkpoint_path(checkpoints, 40)) / 2);
  CHECK(resume_step({folder.path(), true}, "regression") == 30);
  std::ofstream(checkpoint_path(checkpoints, 50)) << "not a checkpoint";
  CHECK(resume_step({folder.path(), true}, "regression") == 30);
}

TEST_CASE("a full disk while writing a checkpoint leaves the previous one valid") {
  const TemporaryFolder folder;
  Regression task;
  run(task, options(10), folder.path());
  const auto checkpoints = folder.path() / "checkpoints" / "regression";
  const auto good = read_checkpoint(checkpoint_path(checkpoints, 10));
  const auto child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{64, 64};  // bytes per file: as a full disk answers, in the middle of a write
    setrlimit(RLIMIT_FSIZE, &limit);
    auto next = good;
    next.step = 20;
    try {
      write_checkpoint(checkpoints, next, 1);
      _exit(1);
    } catch (const Error& problem) {
      _exit(problem.category() == ErrorCategory::io_failure ? 0 : 2);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK_FALSE(fs::exists(checkpoint_path(checkpoints, 20)));
  CHECK(read_newest_checkpoint(checkpoints)->step == 10);
}

TEST_CASE("killed while writing checkpoints, a run always finds a valid one") {
  const TemporaryFolder folder;
  Regression task;
  run(task, options(10), folder.path());
  const auto checkpoints = folder.path() / "checkpoints" / "regression";
  auto checkpoint = read_checkpoint(checkpoint_path(checkpoints, 10));
  for (int round = 0; round < 20; ++round) {
    const auto child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int64_t step = 11;; ++step) {
        checkpoint.step = step;
        write_checkpoint(checkpoints, checkpoint, 2);
      }
    }
    usleep(static_cast<useconds_t>(3000 + 1700 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const auto newest = read_newest_checkpoint(checkpoints);
    REQUIRE(newest);
    CHECK(newest->tensors.size() == checkpoint.tensors.size());
  }
}

TEST_CASE("bad options and a second interrupt guard are refused") {
  const TemporaryFolder folder;
  Regression task;
  auto bad = options(10);
  bad.keep_checkpoints = 0;
  CHECK_THROWS_WITH(run(task, bad, folder.path()), Catch::Contains("keep_checkpoints = 0"));
  InterruptGuard guard;
  CHECK_THROWS_AS(InterruptGuard(), Error);
}

}  // namespace foresight::train::trainer_test
