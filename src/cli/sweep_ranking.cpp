// SPDX-License-Identifier: Apache-2.0
#include "sweep_ranking.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

namespace foresight::cli {
namespace {

bool has_finished(const nlohmann::json& row) {
  return row.value("outcome", std::string()) == "finished";
}

// Success may not have been measured at the step whose weights a run kept.
bool all_finished_have(const nlohmann::json& rows, const std::string& column) {
  return any_has(rows, column) &&
         std::all_of(rows.begin(), rows.end(), [&](const nlohmann::json& row) {
           return !has_finished(row) || number_in(row, column).is_number();
         });
}

// Whether its success is that of a plan without what the cost-to-go has learned.
bool is_early(const nlohmann::json& row) {
  return has_finished(row) && number_in(row, kSuccessColumn).is_number() &&
         row.value(kBeforeCritic, false);
}

// Smaller is better; what has no number comes last.
double rank_of(const nlohmann::json& row, const std::string& by) {
  const auto value = number_in(row, by);
  if (!value.is_number() || !has_finished(row)) return std::numeric_limits<double>::infinity();
  return by == kSuccessColumn ? -value.get<double>() : value.get<double>();
}

// Options that say what the loss is, or of which data: its value means another thing where one of
// them differs. Statistics of a batch depend on how large it is.
constexpr std::array kObjectives = {"model.loss",
                                    "model.regulariser",
                                    "model.prediction",
                                    "model.predicted_steps",
                                    "model.auto_steps",
                                    "model.sigreg",
                                    "model.loss_exponent",
                                    "model.rollout_start",
                                    "task.short_range",
                                    "task.long_range",
                                    "task.loss_exponent",
                                    "task.views",
                                    "task.batch",
                                    "task.seed",
                                    "task.masks",
                                    "task.distance",
                                    "windows.frames",
                                    "windows.stride",
                                    "loader.batch",
                                    "model.normalise_latents",
                                    "validation",
                                    "validation_split",
                                    "validation_batches",
                                    "task.validation_clips",
                                    "split",
                                    "split_seed",
                                    "walks",
                                    "image_size",
                                    "model.proprio",
                                    "model.action_width",
                                    "model.action_repeat",
                                    "model.image.max_aspect",
                                    "backbone",
                                    "target",
                                    "model.regularisation"};

// The same of the cost-to-go, whose targets it makes itself.
constexpr std::array kCriticObjectives = {"critic_task"};

bool is_within(const std::string& path, const std::string& whole) {
  return path == whole || path.starts_with(whole + ".");
}

// Those of `paths` that are, hold or belong to one of `options`.
template <std::size_t N>
std::vector<std::string> among(const std::vector<std::string>& paths,
                               const std::array<const char*, N>& options) {
  std::vector<std::string> found;
  for (const auto& path : paths)
    if (std::any_of(options.begin(), options.end(), [&](const char* option) {
          return is_within(path, option) || is_within(option, path);
        }))
      found.push_back(path);
  return found;
}

bool is_of_critic(const std::string& path) { return path.starts_with("critic"); }

// A row's values of all other options: runs that share them have one world model.
std::string world_model_of(const nlohmann::json& row) {
  auto values = nlohmann::json::object();
  for (const auto& [path, value] : row["values"].items())
    if (!is_of_critic(path)) values[path] = value;
  return values.dump();
}

std::string words(const std::string& column) {
  if (column == kCriticLossColumn) return "the cost-to-go's validation loss";
  return column == kLossColumn ? "validation loss" : "planning success";
}

}  // namespace

nlohmann::json number_in(const nlohmann::json& row, const std::string& column) {
  return row.value(column, nlohmann::json());
}

bool any_has(const nlohmann::json& rows, const std::string& column) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const nlohmann::json& row) { return number_in(row, column).is_number(); });
}

bool varies(const nlohmann::json& grid, const std::string& path) {
  return grid.contains(path) && grid[path].size() > 1;
}

Ranking ranking_of(const nlohmann::json& grid, const nlohmann::json& rows, LossTarget target) {
  const auto ranked = [](const char* by) { return Ranking{by, "", "ranked by " + words(by)}; };
  const auto not_ranked = [](const std::string& why) {
    return Ranking{"", "", "not ranked: " + why};
  };
  const auto change = [](const std::vector<std::string>& paths) {
    return fmt::format(
        "{} change(s) what the loss is or what it is measured on, so that the "
        "smaller one is not the better",
        fmt::join(paths, ", "));
  };
  std::vector<std::string> of_critic, others;
  for (const auto& [path, unused] : grid.items())
    if (varies(grid, path)) (is_of_critic(path) ? of_critic : others).push_back(path);
  const auto critic_changed = among(of_critic, kCriticObjectives);
  // Runs whose options differ in the cost-to-go alone, where `by` is of the world model.
  const auto by_critic_within = [&](Ranking ranking) {
    if (critic_changed.empty()) ranking.then_by = kCriticLossColumn;
    ranking.told += critic_changed.empty()
                        ? ", and of one world model by " + words(kCriticLossColumn)
                        : ", and of one world model not at all: " + change(critic_changed);
    return ranking;
  };
  const bool too_early = !of_critic.empty() && std::any_of(rows.begin(), rows.end(), is_early);
  if (all_finished_have(rows, kSuccessColumn)) {
    if (!too_early) return ranked(kSuccessColumn);
    if (!others.empty()) return by_critic_within(ranked(kSuccessColumn));
  }
  if (of_critic.empty() && others.empty()) return ranked(kLossColumn);
  if (target == LossTarget::moving_encoder)
    return not_ranked(
        "every run's loss is taken against a slow copy of its own encoder, so that the smaller "
        "one is not the better; a probe on the bundles compares (train vjepa2_probe)");

  auto changed = others.empty() ? critic_changed : among(others, kObjectives);
  if (target == LossTarget::labels) std::erase(changed, "backbone");
  std::string no_success;
  if (too_early)
    no_success =
        "success was measured before the cost-to-go was trained (critic_training.success_every "
        "measures with it)";
  else if (any_has(rows, kSuccessColumn))
    no_success = "success was not measured of the weights that every run kept";
  if (!changed.empty())
    return not_ranked(change(changed) +
                      (no_success.empty()
                           ? fmt::format("; planning success compares ({}.success_every)",
                                         of_critic.empty() ? "training" : "critic_training")
                           : "; and " + no_success));
  auto ranking = ranked(others.empty() ? kCriticLossColumn : kLossColumn);
  if (std::any_of(rows.begin(), rows.end(), has_finished) && !any_has(rows, ranking.by))
    return not_ranked("no run has " + words(ranking.by) + ", as nothing was validated");
  if (!no_success.empty()) ranking.told += ", as " + no_success;
  return others.empty() || of_critic.empty() ? ranking : by_critic_within(ranking);
}

nlohmann::json in_order(const Ranking& ranking, nlohmann::json rows) {
  if (ranking.by.empty()) return rows;
  // Of one world model the best loss: on a GPU it is another one in every run.
  std::map<std::string, double> best;
  for (const auto& row : rows) {
    auto& known =
        best.emplace(world_model_of(row), std::numeric_limits<double>::infinity()).first->second;
    known = std::min(known, rank_of(row, ranking.by));
  }
  const auto place = [&](const nlohmann::json& row) {
    const auto own = rank_of(row, ranking.by);
    if (ranking.then_by.empty() || std::isinf(own)) return std::pair(own, 0.0);
    return std::pair(best.at(world_model_of(row)), rank_of(row, ranking.then_by));
  };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const auto& a, const auto& b) { return place(a) < place(b); });
  return rows;
}

}  // namespace foresight::cli
