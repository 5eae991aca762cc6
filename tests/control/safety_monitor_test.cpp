// SPDX-License-Identifier: Apache-2.0
// The safety monitor's flag: when it rises and falls, and that nothing gets out of it.
#include "foresight/control/safety_monitor.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::safety_monitor_test {
namespace {

// The model expects that nothing changes, so that a test chooses the error.
class Still final : public WorldModel {
 public:
  Still() {
    spec_.family = "still";
    spec_.observation = {{"x", {2}}};
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override { return at_latent(at::zeros({batch, 2})); }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    return at_latent(seen.at("x")).set_filled(1);
  }
  Transition step(const State& state, const Tensor&, Noise&) const override {
    if (mood == 1) throw std::runtime_error("model fault");
    if (mood == 2) throw 42;
    if (mood == 3) return {at_latent(at::zeros({1, 3})), {}, {}};
    if (mood == 4) return {at_latent(state.at("latent").squeeze(1) / 0.0 * 0.0), {}, {}};
    return {state, {}, {}};
  }
  static State at_latent(const Tensor& x) {
    State state(1);
    state.set("latent", x.unsqueeze(1));
    return state;
  }
  int mood = 0;

 private:
  ModelSpec spec_;
};

SurpriseCalibration unit_scale() {
  SurpriseCalibration calibration;
  calibration.transitions = 1000;
  calibration.median = 0.8;
  calibration.spread = 0.1;
  calibration.levels = {0.9, 0.99};
  calibration.quantiles = {1.0, 2.0};
  calibration.scale = {1.0, 0.5};
  return calibration;
}

class Flagging {
 public:
  explicit Flagging(SafetyMonitorOptions options)
      : monitor(std::make_shared<Still>(), unit_scale(), options) {}
  // A transition of this surprise.
  SafetyVerdict after(double surprise) {
    const auto error = at::tensor({surprise * std::sqrt(2.0), 0.0}, at::kDouble).unsqueeze(0);
    monitor.judge({0}, Still::at_latent(at::zeros({1, 2}, at::kDouble)), at::zeros({1, 1}),
                  Still::at_latent(error));
    return monitor.conclude(1)[0];
  }
  SafetyMonitor monitor;
};

TEST_CASE("surprise is the root mean square of the scaled error") {
  Flagging flagging({});
  CHECK(flagging.after(1.25).surprise == Approx(1.25));
  const auto surprise =
      surprise_of(at::tensor({3.0, 2.0}, at::kDouble).view({1, 1, 2}), {1.0, 0.5});
  CHECK(surprise.item<double>() == Approx(std::sqrt((9.0 + 16.0) / 2)));
}

TEST_CASE("the flag rises after a run of surprises and falls after a calm run only") {
  Flagging flagging({.raise_after = 3, .clear_after = 2, .clear_ratio = 0.5});
  CHECK(flagging.monitor.threshold() == 2.0);
  for (const double calm : {1.9, 2.1, 2.1, 1.9, 2.1, 2.1}) {
    const auto verdict = flagging.after(calm);
    CHECK_FALSE(verdict.flagged);
    CHECK(verdict.change == FlagChange::none);
  }
  auto verdict = flagging.after(2.1);
  CHECK(verdict.flagged);
  CHECK(verdict.change == FlagChange::raised);
  CHECK(verdict.consecutive == 3);
  // Below the threshold, but not by half of it: it stands.
  for (const double near : {1.5, 1.1, 0.9, 1.1, 0.9, 1.5}) {
    verdict = flagging.after(near);
    CHECK(verdict.flagged);
    CHECK(verdict.change == FlagChange::none);
  }
  CHECK(flagging.after(0.9).flagged);
  verdict = flagging.after(0.9);
  CHECK_FALSE(verdict.flagged);
  CHECK(verdict.change == FlagChange::cleared);
  // A step without a transition says nothing new.
  flagging.after(3.0);
  flagging.after(3.0);
  verdict = flagging.monitor.conclude(1)[0];
  CHECK_FALSE(verdict.judged());
  CHECK(flagging.after(3.0).change == FlagChange::raised);
  flagging.monitor.reset({0});
  CHECK_FALSE(flagging.monitor.conclude(1)[0].flagged);
}

TEST_CASE("nothing that goes wrong in a model gets out of the monitor") {
  const auto model = std::make_shared<Still>();
  SafetyMonitor monitor(model, unit_scale(), {.raise_after = 1});
  const auto state = Still::at_latent(at::ones({1, 2}));
  for (const int mood : {1, 2, 3}) {
    model->mood = mood;
    monitor.judge({0}, state, at::zeros({1, 1}), state);
    const auto verdict = monitor.conclude(1)[0];
    CHECK_FALSE(verdict.judged());
    CHECK_FALSE(verdict.flagged);
    CHECK(verdict.message.find("surprise unknown") == 0);
  }
  model->mood = 0;
  monitor.judge({0, 1}, state, at::zeros({1, 1}), state);  // two problems, one transition
  CHECK(monitor.conclude(2)[1].message.find("1 transitions for 2") != std::string::npos);
  monitor.judge({-3}, State(), Tensor(), State());
  monitor.judge({}, State(), Tensor(), State());
  model->mood = 4;  // 0 / 0
  monitor.judge({0}, state, at::zeros({1, 1}), state);
  const auto verdict = monitor.conclude(1)[0];
  CHECK(std::isinf(verdict.surprise));
  CHECK(verdict.flagged);
}

TEST_CASE("a monitor that does not fit its model is refused") {
  auto calibration = unit_scale();
  calibration.scale = {1.0, 1.0, 1.0};
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { SafetyMonitor(std::make_shared<Still>(), calibration); }, "3 values", "2 channels"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { SafetyMonitor(std::make_shared<Still>(), unit_scale(), {.raise_after = 0}); },
      "raise_after"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { SafetyMonitor(nullptr, unit_scale()); }, "model"));
}

}  // namespace
}  // namespace foresight::safety_monitor_test
