// SPDX-License-Identifier: Apache-2.0
// Draws replayed in the order in which they were recorded.
#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"

namespace foresight {

Tensor RecordedNoise::next(at::IntArrayRef shape, const at::TensorOptions& options) {
  require(
      !draws_.empty(), ErrorCategory::invalid_argument,
      "RecordedNoise: a draw of shape " + shape_string(shape) + " was asked for, but none is left");
  require(draws_.front().sizes() == shape, ErrorCategory::invalid_argument,
          "RecordedNoise: a draw of shape " + shape_string(shape) +
              " was asked for, the next recorded one has " + shape_string(draws_.front().sizes()));
  auto draw = draws_.front().to(options);
  draws_.pop_front();
  return draw;
}

Tensor RecordedNoise::normal(at::IntArrayRef shape, const at::TensorOptions& options) {
  return next(shape, options);
}

Tensor RecordedNoise::uniform(at::IntArrayRef shape, const at::TensorOptions& options) {
  return next(shape, options);
}

}  // namespace foresight
