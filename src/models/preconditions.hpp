// SPDX-License-Identifier: Apache-2.0
// What every model checks before it imagines: that something was observed, that actions fit.
#pragma once

#include <string>

#include "foresight/core/error.hpp"
#include "foresight/core/state.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::models {

inline void check_observed(const State& state, const char* what) {
  require(
      state.filled() >= 1, ErrorCategory::invalid_argument,
      std::string(what) + " from a state in which nothing was observed yet: call observe() first");
}

inline void check_batch(const State& state, const char* what) {
  require(state.batch_dims() == 1, ErrorCategory::invalid_argument,
          std::string(what) + " needs a state of batch shape [B], got " +
              shape_string(state.batch_shape()));
}

/// A rollout's start of batch shape [B] and its actions [B,S,H,width], S and H at least 1.
inline void check_rollout(const State& start, const Tensor& actions, int64_t width) {
  check_batch(start, "rollout");
  check_shape("actions", actions, {start.batch_shape()[0], kAny, kAny, width}, "[B,S,H,A]");
  require(actions.size(1) >= 1 && actions.size(2) >= 1, ErrorCategory::invalid_argument,
          "actions " + shape_string(actions.sizes()) + ": rollout needs S >= 1 and H >= 1");
}

/// Actions [batch...,width] in the type of `latent`. A tensor on another device is an error rather
/// than a hidden copy.
inline Tensor checked_actions(const Tensor& actions, at::IntArrayRef batch, int64_t width,
                              const at::TensorOptions& latent) {
  auto expected = batch.vec();
  expected.push_back(width);
  check_shape("action", actions, expected, "[...,A]");
  require(
      actions.device() == latent.device(), ErrorCategory::invalid_argument,
      "actions are on " + actions.device().str() + ", the model is on " + latent.device().str());
  return actions.to(c10::typeMetaToScalarType(latent.dtype()));
}

}  // namespace foresight::models
