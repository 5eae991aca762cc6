// SPDX-License-Identifier: Apache-2.0
// A run folder: who writes it, and its config.json, what a run was started with and must go on
// with.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "foresight/train/learn.hpp"

namespace foresight::train {

/// Whether this process writes the run: it is the only one, or the first.
bool writes_run(const LearnHooks& hooks);
/// The metrics of the run, after `resume_step` of a run that goes on; nowhere in processes but the
/// first.
EventWriter open_metrics(const RunFolder& folder, const LearnHooks& hooks,
                         std::optional<int64_t> resume_step);

/// Writes config.json of a new run, or compares it with that of the run to go on with. `from`: null
/// unless the run learns on from a bundle. An option that the run's config.json does not know, as
/// of an earlier version, is warned about. Throws Error: invalid_argument where a run is that is
/// not to be resumed, invalid_option naming every option that differs.
void open_run(const LearnOptions& options, const data::Dataset& dataset, const RunFolder& folder,
              const Continuation* from);
/// What config.json tells of where learning goes on, under `learn_on`.
nlohmann::json told_origin(const Continuation& from);
/// The same for a run of which `config` says everything: `family`, `learn`, `data` and `learn_on`.
void open_run(const nlohmann::json& config, const RunFolder& folder);

}  // namespace foresight::train
