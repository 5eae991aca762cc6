// SPDX-License-Identifier: Apache-2.0
// Question: what does a plan with EB-JEPA cost, and what does it save to encode the picture once?
// Times the published MPPI (200 candidates, 20 iterations, 90 steps) on the full-size Two Rooms
// model against a plain one that does as facebookresearch/eb_jepa does: the picture is encoded for
// every candidate in every iteration, and the actions enter step by step. Both see the same noise;
// their plans are compared. Arguments: [threads rounds horizon samples iterations]. Prints one JSON
// object.
#include <ATen/Parallel.h>

#include <cstdlib>
#include <iostream>
#include <vector>

#include "foresight/models/eb_jepa.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

// A room of 65 pixels: walls, and a dot at (x, y).
Tensor room_picture(int64_t x, int64_t y) {
  auto picture = at::zeros({1, 2, 65, 65}, at::kByte);
  picture[0][0][y][x] = 255;
  picture[0][1].select(1, 32).fill_(255);
  picture[0][1].narrow(0, 14, 9).fill_(0);
  return picture;
}

struct Sizes {
  int64_t horizon, samples, iterations;
};

// Sum over the horizon of the mean squared difference to the goal.
CostTerm eb_jepa_cost() {
  return goal_distance({.steps = Steps::sum, .reduction = Reduction::mean});
}

nlohmann::json measure(const Sizes& sizes, int rounds) {
  at::NoGradGuard no_grad;
  const models::EbJepa model(models::EbJepaOptions::two_rooms(), 1);
  PhiloxNoise none(0);
  const Observation now(kPixels, room_picture(12, 40)), wanted(kPixels, room_picture(50, 20));
  Task task(1);
  task.set(kGoal, model.encode(wanted, none));
  Objective objective;
  objective.add("goal", 1.0, eb_jepa_cost());

  auto options = eb_jepa_mppi();
  options.samples = sizes.samples;
  options.iterations = sizes.iterations;
  Problem problem;
  problem.horizon = sizes.horizon;
  problem.action = model.spec().action;
  const auto solve = [&](const CostFunction& cost) {
    problem.cost = cost;
    PhiloxNoise noise(7);
    return SamplingPlanner(options).solve(problem, noise);
  };

  Plan ours, plain;
  const auto once = [&] {
    const auto state = model.observe(model.initial(1), {}, now, none);
    ours = solve(objective.cost_function(model, state, none, task));
  };
  const auto every_time = [&] {
    plain = solve([&](const Tensor& actions) {  // [1,S,H,A]
      const auto images = model.preprocess(now.at(kPixels)).expand({actions.size(1), -1, -1, -1});
      State state(2);
      state.set("latent", model.encode_images(images).view({1, actions.size(1), 1, -1}));
      state.set_filled(1);
      std::vector<State> states;
      for (int64_t h = 0; h < actions.size(2); ++h)
        states.push_back(state = model.step(state, actions.select(2, h), none).next);
      Trajectory trajectory;
      trajectory.actions = actions;
      trajectory.states = State::stack(states);
      return objective.evaluate(trajectory, task);
    });
  };
  constexpr int kWarmUp = 1;
  const auto times = benchmark::in_turns({[&] { return benchmark::milliseconds(once); },
                                          [&] { return benchmark::milliseconds(every_time); }},
                                         rounds, kWarmUp);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < times[0].size(); ++i) ratios.push_back(times[1][i] / times[0][i]);
  std::sort(ratios.begin(), ratios.end());
  const auto steps = static_cast<double>(sizes.horizon * sizes.iterations);
  return {
      {"horizon", sizes.horizon},
      {"samples", sizes.samples},
      {"iterations", sizes.iterations},
      {"encode_once", benchmark::summary(times[0])},
      {"encode_every_time", benchmark::summary(times[1])},
      {"speedup", {{"median", ratios[ratios.size() / 2]}, {"worst", ratios.front()}}},
      {"ms_per_imagined_step", benchmark::median(times[0]) / steps},
      {"largest_difference_of_plans", (ours.actions - plain.actions).abs().max().item<double>()}};
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int index, int64_t otherwise) {
    return argc > index ? std::atoll(argv[index]) : otherwise;
  };
  at::set_num_threads(static_cast<int>(argument(1, 1)));
  const auto rounds = static_cast<int>(argument(2, 5));
  const Sizes sizes{argument(3, 90), argument(4, 200), argument(5, 20)};
  nlohmann::json report{{"benchmark", "eb_jepa_plan"},
                        {"machine", foresight::benchmark::machine()},
                        {"threads", at::get_num_threads()}};
  report["results"].push_back(measure(sizes, rounds));
  std::cout << report.dump(2) << "\n";
}
