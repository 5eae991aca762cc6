// SPDX-License-Identifier: Apache-2.0
// The asynchronous loop in made-up time: the caller says what time it is, a gate in the planner
// says when planning ends, so that nothing here depends on how fast the machine is.
#include "foresight/control/async_mpc.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "planning/point_mass.hpp"

namespace foresight {
namespace {

constexpr double kPatience = 60;  // seconds until a test gives up on the planning thread

// Plans the ramp first, first + 0.01, first + 0.02, ... for every dimension, once its gate is open.
class GatedPlanner final : public Planner {
 public:
  Plan solve(const Problem& problem, Noise&) const override {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    if (fails_) throw std::runtime_error("the planner is moody");
    const auto count = problem.batch * problem.horizon * problem.width();
    Plan plan;
    plan.status = Status::ok;
    plan.statuses.assign(static_cast<std::size_t>(problem.batch), Status::ok);
    const auto steps = at::arange(problem.horizon * problem.action.block, at::kFloat)
                           .repeat_interleave(problem.action.dim)
                           .repeat({problem.batch});
    plan.actions = (first_ + 0.01 * steps)
                       .narrow(0, 0, count)
                       .reshape({problem.batch, problem.horizon, problem.width()});
    plan.diagnostics.iterations = 1;
    return plan;
  }

  void gate(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void close() { gate(/*open=*/false); }
  void open() { gate(/*open=*/true); }
  void begin_at(double first) {
    std::lock_guard lock(mutex_);
    first_ = first;
  }
  void fail(bool fails) {
    std::lock_guard lock(mutex_);
    fails_ = fails;
  }
  // Waits until solve() was called `count` times in all.
  bool wait_entered(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(kPatience),
                             [&] { return entered_ >= count; });
  }
  int entered() const {
    std::lock_guard lock(mutex_);
    return entered_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int entered_ = 0;
  bool open_ = true, fails_ = false;
  double first_ = 0;
};

Objective anything() {
  Objective objective;
  objective.add("effort", 1.0, control_effort());
  return objective;
}

Observation at_state(const Tensor& state) { return {kProprio, state}; }
Observation seen_at(double x, int64_t batch = 1) {
  return at_state(
      at::tensor({static_cast<float>(x), 0.F, 0.F, 0.F}).unsqueeze(0).repeat({batch, 1}));
}

double first_of(const Decision& decision) { return decision.action[0][0].item<double>(); }

struct Setup {
  MpcOptions mpc = {.horizon = 20, .replan_steps = 1, .retries = 0, .safe_action = {-0.5, -0.5}};
  AsyncMpcOptions async = {.period = 0.1, .max_age = 100, .coast = 0};
  std::shared_ptr<PointMass> model = std::make_shared<PointMass>(1);
  std::shared_ptr<GatedPlanner> planner = std::make_shared<GatedPlanner>();

  AsyncMpc make() const { return AsyncMpc(Mpc(model, anything(), planner, mpc), async); }
};

TEST_CASE("before its first plan AsyncMpc answers the safe action and says so") {
  const Setup setup;
  auto loop = setup.make();
  const auto decision = loop.action(3.0);
  CHECK(decision.status == Status::not_started);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(decision.faults[0] == Fault::no_plan);
  CHECK(decision.message == "no plan yet");
  CHECK(std::isnan(decision.plan_age[0]));
  CHECK(at::equal(decision.action, at::tensor({-0.5F, -0.5F}).unsqueeze(0)));
  CHECK(loop.statistics().safe_answers == 1);
}

TEST_CASE("an answer is the command for the control step nearest to its time") {
  const Setup setup;
  auto loop = setup.make();
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  for (const auto& [time, step] : {std::pair{1.0, 0},
                                   {1.04, 0},
                                   {0.96, 0},
                                   {1.06, 1},
                                   {1.14, 1},
                                   {1.5, 5},
                                   {1.449, 4},
                                   {2.9, 19}}) {
    INFO("time " << time);
    const auto decision = loop.action(time);
    CHECK(decision.status == Status::ok);
    CHECK(decision.message == "ok");
    CHECK(decision.sources[0] == ActionSource::plan);
    CHECK(first_of(decision) == Approx(0.01 * step).margin(1e-6));
    CHECK(decision.plan_age[0] == Approx(time - 1.0).margin(1e-9));
  }
  const auto beyond = loop.action(3.0);
  CHECK(beyond.sources[0] == ActionSource::safe_action);
  CHECK(beyond.status == Status::fell_back);
  CHECK(beyond.message.find("ended") != std::string::npos);
}

TEST_CASE("a newer plan takes over at the control step of its own observation") {
  const Setup setup;
  auto loop = setup.make();
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(first_of(loop.action(1.3)) == Approx(0.03).margin(1e-6));
  setup.planner->begin_at(0.5);
  loop.observe(seen_at(0), 1.3);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(first_of(loop.action(1.3)) == Approx(0.5));
  CHECK(first_of(loop.action(1.5)) == Approx(0.52));
}

TEST_CASE("a plan made for a later moment begins then; the one before goes on until then") {
  Setup setup;
  setup.mpc.latency_steps = 2;
  auto loop = setup.make();
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(1.1).sources[0] == ActionSource::safe_action);
  CHECK(first_of(loop.action(1.2)) == Approx(0.0).margin(1e-6));
  CHECK(loop.action(1.2).plan_age[0] == Approx(0.2));
  setup.planner->begin_at(0.5);
  loop.observe(seen_at(0), 1.3);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(first_of(loop.action(1.4)) == Approx(0.02).margin(1e-6));
  // A plan every step, each made two steps ahead: none pushes out the one that begins before it.
  setup.planner->begin_at(0.7);
  loop.observe(seen_at(0), 1.4);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(first_of(loop.action(1.5)) == Approx(0.5));
  setup.planner->begin_at(0.8);
  loop.observe(seen_at(0), 1.5);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(first_of(loop.action(1.6)) == Approx(0.7));
  CHECK(first_of(loop.action(1.7)) == Approx(0.8));
  CHECK(first_of(loop.action(1.8)) == Approx(0.81));
  // Plans that nobody asked for in their time are not kept for ever.
  for (int step = 9; step < 30; ++step) {
    setup.planner->begin_at(0.01 * step);
    loop.observe(seen_at(0), 1.0 + 0.1 * step);
    REQUIRE(loop.wait_idle(kPatience));
  }
  CHECK(first_of(loop.action(4.1)) == Approx(0.29));
}

TEST_CASE("by age a plan becomes a previous plan, then the safe action") {
  Setup setup;
  setup.async = {.period = 0.1, .max_age = 0.35, .coast = 0.3};
  auto loop = setup.make();
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(1.3).sources[0] == ActionSource::plan);
  for (const double time : {1.4, 1.6}) {
    const auto old = loop.action(time);
    CHECK(old.sources[0] == ActionSource::previous_plan);
    CHECK(old.status == Status::fell_back);
    CHECK(old.faults[0] == Fault::plan_stale);
    CHECK(first_of(old) == Approx((time - 1.0) / 10).margin(1e-6));
  }
  const auto older = loop.action(1.7);
  CHECK(older.sources[0] == ActionSource::safe_action);
  CHECK(older.faults[0] == Fault::plan_stale);
  CHECK(older.message.find("0.7 s old") != std::string::npos);
  CHECK(loop.statistics().stale_answers == 3);
  CHECK(loop.statistics().safe_answers == 1);
}

TEST_CASE("a clock that jumps or is no number leads to the safe action and to recovery") {
  Setup setup;
  setup.async = {.period = 0.1, .max_age = 0.5, .coast = 0};
  auto loop = setup.make();
  loop.observe(seen_at(0), 100.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(100.0).status == Status::ok);
  const auto back = loop.action(2.0);
  CHECK(back.sources[0] == ActionSource::safe_action);
  CHECK(back.message.find("went back") != std::string::npos);
  for (const double time : {std::nan(""), HUGE_VAL, -HUGE_VAL}) {
    const auto decision = loop.action(time);
    CHECK(decision.status == Status::invalid_input);
    CHECK(decision.sources[0] == ActionSource::safe_action);
    loop.observe(seen_at(0), time);
  }
  CHECK(loop.statistics().rejected == 3);
  loop.observe(seen_at(0), 2.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(2.1).status == Status::ok);
  CHECK(first_of(loop.action(2.1)) == Approx(0.01).margin(1e-6));
}

TEST_CASE("a stalled planner delays no answer; observations that it misses are counted") {
  Setup setup;
  setup.async = {.period = 0.1, .max_age = 0.35, .coast = 0.3};
  auto loop = setup.make();
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  setup.planner->close();
  setup.planner->begin_at(0.5);
  loop.observe(seen_at(0), 0.1);
  REQUIRE(setup.planner->wait_entered(2));
  std::vector<ActionSource> sources;
  for (int step = 2; step < 10; ++step) {
    loop.observe(seen_at(0), 0.1 * step);
    sources.push_back(loop.action(0.1 * step).sources[0]);
  }
  using enum ActionSource;
  CHECK(
      (sources == std::vector<ActionSource>{plan, plan, previous_plan, previous_plan, previous_plan,
                                            safe_action, safe_action, safe_action}));
  CHECK(loop.statistics().dropped == 7);  // of eight that waited, the newest is left
  CHECK_FALSE(loop.wait_idle(0.01));
  setup.planner->open();
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(setup.planner->entered() == 3);
  const auto decision = loop.action(1.0);
  CHECK(decision.sources[0] == plan);
  CHECK(decision.plan_age[0] == Approx(0.1));
  CHECK(first_of(decision) == Approx(0.51));
  CHECK(loop.statistics().observations == 10);
  CHECK(loop.statistics().plans == 3);
}

TEST_CASE("when planning fails the earlier plan goes on under the failure's name") {
  Setup setup;
  setup.async.max_age = 0.5;
  auto loop = setup.make();
  setup.planner->fail(true);
  loop.observe(seen_at(0), 0.9);
  REQUIRE(loop.wait_idle(kPatience));
  auto decision = loop.action(0.9);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(decision.status == Status::failed);
  CHECK(decision.faults[0] == Fault::solve_failed);
  CHECK(decision.message.find("moody") != std::string::npos);

  setup.planner->fail(false);
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(1.0).status == Status::ok);
  setup.planner->fail(true);
  loop.observe(seen_at(0), 1.1);
  REQUIRE(loop.wait_idle(kPatience));
  decision = loop.action(1.2);
  CHECK(decision.sources[0] == ActionSource::previous_plan);
  CHECK(decision.status == Status::failed);
  CHECK(first_of(decision) == Approx(0.02).margin(1e-6));

  loop.observe(seen_at(std::nan("")), 1.2);
  REQUIRE(loop.wait_idle(kPatience));
  decision = loop.action(1.3);
  CHECK(decision.status == Status::invalid_input);
  CHECK(decision.faults[0] == Fault::observation_non_finite);
  loop.observe(at_state(at::zeros({1, 3})), 1.3);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(1.4).faults[0] == Fault::observation_rejected);
  CHECK(loop.statistics().failed_plans == 4);

  setup.planner->fail(false);
  loop.observe(seen_at(0), 1.4);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(1.4).status == Status::ok);
}

TEST_CASE("box and rate limits hold across plans, falls and calls in between") {
  Setup setup;
  setup.mpc.max_step = {0.1, 0.1};
  setup.async = {.period = 0.1, .max_age = 0.4, .coast = 0.2};
  auto loop = setup.make();
  setup.planner->begin_at(7.0);  // far outside the box
  double last = NAN, begun = NAN, time = 0;
  const auto ask = [&](double at) {
    const auto value = first_of(loop.action(at));
    CHECK(std::abs(value) <= 1.0);
    return value;
  };
  for (int step = 0; step < 60; ++step) {
    time = 0.1 * step;
    if (step % 10 < 3) {
      setup.planner->begin_at(step % 20 < 10 ? 7.0 : -7.0);
      loop.observe(seen_at(0), time);
      REQUIRE(loop.wait_idle(kPatience));
    }
    const auto value = ask(time);
    if (step > 0) CHECK(std::abs(value - last) <= 0.1 + 1e-6);
    last = value;
  }
  // Ten calls within one period change it no further than one call would.
  setup.planner->begin_at(7.0);
  loop.observe(seen_at(0), time);
  REQUIRE(loop.wait_idle(kPatience));
  begun = last;
  for (int call = 1; call <= 10; ++call) last = ask(time + 0.01 * call);
  CHECK(last - begun == Approx(0.1).margin(1e-5));
  CHECK(ask(time + 0.1) == Approx(last));
}

TEST_CASE("a reset drops plans at once, also the one that is being made") {
  const Setup setup;
  auto loop = setup.make();
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  setup.planner->close();
  loop.observe(seen_at(0), 0.1);
  REQUIRE(setup.planner->wait_entered(2));
  loop.reset();
  CHECK(loop.action(0.1).sources[0] == ActionSource::safe_action);
  setup.planner->open();
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(0.1).faults[0] == Fault::no_plan);
  loop.observe(seen_at(0), 0.2);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(0.2).sources[0] == ActionSource::plan);
}

TEST_CASE("one problem is reset, the other goes on") {
  Setup setup;
  setup.mpc.batch = 2;
  auto loop = setup.make();
  loop.observe(seen_at(0, 2), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  loop.reset({1});
  const auto decision = loop.action(0.1);
  CHECK(decision.sources[0] == ActionSource::plan);
  CHECK(decision.sources[1] == ActionSource::safe_action);
  CHECK(decision.status == Status::not_started);
  CHECK(decision.action[0][0].item<double>() == Approx(0.01));
  CHECK(decision.action[1][0].item<double>() == Approx(-0.5));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { loop.reset({2}); }, "row 2"));
}

TEST_CASE("stopping waits for the solve that runs and for nothing else") {
  const Setup setup;
  auto loop = setup.make();
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  setup.planner->close();
  loop.observe(seen_at(0), 0.1);
  REQUIRE(setup.planner->wait_entered(2));
  loop.observe(seen_at(0), 0.2);
  std::thread opener([&] {
    while (loop.action(0.1).message != "planning is stopped") std::this_thread::yield();
    setup.planner->open();
  });
  loop.stop();
  opener.join();
  CHECK(setup.planner->entered() == 2);  // the observation that waited was dropped
  const auto decision = loop.action(0.2);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(decision.status == Status::not_started);
  loop.stop();
  loop.observe(seen_at(0), 0.3);
  loop.set_goal(seen_at(1));
  loop.reset();
  CHECK(loop.wait_idle(kPatience));
  CHECK(loop.statistics().rejected == 1);
}

TEST_CASE("an AsyncMpc can be destroyed while it plans, and before it ever did") {
  const Setup setup;
  { const auto unused = setup.make(); }
  std::thread opener;
  {
    auto loop = setup.make();
    setup.planner->close();
    loop.observe(seen_at(0), 0.0);
    REQUIRE(setup.planner->wait_entered(1));
    opener = std::thread([&] { setup.planner->open(); });
  }
  opener.join();
  CHECK(setup.planner->entered() == 1);
}

// Remembers the last three observations and the two actions between them, as window models do.
class WindowModel final : public PointMass {
 public:
  WindowModel() { mutable_spec().history = 3; }
  State initial(int64_t batch) const override {
    auto state = PointMass::initial(batch);
    state.set("frames", at::full({batch, 3}, -1.0));
    state.set("blocks", at::full({batch, 2}, -1.0));
    return state;
  }
  State observe(const State& previous, const Tensor& block, const Observation& observation,
                Noise& noise) const override {
    auto state = PointMass::observe(previous, block, observation, noise);
    const auto shifted = [](const Tensor& ring, const Tensor& newest) {
      return at::cat({ring.narrow(1, 1, ring.size(1) - 1), newest}, 1);
    };
    state.set("frames", shifted(previous.at("frames"), observation.at(kProprio).narrow(1, 0, 1)));
    state.set("blocks", block.defined() ? shifted(previous.at("blocks"), block.narrow(1, 0, 1))
                                        : previous.at("blocks"));
    const std::lock_guard lock(mutex_);
    frames_ = state.at("frames").flatten().clone();
    blocks_ = state.at("blocks").flatten().clone();
    return state;
  }
  Tensor frames() const {
    const std::lock_guard lock(mutex_);
    return frames_;
  }
  Tensor blocks() const {
    const std::lock_guard lock(mutex_);
    return blocks_;
  }

 private:
  mutable std::mutex mutex_;
  mutable Tensor frames_, blocks_;
};

bool equals(const Tensor& tensor, const std::vector<double>& expected) {
  return at::allclose(tensor.to(at::kDouble), at::tensor(expected, at::kDouble), 1e-5, 1e-6);
}

TEST_CASE("observations that waited still make up the model's history, gaps start it anew") {
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window}) {
    INFO(enum_name(mode));
    Setup setup;
    const auto model = std::make_shared<WindowModel>();
    setup.model = model;
    setup.mpc.history_mode = mode;
    auto loop = setup.make();
    CHECK(loop.options().kept == 2);
    loop.observe(seen_at(0), 0.0);
    REQUIRE(loop.wait_idle(kPatience));
    const auto first = first_of(loop.action(0.0));
    setup.planner->close();
    loop.observe(seen_at(1), 0.1);
    REQUIRE(setup.planner->wait_entered(2));
    CHECK(equals(model->frames(), {-1, 0, 1}));
    CHECK(equals(model->blocks(), {-1, first}));  // what was answered is what was executed
    std::vector<double> answered;
    for (int step = 2; step <= 4; ++step) {
      answered.push_back(first_of(loop.action(0.1 * (step - 1))));
      loop.observe(seen_at(step), 0.1 * step);
    }
    CHECK(loop.statistics().dropped == 0);
    setup.planner->open();
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(setup.planner->entered() == 3);  // one plan, from the newest
    CHECK(equals(model->frames(), {2, 3, 4}));
    CHECK(equals(model->blocks(), {answered[1], answered[2]}));
    loop.observe(seen_at(6), 0.6);  // step 5 is missing
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(equals(model->frames(), {-1, -1, 6}));
    loop.observe(seen_at(7), 0.7);
    loop.observe(seen_at(7.5), 0.74);  // of the same control step: one of the two is used
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(model->frames()[1].item<double>() == 6);
    CHECK(loop.statistics().dropped == 1);
  }
}

// Cannot make anything of a far goal.
class ShortSighted final : public PointMass {
 public:
  ShortSighted() : PointMass(1, 0.1) {}
  Tensor encode(const Observation& observation, Noise& noise) const override {
    if (observation.at(kProprio).max().item<double>() > 50) throw std::runtime_error("too far");
    return PointMass::encode(observation, noise);
  }
};

TEST_CASE("goals reach the planner in order; bad ones are refused or told") {
  const auto model = std::make_shared<ShortSighted>();
  auto search = icem();
  search.samples = 64;
  search.elites = 8;
  search.iterations = 5;
  search.initial_std = {0.7};
  Objective reach;
  reach.add("goal", 1.0, goal_distance({.steps = Steps::sum}))
      .add("effort", 0.01, control_effort());
  AsyncMpc loop(Mpc(model, reach, std::make_shared<SamplingPlanner>(search),
                    {.horizon = 12, .replan_steps = 1, .seed = 3}),
                {.period = 0.1, .max_age = 0.3});
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(0.0).message.find("goal") != std::string::npos);  // none yet
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        loop.set_goal(at_state(at::zeros({1, 3})));
      },
      kProprio));
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { loop.set_goal(seen_at(std::nan(""))); }, kProprio));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { loop.set_task("weight", at::zeros({2})); }, "B = 1"));
  const auto goal = at::tensor({0.5F, -0.3F, 0.F, 0.F}).unsqueeze(0);
  loop.set_goal(at_state(goal));
  REQUIRE(loop.wait_idle(kPatience));
  loop.set_goal(seen_at(99));  // only the model can tell; the first stays
  auto state = at::zeros({1, 4});
  for (int step = 1; step <= 80; ++step) {
    loop.observe(at_state(state), 0.1 * step);
    REQUIRE(loop.wait_idle(kPatience));
    const auto decision = loop.action(0.1 * step);
    REQUIRE(decision.status == Status::ok);
    CHECK(decision.message == (step == 1 ? "goal rejected: too far" : "ok"));
    state = model->advance(state, decision.action);
    if (step == 1) loop.set_goal(at_state(goal));
  }
  CHECK((state - goal).abs().max().item<double>() < 0.15);
}

TEST_CASE("asynchronous answers in a discrete space are symbols") {
  Setup setup;
  auto& space = setup.model->mutable_spec().action;
  space = ActionSpace{};
  space.dim = 3;
  space.discrete = true;
  setup.mpc.safe_action = {2};
  auto loop = setup.make();
  CHECK(loop.action(0.0).action.item<int64_t>() == 2);
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  const auto decision = loop.action(0.1);
  CHECK(decision.sources[0] == ActionSource::plan);
  CHECK(decision.action.sizes() == at::IntArrayRef({1, 1}));
  CHECK(decision.action.scalar_type() == at::kLong);
}

TEST_CASE("a surprised monitor replaces the answers at once and lets go again") {
  for (const auto response : {SafetyResponse::safe_action, SafetyResponse::hold}) {
    INFO(enum_name(response));
    const Setup setup;
    setup.planner->begin_at(0.25);
    SurpriseCalibration exact;  // of a model that is never wrong by more than a hundredth
    exact.transitions = 99;
    exact.levels = {0.99};
    exact.quantiles = {0.01};
    exact.scale = {1, 1, 1, 1};
    Mpc mpc(setup.model, anything(), setup.planner, setup.mpc);
    mpc.watch(std::make_shared<SafetyMonitor>(
        setup.model, exact,
        SafetyMonitorOptions{.raise_after = 1, .clear_after = 2, .response = response}));
    AsyncMpc loop(std::move(mpc), setup.async);
    CHECK(loop.options().kept == 1);  // the transition to the newest observation
    auto state = at::zeros({1, 4});
    std::vector<ActionSource> sources;
    double before = 0, last = 0;
    for (int step = 0; step < 8; ++step) {
      if (step == 3) state = state + 1.0;  // somebody kicked it
      loop.observe(at_state(state), 0.1 * step);
      REQUIRE(loop.wait_idle(kPatience));
      const auto decision = loop.action(0.1 * step);
      sources.push_back(decision.sources[0]);
      CHECK(decision.safety[0].judged() == (step > 0));
      CHECK(decision.safety[0].flagged == (step == 3 || step == 4));
      if (decision.safety[0].flagged) {
        CHECK(decision.faults[0] == Fault::surprised);
        CHECK(decision.status == Status::fell_back);
        CHECK(first_of(decision) == (response == SafetyResponse::hold ? before : -0.5));
      } else {
        before = first_of(decision);
      }
      last = first_of(decision);
      state = setup.model->advance(state, decision.action);
    }
    CHECK(last == 0.25);
    using enum ActionSource;
    const auto instead = response == SafetyResponse::hold ? previous_plan : safe_action;
    CHECK((sources ==
           std::vector<ActionSource>{plan, plan, plan, instead, instead, plan, plan, plan}));
  }
}

TEST_CASE("many threads ask, observe, reset and set goals at once") {
  Setup setup;
  setup.mpc.batch = 2;
  setup.mpc.max_step = {0.5, 0.5};
  auto loop = setup.make();
  std::atomic<int> step{0}, bad{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 300; ++k) {
        const auto decision = loop.action(0.1 * step.load());
        const bool good = decision.action.sizes() == at::IntArrayRef({2, 2}) &&
                          decision.action.isfinite().all().item<bool>() &&
                          decision.action.abs().le(1.0).all().item<bool>() &&
                          decision.statuses.size() == 2 && !decision.message.empty();
        if (!good) ++bad;
      }
    });
  threads.emplace_back([&] {
    for (int k = 0; k < 300; ++k) loop.observe(seen_at(0, 2), 0.1 * ++step);
  });
  threads.emplace_back([&] {
    for (int k = 0; k < 60; ++k) {
      if (k % 3 == 0) loop.reset({k % 2});
      if (k % 3 == 1) loop.set_goal(seen_at(0.1 * k, 2));
      if (k % 3 == 2) (void)loop.statistics();
      (void)loop.wait_idle(0.0005);
    }
  });
  for (auto& thread : threads) thread.join();
  CHECK(bad == 0);
  REQUIRE(loop.wait_idle(kPatience));
  const auto statistics = loop.statistics();
  CHECK(statistics.answers == 900);
  CHECK(statistics.observations == 300);
  CHECK(statistics.plans + statistics.failed_plans + statistics.dropped <= 300);
  CHECK(statistics.plans > 0);
}

TEST_CASE("answers are timed on the clock that is given") {
  const Setup setup;
  std::atomic<int64_t> ticks{0};
  AsyncMpc loop(Mpc(setup.model, anything(), setup.planner, setup.mpc), setup.async,
                [&] { return Problem::Clock::time_point(std::chrono::milliseconds(7 * ticks++)); });
  CHECK(loop.action(0).total_seconds == Approx(0.007));
  CHECK(loop.statistics().worst_answer_seconds == Approx(0.007));
  AsyncMpc broken(Mpc(setup.model, anything(), setup.planner, setup.mpc), setup.async,
                  []() -> Problem::Clock::time_point { throw std::runtime_error("no clock"); });
  CHECK(broken.action(0).sources[0] == ActionSource::safe_action);
}

TEST_CASE("impossible asynchronous options are refused") {
  const Setup setup;
  const auto make = [&](AsyncMpcOptions options) {
    AsyncMpc(Mpc(setup.model, anything(), setup.planner, setup.mpc), options);
  };
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.period = 0}); }, "period"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.period = 0.1, .max_age = 0.05}); }, "max_age"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.coast = -1}); }, "coast"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.kept = -2}); }, "kept"));
}

}  // namespace
}  // namespace foresight
