// SPDX-License-Identifier: Apache-2.0
// The whole way on a tiny LeWM: encoder, predictor, objective and CEM against stable-worldmodel.
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "golden_autocast.hpp"
#include "golden_planner.hpp"
#include "lewm_golden.hpp"
#include "reference_costs.hpp"

namespace foresight::lewm_planning_test {
namespace {

// The state after the fixture's context frames and the blocks between them.
State context(const Golden& golden, const models::Jepa& model) {
  const auto type = model.parameters().front().scalar_type();
  const auto frames = golden.input("pixels", type);
  auto state = model.initial(frames.size(0));
  for (int64_t t = 0; t < frames.size(1); ++t)
    state = model.observe_latent(
        state, t == 0 ? Tensor() : golden.input("action_history", type).select(1, t - 1),
        model.encode_images(frames.select(1, t), nn::Mode::infer).unsqueeze(1));
  return state;
}

// The cost of candidates [B,S,H,A] of a fixture's problems: the squared distance to the goal.
CostFunction golden_cost(const Golden& golden, const models::Jepa& model, Noise& noise) {
  const auto goal = golden.input("goal", model.parameters().front().scalar_type());
  Task task(1);
  task.set(kGoal,
           model.encode_images(goal.select(1, goal.size(1) - 1), nn::Mode::infer).unsqueeze(1));
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  return objective.cost_function(model, context(golden, model), noise, task);
}

TEST_CASE("CEM on LeWM follows stable-worldmodel from pixels to plan", "[parity][device]") {
  for_each_golden_run("lewm/lewm_cem_plan", [](Golden& golden, at::ScalarType type) {
    c10::NoGradGuard no_grad;
    const auto model = golden_jepa(golden);
    model->to(type);
    const auto& solver = golden.config().at("solver");
    auto options = lewm_cem();
    options.samples = solver.at("num_samples");
    options.iterations = solver.at("n_steps");
    options.elites = solver.at("topk");
    options.initial_std = {solver.at("var_scale").get<double>()};
    options.noise_sharing = NoiseSharing::per_problem;
    options.record = PlannerRecord::everything;

    RecordedNoise noise;
    const auto draws = golden.input("noise", type);  // [I,B,S,H,A]
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i]);
    auto problem = golden_problem(type);
    problem.batch = draws.size(1);
    problem.horizon = draws.size(3);
    problem.action = model->spec().action;
    problem.cost = golden_cost(golden, *model, noise);

    const auto plan = SamplingPlanner(options).solve(problem, noise);
    INFO(plan.message);
    CHECK(plan.status == Status::ok);
    golden.compare_run("candidates",
                       per_iteration(plan, [](const auto& r) { return r.candidates; }));
    golden.compare_run("costs", per_iteration(plan, [](const auto& r) { return r.costs; }));
    golden.compare_run("topk_inds", per_iteration(plan, [](const auto& r) { return r.survivors; }));
    golden.compare_run("mean", per_iteration(plan, [](const auto& r) { return r.mean; }));
    golden.compare_run("var", per_iteration(plan, [](const auto& r) { return r.std; }));
    golden.compare_run("actions", plan.actions);
    golden.compare_run("final_var", plan.diagnostics.iteration.back().std);
    golden.compare_run("reported_cost", plan.diagnostics.survivor_cost[-1]);
  });
}

TEST_CASE("the candidates of LeWM's CEM cost a model in bfloat16 what stable-worldmodel recorded",
          "[parity][device]") {
  c10::NoGradGuard no_grad;
  for_each_golden("lewm/lewm_cem_plan", [](Golden& golden) {
    const auto model = golden_jepa(golden);
    model->to(at::kBFloat16);
    const auto& options = model->options();
    const auto candidates = golden.output("candidates");  // [I,B,S,H,A]
    const auto of_frame = roundings_of_network(options.vit.depth);
    const auto of_future = candidates.size(3) * roundings_of_network(options.adaln.depth);
    PhiloxNoise none(0);
    const auto cost = golden_cost(golden, *model, none);
    compare_bfloat16_costs(
        golden, "costs", candidates, [&](const Tensor& actions) { return cost(actions).total; },
        roundings_of_squares(of_frame + of_future));
  });
}

}  // namespace
}  // namespace foresight::lewm_planning_test
