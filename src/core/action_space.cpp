// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/action_space.hpp"

#include <cmath>
#include <limits>

namespace foresight {
namespace {

// Per-dimension numbers as [A], each raw dimension repeated for every action of the block.
template <class Number>
Tensor tiled(const ActionSpace& space, Number&& number, const at::TensorOptions& options) {
  std::vector<double> row;
  for (int64_t i = 0; i < space.width(); ++i)
    row.push_back(number(static_cast<std::size_t>(i % space.dim)));
  const auto type = options.has_dtype() ? c10::typeMetaToScalarType(options.dtype()) : at::kDouble;
  // at::tensor() makes no half or bfloat16.
  if (at::isReducedFloatingType(type)) return at::tensor(row, options.dtype(at::kFloat)).to(type);
  return at::tensor(row, options.dtype(type));
}
Tensor tiled(const ActionSpace& space, const std::vector<double>& values,
             const at::TensorOptions& options) {
  return tiled(
      space, [&](std::size_t d) { return values[d]; }, options);
}

// A raw limit in normalised units.
Tensor limit(const ActionSpace& space, const std::vector<double>& values, double unlimited,
             const at::TensorOptions& options) {
  return tiled(
      space,
      [&](std::size_t d) {
        const double raw = values.empty() ? unlimited : values[d];
        return (raw - (space.mean.empty() ? 0.0 : space.mean[d])) /
               (space.std.empty() ? 1.0 : space.std[d]);
      },
      options);
}

at::TensorOptions options_of(const Tensor& tensor) {
  return at::TensorOptions().dtype(tensor.scalar_type()).device(tensor.device());
}

}  // namespace

std::vector<std::string> ActionSpace::validate() const {
  Rules rules("ActionSpace");
  rules.check(dim >= 1, "dim", static_cast<double>(dim), "must be >= 1");
  rules.check(block >= 1, "block", static_cast<double>(block), "must be >= 1");
  const auto sized = [&](const std::vector<double>& list, std::string_view name) {
    rules.check(list.empty() || static_cast<int64_t>(list.size()) == dim, name,
                static_cast<double>(list.size()), "values, expected one per dimension or none");
    for (const double value : list)
      rules.check(!std::isnan(value), name, value, "must be a number");
  };
  sized(low, "low");
  sized(high, "high");
  sized(mean, "mean");
  sized(std, "std");
  for (const double value : std)
    rules.check(value > 0 && std::isfinite(value), "std", value, "must be positive and finite");
  for (const double value : mean)
    rules.check(std::isfinite(value), "mean", value, "must be finite");
  for (const double value : low)
    rules.check(value != std::numeric_limits<double>::infinity(), "low", value,
                "must be below +infinity");
  for (const double value : high)
    rules.check(value != -std::numeric_limits<double>::infinity(), "high", value,
                "must be above -infinity");
  if (low.size() == high.size())
    for (std::size_t i = 0; i < low.size(); ++i)
      rules.check(low[i] < high[i], "low", low[i],
                  "must be below high = " + std::to_string(high[i]));
  if (discrete)
    rules.check(low.empty() && high.empty() && mean.empty() && std.empty(), "discrete", 1,
                "excludes limits and statistics");
  return rules.problems();
}

Tensor ActionSpace::normalise(const Tensor& raw) const {
  require(raw.defined() && raw.dim() >= 1, ErrorCategory::invalid_argument,
          "raw actions are undefined or scalar");
  Tensor blocks = raw;
  // With blocks of one action, [1, dim] is a batch of one block; [..., 1, dim] has its own axis for
  // the actions of a block.
  if (raw.size(-1) == dim && raw.dim() >= (block == 1 ? 3 : 2) && raw.size(-2) == block)
    blocks = raw.flatten(-2);
  require(blocks.size(-1) == width(), ErrorCategory::invalid_argument,
          "raw actions have shape " + shape_string(raw.sizes()) + ", expected [..., " +
              std::to_string(block) + ", " + std::to_string(dim) + "] or [..., " +
              std::to_string(width()) + "]");
  const auto options = options_of(blocks);
  if (!mean.empty()) blocks = blocks - tiled(*this, mean, options);
  if (!std.empty()) blocks = blocks / tiled(*this, std, options);
  return at::nan_to_num(blocks, 0.0, std::numeric_limits<double>::infinity(),
                        -std::numeric_limits<double>::infinity());
}

Tensor ActionSpace::denormalise(const Tensor& blocks) const {
  require(blocks.defined() && blocks.dim() >= 1 && blocks.size(-1) == width(),
          ErrorCategory::invalid_argument,
          "action blocks have shape " +
              (blocks.defined() ? shape_string(blocks.sizes()) : std::string("undefined")) +
              ", expected [..., " + std::to_string(width()) + "]");
  Tensor raw = blocks;
  const auto options = options_of(blocks);
  if (!discrete && !std.empty()) raw = raw * tiled(*this, std, options);
  if (!discrete && !mean.empty()) raw = raw + tiled(*this, mean, options);
  auto shape = raw.sizes().vec();
  shape.back() = block;
  shape.push_back(dim);
  return raw.reshape(shape);
}

Tensor ActionSpace::block_low(const at::TensorOptions& options) const {
  return limit(*this, low, -std::numeric_limits<double>::infinity(), options);
}

Tensor ActionSpace::block_high(const at::TensorOptions& options) const {
  return limit(*this, high, std::numeric_limits<double>::infinity(), options);
}

Tensor ActionSpace::clamp_raw(const Tensor& raw) const {
  require(raw.defined() && raw.dim() >= 1 && raw.size(-1) == dim, ErrorCategory::invalid_argument,
          "raw actions need a last axis of " + std::to_string(dim));
  Tensor clamped = raw;
  const auto row = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).to(options_of(raw));
  };
  if (!low.empty()) clamped = at::maximum(clamped, row(low));
  if (!high.empty()) clamped = at::minimum(clamped, row(high));
  return clamped;
}

}  // namespace foresight
