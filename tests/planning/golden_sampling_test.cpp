// SPDX-License-Identifier: Apache-2.0
// Sampling planners against stable-worldmodel, iteration by iteration, on its recorded draws.
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "golden_planner.hpp"
#include "reference_costs.hpp"

namespace foresight::golden_sampling_test {
namespace {

void push_iterations(RecordedNoise& noise, const Tensor& draws) {
  for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i]);
}

// Candidates, costs, survivors and the refitted distribution of every iteration.
void compare_iterations(Golden& golden, const std::string& name, const Plan& plan,
                        bool has_std = true) {
  golden.compare_run(name + "_candidates",
                     per_iteration(plan, [](const auto& r) { return r.candidates; }));
  golden.compare_run(name + "_costs", per_iteration(plan, [](const auto& r) { return r.costs; }));
  golden.compare_run(name + "_mean", per_iteration(plan, [](const auto& r) { return r.mean; }));
  if (has_std)
    golden.compare_run(name + "_var", per_iteration(plan, [](const auto& r) { return r.std; }));
  if (!golden.has("outputs/" + name + "_topk_inds")) return;
  const auto survivors = per_iteration(plan, [](const auto& r) { return r.survivors; });
  golden.compare_run(name + "_topk_inds", survivors);
  golden.compare_run(name + "_topk_vals", per_iteration(plan, [](const auto& r) {
                       return r.costs.gather(1, r.survivors);
                     }));
}

// What stable-worldmodel's callbacks record of every iteration; a run without a warm start.
void compare_recorders(Golden& golden, const std::string& name, const Plan& plan) {
  const auto key = name + "_cb_";
  if (!golden.has("outputs/" + key + "BestCostRecorder")) return;
  golden.compare_run(key + "BestCostRecorder", plan.diagnostics.best_cost);
  golden.compare_run(key + "MeanCostRecorder",
                     per_iteration(plan, [](const auto& r) { return r.costs.mean(1); }));
  const auto elite_costs =
      per_iteration(plan, [](const auto& r) { return r.costs.gather(1, r.survivors); });
  golden.compare_run(key + "EliteCostRecorder_min", elite_costs.amin(2));
  golden.compare_run(key + "EliteCostRecorder_mean", plan.diagnostics.survivor_cost);
  golden.compare_run(key + "EliteCostRecorder_max", elite_costs.amax(2));
  golden.compare_run(key + "EliteSpreadRecorder", per_iteration(plan, [](const auto& r) {
                       const auto rows = r.survivors.unsqueeze(2).unsqueeze(3).expand(
                           {-1, -1, r.candidates.size(2), r.candidates.size(3)});
                       return r.candidates.gather(1, rows)
                           .std(1, /*unbiased=*/true, /*keepdim=*/false)
                           .mean({1, 2});
                     }));
  golden.compare_run(key + "VarNormRecorder", plan.diagnostics.spread);
  const auto mean = per_iteration(plan, [](const auto& r) { return r.mean; });
  const auto before = at::cat({at::zeros_like(mean.slice(0, 0, 1)), mean.slice(0, 0, -1)});
  golden.compare_run(key + "MeanShiftRecorder", (mean - before).norm(2, {2, 3}));
}

SamplingOptions settings(const nlohmann::json& solver, SamplingOptions options) {
  options.samples = solver.at("num_samples");
  options.iterations = solver.value("n_steps", int64_t{1});
  options.initial_std = {solver.contains("noise_scale") ? solver.at("noise_scale").get<double>()
                                                        : solver.value("var_scale", 1.0)};
  if (solver.contains("topk")) {
    options.elites = solver.at("topk").is_null() ? 0 : solver.at("topk").get<int64_t>();
  }
  options.noise_sharing = NoiseSharing::per_problem;
  options.record = PlannerRecord::everything;
  return options;
}

// The actor of the fixture's `actor tail` case.
std::function<Tensor(const Tensor&)> actor_tail(const nlohmann::json& item) {
  if (!item.contains("cost") || !item.at("cost").contains("actor_constant")) return {};
  const double constant = item.at("cost").at("actor_constant");
  const int64_t horizon = item.at("horizon");
  return [constant, horizon](const Tensor& prefix) {
    const auto last = prefix.narrow(1, prefix.size(1) - 1, 1);
    return (constant + 0.5 * last).expand({-1, horizon - prefix.size(1), -1});
  };
}

TEST_CASE("CEM follows stable-worldmodel in every iteration", "[parity][device]") {
  for_each_golden_run("planners/cem", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      auto problem = reference_problem(golden, item, name + "_", false, type);
      problem.tail = actor_tail(item);
      RecordedNoise noise;
      push_iterations(noise, golden.input(name + "_noise", type));
      const auto plan =
          SamplingPlanner(settings(item.at("solver"), lewm_cem())).solve(problem, noise);
      CHECK(plan.status == Status::ok);
      compare_iterations(golden, name, plan);
      golden.compare_run(name + "_actions", plan.actions);
      golden.compare_run(name + "_final_var", plan.diagnostics.iteration.back().std);
      golden.compare_run(name + "_reported_cost", plan.diagnostics.survivor_cost[-1]);
      compare_recorders(golden, name, plan);
    }
  });
}

TEST_CASE("iCEM follows stable-worldmodel in every iteration", "[parity][device]") {
  for_each_golden_run("planners/icem", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      const auto& solver = item.at("solver");
      auto problem = reference_problem(golden, item, name + "_", !item.contains("space"), type);
      auto options = settings(solver, lewm_icem());
      options.noise_exponent = solver.at("noise_beta");
      options.mean_momentum = options.std_momentum = {solver.at("alpha").get<double>()};
      options.kept_elites = std::min(solver.at("n_elite_keep").get<int64_t>(), options.elites);
      if (!solver.value("return_mean", true)) options.returned = Returned::best_last;
      RecordedNoise noise;
      push_iterations(noise, golden.input(name + "_noise", type));
      const auto plan = SamplingPlanner(options).solve(problem, noise);
      CHECK(plan.status == Status::ok);
      compare_iterations(golden, name, plan);
      // Upstream answers with the mean itself, which a warm start outside the limits can leave
      // outside; ours is projected.
      const auto& last = plan.diagnostics.iteration.back();
      if (options.returned == Returned::mean) {
        golden.compare_run(name + "_actions", last.mean);
        CHECK(
            at::equal(plan.actions, at::clamp(last.mean, problem.action.block_low(problem.options),
                                              problem.action.block_high(problem.options))));
        golden.compare_run(name + "_reported_cost", plan.diagnostics.survivor_cost[-1]);
      } else {
        golden.compare_run(name + "_actions", plan.actions);
        golden.compare_run(name + "_reported_cost", plan.cost);
      }
      golden.compare_run(name + "_final_var", last.std);
      compare_recorders(golden, name, plan);
    }
  });
}

TEST_CASE("coloured noise has iCEM's spectrum for even and odd horizons", "[parity][device]") {
  for_each_golden_run("planners/icem_noise", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      const auto white = golden.input(name + "_white", type);  // [B,S,A,H]
      SamplingOptions options = lewm_icem();
      options.noise_exponent = item.at("noise_beta");
      // Colouring is a circular filter: the spectrum of its first row is the scale of frequencies.
      golden.compare_run(
          name + "_scale",
          at::real(at::fft_rfft(colouring_matrix(white.size(3), options.noise_exponent)[0]))
              .to(type));
      options.noise_sharing = NoiseSharing::per_problem;
      auto problem = golden_problem(type);
      problem.batch = white.size(0);
      problem.horizon = white.size(3);
      problem.action.dim = white.size(2);
      RecordedNoise noise;
      noise.push(white);
      const auto proposal = make_proposal(
          options, problem,
          at::zeros({problem.batch, problem.horizon, problem.action.dim}, problem.options));
      // The file lists candidates after the first, which is the mean.
      golden.compare_run(name + "_coloured",
                         proposal->draw(proposal->perturb(white.size(1), noise))
                             .narrow(1, white.size(1) - golden.output(name + "_coloured").size(1),
                                     golden.output(name + "_coloured").size(1)));
    }
  });
}

TEST_CASE("MPPI follows stable-worldmodel in every iteration", "[parity][device]") {
  for_each_golden_run("planners/mppi", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      auto problem = reference_problem(golden, item, name + "_", false, type);
      auto options = settings(item.at("solver"), lewm_mppi());
      options.temperature = item.at("solver").at("temperature");
      RecordedNoise noise;
      push_iterations(noise, golden.input(name + "_noise", type));
      const auto plan = SamplingPlanner(options).solve(problem, noise);
      CHECK(plan.status == Status::ok);
      compare_iterations(golden, name, plan, false);
      golden.compare_run(name + "_actions", plan.actions);
      // Upstream reports the plain mean of the costs that entered the weights.
      const auto& last = plan.diagnostics.iteration.back();
      golden.compare_run(name + "_reported_cost", last.survivors.defined()
                                                      ? last.costs.gather(1, last.survivors).mean(1)
                                                      : last.costs.mean(1));
    }
  });
}

TEST_CASE("predictive sampling follows stable-worldmodel", "[parity][device]") {
  for_each_golden_run("planners/predictive_sampling", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      auto problem = reference_problem(golden, item, name + "_", false, type);
      auto options = settings(item.at("solver"), predictive_sampling());
      options.elites = 1;
      options.tail = Tail::prior;  // upstream pads with zeros
      RecordedNoise noise;
      noise.push(golden.input(name + "_noise", type));
      const auto plan = SamplingPlanner(options).solve(problem, noise);
      CHECK(plan.status == Status::ok);
      const auto& only = plan.diagnostics.iteration.front();
      golden.compare_run(name + "_candidates", only.candidates);
      golden.compare_run(name + "_costs", only.costs);
      golden.compare_run(name + "_best_index", only.survivors.squeeze(1));
      golden.compare_run(name + "_actions", plan.actions);
      golden.compare_run(name + "_reported_cost", plan.cost);
    }
  });
}

TEST_CASE("categorical CEM follows stable-worldmodel in every iteration", "[parity][device]") {
  for_each_golden_run("planners/categorical_cem", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      const auto& solver = item.at("solver");
      auto problem = reference_problem(golden, item, name + "_", false, type);
      auto options = settings(solver, categorical_cem());
      options.smoothing = solver.value("smoothing", 0.0);
      options.mean_momentum = {solver.value("alpha", 0.0)};
      RecordedNoise noise;
      push_iterations(noise, golden.input(name + "_uniform", type));
      const auto plan = SamplingPlanner(options).solve(problem, noise);
      CHECK(plan.status == Status::ok);
      const auto symbols = problem.action.dim, block = problem.action.block;
      golden.compare_run(name + "_indices", per_iteration(plan, [&](const auto& r) {
                           return r.candidates.unflatten(-1, {block, symbols}).argmax(-1);
                         }));
      golden.compare_run(name + "_costs",
                         per_iteration(plan, [](const auto& r) { return r.costs; }));
      golden.compare_run(name + "_probs",
                         per_iteration(plan, [](const auto& r) { return r.mean; }));
      golden.compare_run(name + "_topk_vals", per_iteration(plan, [](const auto& r) {
                           return r.costs.gather(1, r.survivors);
                         }));
      golden.compare_run(name + "_actions",
                         plan.actions.unflatten(-1, {block, symbols}).argmax(-1));
      golden.compare_run(name + "_reported_cost", plan.diagnostics.survivor_cost[-1]);
    }
  });
}

}  // namespace
}  // namespace foresight::golden_sampling_test
