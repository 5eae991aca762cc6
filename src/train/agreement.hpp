// SPDX-License-Identifier: Apache-2.0
// What must be alike: options of a run and of those who go on with it, options of the processes of
// one training.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/core/replicas.hpp"

namespace foresight::train {

/// How two JSON objects of options differ.
struct Differences {
  std::vector<std::string> other;    ///< e.g. "training.steps: 10 here, 20 in the run"
  std::vector<std::string> unknown;  ///< to the second, e.g. "training.steps = 10"
};

/// Adds what tells `here` from `there`, below `path`; `where`: what is said of the second.
void compare(const nlohmann::json& here, const nlohmann::json& there, const std::string& path,
             const std::string& where, Differences& found);

/// The texts of all processes, by rank, the same everywhere. All call this together.
std::vector<std::string> gathered(const Replicas& processes, const std::string& text);

/// Throws Error(invalid_option) in every process, naming what differs, unless all of them were
/// given the same `options`. Null: this process is alone.
void require_agreement(const nlohmann::json& options, const Replicas* processes);

}  // namespace foresight::train
