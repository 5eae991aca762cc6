// SPDX-License-Identifier: Apache-2.0
// A bundle: the folder in which a trained model is kept and shared, config.json +
// model.safetensors. It is all that planning needs: nothing is looked up in a data set afterwards.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/core/model_spec.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight::io {

/// Version of the layout of config.json that this library writes. Older ones are read; a newer one
/// is an error.
inline constexpr int64_t kBundleSchema = 1;

inline constexpr const char* kBundleConfigFile = "config.json";
inline constexpr const char* kBundleTensorsFile = "model.safetensors";

/// Names of the tensors of head `name` begin with this; all but heads' and imported tensors are the
/// model's own.
inline constexpr const char* kHeadPrefix = "heads.";
/// Names of what the model has rounded of an imported file begin with this, before the file's own
/// names: no reader of networks looks at it, an export gives it back.
inline constexpr const char* kImportedPrefix = "imported.";

/// The content of config.json. `planner`, `provenance`, `options` and the values of `heads` are
/// objects whose meaning belongs to others: the planner, the trainer, the model family.
struct FORESIGHT_API BundleConfig {
  std::string family;                                 ///< model family, e.g. "jepa"
  nlohmann::json options = nlohmann::json::object();  ///< its options, image statistics included
  std::vector<ObservationField> observation;          ///< what observe() needs
  ActionSpace action;                                 ///< limits and statistics included
  int64_t history = 1;                              ///< observed steps that the model makes use of
  nlohmann::json heads = nlohmann::json::object();  ///< by head name (probe, critic): its options
  nlohmann::json planner = nlohmann::json::object();  ///< defaults for planning with this model
  nlohmann::json provenance =
      nlohmann::json::object();  ///< data, code version, metrics of the training

  /// A configuration with family, observation, action and history of `spec`.
  static BundleConfig of(const ModelSpec& spec);

  std::vector<std::string> validate() const;
};

/// config.json of `config`, keys in reading order.
FORESIGHT_API nlohmann::ordered_json write_bundle_config(const BundleConfig& config);

/// The reverse. `name` opens every message. Throws Error: unsupported for a newer schema; bad_file
/// for a missing or unknown key (with the nearest known one); invalid_option for a value of the
/// wrong type or one that makes no sense, e.g. an action block of 0.
FORESIGHT_API BundleConfig read_bundle_config(const nlohmann::json& object,
                                              const std::string& name);
/// config.json of the bundle in `folder`, without its tensors. Throws Error as read_bundle().
FORESIGHT_API BundleConfig read_bundle_config(const std::filesystem::path& folder);

/// Whether those who read a bundle's network compare the tensors with the bundle's checksum.
enum class ChecksumRule {
  compare,  ///< once an opened bundle: all of the file is read, gigabytes a second of one core
  skip,     ///< for weights so large that they must stay in the file until they are used: mapped
            ///< (Placement::share), a damaged one is then met as wrong numbers
};

/// An opened bundle. The tensors are mapped, not copied.
struct FORESIGHT_API Bundle {
  BundleConfig config;
  SafeTensors tensors;
  /// What the readers of networks and backbones do (models::read_world_model(), ...), however they
  /// place the weights. Readers of one head compare nothing: the checksum is of all tensors
  /// together, those that they do not read included.
  ChecksumRule checksum = ChecksumRule::compare;

  /// The model's own tensors (all but the heads' and the imported file's).
  NamedTensors model_tensors() const;
  /// Tensors of one head, without their prefix, not compared with the checksum. Throws
  /// Error(not_found), naming the bundle's heads.
  NamedTensors head_tensors(std::string_view head) const;
};

/// Whether `folder` holds a bundle's config.json: other projects' folders have files of the same
/// names, but only a bundle's has a schema. False where it is no JSON.
FORESIGHT_API bool is_bundle(const std::filesystem::path& folder);

/// Creates or replaces the bundle in `folder` as a whole: a reader or a killed process meets the
/// previous bundle or this one, never a config of one with tensors of the other. Name a head's
/// tensors kHeadPrefix + "<head>." + key. An existing folder is replaced only if it is empty or a
/// bundle (is_bundle()) and nothing else, so that no user's file is lost: a folder of transformers
/// has files of the same names. Throws Error: invalid_option,
/// invalid_argument (as write_safetensors, or a folder with other files), io_failure.
FORESIGHT_API void write_bundle(const std::filesystem::path& folder, const BundleConfig& config,
                                const NamedTensors& tensors);

/// Opens and checks a bundle; the tensors' names and shapes are the family's business
/// (load_into()), and so is their checksum (see Bundle::checksum). Throws Error as
/// read_bundle_config(), read_json() and SafeTensors::open() do; bad_file for a file and not_found
/// for a folder without both parts, with the command that imports weights of other projects.
FORESIGHT_API Bundle read_bundle(const std::filesystem::path& folder);

/// `tensors` with the prefix of a head, ready for write_bundle().
FORESIGHT_API NamedTensors with_head_prefix(std::string_view head, const NamedTensors& tensors);

}  // namespace foresight::io
