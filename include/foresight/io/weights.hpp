// SPDX-License-Identifier: Apache-2.0
// Weights of other projects, whatever kind of file or folder they came in: safetensors, sharded
// safetensors with an index, or a checkpoint by torch.save.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace foresight::io {

/// The group that is taken where a file has several and none is chosen, as trainers call the
/// model's.
inline constexpr const char* kModelGroup = "state_dict";

/// Opened weights. The tensors are mapped, not copied.
struct FORESIGHT_API Weights {
  std::filesystem::path path;       ///< the weights' own file, or the index of several
  NamedTensors tensors;             ///< all, in alphabetical order
  std::vector<std::string> groups;  ///< TorchCheckpoint::groups(); empty for safetensors
  std::filesystem::path config_file;  ///< config.json beside the weights; empty if there is none

  /// What config_file holds, null if there is none: read when it is asked for, because another
  /// program's file beside weights need not be JSON. Throws Error as read_json().
  nlohmann::json config() const;

  /// The tensors whose names begin with `name` and a dot, without these: a group's, or those of a
  /// part of one ("model.teacher") or of a file without groups ("teacher"). Throws Error(not_found)
  /// where there are none, naming the groups, or else what names begin with.
  NamedTensors group(std::string_view name) const;

  /// The tensors of a model that is the whole file or group(name) of it. `name` empty: kModelGroup
  /// where there is such a group, else the whole file if it has none. Throws Error(invalid_option)
  /// where a choice must be made, naming the groups and `flag`, which makes it; Error(not_found)
  /// as group().
  NamedTensors model(std::string_view name, std::string_view flag = {}) const;
};

/// Opens a file by its content; or a folder, which is read by read_hf_folder() if it holds what
/// transformers writes, and otherwise must hold exactly one file of weights (.safetensors, .pt,
/// .pth, .ckpt, .bin). Throws Error: not_found where a folder has none; invalid_argument where it
/// has several; otherwise as SafeTensors::open(), TorchCheckpoint::open() and read_hf_folder().
FORESIGHT_API Weights open_weights(const std::filesystem::path& path);

/// Whether files of weights are all that a folder holds beside texts (.json, .txt, .md, LICENSE):
/// no recordings, no folders. False for what is no folder.
FORESIGHT_API bool is_weights_folder(const std::filesystem::path& path);

/// `tensors` without what wrappers put before every name: "module." (DataParallel), "_orig_mod."
/// (torch.compile), and `others`, repeatedly, as long as all names begin with it.
FORESIGHT_API NamedTensors without_wrappers(const NamedTensors& tensors,
                                            const std::vector<std::string>& others = {});

/// `key` without "module." and "_orig_mod.", wherever they stand: compiling or wrapping a part of a
/// network puts them before the names below it alone.
FORESIGHT_API std::string without_marks(std::string key);

/// `tensors` without those whose names begin with one of `prefixes`. Throws Error(invalid_option)
/// for a prefix that no name begins with.
FORESIGHT_API NamedTensors without(const NamedTensors& tensors,
                                   const std::vector<std::string>& prefixes);

}  // namespace foresight::io
