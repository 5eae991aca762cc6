// SPDX-License-Identifier: Apache-2.0
// Planning with DinoWm: its published objective as terms, and CEM on a tiny model.
#include <ATen/core/grad_mode.h>

#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "golden_planner.hpp"
#include "golden.hpp"
#include "models/dino_wm_under_test.hpp"

namespace foresight::dino_wm_planning_test {
namespace {

constexpr const char* kProprioGoal = "goal_proprio";

// DINO-WM's cost: mean over patches plus alpha times mean over proprioception.
Objective dino_wm_objective(GoalDistance distance, double alpha) {
  distance.reduction = Reduction::mean;
  auto proprio = distance;
  proprio.field = "proprio";
  proprio.goal = kProprioGoal;
  Objective objective;
  objective.add("visual", 1.0, goal_distance(distance));
  objective.add("proprio", alpha, goal_distance(proprio));
  return objective;
}

TEST_CASE("two goal distances are DINO-WM's objective, of the last and of all frames",
          "[parity][device]") {
  for_each_golden("dino_wm/objective", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      const auto input = [&](const char* key) { return golden.input(key).to(type); };
      Trajectory trajectory;
      trajectory.states = State(3);
      trajectory.states.set("latent", input("pred_visual").unsqueeze(1));
      trajectory.states.set("proprio", input("pred_proprio").unsqueeze(1).unsqueeze(3));
      const auto frames = input("pred_visual").size(1);
      trajectory.actions = at::zeros({input("pred_visual").size(0), 1, frames, 1}, type);
      Task task(1);
      task.set(kGoal, input("goal_visual").squeeze(1));
      task.set(kProprioGoal, input("goal_proprio"));
      for (const auto& config : golden.config().at("cases")) {
        GoalDistance distance;
        double scale = 1.0;
        if (config.at("mode") == "all") {
          distance.steps = Steps::discounted;
          distance.discount = config.at("base");
          distance.normalise_steps = true;
          scale = 1.0 / static_cast<double>(frames);  // the reference averages weighted errors
        }
        const auto costs =
            dino_wm_objective(distance, config.at("alpha")).evaluate(trajectory, task);
        const auto cost = costs.total.squeeze(1) * scale;
        const auto name = config.at("name").get<std::string>();
        if (type == at::kFloat)
          golden.compare("outputs/" + name, cost);
        else if (scale == 1.0)
          golden.compare("outputs64/" + name, cost);
        else  // its frame weights are float32 in the float64 run too
          golden.compare_within("outputs64/" + name, cost, {0, 1e-7, 0});
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("CEM steers a DinoWm to a state that it can imagine") {
  at::NoGradGuard no_grad;
  for (const auto conditioning : {nn::ActionConditioning::feature, nn::ActionConditioning::token,
                                  nn::ActionConditioning::adaln}) {
    INFO(enum_name(conditioning));
    const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, 2, 3));
    PhiloxNoise noise(1);
    const auto state = model->observe(model->initial(2), {}, dino_wm_observation(2, 5, 3), noise);
    const auto wanted = noise.normal({2, 1, 2, 4});
    const auto reached = model->rollout(state, wanted, noise).states;
    Task task(1);
    task.set(kGoal, reached.at("latent").select(1, 0).select(1, 1));
    task.set(kProprioGoal, reached.at("proprio").select(1, 0).select(1, 1));

    auto options = dino_wm_cem();
    options.samples = 96;
    options.iterations = 15;
    options.elites = 12;
    Problem problem;
    problem.batch = 2;
    problem.horizon = 2;
    problem.action = model->spec().action;
    problem.cost = dino_wm_objective({}, 1.0).cost_function(*model, state, noise, task);
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    INFO(plan.message);
    CHECK(plan.status == Status::ok);
    const auto cost = [&](const Tensor& actions) { return problem.cost(actions).total; };
    const auto still = cost(at::zeros({2, 1, 2, 4}));
    CHECK(cost(wanted).abs().max().item<float>() < 1e-6);
    CHECK(cost(plan.actions.unsqueeze(1)).lt(0.1 * still).all().item<bool>());
  }
}

}  // namespace
}  // namespace foresight::dino_wm_planning_test
