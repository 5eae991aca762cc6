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

struct ProbeOnHeldOut {
  nlohmann::json report;  ///< null where nothing is held out
  std::string words;
};

/// Reads all windows of `held_out` (null: none). `tokens`: of a batch's clips. A probe of values
/// gives them in the columns' own units.
ProbeOnHeldOut probe_on_held_out(const models::AttentiveProbe& probe,
                                 const std::function<Tensor(const data::Batch&)>& tokens,
                                 data::Loader* held_out, const ProbeTargetOptions& target);

}  // namespace foresight::train
