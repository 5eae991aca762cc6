// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/batch_norm.hpp"

#include "foresight/core/replicas.hpp"

namespace foresight::nn {

// Mean first, then the mean squared distance from it: two exchanges instead of one, because the
// difference E[x^2] - E[x]^2 loses the variance of channels whose mean is large.
Tensor batch_norm_over_replicas(const Tensor& x, const BatchNormState& state, double momentum,
                                double epsilon) {
  std::vector<int64_t> others;  // all axes but the channels'
  std::vector<int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  for (int64_t axis = 0; axis < x.dim(); ++axis)
    if (axis != 1) others.push_back(axis);
  shape[1] = x.size(1);

  // At least float32: sums in half types would lose whole replicas.
  const auto wide = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  const auto mean = mean_over_replicas(wide.mean(others));
  const auto centred = wide - mean.view(shape);
  const auto variance = mean_over_replicas(centred.square().mean(others));
  {
    const at::NoGradGuard no_grad;
    const auto samples = static_cast<double>(x.numel() / x.size(1) * replica_count());
    state.running_mean.lerp_(mean.to(state.running_mean.scalar_type()), momentum);
    state.running_var.lerp_(
        (variance * (samples / (samples - 1))).to(state.running_var.scalar_type()), momentum);
  }
  const auto scale = at::rsqrt(variance + epsilon) * state.weight;
  return at::addcmul(state.bias.view(shape), centred, scale.view(shape)).to(x.scalar_type());
}

}  // namespace foresight::nn
