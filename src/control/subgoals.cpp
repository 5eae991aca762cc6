// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/subgoals.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

// The cost term applied to the present as if it were an imagined future of one step.
LatentDistance distance_of(const GoalDistance& options) {
  return [term = goal_distance(options), options](const Tensor& latents, const Tensor& goals) {
    Trajectory now;
    now.states = State(3).set(options.field, latents.unsqueeze(1).unsqueeze(1));
    return term(now, Task(1).set(options.goal, goals)).squeeze(1);
  };
}

}  // namespace

std::vector<std::string> SubgoalOptions::validate() const {
  Rules rules("SubgoalOptions");
  rules.check(std::isfinite(reach_distance) && reach_distance >= 0, "reach_distance",
              reach_distance, "must be >= 0");
  rules.check(max_steps >= 0, "max_steps", static_cast<double>(max_steps), "must be >= 0");
  rules.check(reach_distance > 0 || max_steps > 0, "reach_distance", reach_distance,
              "or max_steps must be > 0: otherwise no goal is ever left");
  return rules.nested("distance", distance.validate()).problems();
}

Subgoals::Subgoals(std::vector<Tensor> goals, SubgoalOptions options, LatentDistance distance)
    : goals_(std::move(goals)), options_(std::move(options)), distance_(std::move(distance)) {
  require_valid(options_);
  require(!goals_.empty(), ErrorCategory::invalid_argument, "Subgoals needs at least one goal");
  check_shape("sub-goal 0", goals_.front(), {kAny, kAny, kAny}, "[B,P,D]");
  for (std::size_t i = 0; i < goals_.size(); ++i) {
    const auto name = fmt::format("sub-goal {}", i);
    check_shape(name, goals_[i], goals_.front().sizes(), "[B,P,D]");
    check_finite(name, goals_[i]);
  }
  if (!distance_) distance_ = distance_of(options_.distance);
  places_.resize(static_cast<std::size_t>(goals_.front().size(0)));
}

bool Subgoals::update(const Tensor& latents) {
  check_shape("latents", latents, goals_.front().sizes(), "[B,P,D]");
  Tensor reached;
  if (options_.reach_distance > 0) {
    const auto goals = goal().to(latents.options());
    const auto distance = distance_(latents, goals);
    check_shape("sub-goal distance", distance, {latents.size(0)}, "[B]");
    reached = distance.le(options_.reach_distance).cpu();  // false for NaN
  }
  bool changed = false;
  for (std::size_t b = 0; b < places_.size(); ++b) {
    auto& place = places_[b];
    ++place.steps;
    const bool near = reached.defined() && reached[static_cast<int64_t>(b)].item<bool>();
    const bool late = options_.max_steps > 0 && place.steps >= options_.max_steps;
    const bool last = place.goal + 1 == count();
    if (last) {
      place.finished = place.finished || near || (late && !reached.defined());
    } else if (near || late) {
      place = {place.goal + 1, 0, false};
      changed = true;
    }
  }
  return changed;
}

Tensor Subgoals::goal() const {
  std::vector<Tensor> rows;
  for (std::size_t b = 0; b < places_.size(); ++b)
    rows.push_back(goals_[static_cast<std::size_t>(places_[b].goal)][static_cast<int64_t>(b)]);
  return at::stack(rows);
}

const Subgoals::Place& Subgoals::place(int64_t problem) const {
  require(problem >= 0 && problem < static_cast<int64_t>(places_.size()),
          ErrorCategory::invalid_argument,
          fmt::format("Subgoals: problem {} is out of range 0..{}", problem, places_.size() - 1));
  return places_[static_cast<std::size_t>(problem)];
}

int64_t Subgoals::index(int64_t problem) const { return place(problem).goal; }
bool Subgoals::finished(int64_t problem) const { return place(problem).finished; }

bool Subgoals::all_finished() const {
  return std::all_of(places_.begin(), places_.end(),
                     [](const Place& place) { return place.finished; });
}

void Subgoals::reset() { std::fill(places_.begin(), places_.end(), Place{}); }

void Subgoals::reset(const std::vector<int64_t>& problems) {
  for (const auto problem : problems) place(problem);  // all of them exist, or nothing changes
  for (const auto problem : problems) places_[static_cast<std::size_t>(problem)] = {};
}

}  // namespace foresight
