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

/// Opened weights. The tensors are mapped, not copied.
struct FORESIGHT_API Weights {
  std::filesystem::path path;       ///< the weights' own file, or the index of several
  NamedTensors tensors;             ///< all, in alphabetical order
  std::vector<std::string> groups;  ///< TorchCheckpoint::groups(); empty for safetensors
  nlohmann::json config;            ///< config.json beside the weights; null if there is none

  /// The tensors of one group, without its prefix. Throws Error(not_found), naming the groups.
  NamedTensors group(std::string_view name) const;

  /// The tensors of a model that is the whole file or one group of it. `name` empty: "state_dict"
  /// where there is such a group, else the whole file if it has none. Throws Error(invalid_option)
  /// where a choice must be made, naming the groups; Error(not_found) for a group that is not
  /// there.
  NamedTensors model(std::string_view name) const;
};

/// Opens a file by its content; or a folder, which is read by read_hf_folder() if it holds what
/// transformers writes, and otherwise must hold exactly one file of weights (.safetensors, .pt,
/// .pth, .ckpt, .bin). Throws Error: not_found where a folder has none; invalid_argument where it
/// has several; otherwise as SafeTensors::open(), TorchCheckpoint::open() and read_json().
FORESIGHT_API Weights open_weights(const std::filesystem::path& path);

/// `tensors` without what wrappers put before every name: "module." (DataParallel), "_orig_mod."
/// (torch.compile), and `others`, repeatedly, as long as all names begin with it.
FORESIGHT_API NamedTensors without_wrappers(const NamedTensors& tensors,
                                            const std::vector<std::string>& others = {});

/// `tensors` without those whose names begin with one of `prefixes`. Throws Error(invalid_option)
/// for a prefix that no name begins with.
FORESIGHT_API NamedTensors without(const NamedTensors& tensors,
                                   const std::vector<std::string>& prefixes);

}  // namespace foresight::io
