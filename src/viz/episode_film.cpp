// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/episode_film.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/viz/image.hpp"

namespace foresight::viz {
namespace {

using Colour = std::array<std::uint8_t, 3>;
constexpr Colour kExecuted = {255, 255, 255}, kOutline = {16, 19, 26}, kPlan = {255, 61, 139},
                 kGoalBorder = {47, 227, 140};
constexpr Colour kBackground = {24, 26, 30};

int64_t even(int64_t size) { return size + size % 2; }

void check_points(const char* name, const Tensor& points, at::IntArrayRef shape,
                  const char* letters) {
  check_shape(name, points, shape, letters);
  require(points.is_floating_point(), ErrorCategory::invalid_argument,
          fmt::format("{} has type {}, expected a floating type", name,
                      at::toString(points.scalar_type())));
}

void check_image(const char* name, const Tensor& image) {
  require(image.scalar_type() == at::kByte && image.numel() > 0, ErrorCategory::invalid_argument,
          fmt::format("{} has type {} and {} values, expected uint8 and at least one pixel", name,
                      at::toString(image.scalar_type()), image.numel()));
}

void check(const EpisodeFilm& film) {
  require(film.frames.defined(), ErrorCategory::invalid_argument,
          "EpisodeFilm.frames is undefined");
  check_shape("EpisodeFilm.frames", film.frames, {kAny, kAny, kAny, 3}, "[T,H,W,3]");
  check_image("EpisodeFilm.frames", film.frames);
  const auto steps = film.frames.size(0);
  if (film.goal.defined()) {
    check_shape("EpisodeFilm.goal", film.goal, {kAny, kAny, 3}, "[H,W,3]");
    check_image("EpisodeFilm.goal", film.goal);
  }
  if (film.positions.defined())
    check_points("EpisodeFilm.positions", film.positions, {steps, 2}, "[T,2]");
  if (film.plans.defined())
    check_points("EpisodeFilm.plans", film.plans, {steps, kAny, 2}, "[T,N,2]");
  require(film.scale >= 1 && film.scale <= 32, ErrorCategory::invalid_argument,
          fmt::format("EpisodeFilm.scale = {} must be 1 to 32", film.scale));
}

/// Draws into an image on the CPU; what lies outside is not drawn.
class Brush {
 public:
  explicit Brush(Tensor image)
      : image_(std::move(image)), pixels_(image_.accessor<std::uint8_t, 3>()) {}

  void disc(double x, double y, double radius, const Colour& colour) {
    const auto first_row = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(y - radius)));
    const auto last_row =
        std::min<int64_t>(pixels_.size(0) - 1, static_cast<int64_t>(std::floor(y + radius)));
    const auto first_column = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(x - radius)));
    const auto last_column =
        std::min<int64_t>(pixels_.size(1) - 1, static_cast<int64_t>(std::floor(x + radius)));
    for (auto row = first_row; row <= last_row; ++row)
      for (auto column = first_column; column <= last_column; ++column)
        if (std::hypot(static_cast<double>(column) - x, static_cast<double>(row) - y) <= radius)
          for (int64_t c = 0; c < 3; ++c)
            pixels_[row][column][c] = colour[static_cast<std::size_t>(c)];
  }

  /// A line of discs through [N,2] points; points that are not finite or far outside end a stroke.
  void polyline(const Tensor& points, double radius, const Colour& colour) {
    const auto at = points.accessor<double, 2>();
    auto drawable = [&](int64_t i) { return std::abs(at[i][0]) < 1e5 && std::abs(at[i][1]) < 1e5; };
    for (int64_t i = 0; i < points.size(0); ++i) {
      if (!drawable(i)) continue;
      const int64_t from = i > 0 && drawable(i - 1) ? i - 1 : i;
      const double dx = at[i][0] - at[from][0], dy = at[i][1] - at[from][1];
      const auto stamps = static_cast<int64_t>(std::ceil(std::hypot(dx, dy)));
      for (int64_t k = 0; k <= stamps; ++k) {
        const double fraction =
            stamps == 0 ? 0 : static_cast<double>(k) / static_cast<double>(stamps);
        disc(at[from][0] + fraction * dx, at[from][1] + fraction * dy, radius, colour);
      }
    }
  }

 private:
  Tensor image_;
  at::TensorAccessor<std::uint8_t, 3> pixels_;
};

/// Frame coordinates to picture coordinates: pixel centres stay pixel centres.
Tensor to_picture(const Tensor& points, int64_t scale) {
  const auto zoom = static_cast<double>(scale);
  return ((points.detach().to(at::kCPU, at::kDouble) + 0.5) * zoom - 0.5).contiguous();
}

/// The goal beside the frame, framed in its colour.
Tensor with_goal(const Tensor& picture, const Tensor& goal, int64_t scale) {
  constexpr int64_t kGap = 8, kBorder = 2;
  const auto shown = upscale_nearest(goal.detach().to(at::kCPU), std::max<int64_t>(1, scale / 2));
  const auto height = std::max(picture.size(0), shown.size(0) + 2 * kBorder);
  const auto left = picture.size(1) + kGap;
  auto page = at::empty({even(height), even(left + shown.size(1) + 2 * kBorder), 3}, at::kByte);
  auto tensor_of = [](const Colour& colour) {
    return at::tensor({colour[0], colour[1], colour[2]}, at::kByte);
  };
  page.copy_(tensor_of(kBackground).expand_as(page));
  page.slice(0, 0, picture.size(0)).slice(1, 0, picture.size(1)).copy_(picture);
  auto border = page.slice(0, 0, shown.size(0) + 2 * kBorder)
                    .slice(1, left, left + shown.size(1) + 2 * kBorder);
  border.copy_(tensor_of(kGoalBorder).expand_as(border));
  border.slice(0, kBorder, kBorder + shown.size(0))
      .slice(1, kBorder, kBorder + shown.size(1))
      .copy_(shown);
  return page;
}

/// One row or column more where a side is odd: 4:2:0 video needs even sides.
Tensor to_even(const Tensor& picture) {
  const auto height = picture.size(0), width = picture.size(1);
  if (height % 2 == 0 && width % 2 == 0) return picture;
  auto padded = at::zeros({even(height), even(width), 3}, at::kByte);
  padded.slice(0, 0, height).slice(1, 0, width).copy_(picture);
  return padded;
}

Tensor compose(const EpisodeFilm& film, int64_t t) {
  auto picture = upscale_nearest(film.frames[t].detach().to(at::kCPU), film.scale).contiguous();
  Brush brush(picture);
  const double width = std::max(1.0, 0.18 * static_cast<double>(film.scale));
  if (film.plans.defined()) {
    const auto plan = to_picture(film.plans[t], film.scale);
    brush.polyline(plan, width + 1, kOutline);
    brush.polyline(plan, width, kPlan);
  }
  if (film.positions.defined()) {
    const auto path = to_picture(film.positions.narrow(0, 0, t + 1), film.scale);
    brush.polyline(path, width + 1, kOutline);
    brush.polyline(path, width, kExecuted);
  }
  return film.goal.defined() ? with_goal(picture, film.goal, film.scale) : to_even(picture);
}

}  // namespace

Tensor film_picture(const EpisodeFilm& film, int64_t t) {
  check(film);
  require(t >= 0 && t < film.frames.size(0), ErrorCategory::invalid_argument,
          fmt::format("film_picture: t = {} must be 0 to {}", t, film.frames.size(0) - 1));
  return compose(film, t);
}

void write_episode_film(const EpisodeFilm& film, const std::filesystem::path& path) {
  check(film);
  data::VideoWriterOptions options;
  options.fps = film.fps;
  data::VideoWriter writer(path, options);
  for (int64_t t = 0; t < film.frames.size(0); ++t) writer.write(compose(film, t));
  writer.close();
}

}  // namespace foresight::viz
