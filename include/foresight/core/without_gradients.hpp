// SPDX-License-Identifier: Apache-2.0
// How planning and control compute, whatever the mode of the calling thread.
#pragma once

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

namespace foresight {

/// For its lifetime: no gradients are recorded, and c10::InferenceMode is off. Tensors made in that
/// mode can neither be written to from a thread outside it, where the planning thread of AsyncMpc
/// is, nor be searched by gradients.
class WithoutGradients {
  c10::InferenceMode off_{false};  // first: leaving inference mode turns gradients on
  c10::NoGradGuard no_grad_;
};

}  // namespace foresight
