// SPDX-License-Identifier: Apache-2.0
// A linear probe that watches what an encoder learns: it learns along, from features that pass the
// encoder no gradient.
#pragma once

#include <torch/nn/modules/linear.h>

#include "foresight/core/noise.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/losses/widened.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/train/probe_target.hpp"

namespace foresight::train {

/// A probe of features of `width` for `target`, always with the same first weights, on the CPU.
/// Empty where nothing is to be read.
inline torch::nn::Linear online_probe(int64_t width, const ProbeTargetOptions& target) {
  constexpr std::uint64_t kProbeStream = 7;
  if (target.outputs() == 0) return torch::nn::Linear{nullptr};
  torch::nn::Linear probe(width, target.outputs());
  PhiloxNoise noise(0, kProbeStream);
  nn::init_normal(probe->weight, 0.01, noise);
  nn::init_constant(probe->bias, 0.0);
  return probe;
}

/// Adds what `probe` reads off `features` [B,D], normalised without weights, against probe_truth():
/// "probe", and "probe_error", which is only reported. `features` must require no gradient.
inline void add_online_probe(losses::Terms& terms, const torch::nn::Linear& probe,
                             const Tensor& features, const Tensor& truth,
                             const ProbeTargetOptions& target) {
  using losses::TermRole;
  const auto seen = at::layer_norm(features, {features.size(1)});
  const auto [loss, error] = probe_loss(losses::widened(nn::through(probe, seen)), truth, target);
  terms.add("probe", 1.0, loss, TermRole::probe);
  terms.add("probe_error", 0.0, error, TermRole::probe);
}

/// What the probe of a task named `reader` is to read off windows whose states are `states`
/// [B,T,N], at their first frame; undefined without a probe.
inline Tensor online_truth(const torch::nn::Linear& probe, const Tensor& states,
                           const ProbeTargetOptions& target, std::string_view reader) {
  if (probe.is_empty()) return {};
  return probe_truth(states.defined() ? states.select(1, 0) : Tensor(), target, reader);
}

}  // namespace foresight::train
