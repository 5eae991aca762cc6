// SPDX-License-Identifier: Apache-2.0
// What a trained probe reads off clips that it has not seen.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/data/loader.hpp"
#include "foresight/models/attentive_probe.hpp"
#include "foresight/train/probe_target.hpp"

namespace foresight::train {

/// Clips that a probe is judged on at least, where there are as many: a part of them that is
/// rightly classed is then known to 1.6 % (one standard error). Windows overlap, so that long
/// recordings have far more than it takes.
inline constexpr int64_t kJudgedClips = 1024;

/// Held-out windows, shuffled.
struct HeldOutClips {
  data::Loader* loader = nullptr;  ///< null: none
  int64_t windows = 0;             ///< that there are
  int64_t validated = 0;           ///< that a validation reads at most
};

struct ProbeOnHeldOut {
  nlohmann::json report;  ///< null where nothing was read; "windows": how many there are
  std::string words;
};

/// Reads batches of `held_out` until there are max(kJudgedClips, validated) clips, or no more, or
/// InterruptGuard::requested(). `tokens`: of a batch's clips. A probe of values gives them in the
/// columns' own units.
ProbeOnHeldOut probe_on_held_out(const models::AttentiveProbe& probe,
                                 const std::function<Tensor(const data::Batch&)>& tokens,
                                 const HeldOutClips& held_out, const ProbeTargetOptions& target);

}  // namespace foresight::train
