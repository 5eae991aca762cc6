// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/inverse_dynamics.hpp"

#include "foresight/core/error.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

Tensor inverse_dynamics_input(const Tensor& z, PairOrder order) {
  check_shape("z", z, {kAny, kAny, kAny}, "[B,T,D]");
  require(z.size(1) >= 2, ErrorCategory::invalid_argument,
          "inverse dynamics of latents " + shape_string(z.sizes()) + " needs T >= 2");
  const auto next = z.slice(1, 1), current = z.slice(1, 0, -1);
  return order == PairOrder::next_first ? at::cat({next, current}, -1)
                                        : at::cat({current, next}, -1);
}

Tensor inverse_dynamics(const Tensor& predicted, const Tensor& blocks) {
  check_shape("blocks", blocks, {kAny, kAny, kAny}, "[B,T-1,A]");
  check_shape("predicted blocks", predicted, blocks.sizes(), "the blocks' shape");
  return (widened(predicted) - widened(blocks.detach())).square().mean();
}

}  // namespace foresight::losses
