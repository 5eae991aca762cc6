// SPDX-License-Identifier: Apache-2.0
// A search over hyper-parameters: every combination of a grid is trained in a folder of its own,
// and a table tells what each brought.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "flags.hpp"
#include "foresight/train/learn_family.hpp"
#include "planning_success.hpp"
#include "sweep_ranking.hpp"

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

/// Trains combination number `point` in its folder.
using PointTraining =
    std::function<train::LearnResult(std::size_t point, const std::filesystem::path& folder)>;

/// What a sweep is told by besides grid and options: "recordings" (none of null; `states`: the
/// columns that were chosen), how they are read ("reading"; none where that is as by default) and
/// how "success" is measured.
nlohmann::json sweep_setting(const data::Dataset* recordings,
                             const std::vector<std::string>& states, const nlohmann::json& reading,
                             const SuccessFlags& success);

/// Trains what is not done yet and writes sweep.json and sweep.txt into `out`, best first as
/// ranking_of() has it and "ranked_by" and "then_by" tell; in the order of the grid, and saying so,
/// where losses do not compare. Success and validation losses are those of the weights that a run
/// has kept. A run that diverges is a row like the others, and so is one that its data refuse,
/// which the same call tries again. `grid`, `base` and `setting`: what sweep.json tells of the
/// sweep. Returns false when it was interrupted; the same call goes on. Throws
/// Error(invalid_argument) where `out` holds a sweep of another grid, or with other options,
/// recordings or success; the first refusal where every run was refused.
bool train_points(const std::vector<SweepPoint>& points, const nlohmann::json& grid,
                  const nlohmann::json& base, const nlohmann::json& setting,
                  const std::filesystem::path& out, LossTarget target,
                  const PointTraining& training);

/// `base` with a point's values. Throws Error(invalid_option) naming the point.
template <OptionStruct Options>
Options options_at(const Options& base, const SweepPoint& point, const std::string& name) {
  OptionFlags flags;
  for (const auto& [path, value] : point.values.items()) flags.set(path, value);
  auto options = base;
  read_options(options, flags.patch, name);
  try {
    require_valid(options);
  } catch (const Error& problem) {
    throw Error(problem.category(), name + ": with " + point.values.dump() + ": " + problem.what());
  }
  return options;
}

/// Whether `out` holds a sweep of an earlier version, each of whose runs held out by its own seed.
bool holds_out_by_point(const std::filesystem::path& out);

/// The sweep of the grid in a file over the options of any family: `training(options, folder)` for
/// each combination. All are checked before the first run. Where `seed` varies, all hold out the
/// episodes of the seed of `base`: results on other data would not compare.
template <OptionStruct Options, class Training>
bool run_sweep(const std::filesystem::path& grid_file, const std::filesystem::path& out,
               const Options& base, const nlohmann::json& setting, const Training& training) {
  const auto grid = io::read_json(grid_file);
  const auto points = sweep_points(grid, grid_file.string());
  auto common = base;
  if constexpr (requires { base.split_seed; })
    if (varies(grid, "seed") && base.split_seed < 0 && !holds_out_by_point(out))
      common.split_seed = base.seed;
  std::vector<Options> options;
  for (const auto& point : points) options.push_back(options_at(common, point, grid_file.string()));
  return train_points(points, grid, write_options(common), setting, out, loss_target<Options>(),
                      [&](std::size_t point, const std::filesystem::path& folder) {
                        return training(options[point], folder);
                      });
}

/// The text of a table of rows as sweep.json has them.
std::string sweep_table(const nlohmann::json& rows);

}  // namespace foresight::cli
