// SPDX-License-Identifier: Apache-2.0
// Question: how does MPPI on one CPU core scale with the number of candidates, beside what others
// publish? A differential-drive robot among obstacles, 100 steps ahead, one iteration; the setting
// of MPPI-Generic's comparison (arXiv 2409.07563), whose figures stand beside ours with their own
// hardware. They are not measured here: the machines, costs and boundaries differ. Prints one JSON
// object.
#include <ATen/Parallel.h>

#include <array>
#include <iostream>

#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "measurement.hpp"

namespace {

using namespace foresight;

struct DifferentialDrive {
  static constexpr int kState = 3, kAction = 2;  // x, y, heading; speed, turning rate
  template <class T>
  std::array<T, 3> operator()(const std::array<T, 3>& x, const std::array<T, 2>& u) const {
    const T heading = x[2] + 0.05 * u[1];
    return {x[0] + 0.05 * u[0] * cos(heading), x[1] + 0.05 * u[0] * sin(heading), heading};
  }
  template <class T>
  T cost(const std::array<T, 3>& x, const std::array<T, 2>& u) const {
    T sum = (x[0] - 3) * (x[0] - 3) + (x[1] - 2) * (x[1] - 2) + 0.1 * u[1] * u[1];
    constexpr std::array<std::array<double, 2>, 3> kObstacles{{{1, 0.5}, {2, 1.5}, {1.2, 1.6}}};
    for (const auto& at : kObstacles) {
      const T dx = x[0] - at[0], dy = x[1] - at[1];
      sum += select(dx * dx + dy * dy < T(0.09), T(1000), T(0));
    }
    return sum;
  }
  template <class T>
  T terminal(const std::array<T, 3>& x) const {
    return 10 * ((x[0] - 3) * (x[0] - 3) + (x[1] - 2) * (x[1] - 2));
  }
};

// Milliseconds of one command, in turns over the numbers of candidates.
nlohmann::json measure(const std::vector<int64_t>& sizes) {
  std::vector<std::unique_ptr<SamplingPlanner>> planners;
  std::vector<WarmStart> last(sizes.size());
  PhiloxNoise noise(1);
  Problem problem;
  problem.horizon = 100;
  problem.action.dim = 2;
  problem.action.low = {0.0, -2.0};
  problem.action.high = {1.0, 2.0};
  problem.cost = functor_cost(make_functor(DifferentialDrive{}), problem.action, at::zeros({1, 3}));
  std::vector<std::function<double()>> works;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    auto options = mppi();
    options.samples = sizes[i];
    options.initial_std = {0.3, 0.6};
    options.evaluate_result = false;
    planners.push_back(std::make_unique<SamplingPlanner>(options));
    works.emplace_back([&, i] {
      return benchmark::milliseconds([&] {
        auto now = problem;
        now.warm_start = planners[i]->advance(last[i], {1}, 1);
        last[i] = planners[i]->solve(now, noise).warm_start;
      });
    });
  }
  const auto times = benchmark::in_turns(works, 50, 5);
  nlohmann::json rows;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    rows.push_back(benchmark::summary(times[i]));
    rows.back()["samples"] = sizes[i];
  }
  return rows;
}

// Mean milliseconds a solve, from the project's site.
nlohmann::json published() {
  const auto row = [](const char* who, std::vector<double> ms) {
    return nlohmann::json{{"implementation", who}, {"mean_ms", std::move(ms)}};
  };
  return {{"source", "MPPI-Generic (arXiv 2409.07563) and its site, as published"},
          {"samples", {128, 1024, 2048, 8192, 16384}},
          {"rows",
           {row("nav2, one CPU, Intel i9-13900K", {0.393, 3.36, 6.74, 29.9, 62.3}),
            row("nav2, one CPU, AMD Ryzen 5600X", {0.615, 4.75, 9.5, 40.6, 84.3}),
            row("TorchRL, NVIDIA RTX 4090", {24.5, 28.1, 28.2, 28.6, 28.6}),
            row("MPPI-Generic, NVIDIA RTX 4090", {0.123, 0.131, 0.146, 0.232, 0.389}),
            row("MPPI-Generic, NVIDIA Jetson Orin Nano", {0.63, 1.03, 1.65, 6.1, 12.1})}}};
}

}  // namespace

int main() {
  at::set_num_threads(1);
  const nlohmann::json report{{"benchmark", "mppi_differential_drive"},
                              {"machine", benchmark::machine()},
                              {"threads", 1},
                              {"horizon", 100},
                              {"ours", measure({128, 1024, 2048, 8192, 16384})},
                              {"published", published()}};
  std::cout << report.dump(2) << "\n";
}
