// SPDX-License-Identifier: Apache-2.0
// Planning with a whole EbJepa: from the picture to the plan, the same numbers in every iteration
// as facebookresearch/eb_jepa, which encodes the picture anew for every candidate.
#include <ATen/core/grad_mode.h>

#include "eb_jepa_golden.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "golden_autocast.hpp"
#include "golden_planner.hpp"
#include "reference_costs.hpp"

namespace foresight::eb_jepa_planning_test {
namespace {

constexpr const char* kObserved = "observed";

// Upstream sums over all states, the observed one included. That one is the same for all candidates
// and ranks nothing, but it is part of the reported costs.
CostTerm distance_of_observation() {
  return [](const Trajectory& trajectory, const Task& task) {
    const auto observed = task.at(kObserved), goal = task.at(kGoal);
    const auto type = at::promote_types(observed.scalar_type(), at::kFloat);
    const auto distance = (observed.to(type) - goal.to(type)).square().mean({1, 2});
    return distance.unsqueeze(1).expand({-1, trajectory.actions.size(1)});
  };
}

State golden_state(const Golden& golden, const models::EbJepa& model) {
  PhiloxNoise none(0);
  return model.observe(model.initial(1), {},
                       Observation(kPixels, golden.input("obs_image").unsqueeze(0)), none);
}

Tensor golden_goal(const Golden& golden, const models::EbJepa& model) {
  PhiloxNoise none(0);
  return model.encode(Observation(kPixels, golden.input("goal_image").unsqueeze(0)), none);
}

// The cost of candidates of the fixture's problem: of the last state, or of all of them.
CostFunction golden_cost(const Golden& golden, const models::EbJepa& model, Noise& noise) {
  const bool all_states =
      golden.config().at("plan_cfg").at("planner").at("planning_objective").at("sum_all_diffs");
  const auto state = golden_state(golden, model);
  Objective objective;
  objective.add("goal", 1.0,
                goal_distance({.steps = all_states ? Steps::sum : Steps::last,
                               .reduction = Reduction::mean}));
  if (all_states) objective.add("start", 1.0, distance_of_observation());
  Task task(1);
  task.set(kGoal, golden_goal(golden, model));
  task.set(kObserved, state.at("latent"));
  return objective.cost_function(model, state, noise, task);
}

}  // namespace

TEST_CASE("EbJepa plans as EB-JEPA does, from the picture to the plan", "[parity][device]") {
  for_each_golden_run("eb_jepa/plan", [](Golden& golden, at::ScalarType type) {
    at::NoGradGuard no_grad;
    const auto& planner = golden.config().at("plan_cfg").at("planner");
    const auto model = golden_eb_jepa(golden, type);
    PhiloxNoise none(0);
    const auto compare = [&](const std::string& key, const Tensor& actual, double atol = 2e-7) {
      if (type == at::kDouble && actual.is_floating_point())
        golden.compare_within("outputs64/" + key, actual, {atol, 1e-7, 0},
                              "statistics of pictures are float32 in the original's float64 run");
      else
        golden.compare_run(key, actual);
    };
    compare("obs_normalized",
            model->preprocess(golden.input("obs_image").unsqueeze(0)).unsqueeze(2), 1e-6);
    compare("goal_encoding", as_feature_maps(golden_goal(golden, *model)));

    const auto draws = golden.input("noise", type);  // [I,T,S,A]
    const auto planned = planner.at("plan_length").get<int64_t>();
    const auto horizon = std::min(planned, golden.config().at("steps_left").get<int64_t>());
    REQUIRE(horizon == draws.size(1));
    RecordedNoise noise;
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i].transpose(0, 1).unsqueeze(0));
    const auto options = replayed_eb_jepa(planner);
    const bool is_mppi = planner.at("planner_name") == "mppi";
    if (is_mppi) noise.push(golden.input("choice_uniform", type).reshape({1, 1}));
    auto problem = golden_problem(type);
    problem.horizon = horizon;
    problem.action = model->spec().action;
    std::vector<Tensor> costs;
    const auto cost = golden_cost(golden, *model, none);
    problem.cost = [&](const Tensor& actions) {
      auto result = cost(actions);
      costs.push_back(result.total[0]);
      return result;
    };
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    REQUIRE(plan.status == Status::ok);
    CHECK(noise.remaining() == 0);
    compare("costs", at::stack(costs));
    compare("candidates",
            per_iteration(plan, [](const auto& r) { return r.candidates[0].transpose(1, 2); }));
    compare("elite_indices", per_iteration(plan, [](const auto& r) { return r.survivors[0]; }));
    compare("mean", per_iteration(plan, [](const auto& r) { return r.mean[0]; }));
    compare("std", per_iteration(plan, [](const auto& r) { return r.std[0]; }));
    if (is_mppi) compare("scores", per_iteration(plan, [](const auto& r) { return r.weights[0]; }));
    const auto answer = eb_jepa_answer(plan, !is_mppi);
    compare("returned_plan", answer);
    const int64_t executed = planner.at("num_act_stepped");
    compare("executed", answer.narrow(0, 0, executed));
  });
}

TEST_CASE("the candidates of EB-JEPA's planners cost a model in bfloat16 what was recorded",
          "[parity][device]") {
  at::NoGradGuard no_grad;
  for_each_golden("eb_jepa/plan", [](Golden& golden) {
    const auto model = golden_eb_jepa(golden, at::kBFloat16);
    const auto of_frame = roundings_of_impala(model->options().encoder);
    golden.compare_bfloat16("goal_encoding", as_feature_maps(golden_goal(golden, *model)),
                            of_frame);
    const auto candidates = golden.output("candidates").transpose(2, 3);  // [I,S,H,A]
    PhiloxNoise none(0);
    const auto cost = golden_cost(golden, *model, none);
    compare_bfloat16_costs(
        golden, "costs", candidates,
        [&](const Tensor& actions) { return cost(actions.unsqueeze(0)).total[0]; },
        roundings_of_squares(of_frame + candidates.size(2) * kRoundingsOfStack));
  });
}

}  // namespace foresight::eb_jepa_planning_test
