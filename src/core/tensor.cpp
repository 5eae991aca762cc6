// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/tensor.hpp"

#include <fmt/format.h>

#include "foresight/core/error.hpp"

namespace foresight {

std::string shape_string(at::IntArrayRef shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i)
    text += (i ? ", " : "") + (shape[i] == kAny ? std::string("*") : std::to_string(shape[i]));
  return text + "]";
}

void check_shape(std::string_view name, const Tensor& tensor, at::IntArrayRef expected,
                 std::string_view letters) {
  require(tensor.defined(), ErrorCategory::invalid_argument,
          fmt::format("{} is undefined, expected {} = {}", name, letters, shape_string(expected)));
  bool matches = tensor.dim() == static_cast<int64_t>(expected.size());
  for (std::size_t i = 0; matches && i < expected.size(); ++i)
    matches = expected[i] == kAny || expected[i] == tensor.size(static_cast<int64_t>(i));
  require(matches, ErrorCategory::invalid_argument,
          fmt::format("{} has shape {}, expected {} = {}", name, shape_string(tensor.sizes()),
                      letters, shape_string(expected)));
}

void check_finite(std::string_view name, const Tensor& tensor) {
  if (at::isfinite(tensor).all().item<bool>()) return;
  const auto bad = at::isfinite(tensor).logical_not().sum().item<int64_t>();
  throw Error(ErrorCategory::non_finite,
              fmt::format("{} {} has {} non-finite values of {}", name,
                          shape_string(tensor.sizes()), bad, tensor.numel()));
}

}  // namespace foresight
