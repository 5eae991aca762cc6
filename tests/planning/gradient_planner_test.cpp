// SPDX-License-Identifier: Apache-2.0
// Gradient planners against stable-worldmodel and DINO-WM, step by step, and on problems with known
// answers.
#include "foresight/planning/gradient_planner.hpp"
#include "golden_planner.hpp"

#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "planner_conformance.hpp"
#include "reference_costs.hpp"

namespace foresight::gradient_planner_test {
namespace {

using testing::quadratic_problem;

ActionOptimizer optimizer_called(const std::string& name) {
  if (name == "SGD") return ActionOptimizer::sgd;
  return name == "Adam" ? ActionOptimizer::adam : ActionOptimizer::adamw;
}

GradientOptions settings(const nlohmann::json& item, const nlohmann::json& solver) {
  GradientOptions options;
  options.samples = solver.at("num_samples");
  options.iterations = solver.at("n_steps");
  options.initial_std = solver.value("var_scale", 1.0);
  options.step_noise = solver.value("action_noise", 0.0);
  options.clip_norm = solver.value("grad_clip", 0.0);
  options.clip_scope = ClipScope::batch;
  options.noise_sharing = NoiseSharing::per_problem;
  options.projection = Projection::none;
  options.record = PlannerRecord::everything;
  if (item.contains("optimizer")) {
    options.optimizer = optimizer_called(item.at("optimizer"));
    options.learning_rate = item.at("optimizer_kwargs").at("lr");
  }
  return options;
}

// Problems first..first+count-1 of a fixture's batch: upstream solves in chunks, and a norm taken
// over a chunk depends on them.
Problem chunk(const Problem& whole, const Golden& golden, const std::string& inputs, int64_t first,
              int64_t count) {
  const auto type = whole.options.dtype().toScalarType();
  Problem part = whole;
  part.batch = count;
  part.cost = reference_cost(golden.config().at("cost"),
                             golden.input(inputs + "x0", type).narrow(0, first, count),
                             golden.input(inputs + "goal", type).narrow(0, first, count));
  if (whole.warm_start.mean.defined())
    part.warm_start.mean = whole.warm_start.mean.narrow(0, first, count);
  for (auto& [name, value] : part.warm_start.memory) value = value.narrow(0, first, count);
  return part;
}

// Start noise, then step noise, of some problems.
void push_draws(RecordedNoise& noise, const Golden& golden, const std::string& start,
                const std::string& steps, int64_t first, int64_t count, at::ScalarType type) {
  const auto initial = golden.input(start, type).narrow(0, first, count);
  if (initial.size(1) > 0) noise.push(initial);
  if (!golden.has("inputs/" + steps)) return;
  const auto draws = golden.input(steps, type);
  for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i].narrow(0, first, count));
}

template <class Make>
Tensor over_chunks(int64_t batch, const nlohmann::json& size, int64_t axis, Make&& make) {
  const int64_t step = size.is_null() ? batch : size.get<int64_t>();
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < batch; first += step)
    parts.push_back(make(first, std::min(step, batch - first)));
  return at::cat(parts, axis);
}

// Solves a case chunk by chunk and puts plans together again.
std::vector<Plan> solve_chunks(const Planner& planner, const Problem& whole, const Golden& golden,
                               const nlohmann::json& item, const std::string& inputs,
                               const std::string& start, const std::string& steps) {
  std::vector<Plan> plans;
  over_chunks(whole.batch, item.at("batch_size"), 0, [&](int64_t first, int64_t count) {
    RecordedNoise noise;
    push_draws(noise, golden, start, steps, first, count, whole.options.dtype().toScalarType());
    plans.push_back(planner.solve(chunk(whole, golden, inputs, first, count), noise));
    CHECK(plans.back().status != Status::failed);
    INFO(plans.back().message);
    CHECK(noise.remaining() == 0);
    return at::zeros({1});
  });
  return plans;
}

template <class Pick>
Tensor together(const std::vector<Plan>& plans, int64_t axis, Pick&& pick) {
  std::vector<Tensor> parts;
  for (const auto& plan : plans) parts.push_back(pick(plan));
  return at::cat(parts, axis);
}

void compare_steps(Golden& golden, const std::string& name, const std::vector<Plan>& plans) {
  golden.compare_run(name + "_params", together(plans, 1, [](const Plan& plan) {
                       return per_iteration(plan, [](const auto& r) { return r.candidates; });
                     }));
  golden.compare_run(name + "_costs", together(plans, 1, [](const Plan& plan) {
                       return per_iteration(plan, [](const auto& r) { return r.costs; });
                     }));
  golden.compare_run(name + "_best_index", together(plans, 0, [](const Plan& plan) {
                       return plan.diagnostics.iteration.back().costs.argmin(1);
                     }));
}

TEST_CASE("gradient planning follows stable-worldmodel in every step", "[parity][device]") {
  for_each_golden_run("planners/gradient", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      const auto options = settings(item, item.at("solver"));
      const auto problem = reference_problem(golden, item, name + "_", false, type);
      const auto plans = solve_chunks(GradientPlanner(options), problem, golden, item, name + "_",
                                      name + "_init_noise", name + "_step_noise");
      compare_steps(golden, name, plans);
      // All entries but the last, which is the evaluation after the last step.
      const auto steps = [&](auto&& pick) {
        return together(plans, 1, [&](const Plan& plan) {
          return per_iteration(plan, pick).narrow(0, 0, options.iterations);
        });
      };
      const auto gradients = together(plans, 1, [](const Plan& plan) {
        std::vector<Tensor> rows;
        for (const auto& row : plan.diagnostics.iteration)
          if (row.gradient.defined()) rows.push_back(row.gradient);
        return at::stack(rows);
      });
      golden.compare_run(name + "_grads", gradients);
      if (golden.has("outputs/" + name + "_cb_GradNormRecorder")) {
        const auto mean_norm = [](const Tensor& rows) { return rows.norm(2, {3, 4}).mean(2); };
        golden.compare_run(name + "_cb_GradNormRecorder", mean_norm(gradients));
        golden.compare_run(name + "_cb_ActionNormRecorder",
                           mean_norm(steps([](const auto& r) { return r.candidates; })));
      }
      golden.compare_run(name + "_actions",
                         together(plans, 0, [](const Plan& p) { return p.actions; }));
      golden.compare_run(name + "_reported_cost",
                         together(plans, 0, [](const Plan& p) { return p.cost; }));
    }
  });
}

TEST_CASE("projection to the simplex equals stable-worldmodel's and its own definition",
          "[parity][device]") {
  for_each_golden_run("planners/pgd", [](Golden& golden, at::ScalarType type) {
    const auto& shape = golden.config().at("projection");
    const int64_t symbols = shape.at("K"), blocks = shape.at("blocks");
    const auto projected =
        project_to_simplex(golden.input("projection", type).unflatten(-1, {blocks, symbols})).cpu();
    golden.compare_run("projection", projected.flatten(-2));
    CHECK(at::allclose(projected.sum(-1), at::ones({3, 4, blocks}, type), 1e-5, 1e-6));
    CHECK(projected.ge(0).all().item<bool>());
  });
  const auto inside = at::tensor({0.2, 0.3, 0.5});
  CHECK(at::allclose(project_to_simplex(inside), inside));
}

TEST_CASE("projected gradients follow stable-worldmodel in every step", "[parity][device]") {
  for_each_golden_run("planners/pgd", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      auto options = settings(item, item.at("solver"));
      options.optimizer = ActionOptimizer::sgd;
      options.learning_rate = 1.0;
      options.projection = Projection::simplex;
      auto problem = reference_problem(golden, item, name + "_", false, type);
      const auto symbols = problem.action.dim, block = problem.action.block;
      if (golden.has("inputs/" + name + "_init_action"))
        problem.warm_start.mean =
            at::one_hot(golden.input(name + "_init_action"), symbols).to(type).flatten(-2);
      const auto plans = solve_chunks(GradientPlanner(options), problem, golden, item, name + "_",
                                      name + "_init_noise", name + "_step_noise");
      compare_steps(golden, name, plans);
      const auto actions = together(plans, 0, [](const Plan& p) { return p.actions; });
      golden.compare_run(name + "_actions", actions.unflatten(-1, {block, symbols}).argmax(-1));
      // Upstream reports the relaxed cost; ours is that of the symbols.
      golden.compare_run(name + "_reported_cost", together(plans, 0, [](const Plan& p) {
                           return p.diagnostics.iteration.back().costs.amin(1);
                         }));
      const auto cost = problem.cost(actions.unsqueeze(1)).total.squeeze(1);
      CHECK(
          at::allclose(together(plans, 0, [](const Plan& p) { return p.cost; }), cost, 1e-5, 1e-6));
    }
  });
}

// Constraints, multipliers and penalty weights of every outer iteration.
void compare_updates(Golden& golden, const std::string& key, const std::vector<Plan>& plans) {
  const auto of_updates = [&](auto&& pick) {
    return together(plans, 1, [&](const Plan& plan) {
      std::vector<Tensor> rows;
      for (const auto& update : plan.diagnostics.multiplier_updates) rows.push_back(pick(update));
      return at::stack(rows);
    });
  };
  const auto constraints = of_updates([](const auto& u) { return u.constraint; });
  golden.compare_run(key + "_constraints", constraints);
  golden.compare_run(key + "_lambdas", of_updates([](const auto& u) { return u.multipliers; }));
  std::vector<double> rho;
  std::vector<Tensor> violations;
  for (const auto& update : plans.front().diagnostics.multiplier_updates) rho.push_back(update.rho);
  for (const auto& plan : plans)
    violations.push_back(
        at::relu(plan.diagnostics.multiplier_updates.back().constraint).mean().reshape({1}));
  golden.compare_run(key + "_rho", at::tensor(rho, constraints.options()));
  golden.compare_run(key + "_constraint_violation", at::cat(violations));
}

TEST_CASE("the augmented Lagrangian follows stable-worldmodel over consecutive solves",
          "[parity][device]") {
  for_each_golden_run("planners/lagrangian", [](Golden& golden, at::ScalarType type) {
    for (const auto& item : golden.config().at("cases")) {
      const std::string name = item.at("name");
      INFO("case " << name);
      const auto& solver = item.at("solver");
      LagrangianOptions options;
      options.inner = settings(item, solver);
      if (!item.contains("optimizer")) {
        options.inner.optimizer = ActionOptimizer::adam;
        options.inner.learning_rate = 1.0;
      }
      options.outer_iterations = solver.at("n_outer_steps");
      options.rho = solver.value("rho_init", 1.0);
      options.rho_max = solver.value("rho_max", 1e4);
      options.rho_scale = solver.value("rho_scale", 2.0);
      options.keep_multipliers = solver.value("persist_multipliers", true);
      options.returned = LagrangianAnswer::cheapest;
      const LagrangianPlanner planner(options);
      WarmStart left;
      for (int64_t solve = 0; solve < item.at("solves").get<int64_t>(); ++solve) {
        const auto index = std::to_string(solve), key = name + "_" + index;
        INFO("solve " << solve);
        auto problem = reference_problem(golden, item, key + "_", false, type);
        problem.warm_start.memory = left.memory;
        // The unconstrained case runs on the same file's cost without its constraints.
        const bool unconstrained = item.value("unconstrained", false);
        std::vector<Plan> plans;
        const int64_t step =
            item.at("batch_size").is_null() ? problem.batch : item.at("batch_size").get<int64_t>();
        for (int64_t first = 0; first < problem.batch; first += step) {
          const auto count = std::min(step, problem.batch - first);
          auto part = chunk(problem, golden, key + "_", first, count);
          if (unconstrained)
            part.cost = [inner = part.cost](const Tensor& actions) {
              auto costs = inner(actions);
              costs.constraint = Tensor();
              return costs;
            };
          RecordedNoise noise;
          push_draws(noise, golden, name + "_init_noise_" + index, name + "_step_noise_" + index,
                     first, count, type);
          plans.push_back(planner.solve(part, noise));
          INFO(plans.back().message);
          CHECK(plans.back().status != Status::failed);
        }
        compare_steps(golden, key, plans);
        golden.compare_run(key + "_actions",
                           together(plans, 0, [](const Plan& p) { return p.actions; }));
        golden.compare_run(key + "_reported_cost",
                           together(plans, 0, [](const Plan& p) { return p.cost; }));
        if (unconstrained) continue;
        compare_updates(golden, key, plans);
        if (options.keep_multipliers)
          left.memory = {{"multipliers", together(plans, 0, [](const Plan& p) {
                            return find_term(p.warm_start.memory, "multipliers");
                          })}};
      }
    }
  });
}

TEST_CASE("DINO-WM's gradient planner is reproduced from its recorded gradients",
          "[parity][device]") {
  for_each_golden_run("dino_wm/gd", [](Golden& golden, at::ScalarType type) {
    const auto& planner = golden.config().at("planner");
    const bool random_start = planner.at("sample_type") == "randn";
    GradientOptions options;
    options.samples = 1;
    options.iterations = planner.at("opt_steps");
    options.optimizer = ActionOptimizer::sgd;
    options.learning_rate = planner.at("lr");
    options.step_noise = planner.at("action_noise");
    options.start_noise = random_start ? StartNoise::missing_rows : StartNoise::other_samples;
    options.projection = Projection::none;
    options.returned = GradientAnswer::last;
    options.noise_sharing = NoiseSharing::per_problem;
    options.record = PlannerRecord::everything;
    const auto gradients = golden.output("action_gradient", type);  // [I,B,H,A]
    auto problem = golden_problem(type);
    problem.batch = gradients.size(1);
    problem.horizon = gradients.size(2);
    problem.action.dim = gradients.size(3);
    if (golden.has("inputs/warm_start")) problem.warm_start.mean = golden.input("warm_start", type);
    if (!random_start) {
      // Rows without a warm start are the environment's zero action, normalised.
      const int64_t repeats = golden.config().at("frameskip");
      const auto zero =
          (-golden.input("action_mean", type) / golden.input("action_std", type)).repeat({repeats});
      problem.tail = [zero, horizon = problem.horizon](const Tensor& prefix) {
        return zero.expand({prefix.size(0), horizon - prefix.size(1), -1});
      };
    }
    // A linear cost has exactly the recorded gradient.
    auto calls = std::make_shared<int64_t>(0);
    problem.cost = [gradients, calls](const Tensor& actions) {
      const auto i = std::min(*calls, gradients.size(0) - 1);
      ++*calls;
      return Costs{(actions * gradients[i].unsqueeze(1)).sum({2, 3}), {}, {}};
    };
    RecordedNoise noise;
    if (random_start) noise.push(golden.input("init_noise", type).unsqueeze(1));
    const auto draws = golden.input("noise", type);
    for (int64_t i = 0; i < draws.size(0); ++i) noise.push(draws[i].unsqueeze(1));
    const auto plan = GradientPlanner(options).solve(problem, noise);
    CHECK(plan.status == Status::ok);
    const auto visited = per_iteration(plan, [](const auto& r) { return r.candidates.squeeze(1); });
    golden.compare_run("actions_before", visited.narrow(0, 0, options.iterations));
    golden.compare_run("actions_after", visited.narrow(0, 1, options.iterations));
    golden.compare_run("plan", plan.actions);
  });
}

TEST_CASE("slices of candidates give the gradient plan of one call") {
  GradientOptions options{.samples = 10, .iterations = 12};
  const auto problem = quadratic_problem(2, 3);
  PhiloxNoise a(4), b(4);
  const auto whole = GradientPlanner(options).solve(problem, a);
  options.max_candidates = 3;
  const auto sliced = GradientPlanner(options).solve(problem, b);
  CHECK(at::equal(whole.actions, sliced.actions));
}

TEST_CASE("the Lagrangian finds the constrained minimum and reports what cannot be met") {
  Problem problem;
  problem.batch = 2;
  problem.horizon = 1;
  problem.action.dim = 2;
  problem.action.low = {-2, -2};
  problem.action.high = {2, 2};
  problem.cost = [](const Tensor& actions) {
    const auto x = actions.select(2, 0).select(2, 0), y = actions.select(2, 0).select(2, 1);
    Costs costs;
    costs.total = (x - 1).square() + (y - 1).square();
    // x + y <= 1 in the first problem, x <= -5 in the second (outside the limits).
    const auto g = at::stack({(x + y - 1).select(0, 0), (x + 5).select(0, 1)});
    costs.constraint = g.unsqueeze(2);
    return costs;
  };
  LagrangianOptions options;
  options.inner = {.samples = 16,
                   .iterations = 60,
                   .optimizer = ActionOptimizer::adam,
                   .learning_rate = 0.05,
                   .initial_std = 0.3};
  options.outer_iterations = 12;
  PhiloxNoise noise(3);
  const auto plan = LagrangianPlanner(options).solve(problem, noise);
  CHECK(plan.statuses[0] == Status::ok);
  CHECK(plan.statuses[1] == Status::infeasible);
  CHECK(plan.constraint[0].item<double>() <= 0);
  CHECK(plan.cost[0].item<double>() == Approx(0.5).margin(0.05));
  CHECK(plan.actions[1][0][0].item<double>() == Approx(-2.0).margin(0.05));
}

TEST_CASE("a cost that ignores its actions is told, not planned on") {
  auto problem = quadratic_problem(1, 2);
  problem.cost = [](const Tensor& actions) {
    return Costs{at::zeros({1, actions.size(1)}), {}, {}};
  };
  PhiloxNoise noise(1);
  const auto plan = GradientPlanner({.samples = 2, .iterations = 2}).solve(problem, noise);
  CHECK(plan.status == Status::failed);
  CHECK(plan.message.find("not differentiable") != std::string::npos);
}

TEST_CASE("gradient options are validated and survive JSON") {
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { GradientPlanner({.learning_rate = -1}); },
      "learning_rate"));
  LagrangianOptions options;
  options.inner.samples = 0;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { LagrangianPlanner{options}; }, "inner", "samples"));
  options.inner.samples = 3;
  LagrangianOptions again;
  read_options(again, write_options(options), "options");
  CHECK(write_options(again) == write_options(options));
}

}  // namespace
}  // namespace foresight::gradient_planner_test
