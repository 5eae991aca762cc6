// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/action_limits.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kUp = std::numeric_limits<float>::infinity();

std::vector<double> filled(const std::vector<double>& values, int64_t dim, double otherwise) {
  return values.empty() ? std::vector<double>(static_cast<std::size_t>(dim), otherwise) : values;
}

}  // namespace

ActionLimits::ActionLimits(const ActionSpace& space, std::vector<double> max_step)
    : dim_(space.dim),
      low_(filled(space.low, space.dim, -kInfinity)),
      high_(filled(space.high, space.dim, kInfinity)),
      max_step_(std::move(max_step)) {
  require(!space.discrete || max_step_.empty(), ErrorCategory::invalid_option,
          "max_step has no meaning for discrete actions");
  require(max_step_.empty() || static_cast<int64_t>(max_step_.size()) == dim_,
          ErrorCategory::invalid_option,
          fmt::format("max_step has {} values, expected {} or none", max_step_.size(), dim_));
  for (const double step : max_step_)
    require(step > 0, ErrorCategory::invalid_option,
            fmt::format("max_step = {} must be positive", step));
}

Tensor ActionLimits::apply(const Tensor& raw) const {
  return apply(raw, at::full_like(raw, std::numeric_limits<double>::quiet_NaN()));
}

Tensor ActionLimits::apply(const Tensor& raw, const Tensor& previous) const {
  check_shape("raw", raw, {kAny, dim_}, "[B,dim]");
  check_shape("previous", previous, {raw.size(0), dim_}, "[B,dim]");
  const auto before = previous.to(at::kCPU, at::kFloat).contiguous();
  const auto wanted = raw.to(at::kCPU, at::kFloat).contiguous();
  auto action = at::empty_like(wanted);
  const auto* in = wanted.data_ptr<float>();
  const auto* last = before.data_ptr<float>();
  auto* out = action.data_ptr<float>();
  for (int64_t i = 0; i < action.numel(); ++i)
    out[i] = limited(in[i], last[i], static_cast<std::size_t>(i % dim_));
  return action;
}

float ActionLimits::limited(double value, double previous, std::size_t dimension) const {
  const bool known = std::isfinite(previous);
  if (!std::isfinite(value)) value = known ? previous : 0.0;
  double low = low_[dimension], high = high_[dimension];
  if (known && !max_step_.empty()) {
    const double least = previous - max_step_[dimension], most = previous + max_step_[dimension];
    if (least > high || most < low) return limited(std::clamp(previous, low, high), NAN, dimension);
    low = std::max(low, least);
    high = std::min(high, most);
  }
  auto result = static_cast<float>(std::clamp(value, low, high));
  if (static_cast<double>(result) > high) result = std::nextafter(result, -kUp);
  if (static_cast<double>(result) < low) result = std::nextafter(result, kUp);
  // An interval without any float32 but the previous action itself: stay.
  const bool outside = static_cast<double>(result) > high || static_cast<double>(result) < low;
  return outside && known ? static_cast<float>(previous) : result;
}

}  // namespace foresight
