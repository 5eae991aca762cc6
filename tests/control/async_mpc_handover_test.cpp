// SPDX-License-Identifier: Apache-2.0
// What passes between the asynchronous loop, its thread and its user: late observations, goals in
// order, the newest plan, the start of the thread.
#include <cmath>
#include <limits>
#include <thread>

#include "async_mpc_parts.hpp"

namespace foresight::async_mpc_test {
namespace {

// Remembers what it was told of executed actions and of goals.
class Listener final : public PointMass {
 public:
  State observe(const State& previous, const Tensor& block, const Observation& observation,
                Noise& noise) const override {
    const std::lock_guard lock(mutex_);
    blocks_.push_back(block.defined() ? block.flatten()[0].item<double>() : std::nan(""));
    return PointMass::observe(previous, block, observation, noise);
  }
  Tensor encode(const Observation& observation, Noise&) const override {
    const std::lock_guard lock(mutex_);
    goals_.push_back(observation.at(kProprio)[0][0].item<double>());
    return observation.at(kProprio).unsqueeze(1);
  }
  double last_block() const {
    const std::lock_guard lock(mutex_);
    return blocks_.back();
  }
  std::vector<double> goals() const {
    const std::lock_guard lock(mutex_);
    return goals_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::vector<double> blocks_, goals_;
};

TEST_CASE("an observation that comes late is told what was in effect before it, not since") {
  Setup setup;
  const auto model = std::make_shared<Listener>();
  setup.model = model;
  auto loop = setup.make();
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  // A camera's pipeline of two and a half periods.
  std::vector<double> answers;
  for (int step = 0; step < 3; ++step) answers.push_back(first_of(loop.action(0.1 * step)));
  CHECK(answers[0] != answers[2]);
  for (int step = 1; step < 6; ++step) {
    loop.observe(seen_at(0), 0.1 * step);
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(model->last_block() == Approx(answers[static_cast<std::size_t>(step - 1)]));
    setup.planner->begin_at(0.05 * step);
    answers.push_back(first_of(loop.action(0.1 * (step + 2))));
  }
}

TEST_CASE("goals are dropped only where no observation came in between") {
  Setup setup;
  const auto model = std::make_shared<Listener>();
  setup.model = model;
  auto loop = setup.make();
  setup.planner->close();
  loop.observe(seen_at(0), 0.0);
  REQUIRE(setup.planner->wait_entered(1));
  loop.set_goal(seen_at(1));
  loop.set_goal(seen_at(2));
  loop.observe(seen_at(0), 0.1);  // seen while 2 was the goal
  loop.set_goal(seen_at(3));
  setup.planner->open();
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(model->goals() == std::vector<double>{2, 3});
  setup.planner->close();
  loop.observe(seen_at(0), 0.2);
  REQUIRE(setup.planner->wait_entered(3));
  for (int step = 3; step < 20; ++step) {  // observations are replaced, and the goals with them
    loop.set_goal(seen_at(step));
    loop.observe(seen_at(0), 0.1 * step);
  }
  setup.planner->open();
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(model->goals() == std::vector<double>{2, 3, 19});
}

TEST_CASE("waiting takes any number of seconds") {
  const Setup setup;
  auto loop = setup.make();
  setup.planner->close();
  loop.observe(seen_at(0), 0.0);
  CHECK_FALSE(loop.wait_idle(std::nan("")));
  CHECK_FALSE(loop.wait_idle(-1));
  REQUIRE(setup.planner->wait_entered(1));
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    setup.planner->open();
  });
  CHECK(loop.wait_idle(std::numeric_limits<double>::infinity()));
  opener.join();
}

TEST_CASE("the newest plan can be looked at") {
  const Setup setup;
  auto loop = setup.make();
  CHECK_FALSE(loop.plan().known());
  CHECK(std::isnan(loop.plan().begin));
  setup.planner->begin_at(0.25);
  loop.observe(seen_at(0), 3.0);
  REQUIRE(loop.wait_idle(kPatience));
  const auto plan = loop.plan();
  CHECK(plan.observed == 3.0);
  CHECK(plan.begin == 3.0);
  REQUIRE(plan.commands.sizes() == at::IntArrayRef({20, 2}));
  CHECK(plan.commands[3][1].item<double>() == Approx(0.28));
  CHECK(std::isnan(plan.cost));  // this planner tells none
  plan.commands.zero_();         // a copy
  CHECK(first_of(loop.action(3.0)) == Approx(0.25));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { loop.plan(1); }, "row 1"));
  loop.reset();
  CHECK_FALSE(loop.plan().known());
}

TEST_CASE("a plan that begins later tells its costs by name") {
  class Told final : public Planner {
   public:
    Plan solve(const Problem& problem, Noise& noise) const override {
      auto plan = ramp_.solve(problem, noise);
      plan.cost = at::full({1}, 1.5);
      plan.terms.emplace_back("effort", at::full({1}, 0.5));
      return plan;
    }

   private:
    GatedPlanner ramp_;
  };
  Setup setup;
  setup.mpc.latency_steps = 2;
  AsyncMpc loop(Mpc(setup.model, anything(), std::make_shared<Told>(), setup.mpc), setup.async);
  loop.observe(seen_at(0), 1.0);
  REQUIRE(loop.wait_idle(kPatience));
  const auto plan = loop.plan();
  CHECK(plan.observed == 1.0);
  CHECK(plan.begin == Approx(1.2));
  CHECK(plan.cost == 1.5);
  CHECK((plan.terms == std::vector<std::pair<std::string, double>>{{"effort", 0.5}}));
}

TEST_CASE("the planning thread begins with what it is given, and survives it") {
  Setup setup;
  std::mutex mutex;
  std::vector<std::thread::id> started;
  setup.async.on_thread_start = [&] {
    const std::lock_guard lock(mutex);
    started.push_back(std::this_thread::get_id());
  };
  {
    auto loop = setup.make();
    loop.observe(seen_at(0), 0.0);
    REQUIRE(loop.wait_idle(kPatience));
    const std::lock_guard lock(mutex);
    REQUIRE(started.size() == 1);
    CHECK(started[0] != std::this_thread::get_id());
  }
  setup.async.on_thread_start = [] { throw std::runtime_error("no such priority"); };
  auto loop = setup.make();
  while (loop.statistics().failed_plans == 0) std::this_thread::yield();
  CHECK(loop.action(0.0).message.find("no such priority") != std::string::npos);
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(0.0).status == Status::ok);
}

}  // namespace
}  // namespace foresight::async_mpc_test
