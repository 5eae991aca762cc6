// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's Two Rooms: layouts, resets and pictures. How the dot moves: eb_two_rooms_motion.cpp.
#include "foresight/envs/eb_two_rooms.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "eb_two_rooms_motion.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/variates.hpp"

namespace foresight::envs {

namespace {

// Users of one seed.
constexpr std::uint64_t kEbResetStream = 0x65627265, kEbCollisionStream = 0x6562636f;

constexpr double kStartMargin = 2;    // start and goal keep off the walls by so many dot_std
constexpr double kDoneDistance2 = 1;  // eb_jepa's `done`: mean squared error below it, px^2

double number(int64_t value) { return static_cast<double>(value); }

std::array<float, 4> read_eb_state(const EbTwoRoomsGeometry& geometry, std::string_view name,
                                   const Tensor& tensor) {
  check_shape(name, tensor, {4}, "[x, y, wall_x, door_y]");
  check_finite(name, tensor);
  const auto values = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
  std::array<float, 4> state;
  std::copy_n(values.data_ptr<float>(), 4, state.begin());
  const auto largest = static_cast<float>(geometry.image_size - 1);
  for (const float value : state)
    require(value >= 0 && value <= largest, ErrorCategory::invalid_argument,
            std::string(name) + ": " + std::to_string(value) +
                " lies outside of the picture, accepted: 0.." +
                std::to_string(geometry.image_size - 1));
  require(state[2] == std::floor(state[2]) && state[3] == std::floor(state[3]),
          ErrorCategory::invalid_argument,
          std::string(name) + ": wall_x = " + std::to_string(state[2]) +
              " and door_y = " + std::to_string(state[3]) + " must be whole pixels");
  return state;
}

EbLayout layout_of(const std::array<float, 4>& state) {
  return {static_cast<int64_t>(state[2]), static_cast<int64_t>(state[3])};
}

Tensor eb_state_tensor(const std::array<float, 2>& point, const EbLayout& layout) {
  return at::tensor(
      {point[0], point[1], static_cast<float>(layout.wall_x), static_cast<float>(layout.door_y)});
}

}  // namespace

std::vector<std::string> EbTwoRoomsGeometry::validate() const {
  Rules rules("EbTwoRoomsGeometry");
  rules.check(image_size >= 17 && image_size <= 1024, "image_size", number(image_size),
              "must be in 17..1024");
  rules.check(border >= 1 && 4 * border <= image_size, "border", number(border),
              "must be in 1..image_size/4");
  rules.check(wall_width >= 1 && wall_width <= image_size / 4, "wall_width", number(wall_width),
              "must be in 1..image_size/4");
  rules.check(door_space >= 1, "door_space", number(door_space), "must be >= 1");
  rules.check(std::isfinite(dot_std) && dot_std > 0 && dot_std <= number(image_size), "dot_std",
              dot_std, "must be in (0, image_size]");
  // Both rooms must have space for a dot that keeps its margins.
  const double reach = number(border) + number(wall_width / 2) + 2 * kStartMargin * dot_std;
  const auto wall_fits = [&](int64_t x) {
    return number(x) > reach && number(x) < number(image_size - 1) - reach;
  };
  const auto door_fits = [&](int64_t y) {
    return y - door_space >= border - 1 && y + door_space <= image_size - border;
  };
  if (wall == WallPlacement::random) {
    rules.check(2 * wall_padding < image_size && wall_fits(wall_padding), "wall_padding",
                number(wall_padding), "must leave space for both rooms");
    rules.check(2 * door_padding < image_size && door_fits(door_padding), "door_padding",
                number(door_padding), "must keep the door between the borders");
  } else {
    rules.check(wall_fits(fixed_wall_x), "fixed_wall_x", number(fixed_wall_x),
                "must leave space for both rooms");
    rules.check(door_fits(fixed_door_y), "fixed_door_y", number(fixed_door_y),
                "must keep the door between the borders");
  }
  return rules.problems();
}

int64_t EbTwoRoomsGeometry::layouts() const {
  return 2 * (image_size - 2 * wall_padding) * (image_size - 2 * door_padding);
}

EbLayout eb_layout(const EbTwoRoomsGeometry& geometry, int64_t index) {
  if (geometry.wall == WallPlacement::fixed) return {geometry.fixed_wall_x, geometry.fixed_door_y};
  require(index >= 0 && index < geometry.layouts(), ErrorCategory::invalid_argument,
          "eb_layout: index = " + std::to_string(index) + ", accepted: 0.." +
              std::to_string(geometry.layouts() - 1));
  const int64_t per_wall = 2 * (geometry.image_size - 2 * geometry.door_padding);
  return {geometry.wall_padding + index / per_wall, geometry.door_padding + index % per_wall / 2};
}

Tensor eb_two_rooms_picture(const EbTwoRoomsGeometry& geometry, const EbLayout& layout,
                            std::array<float, 2> dot) {
  const int64_t size = geometry.image_size;
  const EbWalls walls(geometry, layout);
  auto picture = at::zeros({2, size, size}, at::kByte);
  auto* pixels = picture.data_ptr<std::uint8_t>();
  // The bump is below 1, and so 0 when rounded down, beyond sqrt(2 ln 255) = 3.33 deviations.
  const auto variance2 = static_cast<float>(2 * geometry.dot_std * geometry.dot_std);
  const auto reach = static_cast<float>(3.4 * geometry.dot_std);
  const auto span = [&](float middle) {
    return std::pair{std::max<int64_t>(0, static_cast<int64_t>(std::ceil(middle - reach))),
                     std::min<int64_t>(size - 1, static_cast<int64_t>(std::floor(middle + reach)))};
  };
  const auto [left, right] = span(dot[0]);
  const auto [top, bottom] = span(dot[1]);
  for (int64_t y = top; y <= bottom; ++y)
    for (int64_t x = left; x <= right; ++x) {
      const float dx = static_cast<float>(x) - dot[0], dy = static_cast<float>(y) - dot[1];
      pixels[y * size + x] =
          static_cast<std::uint8_t>(255.0F * std::exp(-(dx * dx + dy * dy) / variance2));
    }
  auto* wall = pixels + size * size;
  const auto on_border = [&](int64_t i) {
    return i == geometry.border - 1 || i == size - geometry.border;
  };
  for (int64_t y = 0; y < size; ++y)
    for (int64_t x = 0; x < size; ++x) {
      const bool inner =
          walls.in_wall_columns(static_cast<float>(x)) && !walls.in_door(static_cast<float>(y));
      if (inner || on_border(x) || on_border(y)) wall[y * size + x] = 255;
    }
  return picture;
}

std::vector<std::string> EbTwoRoomsOptions::validate() const {
  return Rules("EbTwoRoomsOptions")
      .nested("geometry", geometry.validate())
      .check(std::isfinite(collision_std) && collision_std >= 0, "collision_std", collision_std,
             "must be >= 0")
      .positive("action_limit", action_limit)
      .positive("success_distance", success_distance)
      .check(allowed_positions >= 2, "allowed_positions", number(allowed_positions),
             "must be >= 2: the start and at least one step")
      .problems();
}

EbTwoRooms::EbTwoRooms(EbTwoRoomsOptions options) : options_(std::move(options)) {
  require_valid(options_);
  spec_.name = "eb_two_rooms";
  spec_.action.dim = 2;
  spec_.action.low = {-options_.action_limit, -options_.action_limit};
  spec_.action.high = {options_.action_limit, options_.action_limit};
  spec_.state_names = {"x", "y", "wall_x", "door_y"};
  spec_.observation_names = {"x", "y", "goal_x", "goal_y", "wall_x", "door_y"};
  spec_.native_size = options_.geometry.image_size;
  spec_.picture_planes = 2;
  spec_.max_episode_steps = options_.allowed_positions - 1;
  spec_.problem_steps = options_.allowed_positions;
  spec_.end_distance = options_.success_distance;
  reset(0);
}

EbTwoRooms::~EbTwoRooms() = default;

EnvStep EbTwoRooms::reset(std::uint64_t seed) {
  UniformStream uniform(seed, kEbResetStream);
  const auto layouts = static_cast<double>(options_.geometry.layouts());
  const auto index = static_cast<int64_t>(uniform() * layouts);
  std::array<double, 5> draws;
  for (double& draw : draws) draw = uniform();
  reset_with(index, draws);
  noise_ = std::make_shared<PhiloxNoise>(seed, kEbCollisionStream);
  return observe();
}

EnvStep EbTwoRooms::reset_with(int64_t layout_index, const std::array<double, 5>& uniforms) {
  for (const double u : uniforms)
    require(u >= 0 && u < 1, ErrorCategory::invalid_argument,
            "EbTwoRooms::reset_with: uniform draw " + std::to_string(u) + " is not in [0, 1)");
  const auto& g = options_.geometry;
  const auto layout = eb_layout(g, layout_index);
  const EbWalls walls(g, layout);
  const double margin = kStartMargin * g.dot_std;
  const double low = walls.near_border + margin, high = walls.far_border - margin;
  const auto between = [](double a, double b, double u) {
    return static_cast<float>(a + (b - a) * u);
  };
  Point start{between(low, walls.wall_left - margin, uniforms[0]), between(low, high, uniforms[2])};
  Point goal{between(walls.wall_right + margin, high, uniforms[1]),
             between(low, high, uniforms[3])};
  if (uniforms[4] < 0.5) std::swap(start[0], goal[0]);
  place(layout, start, goal);
  return observe();
}

EnvStep EbTwoRooms::reset_to(const Tensor& state, const Tensor& goal) {
  const auto start = read_eb_state(options_.geometry, "EbTwoRooms: state", state);
  const auto target = read_eb_state(options_.geometry, "EbTwoRooms: goal", goal);
  require(layout_of(start) == layout_of(target), ErrorCategory::invalid_argument,
          "EbTwoRooms: state and goal must have the same wall_x and door_y");
  place(layout_of(start), {start[0], start[1]}, {target[0], target[1]});
  return observe();
}

void EbTwoRooms::place(const EbLayout& layout, const Point& start, const Point& goal) {
  layout_ = layout;
  dot_ = start;
  goal_ = goal;
  steps_ = 0;
  collision_ = {};
  // Whatever the order in which episodes are run, each has its own noise.
  const auto bits = [](const Point& p) {
    return std::uint64_t{std::bit_cast<std::uint32_t>(p[0])} << 32 |
           std::bit_cast<std::uint32_t>(p[1]);
  };
  noise_ = std::make_shared<PhiloxNoise>(bits(start), kEbCollisionStream ^ bits(goal));
}

void EbTwoRooms::use_noise(std::shared_ptr<Noise> noise) {
  require(noise != nullptr, ErrorCategory::invalid_argument, "EbTwoRooms: noise is needed");
  noise_ = std::move(noise);
}

EnvStep EbTwoRooms::step(const Tensor& action) {
  check_shape("EbTwoRooms: action", action, {2}, "[2]");
  check_finite("EbTwoRooms: action", action);
  const auto values = action.detach().to(at::kCPU, at::kFloat).contiguous();
  const Point way{values.data_ptr<float>()[0], values.data_ptr<float>()[1]};
  const auto draw = [this] {
    const auto pair = noise_->normal({2});
    const auto scale = static_cast<float>(options_.collision_std);
    return Point{scale * pair.data_ptr<float>()[0], scale * pair.data_ptr<float>()[1]};
  };
  const auto motion = eb_moved(EbWalls(options_.geometry, layout_), dot_, way, draw);
  dot_ = motion.to;
  collision_ = motion.collision;
  ++steps_;
  return observe();
}

EnvStep EbTwoRooms::observe() const {
  EnvStep result;
  result.observation =
      at::tensor({dot_[0], dot_[1], goal_[0], goal_[1], static_cast<float>(layout_.wall_x),
                  static_cast<float>(layout_.door_y)});
  const float dx = dot_[0] - goal_[0], dy = dot_[1] - goal_[1];
  result.terminated = (dx * dx + dy * dy) / 2 < kDoneDistance2;
  result.truncated = steps_ + 1 >= options_.allowed_positions;
  return result;
}

Tensor EbTwoRooms::state() const { return eb_state_tensor(dot_, layout_); }

void EbTwoRooms::set_state(const Tensor& state) {
  const auto values = read_eb_state(options_.geometry, "EbTwoRooms: state", state);
  layout_ = layout_of(values);
  dot_ = {values[0], values[1]};
}

Tensor EbTwoRooms::goal() const { return eb_state_tensor(goal_, layout_); }

void EbTwoRooms::set_goal(const Tensor& goal) {
  const auto values = read_eb_state(options_.geometry, "EbTwoRooms: goal", goal);
  require(layout_of(values) == layout_, ErrorCategory::invalid_argument,
          "EbTwoRooms: the goal must have the state's wall_x and door_y");
  goal_ = {values[0], values[1]};
}

double EbTwoRooms::goal_distance() const {
  const float dx = dot_[0] - goal_[0], dy = dot_[1] - goal_[1];
  return std::sqrt(dx * dx + dy * dy);
}

Tensor EbTwoRooms::render(int64_t size) const {
  require(size == options_.geometry.image_size, ErrorCategory::unsupported,
          "EbTwoRooms::render: size = " + std::to_string(size) +
              ", but its pictures are planes made for a model and have image_size = " +
              std::to_string(options_.geometry.image_size) + " only");
  return eb_two_rooms_picture(options_.geometry, layout_, dot_);
}

}  // namespace foresight::envs
