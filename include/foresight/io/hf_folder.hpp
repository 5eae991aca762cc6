// SPDX-License-Identifier: Apache-2.0
// A model folder as Hugging Face's transformers writes it: config.json and model.safetensors, or
// several files listed in model.safetensors.index.json, or pytorch_model.bin as older versions do.
// Reading it needs no network and executes nothing.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "foresight/io/safetensors.hpp"
#include "foresight/io/torch_checkpoint.hpp"

namespace foresight::io {

inline constexpr const char* kHfConfigFile = "config.json";
inline constexpr const char* kHfTensorsFile = "model.safetensors";
inline constexpr const char* kHfIndexFile = "model.safetensors.index.json";
inline constexpr const char* kHfPickleFile = "pytorch_model.bin";

/// An opened folder. The tensors are mapped, not copied.
struct FORESIGHT_API HfFolder {
  std::filesystem::path path;
  nlohmann::json config;                  ///< config.json, an object
  std::vector<SafeTensors> files;         ///< one, or the shards
  std::optional<TorchCheckpoint> pickle;  ///< pytorch_model.bin, where there are none of these

  /// config.model_type, e.g. "dinov2". Throws Error(bad_file) where it is missing.
  std::string model_type() const;
  /// Tensors of all files under the names on disk.
  NamedTensors tensors() const;
  /// How messages name the files.
  std::string config_name() const { return (path / kHfConfigFile).string(); }
  std::string tensors_name() const;
};

/// Opens a folder. Throws Error: not_found for a missing folder or file (a folder whose shards are
/// PyTorch pickles is named as such); bad_file for damaged files, an index that names files outside
/// the folder, or shards that do not hold exactly the tensors that the index lists; for a pickle
/// what TorchCheckpoint::open() throws.
FORESIGHT_API HfFolder read_hf_folder(const std::filesystem::path& folder);

/// Creates or replaces the folder as a whole: a reader or a killed process meets the previous two
/// files or these, never a config.json of one with tensors of the other. An existing folder is
/// replaced only if it is empty or holds these two alone, and is no bundle. Missing parents are
/// created. Throws Error: invalid_argument for a folder with other files; otherwise as write_json()
/// and write_safetensors().
FORESIGHT_API void write_hf_folder(const std::filesystem::path& folder,
                                   const nlohmann::ordered_json& config,
                                   const NamedTensors& tensors);

}  // namespace foresight::io
