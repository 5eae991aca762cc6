// SPDX-License-Identifier: Apache-2.0
// A recorded data set as the source of planning problems: its frames, actions and states.
#pragma once

#include <memory>
#include <vector>

#include "foresight/data/dataset.hpp"
#include "foresight/eval/planning_evaluation.hpp"

namespace foresight::eval {

/// Frames as the data set returns them: open it at EvaluationOptions::image_size.
FORESIGHT_API FrameLookup recorded_frames(std::shared_ptr<const data::Dataset> dataset);

/// Raw actions, float32.
FORESIGHT_API ActionLookup recorded_actions(std::shared_ptr<const data::Dataset> dataset);

/// States [T,N] of every episode, float64, for sample_planning_protocol(). Throws Error(not_found)
/// if the data set has no state columns.
FORESIGHT_API std::vector<Tensor> recorded_states(const data::Dataset& dataset);

}  // namespace foresight::eval
