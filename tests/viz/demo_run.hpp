// SPDX-License-Identifier: Apache-2.0
// A made-up run of plausible shape: every section of the report has something to show, including
// what goes wrong in real runs (a validation gap, a NaN, an instance that was not run).
#pragma once

#include <cmath>
#include <limits>
#include <random>

#include "foresight/viz/run_report.hpp"

namespace foresight::test {

/// Two rooms with a door, seen from above: white floor, dark walls, a red agent at `agent` (x, y),
/// [size,size,3].
inline Tensor demo_frame(double agent_x, double agent_y, int64_t size = 64) {
  auto image = at::full({size, size, 3}, 232, at::kByte);
  auto wall = [&](int64_t y0, int64_t y1, int64_t x0, int64_t x1) {
    image.slice(0, y0, y1).slice(1, x0, x1).fill_(70);
  };
  wall(0, 2, 0, size);
  wall(size - 2, size, 0, size);
  wall(0, size, 0, 2);
  wall(0, size, size - 2, size);
  wall(0, 38, 31, 34);
  wall(48, size, 31, 34);
  const auto rows = at::arange(size).view({size, 1}), cols = at::arange(size).view({1, size});
  const auto near = (rows - agent_y).square() + (cols - agent_x).square() < 9;
  image.index_put_({near}, at::tensor({214, 60, 60}, at::kByte));
  return image;
}

class DemoRun {
 public:
  viz::RunReport make() {
    viz::RunReport run;
    run.title = "TwoRoom, JEPA with 192-dimensional latent";
    run.summary =
        "A latent world model trained on 2 000 recorded random walks, without rewards, and used to "
        "plan to goal images "
        "with the cross-entropy method.";
    run.headline = {{"success", "86 %", "43 of 50, random 8 %"},
                    {"probe R²", "0.987", "position, linear"},
                    {"useful horizon", "> 16 steps", "better than copying"},
                    {"solve", "11.4 ms", "median, 300 × 10 × 8"},
                    {"parameters", "5.4 M", ""}};
    run.losses = losses();
    run.latent = latent();
    run.probes = probes();
    run.collapse = collapse();
    run.imagination = imagination();
    run.frames = {frame(14, 20, 50, 15), frame(27, 40, 50, 15), frame(44, 30, 50, 15)};
    run.costs = {{"goal_distance", 1, 0.412},
                 {"control_effort", 0.05, 0.061},
                 {"keep_out", 10, 0.0},
                 {"smoothness", 0.01, -0.004}};
    run.success = success();
    run.incidents = incidents();
    run.machine = "8 cores, float32";
    run.timings = {{"encode one frame", 1000, 0.83, 0.91, 1.2, 3.4},
                   {"roll out 300 × 8", 1000, 1.02, 1.11, 1.31, 2.2},
                   {"solve, 10 iterations", 500, 11.4, 12.1, 13.9, 21.7},
                   {"control step", 500, 12.4, 13.3, 15.2, 24.0}};
    run.trade_offs = {{"tiny", 64, 3, 8, 1.9, 0.62, 0.48, 0.74},
                      {"small", 128, 5, 8, 4.1, 0.76, 0.62, 0.86},
                      {"default", 300, 10, 8, 11.4, 0.86, 0.74, 0.93},
                      {"large", 600, 20, 8, 41.7, 0.88, 0.76, 0.94},
                      {"long horizon", 300, 10, 16, 22.9, 0.84, 0.71, 0.92}};
    run.learned_on = {.losses = {{"old", "loss", 0.211, 0.237}, {"new", "loss", 0.918, 0.254}},
                      .forgetting = 0.237 / 0.211 - 1,
                      .drift = {{"action_0", 0.12, 1.31, 0.004}, {"action_1", 0.2, 0.577, 0, true}},
                      .warnings = {"action_1: never varied in the training data"}};
    run.data_set = {{"source", "recordings/two_room", "2 000 episodes, 90 steps each"},
                    {"frames", "180 000", "64 × 64 RGB, 12.5 Hz"},
                    {"actions", "2 dimensions in [−1, 1]", "block of 5"},
                    {"split", "1 800 / 200 episodes", "training / validation"}};
    run.provenance = {{"version", "foresight 0.1.0"},
                      {"seed", "42"},
                      {"device", "CPU"},
                      {"duration", "3 h 12 min"}};
    run.configuration =
        "{\n  \"family\": \"jepa\",\n  \"latent\": 192,\n  \"history\": 3,\n  \"note\": "
        "\"<&>\"\n}\n";
    run.commands = {
        "foresight train --config run/config.json --data recordings/two_room --seed 42",
        "foresight eval --bundle run/bundle --planner cem --samples 300 --out run/report.html"};
    return run;
  }

 private:
  double normal() { return normal_(generator_); }
  static Tensor pairs(const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).view({static_cast<int64_t>(values.size()) / 2, 2});
  }

  std::vector<viz::LossCurve> losses() {
    std::vector<viz::LossCurve> curves;
    struct Shape {
      const char* term;
      double start, end, noise;
    };
    for (const auto& shape :
         {Shape{"total", 1.6, 0.052, 0.08}, Shape{"prediction", 0.9, 0.021, 0.1},
          Shape{"sigreg", 0.7, 0.31, 0.05}}) {
      viz::LossCurve curve{shape.term};
      for (int step = 0; step <= 50000; step += 50) {
        const double level = shape.end + (shape.start - shape.end) * std::exp(-step / 6000.0);
        curve.train_step.push_back(step);
        curve.train.push_back(level * std::exp(shape.noise * normal()));
        if (step % 2500 == 0) {
          curve.val_step.push_back(step);
          curve.val.push_back(1.08 * level + 0.002 * step / 50000.0);
        }
      }
      if (curves.empty()) curve.train[700] = std::nan("");
      curves.push_back(curve);
    }
    return curves;
  }

  viz::LatentMap latent() {
    std::vector<double> axes, position;
    std::uniform_real_distribution<double> place(3, 61);
    for (int i = 0; i < 2500; ++i) {
      const double x = place(generator_), y = place(generator_), u = (x - 32) / 32,
                   v = (y - 32) / 32;
      axes.insert(axes.end(), {4.2 * u + 0.8 * v * v + 0.12 * normal(),
                               3.1 * v - 0.9 * u * u + 0.12 * normal()});
      position.insert(position.end(), {x, y});
    }
    return {pairs(axes), pairs(position), "px", {0.38, 0.27}};
  }

  std::vector<viz::ProbeScatter> probes() {
    std::vector<viz::ProbeScatter> found;
    for (const char* target : {"x", "y"}) {
      viz::ProbeScatter probe{target, "px", {}, {}, 0.987};
      std::uniform_real_distribution<double> place(3, 61);
      for (int i = 0; i < 800; ++i) {
        probe.truth.push_back(place(generator_));
        probe.predicted.push_back(probe.truth.back() + 1.6 * normal());
      }
      found.push_back(probe);
    }
    return found;
  }

  viz::Collapse collapse() {
    viz::Collapse figures;
    for (int step = 0; step <= 50000; step += 1000) {
      figures.step.push_back(step);
      figures.variance.push_back(1 - 0.7 * std::exp(-step / 4000.0) + 0.01 * normal());
      figures.effective_rank.push_back(118 - 90 * std::exp(-step / 7000.0) + normal());
    }
    for (int i = 0; i < 192; ++i)
      figures.spectrum.push_back(6 * std::exp(-i / 28.0) + 1e-3 * std::exp(-i / 80.0));
    figures.channels = 192;
    return figures;
  }

  viz::Imagination imagination() {
    viz::Imagination result;
    for (int step = 1; step <= 16; ++step) {
      const double error = 0.012 * std::pow(step, 1.15);
      result.model.push_back(error);
      result.model_low.push_back(0.6 * error);
      result.model_high.push_back(1.7 * error);
      result.copy_last.push_back(1.1 * (1 - std::exp(-step / 6.0)));
    }
    for (int clip = 0; clip < 2; ++clip) {
      std::vector<double> actual, imagined;
      double angle = clip, x = 0, y = 0, drift = 0;
      for (int step = 0; step < 16; ++step) {
        angle += 0.25 * normal();
        x += 0.3 * std::cos(angle);
        y += 0.3 * std::sin(angle);
        drift += 0.02 * normal();
        actual.insert(actual.end(), {x, y});
        imagined.insert(imagined.end(), {x + drift, y - 0.7 * drift});
      }
      result.paths.push_back({pairs(actual), pairs(imagined)});
    }
    return result;
  }

  viz::PlannedFrame frame(double x, double y, double goal_x, double goal_y) {
    constexpr int kCandidates = 60, kElites = 8, kHorizon = 8;
    viz::PlannedFrame planned;
    planned.caption = "Imagined positions of 60 of 300 candidates, decoded by the linear probe.";
    planned.image = demo_frame(x, y);
    auto toward = [&](double spread) {
      std::vector<double> path = {x, y};
      double px = x, py = y;
      const double tx = x < 31 ? 33 : goal_x, ty = x < 31 ? 43 : goal_y;
      for (int h = 0; h < kHorizon; ++h) {
        px += (tx - px) * 0.3 + spread * normal();
        py += (ty - py) * 0.3 + spread * normal();
        path.insert(path.end(), {px, py});
      }
      return path;
    };
    auto many = [&](int count, double spread) {
      std::vector<double> all;
      for (int s = 0; s < count; ++s)
        for (const double value : toward(spread)) all.push_back(value);
      return at::tensor(all, at::kDouble).view({count, kHorizon + 1, 2});
    };
    planned.candidates = many(kCandidates, 3.2);
    planned.elites = many(kElites, 0.9);
    planned.chosen = many(1, 0.2)[0];
    std::vector<double> executed;
    for (int step = 0; step <= 12; ++step)
      executed.insert(executed.end(), {8 + (x - 8) * step / 12,
                                       12 + (y - 12) * step / 12.0 + std::sin(step / 2.0)});
    planned.executed = pairs(executed);
    planned.goal = at::tensor({goal_x, goal_y}, at::kDouble);
    return planned;
  }

  viz::Incidents incidents() {
    viz::Incidents found;
    found.rows = {{"2026-03-01T12:00:00.250Z", "raised", 0, 4.5, 1.75, "fell_back, safe_action",
                   "0, 0", "problem 0: surprise 4.5 beside a threshold of 1.75", "goal 0.412",
                   "fnv1a64:af63dc4c8601ec8c"},
                  {"2026-03-01T12:00:01.250Z", "standing", 0,
                   std::numeric_limits<double>::infinity(), 1.75, "fell_back, safe_action", "0, 0",
                   "<problem> & no end", "none", "fnv1a64:0000000000000000"},
                  {"2026-03-01T12:00:09.000Z", "cleared", 0, 0.9, 1.75, "ok, plan", "0.5, -1", "ok",
                   "none", "fnv1a64:0000000000000001"}};
    found.suppressed = 41;
    found.malformed = 1;
    found.problems = {"line 4: is not JSON"};
    return found;
  }

  viz::Success success() {
    viz::Success result;
    result.criterion = "final distance to the goal < 5 px within 100 steps";
    result.rows = {{"CEM, 300 × 10", 43, 50, 0.738, 0.930},
                   {"MPPI, 300 × 10", 40, 50, 0.670, 0.888},
                   {"straight to the goal", 19, 50, 0.258, 0.518},
                   {"random actions", 4, 50, 0.032, 0.188}};
    for (const auto& row : result.rows) {
      viz::InstanceRow instances{row.planner};
      for (int i = 0; i < 50; ++i)
        instances.outcome.push_back((i * 29 + 7) % 50 < row.successes ? 1 : 0);
      result.instances.push_back(instances);
    }
    result.instances.back().outcome[49] = std::nan("");
    return result;
  }

  std::mt19937 generator_{3};
  std::normal_distribution<double> normal_;
};

}  // namespace foresight::test
