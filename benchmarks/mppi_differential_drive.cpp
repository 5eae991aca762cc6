// SPDX-License-Identifier: Apache-2.0
// Question: how does MPPI on one CPU core scale with the number of candidates, beside what others
// publish? A differential-drive robot among obstacles, 100 steps ahead, one iteration; the setting
// of MPPI-Generic's comparison (arXiv 2409.07563), whose figures stand beside ours with their own
// hardware. They are not measured here: the machines, costs and boundaries differ. Each number of
// candidates has a loop of its own, as in a controller, and page faults are counted: memory that is
// handed back to the system after a command and taken again by the next can cost more than the
// command (core/memory.hpp). Prints one JSON object.
#include <ATen/Parallel.h>
#include <sys/resource.h>

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

// Page faults of this process so far that needed no disk.
long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// Milliseconds and page faults of one command, `samples` candidates, in a loop of its own.
nlohmann::json measure(int64_t samples) {
  constexpr int kRounds = 50, kWarmUp = 5;
  auto options = mppi();
  options.samples = samples;
  options.initial_std = {0.3, 0.6};
  options.evaluate_result = false;
  const SamplingPlanner planner(options);
  Problem problem;
  problem.horizon = 100;
  problem.action.dim = 2;
  problem.action.low = {0.0, -2.0};
  problem.action.high = {1.0, 2.0};
  problem.cost = functor_cost(make_functor(DifferentialDrive{}), problem.action, at::zeros({1, 3}));
  PhiloxNoise noise(1);
  WarmStart last;
  std::vector<double> times;
  long faults = 0;
  for (int round = -kWarmUp; round < kRounds; ++round) {
    if (round == 0) faults = page_faults();
    const double ms = benchmark::milliseconds([&] {
      problem.warm_start = planner.advance(last, {1}, 1);
      last = planner.solve(problem, noise).warm_start;
    });
    if (round >= 0) times.push_back(ms);
  }
  auto row = benchmark::summary(times);
  row["samples"] = samples;
  row["page_faults"] = (page_faults() - faults) / kRounds;
  return row;
}

nlohmann::json measure_all() {
  nlohmann::json rows;
  for (const int64_t samples : {128, 1024, 2048, 8192, 16384}) rows.push_back(measure(samples));
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
                              {"ours", measure_all()},
                              {"published", published()}};
  std::cout << report.dump(2) << "\n";
}
