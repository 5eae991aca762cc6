// SPDX-License-Identifier: Apache-2.0
// The safety monitor in a control loop: a pendulum whose mass changes.
#include <cmath>

#include "catch.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/control/mpc.hpp"
#include "foresight/control/safety_monitor.hpp"
#include "foresight/planning/terms.hpp"
#include "temporary_folder.hpp"

namespace foresight::safety_monitor_loop_test {
namespace {

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

}  // namespace
}  // namespace foresight::safety_monitor_loop_test
