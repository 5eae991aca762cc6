// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/mpc_policy.hpp"

#include "foresight/core/error.hpp"

namespace foresight::eval {

MpcEvalPolicy::MpcEvalPolicy(MpcFactory factory, std::string name, ObservationView view)
    : factory_(std::move(factory)), name_(std::move(name)), view_(std::move(view)) {
  require(factory_ != nullptr, ErrorCategory::invalid_argument,
          "MpcEvalPolicy: a factory of control loops is needed");
}

void MpcEvalPolicy::begin(const EvalProblems& problems) {
  const int64_t batch = problems.start.batch();
  if (!mpc_ || mpc_->options().batch != batch) mpc_ = factory_(batch);
  require(mpc_ != nullptr && mpc_->options().batch == batch, ErrorCategory::invalid_argument,
          "MpcEvalPolicy: the factory must make a control loop of batch " + std::to_string(batch));
  mpc_->reset();
  mpc_->set_goal(seen(problems.goal));
}

EvalActions MpcEvalPolicy::act(const Observation& observation, const Tensor& active) {
  const auto decision = mpc_->act(seen(observation));
  EvalActions answer;
  answer.actions = decision.action;
  answer.message = decision.message;
  for (const auto& group : decision.solved)
    answer.planned += static_cast<int64_t>(group.rows.size());
  const auto mask = active.cpu();
  for (std::size_t row = 0; row < decision.statuses.size(); ++row)
    if (!is_usable(decision.statuses[row]) && mask[static_cast<int64_t>(row)].item<bool>())
      ++answer.fallbacks;
  return answer;
}

}  // namespace foresight::eval
