// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/regions.hpp"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <mutex>

#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"

namespace foresight {
namespace {

void check_points(const Tensor& points, int64_t dims, std::string_view region) {
  require(points.defined() && points.dim() >= 1 && points.size(-1) == dims,
          ErrorCategory::invalid_argument,
          fmt::format("{}: points have shape {}, expected [...,{}]", region,
                      points.defined() ? shape_string(points.sizes()) : "undefined", dims));
}

void check_region(const SignedDistance& region) {
  require(static_cast<bool>(region), ErrorCategory::invalid_argument,
          "a region needs a signed distance");
}

Tensor matrix(const std::vector<std::vector<double>>& rows) {
  std::vector<double> flat;
  for (const auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  return at::tensor(flat, at::kDouble).reshape({static_cast<int64_t>(rows.size()), -1});
}

// A constant in the type and on the device of the points that it meets. Every evaluation of a cost
// asks for it, so that it is converted once for each and not ten thousand embeddings every time.
class Constant {
 public:
  explicit Constant(const Tensor& value) : made_(std::make_shared<Made>()) {
    WithoutGradients no_gradients;  // or it could not enter a later search by gradients
    value_ = value.detach().clone();
  }

  int64_t size(int64_t axis) const { return value_.size(axis); }

  Tensor like(const Tensor& points) const {
    std::lock_guard lock(made_->mutex);
    for (const auto& tensor : made_->tensors)
      if (tensor.scalar_type() == points.scalar_type() && tensor.device() == points.device())
        return tensor;
    WithoutGradients no_gradients;
    made_->tensors.push_back(value_.to(points.options()).detach());
    return made_->tensors.back();
  }

 private:
  // Copies of a region share what was made.
  struct Made {
    std::mutex mutex;
    std::vector<Tensor> tensors;
  };
  Tensor value_;
  std::shared_ptr<Made> made_;
};

// Distances are told in float32 at least: bfloat16 would round them to a 256th of their size, and
// has no cdist.
Tensor precise(const Tensor& points) {
  return at::isReducedFloatingType(points.scalar_type()) ? points.to(at::kFloat) : points;
}

// sign * signed distance, [B,S,H]: how far each step breaks the rule.
CostTerm broken(SignedDistance region, PositionOf position, double sign, bool worst_only) {
  check_region(region);
  require(static_cast<bool>(position), ErrorCategory::invalid_argument,
          "a region needs to be told where the position is");
  return [region = std::move(region), position = std::move(position), sign, worst_only](
             const Trajectory& trajectory, const Task&) {
    const auto points = position(trajectory);
    require(points.defined() && points.dim() == 4, ErrorCategory::invalid_argument,
            fmt::format("positions have shape {}, expected [B,S,H,N]",
                        points.defined() ? shape_string(points.sizes()) : "undefined"));
    const auto breach = region(points) * sign;
    check_shape("signed distance", breach, points.sizes().slice(0, 3), "[B,S,H]");
    return worst_only ? breach.amax(2) : breach.clamp_min(0.0).square().sum(2);
  };
}

}  // namespace

std::vector<std::string> Balls::validate() const {
  Rules rules("Balls");
  rules.check(!centres.empty(), "centres", "[]", "must have at least one centre");
  for (const auto& centre : centres) {
    rules.check(!centre.empty() && centre.size() == centres.front().size(), "centres",
                static_cast<double>(centre.size()), "coordinates, expected the same count for all");
    for (const double x : centre) rules.check(std::isfinite(x), "centres", x, "must be finite");
  }
  rules.check(std::isfinite(radius) && radius > 0, "radius", radius, "must be positive");
  return rules.problems();
}

SignedDistance balls(const Balls& options) {
  require_valid(options);
  return near_any(matrix(options.centres), options.radius);
}

std::vector<std::string> Box::validate() const {
  Rules rules("Box");
  rules.check(!low.empty() && low.size() == high.size(), "high", static_cast<double>(high.size()),
              "coordinates, expected as many as low has, at least one");
  for (std::size_t i = 0; i < std::min(low.size(), high.size()); ++i)
    rules.check(low[i] < high[i], "low", low[i], "must be below high");  // not for NaN either
  return rules.problems();
}

SignedDistance box(const Box& options) {
  require_valid(options);
  const Constant low(at::tensor(options.low, at::kDouble));
  const Constant high(at::tensor(options.high, at::kDouble));
  return [low, high](const Tensor& given) {
    check_points(given, low.size(0), "box");
    const auto points = precise(given);
    const auto beyond =
        at::maximum(low.like(points) - points, points - high.like(points));  // a side, < 0 inside
    // The nearest point of the box: Euclidean outside, the nearest side inside.
    return at::linalg_vector_norm(beyond.clamp_min(0.0), 2, at::IntArrayRef{-1}) +
           beyond.amax(-1).clamp_max(0.0);
  };
}

SignedDistance near_any(const Tensor& embeddings, double radius) {
  check_shape("embeddings", embeddings, {kAny, kAny}, "[M,N]");
  require(embeddings.size(0) >= 1 && embeddings.size(1) >= 1, ErrorCategory::invalid_argument,
          fmt::format("embeddings have shape {}, expected at least one row",
                      shape_string(embeddings.sizes())));
  check_finite("embeddings", embeddings);
  require(std::isfinite(radius) && radius > 0, ErrorCategory::invalid_argument,
          fmt::format("near_any: radius = {} must be positive", radius));
  return [embeddings = Constant(embeddings), radius](const Tensor& given) {
    check_points(given, embeddings.size(1), "near_any");
    const auto points = precise(given);
    // Without the matrix-product shortcut, which loses the small distances that matter here.
    constexpr int64_t kWithoutMatrixProduct = 2;
    const auto rows = points.reshape({-1, points.size(-1)});
    const auto distance = at::cdist(rows, embeddings.like(points), 2.0, kWithoutMatrixProduct);
    return (distance.amin(1) - radius).reshape(points.sizes().slice(0, points.dim() - 1));
  };
}

SignedDistance outside_of(SignedDistance region) {
  check_region(region);
  return [region = std::move(region)](const Tensor& points) { return -region(points); };
}

SignedDistance any_of(std::vector<SignedDistance> regions) {
  require(!regions.empty(), ErrorCategory::invalid_argument, "any_of needs at least one region");
  for (const auto& region : regions) check_region(region);
  return [regions = std::move(regions)](const Tensor& points) {
    auto distance = regions.front()(points);
    for (std::size_t i = 1; i < regions.size(); ++i)
      distance = at::minimum(distance, regions[i](points));
    return distance;
  };
}

SignedDistance all_of(std::vector<SignedDistance> regions) {
  for (auto& region : regions) region = outside_of(std::move(region));
  return outside_of(any_of(std::move(regions)));
}

PositionOf position_in(std::string field) {
  return [field = std::move(field)](const Trajectory& trajectory) {
    return trajectory.states.at(field).flatten(3);
  };
}

PositionOf position_in(std::string field, std::vector<int64_t> elements) {
  require(!elements.empty(), ErrorCategory::invalid_argument,
          "position_in needs at least one element");
  return [whole = position_in(std::move(field)),
          elements = std::move(elements)](const Trajectory& trajectory) {
    const auto flat = whole(trajectory);
    std::vector<Tensor> picked;
    for (const auto element : elements) {
      require(element >= 0 && element < flat.size(-1), ErrorCategory::invalid_argument,
              fmt::format("position_in: element {} is not one of {}", element, flat.size(-1)));
      picked.push_back(flat.select(-1, element));
    }
    return at::stack(picked, -1);
  };
}

PositionOf probed(std::function<Tensor(const Tensor&)> probe, std::string field) {
  require(static_cast<bool>(probe), ErrorCategory::invalid_argument, "probed needs a probe");
  return [probe = std::move(probe), whole = position_in(std::move(field))](
             const Trajectory& trajectory) { return probe(whole(trajectory)); };
}

CostTerm keep_out(SignedDistance region, PositionOf position) {
  return broken(std::move(region), std::move(position), -1.0, false);
}
CostTerm keep_in(SignedDistance region, PositionOf position) {
  return broken(std::move(region), std::move(position), 1.0, false);
}
CostTerm keep_out_constraint(SignedDistance region, PositionOf position) {
  return broken(std::move(region), std::move(position), -1.0, true);
}
CostTerm keep_in_constraint(SignedDistance region, PositionOf position) {
  return broken(std::move(region), std::move(position), 1.0, true);
}

}  // namespace foresight
