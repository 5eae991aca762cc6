// SPDX-License-Identifier: Apache-2.0
// A search over hyper-parameters: every combination of a grid is trained in a folder of its own,
// and a table tells what each brought.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "foresight/train/learn.hpp"

namespace foresight::cli {

/// One combination.
struct SweepPoint {
  std::string folder;     ///< "000", "001", ...
  nlohmann::json values;  ///< by option path, e.g. {"training.optimizer.lr": 0.001}
};

/// All combinations of a grid {"option.path": [values], ...}; keys in alphabetical order, the last
/// one varies fastest. `name` opens messages. Throws Error(invalid_option) for anything else, and
/// for more than 10,000 combinations.
std::vector<SweepPoint> sweep_points(const nlohmann::json& grid, const std::string& name);

/// Trains one combination in its folder.
using SweepTraining = std::function<train::LearnResult(const train::LearnOptions& options,
                                                       const std::filesystem::path& folder)>;

/// Trains what is not done yet and writes sweep.json and sweep.txt into `out`, best first: by
/// success where it was measured, else by validation loss. Options are `base` with a point's
/// values; all are checked before the first run. A run that diverges is a row like the others.
/// Returns false when it was interrupted; the same call goes on. Throws Error(invalid_argument)
/// where `out` holds a sweep of another grid.
bool run_sweep(const std::filesystem::path& grid_file, const std::filesystem::path& out,
               const train::LearnOptions& base, const SweepTraining& training);

/// The text of a table of rows as sweep.json has them.
std::string sweep_table(const nlohmann::json& rows);

}  // namespace foresight::cli
