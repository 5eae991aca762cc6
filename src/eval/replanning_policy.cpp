// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/replanning_policy.hpp"

#include <algorithm>

#include "foresight/core/error.hpp"

namespace foresight::eval {

std::vector<std::string> ReplanningOptions::validate() const {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  return Rules("ReplanningOptions")
      .at_least("horizon", number(horizon), 1)
      .at_least("episode_steps", number(episode_steps), 1)
      .at_least("candidate_bytes", number(candidate_bytes), 0)
      .problems();
}

ReplanningPolicy::ReplanningPolicy(std::shared_ptr<const WorldModel> model, Objective objective,
                                   std::shared_ptr<const Planner> planner,
                                   ReplanningOptions options, std::string name,
                                   ObservationView view)
    : model_(std::move(model)),
      objective_(std::move(objective)),
      planner_(std::move(planner)),
      options_(options),
      name_(std::move(name)),
      view_(std::move(view)),
      noise_(static_cast<std::uint64_t>(options.seed)) {
  require_valid(options_);
  require(model_ && planner_, ErrorCategory::invalid_argument,
          "ReplanningPolicy needs a model and a planner");
  const auto& spec = model_->spec();
  require(spec.action.block == 1 && !spec.action.discrete && spec.history == 1,
          ErrorCategory::unsupported,
          "ReplanningPolicy plans for models of one continuous raw action a step and one "
          "observation; this one has block = " +
              std::to_string(spec.action.block) + ", history = " + std::to_string(spec.history) +
              (spec.action.discrete ? ", discrete actions" : ""));
}

void ReplanningPolicy::begin(const EvalProblems& problems) {
  const auto goal = seen(problems.goal);
  goal_ = Task(1).set(kGoal, model_->encode(goal, noise_));
  for (const auto& [name, value] : objective_.goal_fields(*model_, goal, noise_))
    goal_.set(name, value);
  step_ = 0;
}

EvalActions ReplanningPolicy::act(const Observation& observation, const Tensor& active) {
  const int64_t batch = active.size(0), left = options_.episode_steps - step_;
  require(left >= 1, ErrorCategory::invalid_argument,
          "ReplanningPolicy: asked for step " + std::to_string(step_ + 1) +
              ", but episode_steps = " + std::to_string(options_.episode_steps));
  const auto& spec = model_->spec();
  const auto state = model_->observe(model_->initial(batch), {}, seen(observation), noise_);
  Problem problem;
  problem.batch = batch;
  problem.horizon = std::min(options_.horizon, left);
  problem.action = spec.action;
  problem.cost =
      objective_.cost_function(*model_, state, noise_, goal_, {options_.candidate_bytes});
  // Candidates are drawn in float32 at least: the mean of elites needs its bits.
  const auto like = goal_.at(kGoal).options();
  problem.options = at::isReducedFloatingType(c10::typeMetaToScalarType(like.dtype()))
                        ? like.dtype(at::kFloat)
                        : like;
  const auto plan = planner_->solve(problem, noise_);
  ++step_;

  EvalActions answer;
  answer.planned = active.sum().item<int64_t>();
  answer.message = plan.message;
  const auto mask = active.cpu();
  for (int64_t row = 0; row < batch; ++row) {
    const bool usable =
        plan.actions.defined() && is_usable(plan.statuses[static_cast<std::size_t>(row)]);
    if (!usable && mask[row].item<bool>()) ++answer.fallbacks;
  }
  // Without a plan: no displacement.
  answer.actions = plan.actions.defined()
                       ? spec.action.denormalise(plan.actions.select(1, 0)).select(1, 0)
                       : at::zeros({batch, spec.action.dim});
  answer.actions = answer.actions.nan_to_num(0.0, 0.0, 0.0);
  return answer;
}

}  // namespace foresight::eval
