// SPDX-License-Identifier: Apache-2.0
// Question: what does the search itself cost, apart from the model? Times one iteration of each
// planner on a trivial cost function, at LeWM's size (S = 300, H = 5, A = 10) and around it, on one
// thread; then a search with a whole LeWM, of which the planner's share should be small. Prints one
// JSON object.
#include <ATen/Parallel.h>

#include <algorithm>
#include <iostream>
#include <vector>

#include "foresight/models/jepa.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

Problem problem_of(int64_t batch, CostFunction cost) {
  Problem problem;
  problem.batch = batch;
  problem.horizon = 5;
  problem.action.dim = 2;
  problem.action.block = 5;
  problem.action.low = {-1.0, -1.0};
  problem.action.high = {1.0, 1.0};
  problem.cost = std::move(cost);
  return problem;
}

// Time per iteration, model time excluded.
nlohmann::json measure(const std::string& preset, int64_t batch, int64_t samples) {
  auto options = sampling_preset(preset);
  options.samples = samples;
  options.iterations = 30;
  options.elites = std::min<int64_t>(options.elites, samples);
  options.evaluate_result = false;
  const SamplingPlanner planner(options);
  // As cheap as a cost can be: one column of the candidates.
  const auto problem = problem_of(batch, [](const Tensor& actions) {
    return Costs{actions.select(2, 0).select(2, 0).contiguous(), {}, {}};
  });
  PhiloxNoise noise(1);
  constexpr int kWarmUp = 5, kRepeats = 40;
  std::vector<double> times;
  for (int i = 0; i < kWarmUp + kRepeats; ++i) {
    const auto plan = planner.solve(problem, noise);
    const double own = plan.timings.total - plan.timings.cost;
    if (i >= kWarmUp) times.push_back(1e3 * own / static_cast<double>(plan.diagnostics.iterations));
  }
  return {{"preset", preset},
          {"batch", batch},
          {"samples", samples},
          {"per_iteration", benchmark::summary(times)}};
}

// CEM as LeWM uses it, on a LeWM with random weights: what it costs does not depend on them.
nlohmann::json measure_lewm() {
  models::Jepa model(models::JepaOptions::lewm());
  model.eval();
  PhiloxNoise noise(1);
  const auto frame = at::zeros({1, 224, 224, 3}, at::kByte);
  const auto state = model.observe(model.initial(1), {}, {"pixels", frame}, noise);
  auto options = lewm_cem();
  options.iterations = 2;
  options.evaluate_result = false;
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  const auto goal = model.encode({"pixels", at::full_like(frame, 128)}, noise);
  auto problem =
      problem_of(1, objective.cost_function(model, state, noise, Task(1).set("goal", goal)));
  problem.action = model.spec().action;
  std::vector<double> own, all;
  for (int i = 0; i < 4; ++i) {
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    if (i == 0) continue;
    all.push_back(1e3 * plan.timings.total / 2);
    own.push_back(1e3 * (plan.timings.total - plan.timings.cost) / 2);
  }
  return {{"samples", options.samples},
          {"iteration", benchmark::summary(all)},
          {"planner_alone", benchmark::summary(own)},
          {"planner_share", benchmark::median(own) / benchmark::median(all)}};
}

}  // namespace

int main() {
  at::set_num_threads(1);
  nlohmann::json report{{"benchmark", "planner_overhead"},
                        {"machine", benchmark::machine()},
                        {"threads", 1},
                        {"horizon", 5},
                        {"width", 10}};
  for (const std::string preset :
       {"lewm_cem", "lewm_icem", "lewm_mppi", "mppi", "predictive_sampling"})
    for (const auto& [batch, samples] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 300}, {1, 1024}, {16, 300}})
      report["results"].push_back(measure(preset, batch, samples));
  report["lewm"] = measure_lewm();
  std::cout << report.dump(2) << "\n";
}
