// SPDX-License-Identifier: Apache-2.0
// What a world model expects and produces, as data: enough to validate inputs before any
// computation.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/core/observation.hpp"

namespace foresight {

/// One field of an observation: its name and shape without the batch axis, e.g. {"pixels",
/// {64,64,3}}.
struct ObservationField {
  std::string name;
  std::vector<int64_t> shape;
  at::ScalarType dtype = at::kFloat;
};

/// Static description of a model.
struct FORESIGHT_API ModelSpec {
  std::string family;                         ///< e.g. "jepa"
  std::vector<ObservationField> observation;  ///< what observe() needs
  ActionSpace action;                         ///< what step() takes, normalised
  int64_t history = 1;                        ///< observed steps that step() can make use of
  int64_t tokens = 1;                         ///< P, tokens per frame
  int64_t channels = 1;                       ///< D, channels per token
  /// State fields that a rollout keeps for every imagined step. By convention the first is the
  /// latent.
  std::vector<std::string> imagined = {"latent"};

  /// Throws Error naming the field, its value and what is expected, unless `observation` has every
  /// field with the right shape and a batch of `batch` (kAny: any). Does not look at the values.
  void check(const Observation& observation, int64_t batch = kAny) const;
};

}  // namespace foresight
