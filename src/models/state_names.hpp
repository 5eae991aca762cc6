// SPDX-License-Identifier: Apache-2.0
// Names of state fields that several families share.
#pragma once

namespace foresight::models {
inline constexpr const char* kLatent = "latent";  // what an objective compares with a goal
}  // namespace foresight::models
