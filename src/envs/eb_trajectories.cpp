// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/eb_trajectories.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "eb_two_rooms_motion.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"
#include "foresight/models/eb_position_statistics.hpp"

namespace foresight::envs {
namespace {

using std::numbers::pi;
using EbWay = std::vector<EbPoint>;

// A walk through the door starts at least so far inside the borders, px.
constexpr float kBorderGap = 0.01F;

// Makes one walk; its members are what the pieces of it share.
class EbWalker {
 public:
  EbWalker(const EbTrajectoryOptions& options, EbDraws& draws)
      : options_(options),
        draws_(draws),
        steps_(options.positions - 1),
        layout_(eb_layout(options.geometry,
                          options.geometry.wall == WallPlacement::random
                              ? draws.integer(EbDraw::layout, 0, options.geometry.layouts())
                              : 0)),
        walls_(options.geometry, layout_) {}

  EbTrajectory walk();

 private:
  EbPoint free_start();
  EbWay wander(double heading);
  void pass_the_door(EbPoint& start, EbWay& actions);
  double between(double low, double high) {
    return low + draws_.uniform(EbDraw::between) * (high - low);
  }

  const EbTrajectoryOptions& options_;
  EbDraws& draws_;
  int64_t steps_;
  EbLayout layout_;
  EbWalls walls_;
};

EbPoint EbWalker::free_start() {
  const float low = walls_.near_border, range = walls_.far_border - walls_.near_border;
  EbPoint start;
  for (auto& coordinate : start)
    coordinate = static_cast<float>(draws_.uniform(EbDraw::start) * range + low);
  if (walls_.in_wall_columns(start[0]) && !walls_.in_door(start[1])) {
    const bool left = draws_.uniform(EbDraw::inside_wall) < 0.5;
    const double in_left = between(walls_.near_border, walls_.wall_left);
    const double in_right = between(walls_.wall_right, walls_.far_border);
    start[0] = static_cast<float>(left ? in_left : in_right);
  }
  return start;
}

// Actions of a walk whose heading is a random walk itself.
EbWay EbWalker::wander(double heading) {
  std::vector<double> headings{heading};
  for (int64_t i = 1; i < steps_; ++i)
    headings.push_back(headings.back() +
                       draws_.von_mises(EbDraw::turn, options_.turn_concentration));
  EbWay actions;
  for (const double angle : headings) {
    const double length = draws_.truncated_normal(
        EbDraw::step, options_.step_mean, options_.step_std, options_.step_min, options_.step_max);
    actions.push_back({static_cast<float>(length * std::cos(angle)),
                       static_cast<float>(length * std::sin(angle))});
  }
  return actions;
}

// Two walks away from a point in the door, one of them traversed backwards towards it.
void EbWalker::pass_the_door(EbPoint& start, EbWay& actions) {
  const auto x = static_cast<float>(between(walls_.wall_left, walls_.wall_right));
  const auto y = static_cast<float>(
      draws_.truncated_normal(EbDraw::door_y, static_cast<double>(layout_.door_y),
                              options_.door_std, walls_.door_top, walls_.door_bottom));
  const int64_t before = draws_.integer(EbDraw::door_step, 1, steps_ + 1);
  const double heading = pi + (draws_.uniform(EbDraw::door_angle) - 0.5) * pi / 2;
  const auto there = wander(heading), onwards = wander(heading + pi);

  const auto reverse = [](EbWay& way) {
    std::reverse(way.begin(), way.end());
    for (auto& [dx, dy] : way) dx = -dx, dy = -dy;
  };
  actions.assign(there.begin(), there.begin() + before);
  reverse(actions);
  actions.insert(actions.end(), onwards.begin() + 1, onwards.begin() + 1 + (steps_ - before));
  int64_t to_door = before;
  if (draws_.uniform(EbDraw::flip) < 0.5) {
    reverse(actions);
    to_door = options_.positions - before;  // one step beyond the door, as in the reference
  }
  start = {x, y};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    for (int64_t i = 0; i < to_door; ++i) start[axis] -= actions[static_cast<std::size_t>(i)][axis];
    start[axis] =
        std::clamp(start[axis], walls_.near_border + kBorderGap, walls_.far_border - kBorderGap);
  }
}

EbTrajectory EbWalker::walk() {
  auto at = free_start();
  auto actions = wander(2 * pi * draws_.uniform(EbDraw::heading));
  if (draws_.uniform(EbDraw::cross) < options_.door_probability) pass_the_door(at, actions);

  EbTrajectory result;
  result.layout = layout_;
  result.positions = at::empty({options_.positions, 2}, at::kFloat);
  result.actions = at::empty({steps_, 2}, at::kFloat);
  auto positions = result.positions.accessor<float, 2>(),
       tried = result.actions.accessor<float, 2>();
  for (int64_t i = 0; i <= steps_; ++i) {
    for (int64_t axis = 0; axis < 2; ++axis)
      positions[i][axis] = at[static_cast<std::size_t>(axis)];
    if (i == steps_) break;
    const auto& action = actions[static_cast<std::size_t>(i)];
    for (int64_t axis = 0; axis < 2; ++axis)
      tried[i][axis] = action[static_cast<std::size_t>(axis)];
    const EbPoint to{at[0] + action[0], at[1] + action[1]};
    if (!eb_blocked(walls_, at, to)) at = to;
  }
  result.first_row = draws_.integer(EbDraw::window, 0, options_.positions - options_.window);
  return result;
}

}  // namespace

std::vector<std::string> EbTrajectoryOptions::validate() const {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  return Rules("EbTrajectoryOptions")
      .nested("geometry", geometry.validate())
      .check(window >= 1, "window", number(window), "must be >= 1")
      .check(positions >= 3 && positions > window, "positions", number(positions),
             "must be >= 3 and > window = " + std::to_string(window))
      .positive("step_std", step_std)
      .check(step_min > 0 && step_min <= step_mean, "step_min", step_min,
             "must be in (0, step_mean]")
      .check(step_max >= step_mean && step_max > step_min && std::isfinite(step_max), "step_max",
             step_max, "must be >= step_mean and > step_min")
      .positive("turn_concentration", turn_concentration)
      .within("door_probability", door_probability, 0, 1)
      .positive("door_std", door_std)
      .problems();
}

double EbRandomDraws::uniform(EbDraw) { return uniform_(); }

int64_t EbRandomDraws::integer(EbDraw, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(uniform_() * static_cast<double>(high - low));
}

double EbRandomDraws::von_mises(EbDraw, double concentration) {
  return von_mises_variate(concentration, uniform_);
}

double EbRandomDraws::truncated_normal(EbDraw, double mean, double std, double low, double high) {
  return truncated_normal_variate(mean, std, low, high, uniform_);
}

EbTrajectory eb_trajectory(const EbTrajectoryOptions& options, EbDraws& draws) {
  require_valid(options);
  return EbWalker(options, draws).walk();
}

namespace {

// Mean and scale [2] of positions, in the type of `like`.
std::pair<Tensor, Tensor> position_statistics(const Tensor& like) {
  require(like.defined() && like.dim() >= 1 && like.size(-1) == 2 && like.is_floating_point(),
          ErrorCategory::invalid_argument, "positions must be floating [...,2]");
  const auto as_like = [&](const std::array<double, 2>& values) {
    return at::tensor(values, at::kDouble).to(like.options());
  };
  return {as_like(models::kEbPositionMean), as_like(models::kEbPositionStd) + 1e-6};
}

}  // namespace

Tensor eb_normalise_positions(const Tensor& positions) {
  const auto [mean, scale] = position_statistics(positions);
  return (positions - mean) / scale;
}

Tensor eb_denormalise_positions(const Tensor& normalised) {
  const auto [mean, scale] = position_statistics(normalised);
  return normalised * scale + mean;
}

EbTrajectorySource::EbTrajectorySource(EbTrajectoryOptions options, std::uint64_t seed)
    : options_(std::move(options)), seed_(seed) {
  require_valid(options_);
}

EbTrajectory EbTrajectorySource::trajectory(int64_t number) const {
  require(number >= 0, ErrorCategory::invalid_argument,
          "EbTrajectorySource: trajectory " + std::to_string(number) + ", accepted: >= 0");
  EbRandomDraws draws(seed_, static_cast<std::uint64_t>(number));
  return EbWalker(options_, draws).walk();
}

EbBatch EbTrajectorySource::batch(int64_t first, int64_t count) const {
  require(count >= 1, ErrorCategory::invalid_argument,
          "EbTrajectorySource: a batch of " + std::to_string(count) + ", accepted: >= 1");
  const int64_t size = options_.geometry.image_size, frames = options_.window;
  EbBatch batch;
  batch.pixels = at::empty({count, frames, 2, size, size}, at::kByte);
  batch.actions = at::empty({count, frames, 2});
  batch.positions = at::empty({count, frames, 2});
  const WithoutGradients plain;  // other threads write into the batch
  // A walk is a function of its number: threads share them out.
  at::parallel_for(0, count, 4, [&](int64_t from, int64_t to) {
    const WithoutGradients plain_too;
    for (int64_t b = from; b < to; ++b) {
      const auto walk = trajectory(first + b);
      const auto positions = walk.positions.narrow(0, walk.first_row, frames);
      batch.positions[b].copy_(positions);
      batch.actions[b].copy_(walk.actions.narrow(0, walk.first_row, frames));
      const auto dots = positions.accessor<float, 2>();
      for (int64_t t = 0; t < frames; ++t)
        batch.pixels[b][t].copy_(
            eb_two_rooms_picture(options_.geometry, walk.layout, {dots[t][0], dots[t][1]}));
    }
  });
  return batch;
}

}  // namespace foresight::envs
