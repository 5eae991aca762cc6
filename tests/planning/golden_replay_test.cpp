// SPDX-License-Identifier: Apache-2.0
// Planners of other projects, replayed with their recorded draws *and* their recorded costs: the
// search is compared in every iteration without the network that made the costs.
#include "foresight/planning/sampling_planner.hpp"
#include "golden_planner.hpp"
#include "reference_costs.hpp"

namespace foresight::golden_replay_test {
namespace {

// Answers call i with costs[i], [B,S].
CostFunction recorded_costs(Tensor costs) {
  auto calls = std::make_shared<int64_t>(0);
  return [costs = std::move(costs), calls](const Tensor& actions) {
    REQUIRE(*calls < costs.size(0));
    Costs answer;
    answer.total = costs[(*calls)++];
    REQUIRE(answer.total.size(1) == actions.size(1));
    return answer;
  };
}

Tensor survivors(const Plan& plan) {
  return per_iteration(plan, [](const auto& r) { return r.survivors; });
}
Tensor candidates(const Plan& plan) {
  return per_iteration(plan, [](const auto& r) { return r.candidates; });
}
Tensor means(const Plan& plan) {
  return per_iteration(plan, [](const auto& r) { return r.mean; });
}
Tensor deviations(const Plan& plan) {
  return per_iteration(plan, [](const auto& r) { return r.std; });
}

TEST_CASE("eb_jepa's planners are points of the sampling loop", "[parity][device]") {
  for_each_golden_run("eb_jepa/eb_jepa_plan", [](Golden& golden, at::ScalarType type) {
    const auto& planner = golden.config().at("plan_cfg").at("planner");
    const bool is_cem = planner.at("planner_name") == "cem";
    const auto options = replayed_eb_jepa(planner);

    const auto draws = golden.input("noise", type);  // [I,T,S,A]
    auto problem = golden_problem(type);
    problem.horizon = draws.size(1);
    problem.action.dim = draws.size(3);
    problem.cost = recorded_costs(golden.output("costs", type).unsqueeze(1));
    RecordedNoise noise;
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i].transpose(0, 1).unsqueeze(0));
    if (!is_cem) noise.push(golden.input("choice_uniform", type).reshape({1, 1}));

    const auto plan = SamplingPlanner(options).solve(problem, noise);
    CHECK(plan.status == Status::ok);
    CHECK(noise.remaining() == 0);
    const auto compare = [&](const std::string& key, const Tensor& actual, Tolerance tolerance) {
      if (type == at::kDouble && actual.is_floating_point())
        golden.compare_within("outputs64/" + key, actual, tolerance,
                              "the original logs costs in float32 in its float64 run as well, and "
                              "adds 1e-9 to the sum of scores");
      else
        golden.compare_run(key, actual);
    };
    const Tolerance searched{1e-8, 1e-8, 0}, logged{1e-6, 1e-7, 0};
    compare("candidates", candidates(plan).squeeze(1).permute({0, 1, 3, 2}), searched);
    compare("elite_indices", survivors(plan).squeeze(1), searched);
    compare("mean", means(plan).squeeze(1), searched);
    compare("std", deviations(plan).squeeze(1), searched);
    compare("returned_plan", eb_jepa_answer(plan, is_cem), searched);
    const auto elite_costs =
        per_iteration(plan, [](const auto& r) { return r.costs.gather(1, r.survivors); });
    compare("elite_cost_mean", elite_costs.mean(2), logged);
    compare("elite_cost_std", elite_costs.std(2, /*unbiased=*/true, /*keepdim=*/false), logged);
    if (!is_cem) {
      compare("scores", per_iteration(plan, [](const auto& r) { return r.weights; }).squeeze(1),
              searched);
      // The elite that became the plan.
      const auto& last = plan.diagnostics.iteration.back();
      const auto elites = last.candidates[0].index_select(0, last.survivors[0]);
      compare("chosen_elite", (elites - plan.actions).abs().sum({1, 2}).argmin().reshape({1}),
              searched);
    }
    compare("min_cost_per_iteration", plan.diagnostics.best_cost, logged);
    compare("selection_gap", selection_gap(plan).squeeze(1), logged);
  });
}

TEST_CASE("TD-MPC2's planner is a point of the sampling loop, warm start included",
          "[parity][device]") {
  for_each_golden("tdmpc2/tdmpc2_plan", [](Golden& golden) {
    const auto& config = golden.config();
    const int64_t horizon = config.at("horizon"), width = config.at("action_dim");
    const int64_t prior = config.at("num_pi_trajs");
    auto valid = at::ones({width});
    if (config.at("multitask").get<bool>()) {
      const auto task = config.at("task").get<std::size_t>();
      valid = at::arange(width).lt(config.at("action_dims")[task].get<int64_t>()).to(at::kFloat);
    }
    const Tolerance tolerance{std::stod(golden.metadata().at("abs_tolerance")), 1e-4, 0};
    const auto compare = [&](const std::string& key, const Tensor& actual) {
      golden.compare_within(key, actual, tolerance,
                            "the fixture's own abs_tolerance, and 1e-4 of the value");
    };

    const auto calls = static_cast<int64_t>(config.at("calls").size());
    for (int64_t c = 0; c < calls; ++c) {
      INFO("call " << c);
      const auto& call = config.at("calls")[static_cast<std::size_t>(c)];
      const std::string in = "call" + std::to_string(c) + "/", out = "outputs/" + in;
      const auto values = golden.at(out + "value");     // [I,K]
      const auto actions = golden.at(out + "actions");  // [I,H,K,A]
      auto options = replayed(tdmpc2(width));
      options.samples = config.at("num_samples");
      options.iterations = values.size(0);
      options.elites = config.at("num_elites");
      options.temperature = config.at("temperature");
      options.min_std = config.at("min_std");
      options.max_std = config.at("max_std");
      options.initial_std = {options.max_std};
      options.exploration = call.at("eval_mode").get<bool>() ? 0.0 : 1.0;
      const SamplingPlanner planner(options);

      auto problem = golden_problem();
      problem.horizon = horizon;
      problem.action.dim = width;
      problem.action.low.assign(static_cast<std::size_t>(width), -1.0);
      problem.action.high.assign(static_cast<std::size_t>(width), 1.0);
      problem.cost = recorded_costs(-values.unsqueeze(1));
      if (prior > 0)
        problem.proposals = actions[0].narrow(1, 0, prior).transpose(0, 1).unsqueeze(0);
      problem.pinned = at::where(valid.gt(0), at::full({width}, std::nan("")), at::zeros({width}))
                           .expand({horizon, width});
      if (!call.at("t0").get<bool>()) {
        WarmStart last;
        last.mean = golden.input(in + "prev_mean_before").unsqueeze(0);
        problem.warm_start = planner.advance(last, {1}, 1);
      }
      RecordedNoise noise;
      const auto draws = golden.input(in + "action_noise").cpu();  // [I,H,K-P,A]
      for (int64_t i = 0; i < draws.size(0); ++i)
        noise.push(at::cat({at::zeros({prior, horizon, width}), draws[i].transpose(0, 1)}, 0)
                       .unsqueeze(0));
      noise.push(at::exp(-golden.input(in + "exponential")).unsqueeze(0));
      if (options.exploration > 0) noise.push(golden.input(in + "final_noise").unsqueeze(0));

      const auto plan = planner.solve(problem, noise);
      CHECK(plan.status == Status::ok);
      CHECK(noise.remaining() == 0);
      compare(out + "actions", candidates(plan).squeeze(1).transpose(1, 2));
      golden.compare(out + "elite_idxs", survivors(plan).squeeze(1));
      compare(out + "mean", means(plan).squeeze(1));
      compare(out + "std", deviations(plan).squeeze(1).cpu() * valid);
      compare(out + "score",
              per_iteration(plan, [](const auto& r) { return r.weights; }).squeeze(1));
      compare(out + "action", plan.actions[0][0]);
      compare(out + "prev_mean_after", plan.warm_start.mean[0]);
    }
  });
}

TEST_CASE("V-JEPA 2-AC's planner is a point of the sampling loop with pinned dimensions",
          "[parity][device]") {
  for_each_golden_run("vjepa2/cem", [](Golden& golden, at::ScalarType type) {
    const auto& args = golden.config().at("mpc_args");
    const double maxnorm = args.at("maxnorm");
    const int64_t horizon = args.at("rollout"), samples = args.at("samples");
    auto options = replayed(vjepa2_ac_cem(maxnorm));
    options.samples = samples;
    options.iterations = args.at("cem_steps");
    options.elites = args.at("topk");
    const auto per_group = [&](const char* xyz, double xyz_default, const char* gripper) {
      const double p = args.value(xyz, xyz_default), g = args.value(gripper, 0.15);
      return std::vector<double>{p, p, p, 0, 0, 0, g};
    };
    options.mean_momentum = per_group("momentum_mean", 0.25, "momentum_mean_gripper");
    options.std_momentum = per_group("momentum_std", 0.95, "momentum_std_gripper");

    auto problem = golden_problem(type);
    problem.horizon = horizon;
    problem.action.dim = 7;
    problem.action.high = {maxnorm, maxnorm, maxnorm, 1, 1, 1, 0.75};
    problem.action.low = {-maxnorm, -maxnorm, -maxnorm, -1, -1, -1, -0.75};
    problem.pinned = at::full({horizon, 7}, std::nan(""));
    problem.pinned.narrow(1, 3, 3).zero_();
    if (args.contains("axis"))
      for (const auto& [axis, value] : args.at("axis").items())
        problem.pinned.select(1, std::stoll(axis)).fill_(value.get<double>());
    auto free = at::ones({horizon, 4}, at::kBool);
    if (const auto& close = golden.config().at("close_gripper"); !close.is_null()) {
      const auto from = close.get<int64_t>();
      problem.pinned.select(1, 6).narrow(0, from, horizon - from).fill_(1.0);
      // Upstream leaves the gripper's own mean unpinned; the plans do not show it.
      free.select(1, 3).narrow(0, from, horizon - from).fill_(false);
    }
    problem.cost = recorded_costs(golden.output("energies", type).unsqueeze(1));
    const auto searched = at::tensor({0, 1, 2, 6}, at::kLong);
    RecordedNoise noise;
    const auto draws = golden.input("noise", type).cpu();  // [I,H,S,4]
    for (int64_t i = 0; i < draws.size(0); ++i)
      noise.push(at::zeros({1, samples, horizon, 7}, type)
                     .index_copy(3, searched, draws[i].transpose(0, 1).unsqueeze(0)));

    const auto plan = SamplingPlanner(options).solve(problem, noise);
    CHECK(plan.status == Status::ok);
    golden.compare_run("candidates", candidates(plan).squeeze(1));
    golden.compare_run("elite_indices", survivors(plan).squeeze(1));
    const auto mean = means(plan).squeeze(1).cpu().index_select(2, searched);
    golden.compare_run("mean", mean, 0, free.expand_as(mean));
    golden.compare_run("std", deviations(plan).squeeze(1).cpu().index_select(2, searched), 0,
                       free.expand_as(mean));
    const auto shown = at::ones({horizon, 7}, at::kBool).index_copy(1, searched, free);
    golden.compare_run("action", plan.actions[0], 0, shown);
    golden.compare_run("selection_gap", selection_gap(plan).squeeze(1));
  });
}

TEST_CASE("DINO-WM's CEM is a point of the sampling loop", "[parity][device]") {
  for_each_golden_run("dino_wm/cem", [](Golden& golden, at::ScalarType type) {
    const auto& planner = golden.config().at("planner");
    auto options = replayed(dino_wm_cem());
    options.samples = planner.at("num_samples");
    options.iterations = planner.at("opt_steps");
    options.elites = planner.at("topk");
    options.initial_std = {planner.at("var_scale").get<double>()};
    options.noise_sharing = NoiseSharing::per_problem;
    const auto draws = golden.input("noise", type);  // [I,B,S,H,A]
    auto problem = golden_problem(type);
    problem.batch = draws.size(1);
    problem.horizon = draws.size(3);
    problem.action.dim = draws.size(4);
    if (golden.has("inputs/warm_start")) problem.warm_start.mean = golden.input("warm_start", type);
    problem.cost = recorded_costs(golden.output("losses", type));
    RecordedNoise noise;
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i]);
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    CHECK(plan.status == Status::ok);
    golden.compare_run("candidates", candidates(plan));
    golden.compare_run("topk_indices", survivors(plan));
    golden.compare_run("mu", means(plan));
    golden.compare_run("sigma", deviations(plan));
    golden.compare_run("plan", plan.actions);
    golden.compare_run("logged_loss", plan.diagnostics.best_cost.mean(1));
    golden.compare_run("selection_gap", selection_gap(plan));
  });
}

TEST_CASE("LeWM's CEM is a point of the sampling loop", "[parity][device]") {
  for_each_golden_run("lewm/lewm_cem_plan", [](Golden& golden, at::ScalarType type) {
    const auto& solver = golden.config().at("solver");
    auto options = replayed(lewm_cem());
    options.samples = solver.at("num_samples");
    options.iterations = solver.at("n_steps");
    options.elites = solver.at("topk");
    options.initial_std = {solver.at("var_scale").get<double>()};
    options.noise_sharing = NoiseSharing::per_problem;
    const auto draws = golden.input("noise", type);  // [I,B,S,H,A]
    auto problem = golden_problem(type);
    problem.batch = draws.size(1);
    problem.horizon = draws.size(3);
    problem.action.dim = golden.config().at("action_dim");
    problem.action.block = golden.config().at("action_block");
    problem.cost = recorded_costs(golden.output("costs", type));
    RecordedNoise noise;
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i]);
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    CHECK(plan.status == Status::ok);
    golden.compare_run("candidates", candidates(plan));
    golden.compare_run("topk_inds", survivors(plan));
    golden.compare_run("topk_vals", per_iteration(plan, [](const auto& r) {
                         return r.costs.gather(1, r.survivors);
                       }));
    golden.compare_run("mean", means(plan));
    golden.compare_run("var", deviations(plan));
    golden.compare_run("actions", plan.actions);
    golden.compare_run("reported_cost", plan.diagnostics.survivor_cost[-1]);
  });
}

}  // namespace
}  // namespace foresight::golden_replay_test
