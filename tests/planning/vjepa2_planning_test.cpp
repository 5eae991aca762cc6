// SPDX-License-Identifier: Apache-2.0
// The whole way on a tiny V-JEPA 2-AC: predictor, pose integration, energy and CEM against the
// reference's notebooks.
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "golden_planner.hpp"
#include "reference_costs.hpp"
#include "vjepa2_golden.hpp"

namespace foresight::vjepa2_planning_test {
namespace {

// The fixture's model, its encoder unused.
std::unique_ptr<models::VJepa2Ac> golden_model(const Golden& golden, at::ScalarType type) {
  auto options = golden_vjepa2_ac_options(golden.config());
  options.action = models::gripper_actions(golden.config().at("mpc_args").at("maxnorm"));
  auto model = std::make_unique<models::VJepa2Ac>(options);
  io::NamedTensors params;
  for (const auto& [name, tensor] : nn::state_dict(*model))
    params.emplace_back(name, name.starts_with("predictor.")
                                  ? golden.param(name.substr(std::string("predictor.").size()))
                                  : tensor.clone());
  nn::load_state_dict(*model, params, golden.name());
  model->to(test_device(), type);
  return model;
}

State golden_state(const Golden& golden, const models::VJepa2Ac& model, at::ScalarType type) {
  return model.observe_latent(model.initial(1), {}, golden.input("context_tokens", type),
                              golden.input("context_pose", at::promote_types(type, at::kFloat))
                                  .select(1, 0));  // poses are float32 at least
}

CostFunction golden_cost(const Golden& golden, const models::VJepa2Ac& model, Noise& noise,
                         at::ScalarType type) {
  Task task(1);
  task.set(kGoal, golden.input("goal_tokens", type));
  Objective objective;
  objective.add("goal", 1.0,
                goal_distance({.distance = Distance::l1, .reduction = Reduction::mean}));
  return objective.cost_function(model, golden_state(golden, model, type), noise, task);
}

TEST_CASE("CEM on V-JEPA 2-AC follows the reference from tokens to plan", "[parity][device]") {
  for_each_golden_run("vjepa2/cem", [](Golden& golden, at::ScalarType type) {
    c10::NoGradGuard no_grad;
    const auto& args = golden.config().at("mpc_args");
    const double maxnorm = args.at("maxnorm");
    const int64_t horizon = args.at("rollout"), samples = args.at("samples");
    const auto model = golden_model(golden, type);

    auto options = vjepa2_ac_cem(maxnorm);
    options.record = PlannerRecord::everything;
    options.samples = samples;
    options.iterations = args.at("cem_steps");
    options.elites = args.at("topk");
    const auto per_group = [&](const char* xyz, double xyz_default, const char* gripper) {
      const double p = args.value(xyz, xyz_default), g = args.value(gripper, 0.15);
      return std::vector<double>{p, p, p, 0, 0, 0, g};
    };
    options.mean_momentum = per_group("momentum_mean", 0.25, "momentum_mean_gripper");
    options.std_momentum = per_group("momentum_std", 0.95, "momentum_std_gripper");

    RecordedNoise noise;
    const auto searched = at::tensor({0, 1, 2, 6}, at::kLong);
    const auto draws = golden.input("noise", type).cpu();  // [I,H,S,4]
    for (int64_t i = 0; i < draws.size(0); ++i)
      noise.push(at::zeros({1, samples, horizon, 7}, type)
                     .index_copy(3, searched, draws[i].transpose(0, 1).unsqueeze(0)));
    auto problem = golden_problem(type);
    problem.horizon = horizon;
    problem.action = model->spec().action;
    problem.cost = golden_cost(golden, *model, noise, type);
    problem.pinned = at::full({horizon, 7}, std::nan(""));
    problem.pinned.narrow(1, 3, 3).zero_();
    if (args.contains("axis"))
      for (const auto& [axis, value] : args.at("axis").items())
        problem.pinned.select(1, std::stoll(axis)).fill_(value.get<double>());
    auto free = at::ones({horizon, 4}, at::kBool);
    if (const auto& close = golden.config().at("close_gripper"); !close.is_null()) {
      const auto from = close.get<int64_t>();
      problem.pinned.select(1, 6).narrow(0, from, horizon - from).fill_(1.0);
      // The reference leaves the gripper's own mean unpinned; its plans do not show it.
      free.select(1, 3).narrow(0, from, horizon - from).fill_(false);
    }

    const auto plan = SamplingPlanner(options).solve(problem, noise);
    INFO(plan.message);
    CHECK(plan.status == Status::ok);
    const auto of_iterations = [&](auto&& pick) { return per_iteration(plan, pick).squeeze(1); };
    golden.compare_run("candidates", of_iterations([](const auto& r) { return r.candidates; }));
    golden.compare_run("energies", of_iterations([](const auto& r) { return r.costs; }));
    golden.compare_run("elite_indices", of_iterations([](const auto& r) { return r.survivors; }));
    const auto of_searched = [&](auto&& pick) {
      return of_iterations(pick).cpu().index_select(2, searched);
    };
    const auto mean = of_searched([](const auto& r) { return r.mean; });
    golden.compare_run("mean", mean, 0, free.expand_as(mean));
    golden.compare_run("std", of_searched([](const auto& r) { return r.std; }), 0,
                       free.expand_as(mean));
    golden.compare_run("action", plan.actions[0], 0,
                       at::ones({horizon, 7}, at::kBool).index_copy(1, searched, free));

    PhiloxNoise unused(0);
    const auto first = model->rollout(golden_state(golden, *model, type),
                                      golden.output("candidates", type)[0].unsqueeze(0), unused);
    golden.compare_run("first_iteration_final_tokens", first.states.at("latent")[0].select(1, -1));
  });
}

TEST_CASE("the candidates of V-JEPA 2-AC's CEM cost a model in bfloat16 what was recorded",
          "[parity][device]") {
  c10::NoGradGuard no_grad;
  for_each_golden("vjepa2/cem", [](Golden& golden) {
    const auto model = golden_model(golden, at::kBFloat16);
    const auto candidates = golden.output("candidates");  // [I,S,H,A]
    const auto of_future =
        candidates.size(2) * roundings_of_network(model->options().predictor.depth);
    PhiloxNoise none(0);
    const auto cost = golden_cost(golden, *model, none, at::kBFloat16);
    compare_bfloat16_costs(
        golden, "energies", candidates,
        [&](const Tensor& actions) { return cost(actions.unsqueeze(0)).total[0]; }, of_future);
    const auto first = model->rollout(golden_state(golden, *model, at::kBFloat16),
                                      candidates[0].unsqueeze(0).to(at::kBFloat16), none);
    golden.compare_bfloat16("first_iteration_final_tokens",
                            first.states.at("latent")[0].select(1, -1), of_future);
  });
}

}  // namespace
}  // namespace foresight::vjepa2_planning_test
