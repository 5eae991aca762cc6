// SPDX-License-Identifier: Apache-2.0
// One step of a gated recurrent unit for many rows. As tensor operations, the gates, the mixture
// and the norm are a dozen passes over several times the latent, which for a few hundred rows take
// as long as the matrix product. Here the product of a few rows with the weights of a few elements,
// all three gates of them, stays in registers until it has become the next hidden state.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// Most numbers of an action that a GruStep takes: their products are made beside the gates.
inline constexpr int64_t kFewActions = 16;
/// Elements that are computed side by side: the width of a latent must be a multiple.
inline constexpr int64_t kGruElements = 8;

class GruStep {
 public:
  /// Weights as PyTorch's GRU has them, rows in the order r, z, n: action [3D,A], latent [3D,D],
  /// biases [3D]; float32 on the CPU, D a multiple of kGruElements, A <= kFewActions. They are
  /// copied into another order, so make one step for many calls.
  GruStep(const Tensor& action_weight, const Tensor& latent_weight, const Tensor& action_bias,
          const Tensor& latent_bias);

  /// A layer norm with weight and bias [D] behind the step.
  void set_norm(const Tensor& weight, const Tensor& bias, double epsilon);

  /// Latents and actions [N,D] and [N,A] -> `next` [N,D], other memory than `latent`. Rows
  /// contiguous, no gradient.
  void apply(const Tensor& latent, const Tensor& action, const Tensor& next) const;

 private:
  int64_t together_;                // elements side by side, 16 where AVX-512 computes, else 8
  Tensor latent_weight_;            // [D/16, D, 3, 16]: from latent d, the gates of 16 elements
  Tensor action_weight_;            // [A,3D]
  Tensor bias_;                     // [4,D]: r, z, n from the action, n from the latent
  Tensor norm_weight_, norm_bias_;  // [D] or undefined
  double epsilon_ = 0;
};

}  // namespace foresight::nn
