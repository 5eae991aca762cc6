// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/plan.hpp"

#include "foresight/planning/planner.hpp"

namespace foresight {
namespace {

int severity(Status status) {
  switch (status) {
    case Status::ok:
      return 0;
    case Status::deadline_reached:
      return 1;
    case Status::fell_back:
      return 2;
    case Status::infeasible:
      return 3;
    case Status::non_finite:
      return 4;
    case Status::not_started:
      return 5;
    case Status::invalid_input:
      return 6;
    case Status::failed:
      return 7;
  }
  return 7;
}

}  // namespace

Status worst(const std::vector<Status>& statuses) {
  if (statuses.empty()) return Status::not_started;
  auto result = statuses.front();
  for (const auto status : statuses)
    if (severity(status) > severity(result)) result = status;
  return result;
}

WarmStart Planner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                           int64_t block) const {
  WarmStart next;
  next.mean = advance_plan(last.mean, raw_steps, block, Tail::prior);
  return next;
}

}  // namespace foresight
