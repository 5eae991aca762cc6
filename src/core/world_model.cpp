// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/world_model.hpp"

#include <fmt/format.h>

namespace foresight {

void ModelSpec::check(const Observation& observation, int64_t batch) const {
  for (const auto& field : this->observation) {
    if (!observation.has(field.name)) {
      std::string given;
      for (const auto& [name, value] : observation.fields())
        given += (given.empty() ? "" : ", ") + name;
      throw Error(ErrorCategory::not_found,
                  fmt::format("observation lacks field '{}' (it has: {})", field.name,
                              given.empty() ? "nothing" : given));
    }
    const auto& value = observation.at(field.name);
    std::vector<int64_t> expected{batch};
    expected.insert(expected.end(), field.shape.begin(), field.shape.end());
    check_shape("observation '" + field.name + "'", value, expected, "[B,...]");
    require(value.scalar_type() == field.dtype, ErrorCategory::invalid_argument,
            fmt::format("observation '{}' has dtype {}, expected {}", field.name,
                        c10::toString(value.scalar_type()), c10::toString(field.dtype)));
  }
}

Trajectory WorldModel::looped_rollout(const State& state, const Tensor& actions,
                                      Noise& noise) const {
  const auto batch = state.batch_shape();
  require(
      batch.size() == 1, ErrorCategory::invalid_argument,
      fmt::format("rollout starts from a state of batch shape [B], got {}", shape_string(batch)));
  check_shape("actions", actions, {batch[0], kAny, kAny, spec().action.width()}, "[B,S,H,A]");
  const auto samples = actions.size(1), horizon = actions.size(2);
  require(horizon >= 1, ErrorCategory::invalid_argument, "rollout needs a horizon H >= 1");

  State current = state.expand(samples);
  std::vector<State> kept;
  std::vector<Tensor> rewards, discounts;
  for (int64_t h = 0; h < horizon; ++h) {
    auto transition = step(current, actions.select(2, h), noise);
    State imagined(2);
    imagined.set_filled(transition.next.filled());
    for (const auto& field : spec().imagined) imagined.set(field, transition.next.at(field));
    kept.push_back(std::move(imagined));
    if (transition.reward.defined()) rewards.push_back(transition.reward);
    if (transition.discount.defined()) discounts.push_back(transition.discount);
    current = std::move(transition.next);
  }
  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State::stack(kept);
  if (!rewards.empty()) trajectory.rewards = at::stack(rewards, 2);
  if (!discounts.empty()) trajectory.discounts = at::stack(discounts, 2);
  return trajectory;
}

Trajectory WorldModel::rollout(const State& state, const Tensor& actions, Noise& noise) const {
  return looped_rollout(state, actions, noise);
}

Tensor WorldModel::encode(const Observation& observation, Noise& noise) const {
  const auto state = observe(initial(observation.batch()), Tensor(), observation, noise);
  return state.at(spec().imagined.front());
}

}  // namespace foresight
