// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/recorded_sources.hpp"

#include "foresight/core/error.hpp"

namespace foresight::eval {

FrameLookup recorded_frames(std::shared_ptr<const data::Dataset> dataset) {
  require(dataset != nullptr, ErrorCategory::invalid_argument, "recorded_frames: no data set");
  return [dataset = std::move(dataset)](int64_t episode, int64_t step) {
    return dataset->read_frames(episode, {step}).squeeze(0);
  };
}

ActionLookup recorded_actions(std::shared_ptr<const data::Dataset> dataset) {
  require(dataset != nullptr, ErrorCategory::invalid_argument, "recorded_actions: no data set");
  return [dataset = std::move(dataset)](int64_t episode, int64_t step) {
    const auto row = dataset->read_rows(dataset->action_columns(), episode, step, 1);
    return row.squeeze(0).to(at::kFloat);
  };
}

std::vector<Tensor> recorded_states(const data::Dataset& dataset) {
  require(
      !dataset.state_columns().empty(), ErrorCategory::not_found,
      dataset.name() + ": no state columns, so that a simulator cannot be set to a recorded row");
  std::vector<Tensor> states;
  for (int64_t episode = 0; episode < dataset.num_episodes(); ++episode)
    states.push_back(dataset.read_all_rows(dataset.state_columns(), episode));
  return states;
}

}  // namespace foresight::eval
