// SPDX-License-Identifier: Apache-2.0
// The floating type that a state's numbers have.
#pragma once

#include "foresight/core/state.hpp"

namespace foresight {

/// The type of the state's first field of real numbers; float32 if it has none.
inline at::ScalarType floating_type(const State& state) {
  for (const auto& [name, value] : state.fields())
    if (value.is_floating_point()) return value.scalar_type();
  return at::kFloat;
}

}  // namespace foresight
