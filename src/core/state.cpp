// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/state.hpp"

#include <fmt/format.h>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

std::vector<int64_t> joined(at::IntArrayRef batch, at::IntArrayRef field) {
  std::vector<int64_t> shape(batch.begin(), batch.end());
  shape.insert(shape.end(), field.begin(), field.end());
  return shape;
}

}  // namespace

template <class F>
State State::map(int64_t batch_dims, F&& f) const {
  State result(batch_dims);
  result.filled_ = filled_;
  result.fields_.reserve(fields_.size());
  for (const auto& [name, value] : fields_) result.fields_.emplace_back(name, f(value));
  return result;
}

State& State::set(std::string_view field, Tensor value) {
  require(value.defined() && value.dim() >= batch_dims_, ErrorCategory::invalid_argument,
          fmt::format("State field '{}' is {}, expected at least {} batch axes", field,
                      value.defined() ? shape_string(value.sizes()) : "undefined", batch_dims_));
  for (const auto& [name, other] : fields_) {
    if (name == field) continue;
    require(value.sizes().slice(0, batch_dims_) == other.sizes().slice(0, batch_dims_),
            ErrorCategory::invalid_argument,
            fmt::format("State field '{}' {} does not share the batch axes of '{}' {}", field,
                        shape_string(value.sizes()), name, shape_string(other.sizes())));
    break;
  }
  for (auto& [name, current] : fields_) {
    if (name == field) {
      current = std::move(value);
      return *this;
    }
  }
  fields_.emplace_back(std::string(field), std::move(value));
  return *this;
}

const Tensor& State::at(std::string_view field) const {
  for (const auto& [name, value] : fields_)
    if (name == field) return value;
  std::string known;
  for (const auto& [name, value] : fields_) known += (known.empty() ? "" : ", ") + name;
  throw Error(ErrorCategory::not_found,
              fmt::format("no field '{}', known: {}", field, known.empty() ? "none" : known));
}

bool State::has(std::string_view field) const {
  for (const auto& [name, value] : fields_)
    if (name == field) return true;
  return false;
}

std::vector<int64_t> State::batch_shape() const {
  if (fields_.empty()) return {};
  return fields_.front().second.sizes().slice(0, batch_dims_).vec();
}

State State::expand(int64_t candidates) const {
  return map(batch_dims_ + 1, [&](const Tensor& value) {
    auto shape = value.sizes().vec();
    shape.insert(shape.begin() + batch_dims_, candidates);
    return value.unsqueeze(batch_dims_).expand(shape);
  });
}

State State::select(const Tensor& rows) const {
  require(rows.defined() && rows.scalar_type() == at::kLong, ErrorCategory::invalid_argument,
          "State::select needs int64 rows");
  if (batch_dims_ == 1) {
    check_shape("rows", rows, {kAny}, "[N]");
    return map(1,
               [&](const Tensor& value) { return value.index_select(0, rows.to(value.device())); });
  }
  require(batch_dims_ == 2, ErrorCategory::unsupported,
          fmt::format("State::select is defined for 1 or 2 batch axes, not {}", batch_dims_));
  const auto batch = batch_shape();
  if (batch.empty()) return *this;
  check_shape("rows", rows, {batch[0], kAny}, "[B,N]");
  return map(2, [&](const Tensor& value) {
    auto shape = value.sizes().vec();
    shape[1] = rows.size(1);
    std::vector<int64_t> index_shape(static_cast<std::size_t>(value.dim()), 1);
    index_shape[0] = rows.size(0);
    index_shape[1] = rows.size(1);
    return value.gather(1, rows.to(value.device()).view(index_shape).expand(shape));
  });
}

State State::narrow(int64_t first, int64_t count) const {
  return map(batch_dims_,
             [&](const Tensor& value) { return value.narrow(batch_dims_ - 1, first, count); });
}

State State::flatten() const {
  return map(1, [&](const Tensor& value) {
    return value.reshape(joined({-1}, value.sizes().slice(batch_dims_)));
  });
}

State State::unflatten(at::IntArrayRef batch) const {
  require(batch_dims_ == 1, ErrorCategory::invalid_argument,
          fmt::format("State::unflatten needs 1 batch axis, this state has {}", batch_dims_));
  return map(static_cast<int64_t>(batch.size()), [&](const Tensor& value) {
    return value.reshape(joined(batch, value.sizes().slice(1)));
  });
}

State State::to(const at::Device& device) const {
  return map(batch_dims_, [&](const Tensor& value) { return value.to(device); });
}

State State::to(at::ScalarType type) const {
  return map(batch_dims_, [&](const Tensor& value) {
    return value.is_floating_point() ? value.to(type) : value;
  });
}

State State::detach() const {
  return map(batch_dims_, [](const Tensor& value) { return value.detach(); });
}

namespace {

template <class Join>
State join_states(const std::vector<State>& states, int64_t batch_dims, Join&& join) {
  require(!states.empty(), ErrorCategory::invalid_argument, "no states to join");
  State result(batch_dims);
  result.set_filled(states.front().filled());
  for (const auto& [name, unused] : states.front().fields()) {
    std::vector<Tensor> parts;
    parts.reserve(states.size());
    for (const auto& state : states) parts.push_back(state.at(name));
    result.set(name, join(parts));
  }
  return result;
}

}  // namespace

State State::cat(const std::vector<State>& states) {
  const auto dims = states.empty() ? 1 : states.front().batch_dims();
  return join_states(states, dims,
                     [&](const std::vector<Tensor>& parts) { return at::cat(parts, dims - 1); });
}

State State::stack(const std::vector<State>& states) {
  const auto dims = states.empty() ? 1 : states.front().batch_dims();
  return join_states(states, dims + 1,
                     [&](const std::vector<Tensor>& parts) { return at::stack(parts, dims); });
}

}  // namespace foresight
