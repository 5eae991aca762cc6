// SPDX-License-Identifier: Apache-2.0
// Question: what does the search itself cost, apart from the model? Times one iteration of each
// planner on a trivial cost function, at LeWM's size (S = 300, H = 5, A = 10) and around it, on one
// thread. Prints one JSON object.
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <vector>

#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace {

using namespace foresight;

// Milliseconds per iteration of `repeats` solves, model time excluded: median and worst.
nlohmann::json measure(const std::string& preset, int64_t batch, int64_t samples) {
  auto options = sampling_preset(preset);
  options.samples = samples;
  options.iterations = 30;
  options.elites = std::min<int64_t>(options.elites, samples);
  options.evaluate_result = false;
  const SamplingPlanner planner(options);
  Problem problem;
  problem.batch = batch;
  problem.horizon = 5;
  problem.action.dim = 2;
  problem.action.block = 5;
  problem.action.low = {-1.0, -1.0};
  problem.action.high = {1.0, 1.0};
  // As cheap as a cost can be: one column of the candidates.
  problem.cost = [](const Tensor& actions) {
    return Costs{actions.select(2, 0).select(2, 0).contiguous(), {}, {}};
  };
  PhiloxNoise noise(1);
  constexpr int kWarmUp = 5, kRepeats = 40;
  std::vector<double> times;
  for (int i = 0; i < kWarmUp + kRepeats; ++i) {
    const auto plan = planner.solve(problem, noise);
    const double own = plan.timings.total - plan.timings.cost;
    if (i >= kWarmUp) times.push_back(1e3 * own / static_cast<double>(plan.diagnostics.iterations));
  }
  std::sort(times.begin(), times.end());
  return {{"preset", preset},
          {"batch", batch},
          {"samples", samples},
          {"ms_per_iteration_median", times[times.size() / 2]},
          {"ms_per_iteration_worst", times.back()}};
}

}  // namespace

int main() {
  at::set_num_threads(1);
  nlohmann::json report{
      {"benchmark", "planner_overhead"}, {"threads", 1}, {"horizon", 5}, {"width", 10}};
  for (const std::string preset :
       {"lewm_cem", "lewm_icem", "lewm_mppi", "mppi", "predictive_sampling"})
    for (const auto& [batch, samples] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 300}, {1, 1024}, {16, 300}})
      report["results"].push_back(measure(preset, batch, samples));
  std::cout << report.dump(2) << "\n";
}
