// SPDX-License-Identifier: Apache-2.0
// The asynchronous loop's answers in made-up time: the caller says what time it is, a gate in the
// planner says when planning ends, so that nothing here depends on how fast the machine is.
#include "async_mpc_parts.hpp"

namespace foresight::async_mpc_test {
namespace {

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
}  // namespace foresight::async_mpc_test
