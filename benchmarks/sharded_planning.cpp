// SPDX-License-Identifier: Apache-2.0
// Question: what does sharing one plan's candidates among processes gain, and what do the exchanges
// cost? CEM as LeWM publishes it (30 elites, five blocks of five actions) on a whole LeWM with
// random weights, float32, one thread a process. In turns: rank 0 alone while the others wait, and
// all together.
//   for r in 0 1; do RANK=$r WORLD_SIZE=2 benchmark_sharded_planning [rounds=3] [candidates=300]
//       [iterations=30] & done; wait
// Rank 0 prints one JSON object. The plans must be equal up to the rounding of products of other
// sizes.
#include <ATen/Parallel.h>

#include <iostream>

#include "compared_search.hpp"
#include "foresight/core/error.hpp"
#include "foresight/nn/packing_pays.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/sharded.hpp"
#include "foresight/planning/terms.hpp"
#include "foresight/train/process_group.hpp"
#include "random_lewm.hpp"

namespace {

using namespace foresight;
using namespace foresight::benchmark;

constexpr int64_t kHorizon = 5, kElites = 30;

struct Settings {
  int rounds = 3;
  int64_t candidates = 300, iterations = 30;
};

Settings read_settings(int argc, char** argv) {
  Settings settings;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto value = [&](const std::string& name) {
      return argument.starts_with(name) ? std::stoll(argument.substr(name.size())) : 0;
    };
    if (const auto rounds = value("rounds="))
      settings.rounds = static_cast<int>(rounds);
    else if (const auto candidates = value("candidates="))
      settings.candidates = candidates;
    else if (const auto iterations = value("iterations="))
      settings.iterations = iterations;
    else
      throw Error(ErrorCategory::invalid_option,
                  "unknown setting '" + argument +
                      "', accepted: rounds=, candidates=, iterations=, each at least 1");
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto settings = read_settings(argc, argv);
  at::set_num_threads(1);
  at::NoGradGuard no_grad;
  const auto group = train::ProcessGroup::connect(train::Launch::from_environment());
  require(group->world_size() > 1, ErrorCategory::invalid_argument,
          "one process has nobody to share with: set RANK and WORLD_SIZE, as the first lines of "
          "this benchmark's source show");
  const auto replicas = train::replicas_of(group);

  const auto model = random_lewm();
  if (nn::packing_pays(at::kFloat)) model->pack();
  PhiloxNoise drawn(2);
  const auto pixels = drawn.normal({1, 1, 3, 224, 224}), goal = drawn.normal({1, 1, 3, 224, 224});
  const auto latent = [&](const Tensor& picture) {
    return model->encode_images(picture, nn::Mode::infer);
  };
  const auto state = model->observe_latent(model->initial(1), {}, latent(pixels));
  const auto task = Task(1).set("goal", latent(goal));
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  auto options = lewm_cem();
  options.samples = settings.candidates;
  options.iterations = settings.iterations;
  options.elites = std::min(kElites, options.samples);
  options.record = PlannerRecord::everything;

  double exchanging = 0;  // ms that the last shared plan spent outside its own candidates' costs
  const auto solve = [&](bool shared) {
    PhiloxNoise noise(3), model_noise(4);
    Problem problem;
    problem.horizon = kHorizon;
    problem.action = model->spec().action;
    double own = 0;
    const auto cost = objective.cost_function(*model, state, model_noise, task);
    problem.cost = [&own, cost](const Tensor& actions) {
      Costs costs;
      own += milliseconds([&] { costs = cost(actions); });
      return costs;
    };
    if (shared) problem = shard_candidates(std::move(problem), replicas);
    const auto found = timed_solve([&] { return SamplingPlanner(options).solve(problem, noise); },
                                   at::kCPU);
    if (shared) exchanging = found.ms - own;
    return found;
  };

  Solve alone, together;
  std::vector<double> exchanges;
  const auto times = in_turns({[&] {
                                 if (group->rank() == 0) alone = solve(false);
                                 group->barrier();
                                 return alone.ms;
                               },
                               [&] {
                                 together = solve(true);
                                 exchanges.push_back(exchanging);
                                 return together.ms;
                               }},
                              settings.rounds, /*warm_up=*/1);
  if (group->rank() != 0) return 0;
  exchanges.erase(exchanges.begin());
  nlohmann::json report{{"benchmark", "sharded_planning"},
                        {"machine", machine()},
                        {"processes", group->world_size()},
                        {"candidates", settings.candidates},
                        {"iterations", settings.iterations},
                        {"alone", solve_row(times[0], alone)},
                        {"shared", solve_row(times[1], together)},
                        {"search_and_waiting_for_others_ms", median(exchanges)},
                        {"times_faster", median(times[0]) / median(times[1])},
                        {"comparison", compare(together, alone, options.elites)}};
  std::cout << report.dump(2) << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "benchmark_sharded_planning: " << error.what() << "\n";
  return 1;
}
