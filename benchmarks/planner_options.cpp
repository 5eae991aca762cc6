// SPDX-License-Identifier: Apache-2.0
// Question: what does each option of a planner do to the plan? One problem with many local minima
// (swing a weak pendulum up, 40 steps ahead), solved from 24 seeds for every setting; the figures
// of docs/planning.md show the median cost and the quartiles.
//   benchmark_planner_options <folder for the .svg files>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/viz/svg_plot.hpp"

using namespace foresight;

namespace {

constexpr int64_t kSeeds = 24, kHorizon = 40;

// The pendulum of example 1, hanging at rest, as a bare cost function: torques [B,S,H,1] of at most
// 2 Nm in, sum of "not upright, not still" out.
Costs swing_up(const Tensor& torques) {
  auto angle = at::full({torques.size(0), torques.size(1)}, M_PI), velocity = at::zeros_like(angle);
  auto cost = at::zeros_like(angle);
  for (int64_t h = 0; h < torques.size(2); ++h) {
    const auto torque = torques.select(2, h).select(2, 0);
    velocity = (velocity + 0.05 * (15.0 * at::sin(angle) + 3.0 * torque)).clamp(-8.0, 8.0);
    angle = angle + 0.05 * velocity;
    cost = cost + (1.0 - at::cos(angle)) * 5.0 + 0.1 * velocity.square();
  }
  Costs costs;
  costs.total = cost + 0.001 * torques.square().sum({2, 3});
  return costs;
}

Problem problem() {
  Problem problem;
  problem.batch = kSeeds;  // the seeds side by side: every problem draws for itself
  problem.horizon = kHorizon;
  problem.action.low = {-2.0};
  problem.action.high = {2.0};
  problem.cost = swing_up;
  return problem;
}

SamplingOptions ready(SamplingOptions options) {
  options.noise_sharing = NoiseSharing::per_problem;
  options.bound = BoundKind::box;
  options.initial_std = {1.5};
  return options;
}

Plan solve(const SamplingOptions& options) {
  PhiloxNoise noise(1);
  return SamplingPlanner(options).solve(problem(), noise);
}

struct Quartiles {
  double low, median, high;
};

Quartiles quartiles(const Tensor& values) {
  const auto sorted = std::get<0>(values.to(at::kDouble).sort());
  const auto at = [&](int64_t index) { return sorted[index].item<double>(); };
  return {at(kSeeds / 4), at(kSeeds / 2), at(kSeeds * 3 / 4)};
}

// One line of a figure: the cost of the plan over a swept option.
viz::Series sweep(const std::string& name, const std::vector<double>& values,
                  const std::function<SamplingOptions(double)>& setting) {
  viz::Series line{.name = name, .marker = viz::Marker::dot};
  for (const auto value : values) {
    const auto [low, median, high] = quartiles(solve(setting(value)).cost);
    line.x.push_back(value);
    line.y.push_back(median);
    line.low.push_back(low);
    line.high.push_back(high);
    std::printf("  %-28s %8.3g  cost %6.1f  (%.1f to %.1f)\n", name.c_str(), value, median, low,
                high);
  }
  return line;
}

const viz::Axis kCost{.label = "cost of the plan"};

class Figures {
 public:
  explicit Figures(std::filesystem::path folder) : folder_(std::move(folder)) {}
  void write(const std::string& name, const viz::LinePlot& plot) const {
    const auto path = folder_ / ("planning_" + name + ".svg");
    std::ofstream file(path);
    file << viz::standalone(viz::draw(plot));
    require(file.good(), ErrorCategory::io_failure, path.string() + ": could not be written");
    std::printf("%s\n", path.c_str());
  }

 private:
  std::filesystem::path folder_;
};

SamplingOptions cem(int64_t samples, int64_t iterations) {
  auto options = ready(lewm_cem());
  options.samples = samples;
  options.iterations = iterations;
  options.elites = std::max<int64_t>(samples / 10, 2);
  return options;
}

void candidates(const Figures& figures) {
  const std::vector<double> samples{16, 32, 64, 128, 256, 512, 1024};
  const auto count = [](double value) { return static_cast<int64_t>(value); };
  figures.write("samples",
                {.title = "More candidates, ten iterations",
                 .x = {.label = "candidates per iteration", .scale = viz::Scale::log10},
                 .y = kCost,
                 .series = {sweep("CEM", samples, [&](double s) { return cem(count(s), 10); }),
                            sweep("iCEM", samples,
                                  [&](double s) {
                                    auto options = ready(icem());
                                    options.samples = count(s);
                                    options.iterations = 10;
                                    options.elites = std::max<int64_t>(count(s) / 10, 2);
                                    options.sample_decay = 1.0;
                                    return options;
                                  }),
                            sweep("MPPI", samples,
                                  [&](double s) {
                                    auto options = ready(mppi());
                                    options.samples = count(s);
                                    options.iterations = 10;
                                    options.temperature = 2.0;
                                    return options;
                                  }),
                            sweep("predictive sampling", samples, [&](double s) {
                              auto options = ready(predictive_sampling());
                              options.samples = count(s);
                              options.iterations = 10;
                              return options;
                            })}});
}

void budget(const Figures& figures) {
  const std::vector<double> iterations{1, 2, 4, 8, 16, 32};
  std::vector<viz::Series> lines;
  for (const int64_t rollouts : {512, 2048, 8192})
    lines.push_back(
        sweep("CEM, " + std::to_string(rollouts) + " rollouts", iterations, [&](double i) {
          return cem(std::max<int64_t>(rollouts / static_cast<int64_t>(i), 4),
                     static_cast<int64_t>(i));
        }));
  figures.write("iterations", {.title = "One budget of rollouts, split into iterations",
                               .x = {.label = "iterations", .scale = viz::Scale::log10},
                               .y = kCost,
                               .series = std::move(lines)});
}

void temperature(const Figures& figures) {
  const std::vector<double> temperatures{0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 200};
  const auto setting = [](double value) {
    auto options = ready(mppi());
    options.samples = 300;
    options.iterations = 10;
    options.temperature = value;
    return options;
  };
  figures.write("temperature", {.title = "MPPI: temperature, 300 candidates, ten iterations",
                                .x = {.label = "temperature", .scale = viz::Scale::log10},
                                .y = kCost,
                                .series = {sweep("MPPI", temperatures, setting)}});
  viz::Series effective{.name = "effective samples", .marker = viz::Marker::dot};
  for (const auto value : temperatures) {
    const auto count = solve(setting(value)).diagnostics.effective_samples[-1];
    effective.x.push_back(value);
    effective.y.push_back(quartiles(count).median);
  }
  figures.write("effective_samples",
                {.title = "MPPI: candidates that count, of 300",
                 .x = {.label = "temperature", .scale = viz::Scale::log10},
                 .y = {.label = "effective samples, last iteration", .scale = viz::Scale::log10},
                 .series = {effective}});
}

void noise(const Figures& figures) {
  const std::vector<double> exponents{0, 0.5, 1, 1.5, 2, 2.5, 3, 4};
  std::vector<viz::Series> lines;
  for (const int64_t samples : {32, 100, 300})
    lines.push_back(
        sweep("iCEM, " + std::to_string(samples) + " candidates", exponents, [&](double exponent) {
          auto options = ready(icem());
          options.samples = samples;
          options.iterations = 5;
          options.elites = std::max<int64_t>(samples / 10, 2);
          options.noise_exponent = exponent;
          return options;
        }));
  figures.write("noise_exponent", {.title = "Coloured noise: 0 is white, 2 is a random walk",
                                   .x = {.label = "noise exponent"},
                                   .y = kCost,
                                   .series = std::move(lines)});
}

void spread(const Figures& figures) {
  const std::vector<double> stds{0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5};
  std::vector<viz::Series> lines;
  for (const int64_t iterations : {3, 10, 30})
    lines.push_back(
        sweep("CEM, " + std::to_string(iterations) + " iterations", stds, [&](double s) {
          auto options = cem(300, iterations);
          options.initial_std = {s};
          return options;
        }));
  figures.write("initial_std", {.title = "Where the search starts: limits are at +-2",
                                .x = {.label = "initial std", .scale = viz::Scale::log10},
                                .y = kCost,
                                .series = std::move(lines)});

  std::vector<viz::Series> health;
  for (const int64_t elites : {3, 30, 150}) {
    auto options = cem(300, 30);
    options.elites = elites;
    const auto trace = solve(options).diagnostics.spread;  // [I,B]
    viz::Series line{.name = std::to_string(elites) + " elites"};
    for (int64_t i = 0; i < trace.size(0); ++i) {
      line.x.push_back(static_cast<double>(i + 1));
      line.y.push_back(quartiles(trace[i]).median);
    }
    health.push_back(std::move(line));
  }
  figures.write("elite_spread", {.title = "CEM 300: how fast the search closes",
                                 .x = {.label = "iteration"},
                                 .y = {.label = "elite spread (std)", .scale = viz::Scale::log10},
                                 .series = std::move(health)});
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::fprintf(stderr, "usage: benchmark_planner_options <folder for the .svg files>\n");
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  const c10::NoGradGuard no_grad;
  const Figures figures(argv[1]);
  candidates(figures);
  budget(figures);
  temperature(figures);
  noise(figures);
  spread(figures);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "benchmark_planner_options: %s\n", error.what());
  return 1;
}
