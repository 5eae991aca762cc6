// SPDX-License-Identifier: Apache-2.0
// The asynchronous loop's two threads: planners that stall or fail, resets, stopping, and many
// callers at once.
#include <atomic>
#include <thread>

#include "async_mpc_parts.hpp"

namespace foresight::async_mpc_test {
namespace {

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

}  // namespace
}  // namespace foresight::async_mpc_test
