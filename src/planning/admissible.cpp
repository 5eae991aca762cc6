// SPDX-License-Identifier: Apache-2.0
#include "admissible.hpp"

#include <limits>

#include "cpu_loops.hpp"

namespace foresight::detail {
namespace {

// Shortens vectors that are longer than `radius`, as eb_jepa does it: the length is never divided
// by zero, and what is within the radius shrinks by a millionth of a unit.
Tensor shortened(const Tensor& raw, double radius) {
  const auto length = at::sqrt(raw.square().sum(-1, /*keepdim=*/true));
  return raw * (length.clamp_max(radius) / (length + 1e-6));
}

// The point of the way from `from` (inside the ball) to `to` at which the ball ends, or `to`.
// Unlike shortening `to`, this keeps every coordinate between the two.
Tensor last_inside(const Tensor& from, const Tensor& to, double radius) {
  const auto way = to - from;
  const auto a = way.square().sum(-1, /*keepdim=*/true);
  const auto b = (from * way).sum(-1, /*keepdim=*/true);
  const auto c = (from.square().sum(-1, /*keepdim=*/true) - radius * radius).clamp_max(0.0);
  const auto share =
      (at::sqrt(b.square() - a * c) - b) / a.clamp_min(std::numeric_limits<float>::min());
  return from + way * share.clamp(0.0, 1.0);
}

// NaN stays NaN.
template <class T>
T clamped(T value, T low, T high) {
  return value < low ? low : value > high ? high : value;
}

}  // namespace

Admissible::Admissible(const Problem& problem, BoundKind bound, double radius)
    : block_(problem.action.block), dim_(problem.action.dim), bound_(bound), radius_(radius) {
  if (bound == BoundKind::box || bound == BoundKind::truncated) limits_ = block_limits(problem);
  if (problem.pinned.defined()) {
    pinned_ = problem.pinned.to(problem.options);
    if (pinned_.dim() == 2) pinned_ = pinned_.unsqueeze(0);
    free_ = pinned_.isnan();
  }
  if (!problem.max_step.defined()) return;
  max_step_ = problem.max_step.to(problem.options).contiguous();
  if (problem.previous_action.defined()) previous_ = problem.previous_action.to(problem.options);
}

Tensor Admissible::operator()(const Tensor& given) const {
  if (max_step_.defined()) return step_by_step(given);
  auto actions = given;
  if (bound_ == BoundKind::radial) {
    auto split = given.sizes().vec();
    split.back() = block_;
    split.push_back(dim_);
    actions = shortened(given.reshape(split), radius_).reshape(given.sizes());
  } else if (limits_.active()) {
    actions = given.clone(at::MemoryFormat::Contiguous);
    clamp_rows(actions, limits_.low, limits_.high);
  }
  if (!pinned_.defined()) return actions;
  const bool candidates = actions.dim() == 4;
  return at::where(candidates ? free_.unsqueeze(1) : free_, actions,
                   candidates ? pinned_.unsqueeze(1) : pinned_);
}

void Admissible::apply(Tensor& actions) const {
  const bool only_clamped =
      !max_step_.defined() && bound_ != BoundKind::radial && limits_.active() && !pinned_.defined();
  if (only_clamped) {
    clamp_rows(actions, limits_.low, limits_.high);
  } else {
    actions = (*this)(actions);
  }
}

// As step_by_step(), number by number: on the CPU five tensor operations a raw action cost far more
// than their arithmetic.
template <class T>
void Admissible::step_by_loop(Tensor& actions) const {
  const auto rows = actions.numel() / (actions.size(-2) * actions.size(-1));
  const auto problems = actions.size(0), length = actions.size(-2) * actions.size(-1);
  const auto data = [](const Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
  };
  const auto previous = previous_.defined() ? previous_.contiguous() : Tensor();
  const auto pinned = pinned_.defined() ? pinned_.contiguous() : Tensor();
  const T *step = data(max_step_), *first = data(previous), *low = data(limits_.low),
          *high = data(limits_.high);
  for (int64_t row = 0; row < rows; ++row) {
    const auto problem = row / (rows / problems);
    T* value = actions.mutable_data_ptr<T>() + row * length;
    const T* before = first ? first + problem * dim_ : nullptr;
    const T* fixed = pinned.defined() ? data(pinned) + problem % pinned.size(0) * length : nullptr;
    for (int64_t i = 0; i < length; ++i) {
      const auto d = i % dim_;
      auto v = value[i];
      if (i >= dim_) before = value + i - dim_ - d;
      if (before) v = clamped(v, before[d] - step[d], before[d] + step[d]);
      if (low) v = clamped(v, low[d], high[d]);
      if (fixed && fixed[i] == fixed[i]) v = fixed[i];
      value[i] = v;
    }
  }
}

Tensor Admissible::step_by_step(const Tensor& actions) const {
  if (actions.is_cpu() && bound_ != BoundKind::radial) {
    auto result = actions.clone(at::MemoryFormat::Contiguous);
    const auto type = actions.scalar_type();
    if (type == at::kFloat) step_by_loop<float>(result);
    if (type == at::kDouble) step_by_loop<double>(result);
    if (type == at::kFloat || type == at::kDouble) return result;
  }
  const auto steps_of = [&](const Tensor& plans) {  // [...,H,A] -> H*block tensors [...,dim]
    auto split = plans.sizes().vec();
    split.end()[-2] *= block_;
    split.back() = dim_;
    return plans.reshape(split).unbind(-2);
  };
  const auto lead = [&](const Tensor& rows) {  // [B,...] as broadcast over candidates
    return actions.dim() == 4 && rows.defined() ? rows.unsqueeze(1) : rows;
  };
  auto steps = steps_of(actions);
  std::vector<Tensor> pinned, free;
  if (pinned_.defined()) {
    pinned = steps_of(lead(pinned_));
    free = steps_of(lead(free_));
  }
  auto previous = lead(previous_);
  for (std::size_t t = 0; t < steps.size(); ++t) {
    auto& raw = steps[t];
    if (previous.defined()) raw = at::clamp(raw, previous - max_step_, previous + max_step_);
    raw = within_limits(raw, previous);
    if (pinned_.defined()) raw = at::where(free[t], raw, pinned[t]);
    previous = raw;
  }
  return at::stack(steps, -2).reshape(actions.sizes());
}

Tensor Admissible::within_limits(const Tensor& raw, const Tensor& previous) const {
  if (bound_ == BoundKind::radial) {
    const auto inside = previous.defined() ? last_inside(previous, raw, radius_) : raw;
    const auto length = at::sqrt(inside.square().sum(-1, /*keepdim=*/true));
    return at::where(length.gt(radius_), shortened(inside, radius_), inside);
  }
  if (!limits_.active()) return raw;  // the same for every raw action of a block
  return at::clamp(raw, limits_.low.narrow(0, 0, dim_), limits_.high.narrow(0, 0, dim_));
}

}  // namespace foresight::detail
