// SPDX-License-Identifier: Apache-2.0
// A gradient that is not finite although the loss is: nothing that training keeps may take it in,
// in one process and in several; and the same module and processes can be trained again.
#include <torch/nn.h>

#include <cmath>
#include <thread>

#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/data_parallel.hpp"
#include "foresight/train/trainer.hpp"
#include "processes.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::diverging_gradient_test {
namespace {

namespace fs = std::filesystem;

// y = x w with a target network. In update `spoiled` the loss gets a term whose value is 0 and
// whose gradient, inf * 0, is not a number; in update `undefined` its value is none either.
class Spoiled final : public Task {
 public:
  Spoiled() {
    torch::manual_seed(1);
    net_->push_back(torch::nn::Linear(3, 8));
    net_->push_back(torch::nn::Linear(8, 1));
    target_ = net_->parameters()[0].detach().clone();
  }
  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *net_; }
  int64_t samples() const override { return 16; }
  losses::Terms loss() override {
    ++call_;
    const auto x = noise_.normal({16, 3});
    auto fit = (net_->forward(x) - x.sum(1, true)).square().mean();
    losses::Terms terms;
    if (call_ == undefined) fit = fit * NAN;
    terms.add("fit", 1.0, fit);
    if (call_ == spoiled) terms.add("root", 1.0, (net_->parameters()[2] * 0).sum().sqrt());
    return terms;
  }
  losses::Terms validate() override {
    if (validation_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(validation_ms));
    losses::Terms terms;  // the best is the first
    terms.add("fit", 1.0, at::full({}, static_cast<double>(++validations_)));
    return terms;
  }
  void updated() override { target_.lerp_(net_->parameters()[0].detach(), 0.1); }
  std::string position() const override { return std::to_string(noise_.position()); }
  void seek(const std::string& position) override { noise_.seek(std::stoull(position)); }
  io::NamedTensors extra_tensors() override { return {{"target", target_}}; }

  int spoiled = -1, undefined = -1, validation_ms = 0;

 private:
  std::string name_ = "spoiled";
  torch::nn::Sequential net_;
  PhiloxNoise noise_{5};
  Tensor target_;
  int call_ = 0, validations_ = 0;
};

TrainOptions averaged(int64_t steps) {
  auto options = every_step_logged(steps);
  options.average = 0.9;
  return options;
}

Checkpoint newest_of(const fs::path& run) {
  const auto found = read_newest_checkpoint(run / "checkpoints" / "spoiled");
  REQUIRE(found);
  return *found;
}

void check_same_tensors(const Checkpoint& a, const Checkpoint& b) {
  REQUIRE(a.tensors.size() == b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    INFO(a.tensors[i].first);
    CHECK(a.tensors[i].first == b.tensors[i].first);
    CHECK(at::equal(a.tensors[i].second, b.tensors[i].second));
  }
}

}  // namespace

TEST_CASE("a gradient that is not finite ends the run and spoils nothing that is kept of it") {
  for (const double clip : {0.0, 1.0}) {
    INFO("clip " << clip);
    const TemporaryFolder folder;
    auto options = averaged(20);
    options.optimizer.clip = clip;
    Spoiled whole, stopped, resumed;
    REQUIRE(train_table(whole, options, folder / "whole").outcome == Outcome::finished);
    stopped.spoiled = 13;
    const auto result = train_table(stopped, options, folder / "run");
    CHECK(result.outcome == Outcome::diverged);
    CHECK(result.step == 12);
    CHECK_THAT(result.message, Catch::Contains("stopped at step 13: the loss is finite, its "
                                               "gradient is not") &&
                                   Catch::Contains("first in '1.weight'"));
    for (const auto& [name, tensor] : nn::state_dict(stopped.module())) {
      INFO(name);
      CHECK(at::isfinite(tensor).all().item<bool>());
    }
    CHECK(newest_of(folder / "run").step == 12);
    // Weights, moments, average and target are such that going on is as if nothing had happened.
    REQUIRE(train_table(resumed, options, folder / "run", {}, /*resume=*/true).outcome ==
            Outcome::finished);
    check_same_tensors(newest_of(folder / "run"), newest_of(folder / "whole"));
  }
}

TEST_CASE("part: train again after a run that diverged", "[.]") {
  at::set_num_threads(1);
  DataParallel parallel(ProcessGroup::connect(Launch::from_environment(), {.timeout = 30}));
  const auto run = [&](Spoiled& task, const char* name) {
    auto options = every_step_logged(6);
    options.validate_every = 2;
    options.keep = Keep::lowest_loss;
    const auto path = processes_folder() / name;
    auto metrics = parallel.rank() == 0 ? EventWriter(path) : EventWriter::nowhere();
    return train(task, options, {path}, metrics, ProgressStyle::silent, {.reducer = &parallel});
  };
  Spoiled task;
  task.undefined = 4;
  CHECK(run(task, "loss").outcome == Outcome::diverged);
  task.spoiled = 7;
  const auto gradient = run(task, "gradient");
  CHECK(gradient.outcome == Outcome::diverged);
  CHECK(gradient.step == 2);
  const auto again = run(task, "again");
  CHECK(again.outcome == Outcome::finished);
  CHECK(again.kept_step == 2);  // of all processes, not of the one alone that wrote it
}

TEST_CASE("processes end a run that diverges together, and can train the same module again") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: train again after a run that diverged", folder.path());
  CHECK(processes.failures() == "");
}

TEST_CASE("samples a second are those of the steps, whatever is measured between them") {
  const TemporaryFolder folder;
  Spoiled task;
  task.validation_ms = 100;
  auto options = every_step_logged(5);
  options.validate_every = 1;
  options.accumulate = 2;
  const auto result = train_table(task, options, folder.path());
  const auto rates = curve(folder.path(), "spoiled/samples_per_second");
  REQUIRE(rates.size() == 5);
  // 32 samples a step; with the validation before it the last would be below 320.
  CHECK(rates.back() > 320);
  CHECK(result.step_ms < 100);
}

TEST_CASE("the tensors of a task are resumed by their names alone") {
  const TemporaryFolder folder;
  Spoiled task, other;
  train_table(task, every_step_logged(4), folder.path());
  auto checkpoint = newest_of(folder.path());
  for (auto& [name, tensor] : checkpoint.tensors)
    if (name == "task/target") name = "task/teacher";
  write_checkpoint(folder.path() / "checkpoints" / "spoiled", checkpoint, 1);
  CHECK_THROWS_WITH(train_table(other, every_step_logged(6), folder.path(), {}, /*resume=*/true),
                    Catch::Contains("target") && Catch::Contains("teacher"));
}

}  // namespace foresight::train::diverging_gradient_test
