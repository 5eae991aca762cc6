// SPDX-License-Identifier: Apache-2.0
// Which tensors of a fixture must be compared: all but its inputs and weights, those that it
// excludes itself, and those that are named here with the reason why not.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>

#include "foresight/io/safetensors.hpp"

namespace foresight::benchmark {

/// Patterns of "folder/fixture" and of full keys; * is any text.
struct Exempt {
  std::string_view fixtures, keys, reason;
};
inline constexpr Exempt kExempt[] = {
    {"dino_wm/dino_wm_mpc*", "outputs/observed_visual",
     "pictures that the reference's environment drew, given to the control loop as what it sees"},
    {"dino_wm/dino_wm_mpc*", "outputs/noise_blocks_used",
     "how many draws each of the reference's searches took: ours is given as many"},
    {"dino_wm/dino_wm_mpc*", "outputs/warm_start_length",
     "the test takes from it which rows of the last plan come back, and demands them to the bit"},
    {"lewm/lewm_train_step", "outputs*/steps3_lr",
     "learning rates that the three steps are given; the schedule is compared in lewm_lr_schedule"},
    {"mppi/*", "outputs*/U_start",
     "the plan that the first command is given, which the reference's constructor drew or took"},
    {"tdmpc2/tdmpc2_plan_*", "outputs/call*/value",
     "values of the network's candidates, given to the search: the network is not reproduced"},
    {"tdmpc2/tdmpc2_plan_*", "outputs64/*",
     "the mean that a call starts from and the policy's proposals are recorded of the float32 run "
     "alone"},
    {"world_models/world_models_cma_*", "outputs64/const/chi_n_tutorial",
     "the tutorial's approximation of chi_n: ours is exact, and compared as chi_n"},
    {"world_models/world_models_cma_*", "outputs64/const/C0",
     "the covariance that the search is given to start from"},
    {"world_models/world_models_cma_*", "outputs64/B",
     "eigenvectors have arbitrary signs: the test demands that B D spans our covariance, and gives "
     "them to our search"},
    {"world_models/world_models_cma_*", "outputs64/hsig",
     "a switch inside of the update, whose effect is compared: the paths and the covariance"},
    {"world_models/world_models_cma_*", "outputs64/const/lazy_update_gap",
     "after how many generations the package takes the covariance apart anew, a fraction there; "
     "the replay does so in each"},
};

/// Whether `pattern`, in which * is any text, is all of `text`.
inline bool matches(std::string_view pattern, std::string_view text) {
  const auto star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const auto rest = pattern.substr(star + 1);
  for (auto from = star; from <= text.size(); ++from)
    if (matches(rest, text.substr(from))) return true;
  return false;
}

/// The entry of kExempt that names a key of "folder/fixture"; null where none does.
inline const Exempt* exemption_of(std::string_view fixture, std::string_view key) {
  for (const auto& entry : kExempt)
    if (matches(entry.fixtures, fixture) && matches(entry.keys, key)) return &entry;
  return nullptr;
}

/// Tensors of a fixture that a test should compare, by full key: not inputs/.. and params/.., nor
/// empty ones.
struct FixtureKeys {
  std::map<std::string, at::ScalarType> results;
  std::set<std::string> excluded;  ///< by the fixture itself: noise in the reference

  bool is_excluded(const std::string& key) const {
    return excluded.contains(key) || excluded.contains(key.substr(key.find('/') + 1));
  }
};

inline FixtureKeys keys_of(const std::filesystem::path& path) {
  const auto file = io::SafeTensors::open(path);
  FixtureKeys keys;
  for (const auto& name : file.names()) {
    const auto& shape = file.shape(name);
    const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    if (!name.starts_with("inputs/") && !name.starts_with("params/") && !is_empty)
      keys.results.emplace(name, file.dtype(name));
  }
  const auto entry = file.metadata().find("tolerance");
  if (entry == file.metadata().end()) return keys;
  const auto tolerance = nlohmann::json::parse(entry->second, nullptr, /*allow_exceptions=*/false);
  if (tolerance.is_object() && tolerance.contains("excluded"))
    keys.excluded = tolerance.at("excluded").get<std::set<std::string>>();
  return keys;
}

/// Whether a figure of what was computed in `dtype` (as tests write it) counts as the comparison of
/// a key: what is computed in less than it is stored in does not.
inline bool counts(const std::string& dtype, const std::string& key, at::ScalarType stored) {
  const bool is_narrow = dtype == "BFloat16" || dtype == "fixed16";
  if (is_narrow) return stored == at::kBFloat16;
  const bool is_float64_run = key.substr(0, key.find('/')).ends_with("64");
  return !is_float64_run || (dtype != "Float" && dtype != "packed");
}

}  // namespace foresight::benchmark
