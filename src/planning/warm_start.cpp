// SPDX-License-Identifier: Apache-2.0
// How a plan becomes the start of the next search: shifted by what was executed, cut or completed
// to the horizon.
#include "warm_start.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight {
namespace {

bool all_equal(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values.front(); });
}

// [A]: the prior mean of every element of a block.
Tensor prior_row(const std::vector<double>& prior, const Tensor& plan) {
  const auto width = plan.size(2), count = static_cast<int64_t>(prior.size());
  return at::tensor(prior, at::kDouble).repeat({width / count}).to(plan.options());
}

// Shifted rates keep H rows; new ones are the prior mean.
Tensor advance_rates(const Tensor& rates, const std::vector<int64_t>& raw_steps, int64_t block,
                     const std::vector<double>& prior) {
  const auto row = prior_row(prior, rates);
  // The end is filled by shifting the difference to the prior, which is zero there.
  auto moved = advance_plan(rates - row, raw_steps, block, Tail::prior);
  const auto rest = rates.size(1) - (moved.defined() ? moved.size(1) : 0);
  const auto zeros = at::zeros({rates.size(0), rest, rates.size(2)}, rates.options());
  moved = moved.defined() ? at::cat({moved, zeros}, 1) : zeros;
  return moved + row;
}

}  // namespace

Tensor detail::renewed(const Tensor& value, const Tensor& fresh,
                       const std::vector<int64_t>& raw_steps, int64_t length) {
  if (std::all_of(raw_steps.begin(), raw_steps.end(), [&](int64_t v) { return v <= length; }))
    return value;
  std::vector<int64_t> view(static_cast<std::size_t>(value.dim()), 1);
  view[0] = -1;
  const auto ended = at::tensor(raw_steps, at::kLong).gt(length);
  return at::where(ended.to(value.device()).view(view), fresh, value);
}

Tensor detail::advance_mean(const Tensor& plan, const std::vector<int64_t>& raw_steps,
                            int64_t block, Tail tail, const std::vector<double>& prior) {
  const auto moved = advance_plan(plan, raw_steps, block, tail);
  // Whole blocks left a shorter plan, whose end is still to come.
  if (!moved.defined() || moved.size(1) < plan.size(1)) return moved;
  if (tail == Tail::repeat_last)
    return renewed(moved, prior_row(prior, plan), raw_steps, plan.size(1) * block);
  if (std::all_of(prior.begin(), prior.end(), [](double v) { return v == 0; })) return moved;
  // Of rows of ones only the end that was filled in has become zero.
  const auto kept = advance_plan(at::ones_like(plan), raw_steps, block, tail);
  return at::where(kept.ne(0), moved, prior_row(prior, plan));
}

WarmStart WarmStart::select(const Tensor& rows) const {
  WarmStart picked;
  const auto take = [&](const Tensor& tensor) {
    return tensor.index_select(0, rows.to(tensor.device()));
  };
  if (mean.defined()) picked.mean = take(mean);
  for (const auto& [name, tensor] : memory) picked.memory.emplace_back(name, take(tensor));
  return picked;
}

Tensor advance_plan(const Tensor& plan, const std::vector<int64_t>& raw_steps, int64_t block,
                    Tail tail) {
  if (!plan.defined()) return {};
  check_shape("plan", plan, {kAny, kAny, kAny}, "[B,h,A]");
  const auto batch = plan.size(0), rows = plan.size(1), width = plan.size(2);
  require(block >= 1 && width % block == 0, ErrorCategory::invalid_argument,
          fmt::format("advance_plan: block = {} must divide A = {}", block, width));
  require(static_cast<int64_t>(raw_steps.size()) == batch, ErrorCategory::invalid_argument,
          fmt::format("advance_plan: {} raw step counts for B = {}", raw_steps.size(), batch));
  for (const auto steps : raw_steps)
    require(steps >= 0, ErrorCategory::invalid_argument,
            fmt::format("advance_plan: raw_steps = {} must be >= 0", steps));
  const auto total = rows * block;
  if (total == 0 || batch == 0) return {};

  if (all_equal(raw_steps) && raw_steps.front() % block == 0 && tail == Tail::prior) {
    const auto gone = std::min(raw_steps.front() / block, rows);
    return gone == rows ? Tensor() : plan.narrow(1, gone, rows - gone);
  }
  // One gather over the flattened raw sequence; the host knows every index.
  auto index = at::empty({batch, total}, at::kLong);
  auto* out = index.data_ptr<int64_t>();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t t = 0; t < total; ++t)
      out[b * total + t] = raw_steps[static_cast<std::size_t>(b)] + t;
  index = index.to(plan.device());
  const auto raw = plan.reshape({batch, total, width / block});
  auto moved =
      raw.gather(1, index.clamp_max(total - 1).unsqueeze(-1).expand({batch, total, width / block}));
  if (tail == Tail::prior) moved = moved.masked_fill(index.ge(total).unsqueeze(-1), 0.0);
  return moved.reshape({batch, rows, width});
}

WarmStart SamplingPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                   int64_t block) const {
  WithoutGradients no_gradients;
  WarmStart next;
  // Symbols have no prior mean, and rates have one of their own.
  const bool of_actions = options_.proposal != ProposalKind::categorical &&
                          options_.proposal != ProposalKind::action_rates;
  next.mean = detail::advance_mean(last.mean, raw_steps, block, options_.tail,
                                   of_actions ? options_.initial_mean : std::vector<double>{0.0});
  const auto length = last.mean.defined() ? last.mean.size(1) * block : 0;
  for (const auto& [name, tensor] : last.memory) {
    if (name == "elites") {
      // Elites keep H rows: their end repeats the last action. NaN: none, a draw keeps its place.
      const auto batch = tensor.size(0), count = tensor.size(1);
      std::vector<int64_t> steps;
      for (const auto row : raw_steps)
        steps.insert(steps.end(), static_cast<std::size_t>(count), row);
      const auto moved = advance_plan(tensor.flatten(0, 1), steps, block, Tail::repeat_last)
                             .unflatten(0, {batch, count});
      const auto none = at::full({}, std::nan(""), moved.options());
      next.memory.emplace_back(name, detail::renewed(moved, none, raw_steps, length));
    } else if (name == "rates") {
      next.memory.emplace_back(name,
                               advance_rates(tensor, raw_steps, block, options_.initial_mean));
    } else if (name == "knots" && last.mean.defined()) {
      std::vector<Tensor> rows;
      for (std::size_t b = 0; b < raw_steps.size(); ++b) {
        const auto shift = knot_shift_matrix(
            last.mean.size(1), tensor.size(1), options_.knot_kernel, options_.kernel_width,
            static_cast<double>(raw_steps[b]) / static_cast<double>(block));
        rows.push_back(at::matmul(shift.to(tensor.options()), tensor[static_cast<int64_t>(b)]));
      }
      const auto prior = prior_row(options_.initial_mean, tensor);
      next.memory.emplace_back(name, detail::renewed(at::stack(rows), prior, raw_steps, length));
    } else {
      next.memory.emplace_back(name, tensor);
    }
  }
  return next;
}

Tensor complete_warm_start(const Problem& problem, const Tensor& prior, Tail tail) {
  const auto batch = problem.batch, horizon = problem.horizon, width = problem.width();
  const auto& given = problem.warm_start.mean;
  const auto rows = given.defined() ? std::min(given.size(1), horizon) : 0;
  if (rows == 0 && !problem.tail) return prior.expand({batch, horizon, width}).contiguous();
  const auto prefix = rows == 0 ? at::zeros({batch, 0, width}, problem.options)
                                : given.narrow(1, 0, rows).to(problem.options);
  if (rows == horizon) return prefix.contiguous();
  const auto missing = horizon - rows;
  Tensor rest;
  if (problem.tail) {
    rest = problem.tail(prefix);
    check_shape("Problem.tail's result", rest, {batch, missing, width}, "[B,H-h,A]");
    rest = rest.to(problem.options);
  } else if (tail == Tail::repeat_last) {
    rest = prefix.narrow(1, rows - 1, 1).expand({batch, missing, width});
  } else {
    rest = prior.expand({batch, missing, width});
  }
  return at::cat({prefix, rest}, 1);
}

}  // namespace foresight
