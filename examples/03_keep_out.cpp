// SPDX-License-Identifier: Apache-2.0
// Example 3: a zone that must not be entered. The same way is planned with no rule, with a penalty
// on entering (of several weights), and with a constraint that an augmented Lagrangian enforces. A
// penalty always gives way a little; the constraint holds, and the plan says so. Writes
// keep_out.svg.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/regions.hpp"
#include "foresight/planning/terms.hpp"
#include "foresight/viz/svg_plot.hpp"

using namespace foresight;

namespace {

constexpr int64_t kSteps = 24;

// A dot in the plane; the action is how far it moves, at most 0.15 a step and axis.
struct Dot final : WorldModel {
  Dot() {
    about.family = "dot";
    about.observation = {{"position", {2}}};
    about.action.dim = 2;
    about.action.low = {-0.15, -0.15};
    about.action.high = {0.15, 0.15};
    about.channels = 2;
  }
  const ModelSpec& spec() const override { return about; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 2}));
  }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    spec().check(seen);
    return State(1).set("latent", seen.at("position").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& move, Noise&) const override {
    return {
        State(state.batch_dims()).set("latent", state.at("latent") + move.unsqueeze(-2)), {}, {}};
  }
  ModelSpec about;
};

Tensor point(double x, double y) { return at::tensor({x, y}).to(at::kFloat).view({1, 1, 2}); }

struct Result {
  std::string name;
  Plan plan;
  double depth;              // of the deepest step inside the zone, or minus the clearance
  std::vector<double> x, y;  // the way
};

}  // namespace

int main() {
  const Dot model;
  PhiloxNoise noise(0);
  const auto start = State(1).set("latent", point(-1, 0.05)).set_filled(1);
  const auto task = Task(1).set(kGoal, point(1, 0));
  const auto zone = balls({.centres = {{0, 0}}, .radius = 0.5});
  const auto position = position_in("latent");

  const GradientOptions descent{.samples = 8,
                                .iterations = 300,
                                .optimizer = ActionOptimizer::adam,
                                .learning_rate = 0.01,
                                .initial_std = 0.05};
  LagrangianOptions lagrangian{.inner = descent, .outer_iterations = 10};
  lagrangian.inner.iterations = 60;

  const auto solve = [&](std::string name, const Objective& objective, const Planner& planner) {
    Problem problem;
    problem.horizon = kSteps;
    problem.action = model.about.action;
    problem.cost = objective.cost_function(model, start, noise, task);
    Result result{std::move(name), planner.solve(problem, noise), 0, {-1}, {0.05}};
    const auto way = model.rollout(start, result.plan.actions.unsqueeze(1), noise);
    result.depth = keep_out_constraint(zone, position)(way, task).item<double>();
    for (int64_t h = 0; h < kSteps; ++h) {
      const auto at = way.states.at("latent")[0][0][h][0];
      result.x.push_back(at[0].item<double>());
      result.y.push_back(at[1].item<double>());
    }
    return result;
  };

  Objective reach;
  reach.add("goal", 1.0, goal_distance({.steps = Steps::sum}));
  std::vector<Result> results;
  results.push_back(solve("no rule", reach, GradientPlanner(descent)));
  for (const double weight : {10.0, 100.0, 1000.0}) {
    auto penalised = reach;
    penalised.add("keep_out", weight, keep_out(zone, position));
    results.push_back(solve("penalty, weight " + std::to_string(static_cast<int>(weight)),
                            penalised, GradientPlanner(descent)));
  }
  auto constrained = reach;
  constrained.constrain("keep_out", keep_out_constraint(zone, position));
  results.push_back(solve("constraint", constrained, LagrangianPlanner(lagrangian)));

  std::printf("%-22s %10s %22s  %s\n", "", "goal cost", "inside the zone by", "status");
  for (const auto& result : results)
    std::printf("%-22s %10.3f %22.4f  %s\n", result.name.c_str(),
                find_term(result.plan.terms, "goal").item<double>(), result.depth,
                std::string(to_string(result.plan.status)).c_str());

  viz::LinePlot picture{.title = "Ways around a zone",
                        .x = {.label = "x", .low = -1.1, .high = 1.1},
                        .y = {.label = "y", .low = -0.9, .high = 0.9},
                        .size = {.width = 560, .height = 520}};
  for (const auto& result : results)
    picture.series.push_back({.name = result.name, .x = result.x, .y = result.y});
  viz::Series circle{.name = "zone", .stroke = viz::Stroke::dashed};
  for (int i = 0; i <= 100; ++i) {
    circle.x.push_back(0.5 * std::cos(i * M_PI / 50));
    circle.y.push_back(0.5 * std::sin(i * M_PI / 50));
  }
  picture.series.push_back(circle);
  std::ofstream("keep_out.svg") << viz::standalone(viz::draw(picture));

  const auto& kept = results.back().plan;
  const bool feasible = worst_violation(kept.constraint).item<double>() == 0.0;
  std::printf("%s\n", feasible ? "the constraint holds" : "the constraint is broken");
  return feasible && kept.status == Status::ok && results.front().depth > 0.1 ? 0 : 1;
}
