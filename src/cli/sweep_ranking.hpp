// SPDX-License-Identifier: Apache-2.0
// What the runs of a sweep are compared by.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>

#include "foresight/train/learn_family.hpp"

namespace foresight::cli {

/// Columns of a sweep's rows that may rank them: planning success, and the validation losses of the
/// world model and of the cost-to-go, each of the weights that were kept; null where not measured.
inline constexpr const char *kSuccessColumn = "success", *kLossColumn = "validation_loss",
                            *kCriticLossColumn = "critic_validation_loss";
/// Whether a row's success was measured before its cost-to-go was trained: true or false.
inline constexpr const char* kBeforeCritic = "success_before_critic";

/// What a family's validation loss is taken against.
enum class LossTarget {
  latents,         ///< those of the model or of a frozen encoder
  labels,          ///< columns of the recordings, whatever the encoder is
  moving_encoder,  ///< a slow copy of each run's own encoder: no two losses compare
};

template <class Options>
constexpr LossTarget loss_target() {
  if (std::is_same_v<Options, train::VJepa2LearnOptions> ||
      std::is_same_v<Options, train::IJepaLearnOptions>)
    return LossTarget::moving_encoder;
  return std::is_same_v<Options, train::VJepa2ProbeLearnOptions> ? LossTarget::labels
                                                                 : LossTarget::latents;
}

/// Whether a grid asks for more than one value of an option.
bool varies(const nlohmann::json& grid, const std::string& path);

/// How the runs of a sweep are ordered.
struct Ranking {
  std::string by;       ///< a column; empty: what the runs have does not compare
  std::string then_by;  ///< a column among runs with one world model; empty: none
  std::string told;     ///< both in words, and why not otherwise
};

/// By success where all runs that finished have it, else by the validation loss: of the cost-to-go
/// where the grid varies options of that alone, otherwise of the world model. Success that was
/// measured before the cost-to-go was trained is of the world model as well. What is of the world
/// model ranks runs whose options differ in the cost-to-go alone by the latter's loss. Not at all
/// where the options that are varied change what a loss is, or no run has one. `rows` as in
/// sweep.json.
Ranking ranking_of(const nlohmann::json& grid, const nlohmann::json& rows, LossTarget target);

/// The rows, best first; those that did not finish, or were not measured, last and as they came.
nlohmann::json in_order(const Ranking& ranking, nlohmann::json rows);

/// A column of a row, null where the row has none, as of an earlier version.
nlohmann::json number_in(const nlohmann::json& row, const std::string& column);

/// Whether any row has a number in a column.
bool any_has(const nlohmann::json& rows, const std::string& column);

}  // namespace foresight::cli
