// SPDX-License-Identifier: Apache-2.0
// A training step in bfloat16 against the reference's.
#pragma once

#include <functional>
#include <string>

#include "foresight/io/safetensors.hpp"
#include "foresight/nn/autocast.hpp"
#include "golden.hpp"

namespace foresight {

/// Roundings in sequence of squares of what `forward` roundings lead to: they err by twice their
/// root's share, hence have four times its roundings.
constexpr int64_t roundings_of_squares(int64_t forward) { return 4 * forward; }

/// Roundings in sequence of a loss of squares and of its gradients.
struct TrainingRoundings {
  int64_t loss = 0, gradient = 0;
};

/// The backward pass rounds where the forward pass did.
constexpr TrainingRoundings roundings_of_step(int64_t forward) {
  return {roundings_of_squares(forward), 2 * forward};
}

/// The same where targets, which `encoder` roundings lead to, are learned along. A gradient has the
/// errors of what it starts from, a difference of prediction and target; of the activations that it
/// is multiplied with; and its own roundings where the forward pass rounded.
constexpr TrainingRoundings roundings_of_joint_step(int64_t forward, int64_t encoder) {
  return {roundings_of_squares(forward), forward + encoder + forward + forward};
}

/// Computes `loss` under bfloat16 autocast, as TrainOptions.precision = bf16 makes it: weights,
/// sums and the loss in float32. Compares it with `key`. Undefined, and nothing is compared, where
/// the test_device() has no autocast.
inline Tensor compare_autocast_loss(Golden& golden, const std::string& key,
                                    const std::function<Tensor()>& loss, int64_t roundings) {
  if (!has_autocast()) return {};
  INFO("bfloat16 autocast");
  const nn::Autocast autocast(test_device().type(), /*enabled=*/true);
  const auto value = loss();
  golden.compare_bfloat16(key, value.detach().to(at::kBFloat16), roundings);
  return value;
}

/// The same, and gradients of `parameters` with "grads/.." of their names. False where there is no
/// autocast. Not for networks and losses with kinks (ReLU, pooling, absolute differences): where
/// rounding flips a sign, a part of the gradient jumps, which no number of roundings bounds.
inline bool compare_autocast_step(Golden& golden, const std::string& key,
                                  const io::NamedTensors& parameters,
                                  const std::function<Tensor()>& loss,
                                  const TrainingRoundings& roundings) {
  const auto value = compare_autocast_loss(golden, key, loss, roundings.loss);
  if (!value.defined()) return false;
  INFO("bfloat16 autocast");
  value.backward();
  for (const auto& [name, parameter] : parameters)
    golden.compare_bfloat16("grads/" + name, parameter.grad().to(at::kBFloat16),
                            roundings.gradient);
  return true;
}

}  // namespace foresight
