// SPDX-License-Identifier: Apache-2.0
// Outcome of a solve or of a control step: values, not exceptions, because a control loop must go
// on.
#pragma once

#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight {

/// How a solve ended. The default everywhere is `not_started`: failure until proven otherwise.
enum class Status {
  not_started,       ///< nothing ran yet
  ok,                ///< finished as asked
  deadline_reached,  ///< stopped at the deadline with a usable plan
  fell_back,         ///< the planner gave nothing usable; a named fallback was returned
  infeasible,        ///< no candidate satisfies the constraints
  non_finite,        ///< every candidate's cost, or the plan itself, was NaN or infinite
  invalid_input,     ///< the observation or problem was rejected before planning
  failed,            ///< the model or cost function raised an error; see the message
};

/// Name of a status, e.g. "deadline_reached".
FORESIGHT_API std::string_view to_string(Status status);

/// True when the actions that come with this status may be executed as a plan.
inline bool is_usable(Status status) {
  return status == Status::ok || status == Status::deadline_reached;
}

}  // namespace foresight
