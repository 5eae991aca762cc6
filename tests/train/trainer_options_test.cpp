// SPDX-License-Identifier: Apache-2.0
// What the trainer can be asked for: accumulation, freezing, averaged weights, the best weights,
// several processes; and that a run resumes exactly with all of it.
#include <torch/nn.h>

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/trainer.hpp"
#include "table_fit.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::trainer_options_test {
namespace {

void check_same_state(torch::nn::Module& actual, torch::nn::Module& expected) {
  const auto a = nn::state_dict(actual), e = nn::state_dict(expected);
  REQUIRE(a.size() == e.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    INFO(a[i].first);
    CHECK(at::equal(a[i].second, e[i].second));
  }
}

// The very number, or NaN like it.
bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// Success that depends on the weights, and draws from the generator that dropout draws from.
TrainHooks weight_dependent_success(TableFit& task) {
  TrainHooks hooks;
  hooks.success = [&task] {
    at::rand({7});
    return 0.5 + 0.5 * std::sin(40 * task.module().parameters()[0].sum().item<double>());
  };
  return hooks;
}

// A table that is watched by a probe, which gets worse at every validation.
class WatchedTable final : public Task {
 public:
  const std::string& name() const override { return table_.name(); }
  torch::nn::Module& module() override { return table_.module(); }
  int64_t samples() const override { return table_.samples(); }
  losses::Terms loss() override { return table_.loss(); }
  losses::Terms validate() override {
    auto terms = table_.validate();
    return terms.add("probe", 1.0, at::full({}, 100.0 * ++validations_), losses::TermRole::probe);
  }
  std::string position() const override { return table_.position(); }
  void seek(const std::string& position) override { table_.seek(position); }

 private:
  TableFit table_{32};
  int validations_ = 0;
};

}  // namespace

TEST_CASE("the weights that are kept are those with the lowest loss, whatever a probe says") {
  const TemporaryFolder folder;
  WatchedTable task;
  auto options = every_step_logged(20);
  options.validate_every = 5;
  options.keep = Keep::lowest_loss;
  const auto result = train_table(task, options, folder / "run");
  const auto losses = curve(folder / "run", "table/validation/loss");
  REQUIRE(losses.size() == 4);
  CHECK(losses.back() == *std::min_element(losses.begin(), losses.end()));
  CHECK(result.kept_step == 20);
  CHECK(result.validation_loss == losses.back());
  CHECK(result.kept_validation_loss == losses.back());
  CHECK(curve(folder / "run", "table/validation/probe").back() == 400);
}

TEST_CASE("four batches of a mean loss accumulated are one batch of four times the size") {
  const TemporaryFolder folder;
  TableFit whole(32), parts(8);
  auto options = every_step_logged(40);
  train_table(whole, options, folder / "whole");
  options.accumulate = 4;
  train_table(parts, options, folder / "parts");
  CHECK(parts.calls == 160);
  // Batches of 8 wrap around the table elsewhere than batches of 32, so compare before that.
  const auto a = curve(folder / "whole", "table/train/loss");
  const auto b = curve(folder / "parts", "table/train/loss");
  const auto norm_a = curve(folder / "whole", "table/grad_norm");
  const auto norm_b = curve(folder / "parts", "table/grad_norm");
  REQUIRE(a.size() == 40);
  for (std::size_t i = 0; i < 28; ++i) {
    CHECK(b[i] == Approx(a[i]).epsilon(1e-11));
    CHECK(norm_b[i] == Approx(norm_a[i]).epsilon(1e-11));
  }
  CHECK(at::allclose(parts.history[27], whole.history[27], 1e-11, 1e-13));
}

TEST_CASE("with every option at once, an interrupted run goes on bit for bit") {
  struct Case {
    ScheduleKind schedule;
    Keep keep;
    int interrupt_at;
  };
  for (const auto& c : {Case{ScheduleKind::cosine, Keep::lowest_loss, 41},
                        Case{ScheduleKind::wsd, Keep::highest_success, 64},
                        Case{ScheduleKind::constant, Keep::last, 19}}) {
    INFO("keep " << enum_name(c.keep));
    auto options = every_step_logged(45);
    options.accumulate = 2;
    options.validate_every = 7;
    options.success_every = 6;
    options.checkpoint_every = 10;
    options.optimizer.decay = Decay::matrices;
    options.optimizer.weight_decay = 0.1;
    options.optimizer.clip = 0.5;
    options.final_decay = 3;
    options.schedule.kind = c.schedule;
    options.freeze = {"2.bias"};
    options.average = 0.9;
    options.keep = c.keep;
    const TemporaryFolder folder;
    TableFit uninterrupted(8, 0.2);
    const auto whole = train_table(uninterrupted, options, folder / "whole",
                                   weight_dependent_success(uninterrupted));
    REQUIRE(whole.outcome == Outcome::finished);
    {
      TableFit first(8, 0.2);
      first.interrupt_at = c.interrupt_at;
      const InterruptGuard guard;
      const auto part =
          train_table(first, options, folder / "parts", weight_dependent_success(first));
      CHECK(part.outcome == Outcome::interrupted);
    }
    TableFit second(8, 0.2);
    torch::manual_seed(99);  // whatever state the new process has
    const auto rest = train_table(second, options, folder / "parts",
                                  weight_dependent_success(second), /*resume=*/true);
    CHECK(rest.outcome == Outcome::finished);
    CHECK(rest.kept_step == whole.kept_step);
    CHECK(same(rest.kept_validation_loss, whole.kept_validation_loss));
    CHECK(same(rest.kept_success, whole.kept_success));
    for (const auto* name : {"table/train/loss", "table/grad_norm", "table/lr",
                             "table/validation/loss", "table/validation/success"}) {
      INFO(name);
      CHECK(curve(folder / "parts", name) == curve(folder / "whole", name));
    }
    check_same_state(second.module(), uninterrupted.module());
    CHECK(at::equal(second.extra_tensors()[0].second, uninterrupted.extra_tensors()[0].second));
  }
}

TEST_CASE("frozen parameters stay, the others learn, and a pattern that fits nothing is refused") {
  const TemporaryFolder folder;
  TableFit task(16);
  const auto parameters = task.module().named_parameters();
  const auto first = parameters["0.weight"].clone(), last = parameters["2.weight"].clone();
  auto options = every_step_logged(5);
  options.freeze = {"0.*"};
  train_table(task, options, folder / "run");
  CHECK(at::equal(parameters["0.weight"], first));
  CHECK_FALSE(at::equal(parameters["2.weight"], last));
  CHECK(parameters["0.weight"].requires_grad());  // frozen for the run, not for good
  options.freeze = {"2.*", "encoder.*"};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { train_table(task, options, folder / "other"); },
      "'encoder.*' fits none of the 4 parameters", "0.weight"));
  CHECK(parameters["2.weight"].requires_grad());
  options.freeze = {"*"};
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { train_table(task, options, folder / "none"); },
      "no parameter"));
}

TEST_CASE("the averaged weights follow their recurrence, are validated, and are what is left") {
  const TemporaryFolder folder;
  TableFit task(16);
  auto options = every_step_logged(30);
  options.average = 0.8;
  auto expected = task.module().parameters()[0].detach().clone();
  const auto result = train_table(task, options, folder / "run");
  for (std::size_t i = 0; i < task.history.size(); ++i) {
    const double n = static_cast<double>(i) + 1, decay = std::min(0.8, (1 + n) / (10 + n));
    expected = decay * expected + (1 - decay) * task.history[i];
  }
  const auto kept = task.module().parameters()[0].detach();
  CHECK(at::allclose(kept, expected, 1e-12, 1e-14));
  CHECK_FALSE(at::allclose(kept, task.history.back(), 1e-6, 1e-8));
  CHECK(result.validation_loss == task.validate().total().item<double>());
  // The checkpoint holds both, and the run goes on from the weights, not from their average.
  const auto checkpoint = read_newest_checkpoint(folder / "run" / "checkpoints" / "table");
  REQUIRE(checkpoint);
  const auto saved = [&](const char* section) {
    for (const auto& [name, tensor] : checkpoint->section(section))
      if (name == "0.weight") return tensor;
    return Tensor();
  };
  CHECK(at::equal(saved("model/"), task.history.back()));
  CHECK(at::equal(saved("average/"), kept));
}

TEST_CASE("the run ends with the weights of the best validation, by success or by loss") {
  const TemporaryFolder folder;
  TableFit task(16);
  auto options = every_step_logged(40);
  options.success_every = 10;
  options.keep = Keep::highest_success;
  const std::vector<double> script = {0.2, 0.8, 0.8, 0.5};
  TrainHooks hooks;
  std::size_t measured = 0;
  hooks.success = [&] {
    CHECK_FALSE(task.module().is_training());
    return script.at(measured++);
  };
  const auto result = train_table(task, options, folder / "run", hooks);
  CHECK(measured == 4);  // at the end once, not twice
  CHECK(result.kept_step == 20);
  CHECK(result.success == 0.5);
  CHECK(result.kept_success == 0.8);
  CHECK(std::isnan(result.kept_validation_loss));  // validated after step 40 alone
  CHECK(std::isfinite(result.validation_loss));
  CHECK(at::equal(task.module().parameters()[0].detach(), task.history[19]));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { train_table(task, options, folder / "other"); },
      "TrainHooks.success"));
  options.success_every = 0;
  CHECK_THROWS_WITH(require_valid(options), Catch::Contains("keep = highest_success"));
}

TEST_CASE("what is told of the weights that are kept was measured of them, not of the last") {
  const TemporaryFolder folder;
  auto options = every_step_logged(40);
  options.validate_every = 10;
  options.success_every = 20;
  options.keep = Keep::lowest_loss;
  options.optimizer.lr = 0.5;  // so large that losses rise again
  options.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
  TrainHooks hooks;
  int measured = 0;
  hooks.success = [&] { return 0.25 * ++measured; };
  TableFit task(16);
  const auto result = train_table(task, options, folder / "run", hooks);
  const auto losses = curve(folder / "run", "table/validation/loss");
  REQUIRE(losses.size() == 4);
  const auto lowest = std::min_element(losses.begin(), losses.end());
  REQUIRE(lowest != losses.end() - 1);
  CHECK(result.kept_step == 10 * (lowest - losses.begin() + 1));
  CHECK(result.kept_validation_loss == *lowest);
  CHECK(result.validation_loss == losses.back());
  CHECK(same(result.kept_success, result.kept_step == 20 ? 0.25 : std::nan("")));
  CHECK(result.success == 0.5);
}

TEST_CASE("weight decay grows linearly where it should") {
  // A loss without gradient leaves only the decay: p *= 1 - lr * decay * factor.
  class Still final : public Task {
   public:
    Still() { net_->push_back(torch::nn::Linear(2, 2)); }
    const std::string& name() const override { return name_; }
    torch::nn::Module& module() override { return *net_; }
    int64_t samples() const override { return 1; }
    losses::Terms loss() override {
      losses::Terms terms;
      terms.add("zero", 1.0, net_->forward(at::zeros({1, 2})).sum() * 0.0);
      return terms;
    }
    std::string position() const override { return "0"; }
    void seek(const std::string&) override {}

   private:
    std::string name_ = "still";
    torch::nn::Sequential net_;
  } task;
  const TemporaryFolder folder;
  const auto before = task.module().parameters()[0].detach().clone();
  auto options = every_step_logged(4);
  options.optimizer = {.lr = 0.1, .weight_decay = 0.2};
  options.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
  options.final_decay = 5;
  train_table(task, options, folder / "run");
  const double shrunk = (1 - 0.02 * 1) * (1 - 0.02 * 2) * (1 - 0.02 * 3) * (1 - 0.02 * 4);
  CHECK(at::allclose(task.module().parameters()[0].detach(), before * shrunk, 1e-5, 1e-7));
}

TEST_CASE("several processes: mean gradients before clipping, one writer, stopping together") {
  // The other process, as this one sees it: gradients of 3, a loss of 10, and a wish to stop.
  class OtherProcess final : public GradientReducer {
   public:
    int64_t rank() const override { return rank_; }
    int64_t world_size() const override { return 2; }
    void reduce(const std::vector<Tensor>& parameters) override {
      double square = 0;
      for (const auto& parameter : parameters) {
        parameter.mutable_grad().add_(3.0).div_(2.0);
        square += parameter.grad().square().sum().item<double>();
      }
      norms.push_back(std::sqrt(square));
    }
    void average(std::vector<double>& values) override {
      ++averages;
      for (std::size_t i = 0; i + 1 < values.size(); ++i) values[i] = (values[i] + 10) / 2;
      values.back() = (values.back() + (averages == stop_at ? 1.0 : 0.0)) / 2;
    }
    std::vector<double> norms;
    int averages = 0, stop_at = -1;
    int64_t rank_ = 0;
  };
  const TemporaryFolder folder;
  auto options = every_step_logged(6);
  options.accumulate = 2;
  options.optimizer.clip = 0.1;
  {
    TableFit task(8);
    OtherProcess other;
    const auto result = train_table(task, options, folder / "first", {.reducer = &other});
    CHECK(result.outcome == Outcome::finished);
    CHECK(other.averages == 6);
    const auto norms = curve(folder / "first", "table/grad_norm");
    REQUIRE(norms.size() == 6);
    for (std::size_t i = 0; i < 6; ++i) CHECK(norms[i] == Approx(other.norms[i]).epsilon(1e-6));
    CHECK(curve(folder / "first", "table/train/loss")[5] >= 5.0);
  }
  TableFit task(8);
  OtherProcess other;
  other.rank_ = 1;
  other.stop_at = 4;
  const auto result = train_table(task, options, folder / "second", {.reducer = &other});
  CHECK(result.outcome == Outcome::interrupted);
  CHECK(result.step == 4);  // the step in which the wish came is finished
  CHECK_FALSE(std::filesystem::exists(folder / "second" / "checkpoints"));
  CHECK(curve(folder / "second", "table/train/loss").empty());
}

}  // namespace foresight::train::trainer_options_test
