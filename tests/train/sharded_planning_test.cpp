// SPDX-License-Identifier: Apache-2.0
// One planning problem shared by processes: the plan of one, under deadlines
// and with gradients too, and an end where a process fails or is gone.
#include <unistd.h>

#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/sharded.hpp"
#include "foresight/train/process_group.hpp"
#include "processes.hpp"
#include "temporary_folder.hpp"

namespace foresight::train::sharded_planning_test {
namespace {

using Clock = Problem::Clock;

// Reaches a goal with a double integrator in one dimension, and stays off a
// wall: closed form, so that its cost tells nothing of models.
Problem integrator_problem() {
  Problem problem;
  problem.batch = 2;
  problem.horizon = 6;
  problem.action.low = {-1.0};
  problem.action.high = {1.0};
  problem.cost = [](const Tensor &actions) {
    const auto v = actions.squeeze(-1).cumsum(2), p = v.cumsum(2);
    const auto goal = at::tensor({3.0F, -5.0F}).view({2, 1});
    Costs costs;
    costs.terms = {{"goal", (p.select(2, 5) - goal).square()},
                   {"effort", 0.1 * actions.square().sum({2, 3})}};
    costs.total = costs.terms[0].second + costs.terms[1].second;
    costs.constraint = (p - 2.5).amax(2, true);
    return costs;
  };
  return problem;
}

SamplingOptions odd_search() {
  auto options = lewm_cem();
  options.samples = 61; // parts of different size
  options.iterations = 5;
  return options;
}

Plan plan_by_sampling(const Problem &problem) {
  PhiloxNoise noise(11);
  return SamplingPlanner(odd_search()).solve(problem, noise);
}

// A few descents; of one alone, one process has no part.
Plan plan_by_gradients(const Problem &problem, int64_t samples) {
  GradientOptions options;
  options.samples = samples;
  options.iterations = 8;
  options.learning_rate = 0.1;
  options.initial_std = 0.3;
  PhiloxNoise noise(11);
  return GradientPlanner(options).solve(problem, noise);
}

Plan plan_with_multipliers(const Problem &problem) {
  LagrangianOptions options;
  options.inner.samples = 5;
  options.inner.iterations = 6;
  options.inner.learning_rate = 0.1;
  options.inner.initial_std = 0.3;
  options.outer_iterations = 3;
  PhiloxNoise noise(11);
  return LagrangianPlanner(options).solve(problem, noise);
}

// A clock that moves by `tick` whenever a cost is computed, from `start` on.
struct CostClock {
  Clock::time_point time;
  Clock::duration tick;

  void drive(Problem &problem) {
    problem.now = [this] { return time; };
    problem.cost = [this, cost = problem.cost](const Tensor &actions) {
      time += tick;
      return cost(actions);
    };
  }
};

constexpr auto kTick = std::chrono::milliseconds(10);

// Time for three iterations, by a clock of which only rank 0's counts: the
// others' runs at another rate from another start to a deadline that is long
// over.
Plan hurried_plan(int64_t rank, const std::function<Problem(Problem)> &share) {
  CostClock clock{Clock::time_point() + std::chrono::hours(1 + 100 * rank),
                  kTick * (1 + 2 * rank)};
  auto problem = integrator_problem();
  clock.drive(problem);
  problem.deadline =
      rank == 0 ? clock.time + 3 * kTick + kTick / 2 : Clock::time_point();
  return plan_by_sampling(share(problem));
}

void write_plan(const std::string &name, const Plan &plan) {
  io::write_safetensors(
      processes_folder() / (name + ".safetensors"),
      {{"actions", plan.actions},
       {"cost", plan.cost},
       {"goal", find_term(plan.terms, "goal")},
       {"iterations", at::full({1}, plan.diagnostics.iterations, at::kLong)}},
      {});
}

io::NamedTensors read_plan(const std::filesystem::path &folder,
                           const std::string &name) {
  return io::SafeTensors::open(folder / (name + ".safetensors")).tensors();
}

Tensor part_of_plan(const io::NamedTensors &plan, const std::string &name) {
  for (const auto &[key, value] : plan)
    if (key == name)
      return value;
  return {};
}

// The plans that all processes wrote are that of one, and equal to each other
// to the bit.
void check_plans(const std::filesystem::path &folder, const std::string &name,
                 int world, const Plan &alone) {
  INFO(name << ": " << alone.message);
  const auto first = read_plan(folder, name + "_0");
  for (int rank = 0; rank < world; ++rank) {
    const auto plan = read_plan(folder, name + "_" + std::to_string(rank));
    CHECK(
        at::allclose(part_of_plan(plan, "actions"), alone.actions, 1e-5, 1e-5));
    CHECK(at::allclose(part_of_plan(plan, "cost"), alone.cost, 1e-4, 1e-5));
    CHECK(at::allclose(part_of_plan(plan, "goal"),
                       find_term(alone.terms, "goal"), 1e-3, 1e-4));
    CHECK(part_of_plan(plan, "iterations").item<int64_t>() ==
          alone.diagnostics.iterations);
    CHECK(at::equal(part_of_plan(plan, "actions"),
                    part_of_plan(first, "actions")));
  }
}

} // namespace

TEST_CASE("part: shared plans", "[.]") {
  const auto group =
      ProcessGroup::connect(Launch::from_environment(), {.timeout = 30});
  const auto rank = group->rank();
  const auto replicas = replicas_of(group);
  const auto suffix = "_" + std::to_string(rank);
  const auto share = [&](Problem problem) {
    return shard_candidates(std::move(problem), replicas);
  };
  int64_t evaluated = 0;
  auto counted = integrator_problem();
  counted.cost = [&evaluated, cost = counted.cost](const Tensor &actions) {
    evaluated += actions.size(1);
    return cost(actions);
  };
  write_plan("sampling" + suffix, plan_by_sampling(share(counted)));
  CHECK(evaluated <= 5 * (61 / group->world_size() + 1) +
                         5); // and a few single plans at the end
  write_plan("gradients" + suffix,
             plan_by_gradients(share(integrator_problem()), 5));
  write_plan("descent" + suffix,
             plan_by_gradients(share(integrator_problem()), 1));
  write_plan("multipliers" + suffix,
             plan_with_multipliers(share(integrator_problem())));
  write_plan("hurried" + suffix, hurried_plan(rank, share));

  // A real clock, and one process that is slower than the others.
  auto slow = integrator_problem();
  slow.cost = [rank, cost = slow.cost](const Tensor &actions) {
    std::this_thread::sleep_for(std::chrono::milliseconds(rank == 1 ? 12 : 1));
    return cost(actions);
  };
  slow.deadline = Clock::now() + std::chrono::milliseconds(40);
  const auto rushed = plan_by_sampling(share(slow));
  CHECK(rushed.status == Status::deadline_reached);
  auto iterations = at::full({1}, rushed.diagnostics.iterations, at::kLong),
       first = iterations.clone();
  auto actions = rushed.actions.clone();
  group->broadcast({first, actions});
  CHECK(at::equal(first, iterations));
  CHECK(at::equal(actions, rushed.actions));

  // A cost function that throws in one process ends the plan in all.
  auto broken = integrator_problem();
  if (rank == 1)
    broken.cost = [](const Tensor &) -> Costs {
      throw Error(ErrorCategory::bad_file, "the map is gone");
    };
  const auto failed = plan_by_sampling(share(broken));
  CHECK(failed.status == Status::failed);
  CHECK_THAT(failed.message,
             Catch::Contains(rank == 1 ? "the map is gone"
                                       : "threw in another replica"));
  // Some with a deadline and some without would wait for each other.
  auto mixed = integrator_problem();
  if (rank == 0)
    mixed.deadline = Clock::now();
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { share(mixed); },
      "deadline is set in 1 of " + std::to_string(group->world_size())));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { shard_candidates(mixed, nullptr); }, "null"));
}

TEST_CASE("2 and 4 processes that share the candidates find the plan of one") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const auto sampling = plan_by_sampling(integrator_problem());
  const auto gradients = plan_by_gradients(integrator_problem(), 5);
  const auto descent = plan_by_gradients(integrator_problem(), 1);
  const auto multipliers = plan_with_multipliers(integrator_problem());
  const auto hurried = hurried_plan(0, [](Problem problem) { return problem; });
  REQUIRE(sampling.status == Status::ok);
  REQUIRE(hurried.status == Status::deadline_reached);
  REQUIRE(hurried.diagnostics.iterations == 3);
  // The gradient led somewhere.
  REQUIRE(gradients.cost.max().item<double>() < 0.9 * 25);
  for (const int world : {2, 4}) {
    INFO(world << " processes");
    const TemporaryFolder folder;
    Processes processes(world, "part: shared plans", folder.path());
    REQUIRE(processes.failures() == "");
    check_plans(folder.path(), "sampling", world, sampling);
    check_plans(folder.path(), "gradients", world, gradients);
    check_plans(folder.path(), "descent", world, descent);
    check_plans(folder.path(), "multipliers", world, multipliers);
    check_plans(folder.path(), "hurried", world, hurried);
  }
}

TEST_CASE("part: leave a plan", "[.]") {
  const auto group =
      ProcessGroup::connect(Launch::from_environment(), {.timeout = 20});
  auto problem = integrator_problem();
  int calls = 0;
  problem.cost = [&, cost = problem.cost](const Tensor &actions) {
    if (++calls == 3 && group->rank() == 1)
      ::_exit(0);
    return cost(actions);
  };
  problem.deadline = Clock::now() + std::chrono::hours(1);
  const auto plan =
      plan_by_sampling(shard_candidates(problem, replicas_of(group)));
  CHECK(plan.status == Status::failed);
  CHECK_THAT(plan.message, Catch::Contains("another process is gone"));
}

TEST_CASE("a plan whose other process is gone fails with a message and does "
          "not hang") {
  if (!is_built_in(Transport::gloo)) FORESIGHT_SKIP("no Gloo in this build");
  const TemporaryFolder folder;
  Processes processes(2, "part: leave a plan", folder.path());
  CHECK(processes.failures() == "");
}

} // namespace foresight::train::sharded_planning_test
