// SPDX-License-Identifier: Apache-2.0
// Planning with DinoWm: its published objective as terms, and CEM on a tiny model.
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "dino_wm_golden.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "golden_autocast.hpp"
#include "golden_planner.hpp"
#include "models/dino_wm_under_test.hpp"

namespace foresight::dino_wm_planning_test {
namespace {

constexpr const char* kProprioGoal = "goal_proprio";
constexpr const char* kFrameWeights =
    "weights of frames are float32 in the original's float64 run too";

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
    for (const auto type : kNetworkTypes) {
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
        // Latents of bfloat16 are compared in float32: a difference of two rounded ones, squared.
        if (type == at::kBFloat16)
          golden.compare_bfloat16(name, cost.to(type), 4 * 2);
        else if (type == at::kFloat)
          golden.compare("outputs/" + name, cost);
        else if (scale == 1.0)
          golden.compare("outputs64/" + name, cost);
        else
          golden.compare_within("outputs64/" + name, cost, {0, 1e-7, 0}, kFrameWeights);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

// The model of a planner's fixture in front of its problems, and what it costs there to follow
// actions [B,S,H,A].
class GoldenProblems {
 public:
  GoldenProblems(const Golden& golden, at::ScalarType type)
      : model_(golden_dino_wm(golden, golden_dino_wm_options(golden.config().at("model")), type)) {
    at::NoGradGuard no_grad;
    const auto wide = at::promote_types(type, at::kFloat);  // of what is normalised, and of costs
    const auto features = [&](const char* key) {
      return golden_features_of_bytes(golden, golden.input(key), type).select(1, 0);
    };
    const auto proprio = [&](const char* key) {
      return golden_normalised_proprio(golden, golden.input(key).to(wide)).to(type);
    };
    const auto visual = features("obs0_visual");
    const auto state = model_->observe_features(model_->initial(visual.size(0)), {}, visual,
                                                proprio("obs0_proprio").select(1, 0));
    Task task(1);
    task.set(kGoal, features("goal_visual"));
    task.set(kProprioGoal, model_->encode_proprio(proprio("goal_proprio")));
    const auto& objective = golden.config().at("objective");
    const double alpha = objective.at("alpha");
    GoalDistance distance;
    observed_ = at::zeros({visual.size(0)}, wide);
    if (objective.at("mode") == "all") {
      // The reference counts the observed frame as well, and divides by the number of frames again.
      distance.steps = Steps::discounted;
      distance.discount = objective.at("base");
      distance.normalise_steps = true;
      const int64_t horizon = golden.config().at("planner").at("horizon");
      double sum = 0;
      for (int64_t t = 0; t <= horizon; ++t)
        sum += std::pow(distance.discount, static_cast<double>(t));
      const auto frames = static_cast<double>(horizon + 1);
      scale_ = (sum - 1) / sum / frames;
      const auto squares = [wide](const Tensor& a, const Tensor& b) {
        return (a.to(wide) - b.to(wide)).square().flatten(1).mean(1);
      };
      observed_ =
          (squares(state.at("latent"), task.at(kGoal)) +
           alpha * squares(state.at("proprio").flatten(1), task.at(kProprioGoal).flatten(1))) /
          (sum * frames);
    }
    cost_ =
        dino_wm_objective(distance, alpha).cost_function(*model_, state, noise_, std::move(task));
  }

  /// Roundings in sequence of what candidates of `horizon` steps cost in bfloat16. The features of
  /// the observed picture count as what comes before a network's blocks.
  int64_t roundings_of_cost(int64_t horizon) const {
    const auto of_step = roundings_of_network(model_->options().predictor.depth);
    return roundings_of_squares(roundings_of_network(0) + horizon * of_step);
  }
  /// [B,S].
  Tensor cost(const Tensor& actions) const {
    return cost_(actions).total * scale_ + observed_.to(actions.device()).unsqueeze(1);
  }
  void compare(Golden& golden, const std::string& key, const Tensor& actual) const {
    if (scale_ != 1.0 && actual.scalar_type() == at::kDouble)
      golden.compare_within("outputs64/" + key, actual, {1e-9, 1e-6, 0}, kFrameWeights);
    else if (actual.is_cuda() && actual.scalar_type() == at::kDouble)
      golden.compare_within("outputs64/" + key, actual, {2e-7, 1e-7, 0},
                            "pictures are normalised in float32, which this device rounds "
                            "otherwise than the original's CPU");
    else
      golden.compare(key, actual);
  }

 private:
  std::shared_ptr<models::DinoWm> model_;
  PhiloxNoise noise_{1};
  CostFunction cost_;
  double scale_ = 1.0;
  Tensor observed_;  // [B], what the observed frame costs
};

TEST_CASE("candidates of DINO-WM's CEM cost a DinoWm what the reference recorded",
          "[parity][device]") {
  at::NoGradGuard no_grad;
  for_each_golden("dino_wm/cem", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      const GoldenProblems problems(golden, type);
      const std::string section = type == at::kDouble ? "outputs64/" : "outputs/";
      std::vector<Tensor> losses;
      for (const auto& candidates : golden.at(section + "candidates").unbind(0))
        losses.push_back(problems.cost(candidates));
      problems.compare(golden, "losses", at::stack(losses));
    }
    const GoldenProblems narrow(golden, at::kBFloat16);
    const auto candidates = golden.output("candidates");  // [I,B,S,H,A]
    compare_bfloat16_costs(
        golden, "losses", candidates, [&](const Tensor& actions) { return narrow.cost(actions); },
        narrow.roundings_of_cost(candidates.size(3)));
  });
}

TEST_CASE("a DinoWm has the losses and gradients of DINO-WM's gradient planner",
          "[parity][device]") {
  for_each_golden("dino_wm/gd", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      const GoldenProblems problems(golden, type);
      const std::string section = type == at::kDouble ? "outputs64/" : "outputs/";
      std::vector<Tensor> losses, totals, gradients;
      for (const auto& before : golden.at(section + "actions_before").unbind(0)) {
        const auto actions = before.clone().requires_grad_();
        const auto cost = problems.cost(actions.unsqueeze(1)).squeeze(1);
        cost.sum().backward();
        losses.push_back(cost.detach());
        totals.push_back(cost.detach().sum());
        gradients.push_back(actions.grad());
      }
      problems.compare(golden, "loss_per_problem", at::stack(losses));
      problems.compare(golden, "total_loss", at::stack(totals));
      if (type == at::kDouble)
        golden.compare_within("outputs64/action_gradient", at::stack(gradients), {2e-8, 1e-7, 0},
                              "pictures are normalised in float32, and what that rounds weighs "
                              "more in a gradient");
      else
        golden.compare("action_gradient", at::stack(gradients));
    }
    at::NoGradGuard no_grad;
    const GoldenProblems narrow(golden, at::kBFloat16);
    const auto plans = golden.output("actions_before");  // [I,B,H,A]
    compare_bfloat16_costs(
        golden, "loss_per_problem", plans,
        [&](const Tensor& actions) { return narrow.cost(actions.unsqueeze(1)).squeeze(1); },
        narrow.roundings_of_cost(plans.size(2)), /*rivals=*/0);
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
