// SPDX-License-Identifier: Apache-2.0
// Surprise against closed form: thresholds and false alarms of Gaussian errors, and a pendulum
// whose mass changes.
#include "foresight/control/safety_monitor.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "temporary_folder.hpp"

namespace foresight {
namespace {

// Errors [n,1,D] with the standard deviations of `std`.
Tensor gaussian(PhiloxNoise& noise, int64_t n, const std::vector<double>& std) {
  const auto channels = static_cast<int64_t>(std.size());
  return noise.normal({n, 1, channels}, at::kDouble) * at::tensor(std, at::kDouble);
}

double quantile(const SurpriseCalibration& calibration, double level) {
  for (std::size_t i = 0; i < calibration.levels.size(); ++i)
    if (calibration.levels[i] == level) return calibration.quantiles[i];
  return std::nan("");
}

TEST_CASE("calibrating on Gaussian errors finds their scale and the quantiles of chi-squared") {
  PhiloxNoise noise(1);
  const std::vector<double> std{0.1, 2.0, 0.5, 1.0, 0.3, 7.0, 0.02, 1.5};
  const auto calibration = calibrate_surprise(gaussian(noise, 8000, std));
  CHECK(calibration.transitions == 4000);
  REQUIRE(calibration.scale.size() == 8);
  // A standard deviation from n values is known to std / sqrt(2n): four of those.
  for (std::size_t d = 0; d < 8; ++d)
    CHECK(calibration.scale[d] == Approx(std[d]).epsilon(4 / std::sqrt(8000.0)));
  // D * surprise^2 is chi-squared with D = 8 degrees of freedom.
  for (const auto& [level, chi_squared] :
       {std::pair{0.5, 7.344}, {0.9, 13.362}, {0.95, 15.507}, {0.99, 20.090}, {0.999, 26.124}}) {
    INFO("level " << level);
    CHECK(quantile(calibration, level) ==
          Approx(std::sqrt(chi_squared / 8)).epsilon(level > 0.99 ? 0.08 : 0.03));
  }
  CHECK(calibration.median == Approx(std::sqrt(7.344 / 8)).epsilon(0.03));
}

TEST_CASE("the robust spread of many channels is that of their Gaussian limit") {
  PhiloxNoise noise(2);
  // sqrt(chi-squared_D / D) tends to N(1, 1 / 2D).
  const auto calibration = calibrate_surprise(gaussian(noise, 4000, std::vector<double>(256, 3.0)));
  CHECK(calibration.median == Approx(1.0).epsilon(0.005));
  CHECK(calibration.spread == Approx(1 / std::sqrt(512.0)).epsilon(0.1));
  const double threshold =
      surprise_threshold(calibration, {.rule = SurpriseRule::robust_z, .z = 4.0, .margin = 2.0});
  CHECK(threshold == Approx(2 * (calibration.median + 4 * calibration.spread)));
}

TEST_CASE("false alarms come as often as was asked for, whatever the distribution") {
  constexpr int64_t kLater = 20000;
  PhiloxNoise noise(3);
  for (const bool gaussian_errors : {true, false})
    for (const double level : {0.9, 0.99, 0.995}) {
      INFO((gaussian_errors ? "Gaussian" : "cubed") << ", level " << level);
      const auto errors = [&](int64_t n) {
        const auto normal = gaussian(noise, n, {1.0, 0.2, 3.0, 0.7});
        return gaussian_errors ? normal : normal.pow(3);  // heavy tails
      };
      const auto calibration = calibrate_surprise(errors(4000));
      const double threshold = surprise_threshold(calibration, {.level = level});
      const auto later = surprise_of(errors(kLater), calibration.scale);
      const double rate = later.gt(threshold).to(at::kDouble).mean().item<double>();
      // The rate of one calibration of n is Beta(n + 1 - rank, rank), what is counted of it
      // binomial: four standard deviations of both.
      const double n = 2000, p = 1 - std::ceil((n + 1) * level - 1e-9) / (n + 1);
      const double deviation = std::sqrt(p * (1 - p) * (1 / (n + 2) + 1.0 / kLater));
      CHECK(std::abs(rate - p) < 4 * deviation);
    }
}

TEST_CASE("a level that the calibration cannot tell is refused with what would do") {
  PhiloxNoise noise(4);
  const auto calibration = calibrate_surprise(gaussian(noise, 220, {1.0}));  // 110 quantile values
  CHECK(calibration.levels.back() == 0.99);
  CHECK_NOTHROW(surprise_threshold(calibration, {.level = 0.99}));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { surprise_threshold(calibration, {.level = 0.999}); },
      "0.999", "110", "1998"));
  // 1998 do: 999 of them give the 0.999 quantile, the largest of all.
  CHECK(calibrate_surprise(gaussian(noise, 1998, {1.0})).levels.back() == 0.999);
  CHECK(calibrate_surprise(gaussian(noise, 1996, {1.0})).levels.back() == 0.998);
  // Between two levels the higher one is used.
  CHECK(surprise_threshold(calibration, {.level = 0.96}) == quantile(calibration, 0.98));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { calibrate_surprise(gaussian(noise, 19, {1.0})); },
      "19", "20"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] { calibrate_surprise(gaussian(noise, 40, {1.0}) * std::nan("")); }, "errors"));
}

TEST_CASE("calibration and options survive JSON, and nonsense in them is named") {
  PhiloxNoise noise(5);
  const auto calibration = calibrate_surprise(gaussian(noise, 400, {1.0, 0.5}));
  SurpriseCalibration copy;
  read_options(copy, nlohmann::json::parse(write_options(calibration).dump()), "config");
  CHECK(write_options(copy) == write_options(calibration));
  SafetyMonitorOptions options{.rule = SurpriseRule::robust_z, .response = SafetyResponse::hold};
  SafetyMonitorOptions other;
  read_options(other, write_options(options), "config");
  CHECK(other.rule == SurpriseRule::robust_z);
  CHECK(other.response == SafetyResponse::hold);
  const auto refused = [&](auto&& spoil, std::string_view word) {
    auto bad = calibration;
    spoil(bad);
    return fails_with(
        ErrorCategory::invalid_option, [&] { surprise_threshold(bad, {}); }, word);
  };
  CHECK(refused([](auto& c) { c.transitions = 0; }, "transitions"));
  CHECK(refused([](auto& c) { c.scale[1] = 0; }, "scale"));
  CHECK(refused([](auto& c) { c.scale.clear(); }, "scale"));
  CHECK(refused([](auto& c) { c.quantiles.pop_back(); }, "levels"));
  CHECK(refused([](auto& c) { std::swap(c.quantiles[0], c.quantiles[2]); }, "ascend"));
  CHECK(refused([](auto& c) { c.median = std::nan(""); }, "median"));
}

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

// A pendulum driven by a torque, angle and velocity observed with noise. Semi-implicit Euler.
class Pendulum final : public WorldModel {
 public:
  explicit Pendulum(double mass = 1.0, int64_t block = 1) : mass_(mass) {
    spec_.family = "pendulum";
    spec_.observation = {{"state", {2}}};
    spec_.action.low = {-2.0};
    spec_.action.high = {2.0};
    spec_.action.block = block;
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 2}));
  }
  State observe(const State& previous, const Tensor&, const Observation& seen,
                Noise&) const override {
    return State(1)
        .set("latent", seen.at("state").unsqueeze(1))
        .set_filled(std::min<int64_t>(previous.filled() + 1, spec_.history));
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    auto latent = state.at("latent");
    for (int64_t k = 0; k < spec_.action.block; ++k)
      latent = advance(latent, action.narrow(-1, k, 1).unsqueeze(-2));
    return {State(state.batch_dims()).set("latent", latent), {}, {}};
  }
  // [...,2] moved by a torque [...,1] for 0.05 s.
  Tensor advance(const Tensor& state, const Tensor& torque) const {
    const auto angle = state.narrow(-1, 0, 1), velocity = state.narrow(-1, 1, 1);
    const auto faster = velocity + 0.05 * (15 * at::sin(angle) + 3.0 / mass_ * torque);
    return at::cat({angle + 0.05 * faster, faster}, -1);
  }
  ModelSpec& mutable_spec() { return spec_; }

 private:
  ModelSpec spec_;
  double mass_;
};

// A world of B pendulums that hang and are shaken, seen through a noisy sensor.
class World {
 public:
  World(int64_t batch, std::uint64_t seed)
      : noise_(seed), state_(at::tensor({static_cast<float>(M_PI), 0.F}).repeat({batch, 1})) {}
  Observation look() { return {"state", state_ + 0.01 * noise_.normal(state_.sizes())}; }
  Tensor shake() { return (1.5 * noise_.normal({state_.size(0), 1})).clamp(-2.0, 2.0); }
  void move(const Pendulum& pendulum, const Tensor& torque, int64_t row = -1) {
    const auto next = pendulum.advance(state_, torque);
    if (row < 0)
      state_ = next;
    else
      state_ =
          at::cat({state_.narrow(0, 0, row), next.narrow(0, row, 1), state_.slice(0, row + 1)});
  }

 private:
  PhiloxNoise noise_;
  Tensor state_;
};

SurpriseCalibration calibrated(const Pendulum& model, int64_t block = 1) {
  World world(1, 11);
  ObservationWindow episode;
  episode.frames.push_back(world.look());
  for (int t = 0; t < 2000; ++t) {
    std::vector<Tensor> torques;
    for (int64_t k = 0; k < block; ++k) {
      torques.push_back(world.shake());
      world.move(Pendulum(), torques.back());
    }
    episode.blocks.push_back(at::cat(torques, 1));
    episode.frames.push_back(world.look());
  }
  PhiloxNoise noise(0);
  return calibrate_surprise(model, {episode}, noise);
}

// Shakes the pendulum whatever the model says.
class Shaker final : public Planner {
 public:
  Plan solve(const Problem& problem, Noise& noise) const override {
    Plan plan;
    plan.status = Status::ok;
    plan.statuses.assign(static_cast<std::size_t>(problem.batch), Status::ok);
    plan.actions =
        (1.5 * noise.normal({problem.batch, problem.horizon, problem.width()})).clamp(-2.0, 2.0);
    plan.diagnostics.iterations = 1;
    plan.diagnostics.spread = at::full({1, problem.batch}, 0.5);
    plan.cost = at::full({problem.batch}, 1.25);
    plan.terms = {{"effort", plan.cost}};
    return plan;
  }
};

Mpc shaker(std::shared_ptr<Pendulum> model, MpcOptions options) {
  Objective objective;
  objective.add("effort", 1.0, control_effort());
  options.horizon = 4;
  return {std::move(model), objective, std::make_shared<Shaker>(), options};
}

TEST_CASE("a pendulum that became lighter raises the flag within two seconds, a right model none") {
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window})
    for (const int64_t block : {1, 2}) {
      INFO(enum_name(mode) << ", block " << block);
      const auto model = std::make_shared<Pendulum>(1.0, block);
      const auto calibration = calibrated(*model, block);
      auto mpc = shaker(model, {.replan_steps = 1, .history_mode = mode, .history = 2});
      mpc.watch(std::make_shared<SafetyMonitor>(
          model, calibration, SafetyMonitorOptions{.response = SafetyResponse::safe_action}));
      World world(1, 12);
      for (int t = 0; t < 1000; ++t) {
        const auto decision = mpc.act(world.look());
        REQUIRE(decision.safety.size() == 1);
        CHECK(decision.safety[0].judged() == (t >= block));
        REQUIRE_FALSE(decision.safety[0].flagged);
        world.move(Pendulum(1.0), decision.action);
      }
      int raised = -1;
      for (int t = 0; t < 40 && raised < 0; ++t) {
        const auto decision = mpc.act(world.look());
        if (decision.safety[0].flagged) {
          raised = t;
          CHECK(decision.sources[0] == ActionSource::safe_action);
          CHECK(decision.status == Status::fell_back);
          CHECK(decision.faults[0] == Fault::surprised);
          CHECK(decision.action.item<double>() == 0.0);
          CHECK(decision.message.find("surprise") != std::string::npos);
          CHECK(decision.planned[0]);  // planning goes on behind it
        }
        world.move(Pendulum(0.3), decision.action);
      }
      INFO("raised after " << raised << " steps");
      CHECK(raised >= 3);
    }
}

TEST_CASE("each problem has a flag of its own, and reporting alone changes no action") {
  const auto model = std::make_shared<Pendulum>();
  const auto calibration = calibrated(*model);
  auto watched = shaker(model, {.batch = 2, .replan_steps = 1});
  auto alone = shaker(model, {.batch = 2, .replan_steps = 1});
  watched.watch(std::make_shared<SafetyMonitor>(model, calibration));
  World world(2, 13);
  bool flagged = false;
  for (int t = 0; t < 120; ++t) {
    const auto seen = world.look();
    const auto decision = watched.act(seen);
    REQUIRE(decision.status == Status::ok);
    REQUIRE(at::equal(decision.action, alone.act(seen).action));
    REQUIRE_FALSE(decision.safety[0].flagged);
    flagged = flagged || decision.safety[1].flagged;
    auto torque = decision.action.clone();
    torque[1] /= 0.3;  // problem 1 weighs a third
    world.move(Pendulum(), torque);
  }
  CHECK(flagged);
  watched.reset({1});
  CHECK_FALSE(watched.act(world.look()).safety[1].flagged);
  watched.watch(nullptr);
  CHECK(watched.act(world.look()).safety.empty());
}

TEST_CASE("holding keeps the last action, a reset and unknown actions are not judged") {
  const auto model = std::make_shared<Pendulum>();
  auto mpc = shaker(model, {.replan_steps = 1});
  mpc.watch(std::make_shared<SafetyMonitor>(
      model, calibrated(*model),
      SafetyMonitorOptions{.raise_after = 1, .response = SafetyResponse::hold}));
  const auto at = [](float angle) {
    return Observation("state", at::tensor({angle, 0.F}).unsqueeze(0));
  };
  CHECK_FALSE(mpc.act(at(0)).safety[0].judged());
  const auto before = mpc.act(at(0), at::full({1, 1}, std::nan("")));
  CHECK_FALSE(before.safety[0].judged());  // nobody knows what was done
  const auto after = mpc.act(at(3));
  REQUIRE(after.safety[0].change == FlagChange::raised);
  CHECK(after.sources[0] == ActionSource::previous_plan);
  CHECK(at::equal(after.action, before.action));
  // A lost observation breaks the history: no transition, and the flag stands.
  const auto lost = mpc.act(at(std::nanf("")));
  CHECK_FALSE(lost.safety[0].judged());
  CHECK(lost.safety[0].flagged);
  CHECK_FALSE(mpc.act(at(3)).safety[0].judged());
  mpc.reset();
  CHECK_FALSE(mpc.act(at(3)).safety[0].flagged);
  auto window = shaker(model, {.history_mode = HistoryMode::window, .history = 1});
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { window.watch(std::make_shared<SafetyMonitor>(model, calibrated(*model))); },
      "incremental"));
}

TEST_CASE("warming up surprises nobody") {
  const auto model = std::make_shared<Pendulum>();
  auto mpc = shaker(model, {.replan_steps = 1});
  const auto monitor = std::make_shared<SafetyMonitor>(model, calibrated(*model),
                                                       SafetyMonitorOptions{.raise_after = 1});
  mpc.watch(monitor);
  World world(1, 14);
  mpc.warm_up(world.look(), 5);
  CHECK_FALSE(mpc.act(world.look()).safety[0].flagged);
}

TEST_CASE("incidents of a controller are on file from the rise of the flag to its fall") {
  const TemporaryFolder folder;
  const auto model = std::make_shared<Pendulum>();
  auto mpc = shaker(model, {.replan_steps = 1});
  const auto incidents = std::make_shared<IncidentLog>(folder / kIncidentFile);
  mpc.watch(
      std::make_shared<SafetyMonitor>(model, calibrated(*model),
                                      SafetyMonitorOptions{.raise_after = 1, .clear_after = 2}),
      incidents);
  World world(1, 15);
  std::vector<std::string> hashes;
  for (int t = 0; t < 12; ++t) {
    auto seen = world.look();
    const auto decision = mpc.act(t == 5 ? Observation("state", at::zeros({1, 2})) : seen);
    hashes.push_back(observation_hash(seen));
    world.move(Pendulum(), decision.action);
  }
  const auto file = read_incidents(folder / kIncidentFile);
  CHECK(file.malformed == 0);
  REQUIRE(file.incidents.size() >= 3);
  const auto& first = file.incidents.front();
  CHECK(first.event == "raised");
  CHECK(first.observation == observation_hash({"state", at::zeros({1, 2})}));
  CHECK(first.surprise > first.threshold);
  CHECK(first.plan_status == "ok");
  CHECK(first.plan_cost == 1.25);
  CHECK(first.plan_spread == 0.5);
  CHECK(first.plan_actions.size() == 4);
  CHECK((first.terms == std::vector<std::pair<std::string, double>>{{"effort", 1.25}}));
  CHECK(first.source == "plan");
  CHECK(first.status == "ok");
  CHECK(first.message.find("surprise") != std::string::npos);
  CHECK(file.incidents[1].event == "standing");
  CHECK(file.incidents[1].observation == hashes[6]);
  CHECK(file.incidents.back().event == "cleared");
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
}  // namespace foresight
