// SPDX-License-Identifier: Apache-2.0
// Everything a training stage needs to go on as if it had never stopped, in one safetensors file
// that is renamed into place: a kill or a full disk leaves the previous checkpoint valid.
#pragma once

#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace foresight::train {

/// A value that was measured, and after which step; NaN after -1: not yet.
struct Measured {
  int64_t step = -1;
  double value = std::numeric_limits<double>::quiet_NaN();
};

/// Content of a checkpoint. Tensor names open with "model/", "optimizer/", "average/", "task/" or
/// "random/".
struct FORESIGHT_API Checkpoint {
  int64_t step = 0;      ///< steps done
  std::string position;  ///< the task's own JSON: loader position, noise positions, ...
  double seconds = 0;    ///< time trained so far
  double best = 0;       ///< best of what TrainOptions::keep asks for so far; NaN if none
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< of the last step
  Measured validation, success;                            ///< the last ones
  Measured kept_validation, kept_success;                  ///< of the best weights so far
  io::NamedTensors tensors;

  /// The tensors whose name opens with `prefix`, without it.
  io::NamedTensors section(std::string_view prefix) const;
};

/// "<folder>/step_0000001500.safetensors".
FORESIGHT_API std::filesystem::path checkpoint_path(const std::filesystem::path& folder,
                                                    int64_t step);

/// Writes a checkpoint with a checksum of all of it, and then removes all but the newest `keep` in
/// the folder. Throws Error(io_failure) with the older ones untouched.
FORESIGHT_API void write_checkpoint(const std::filesystem::path& folder,
                                    const Checkpoint& checkpoint, int64_t keep);

/// Reads formats 1 (without what was measured last) and 2, and compares the checksum, which those
/// of earlier versions lack. Throws Error(bad_file) for a file that is no checkpoint or damaged,
/// Error(unsupported) for one of another format.
FORESIGHT_API Checkpoint read_checkpoint(const std::filesystem::path& path);

/// Whether there is a checkpoint in the folder, damaged or not.
FORESIGHT_API bool has_checkpoint(const std::filesystem::path& folder);

/// What is said of a checkpoint that cannot be read.
enum class OnDamage { warn, say_nothing };

/// The newest checkpoint of the folder that can be read; damaged ones are skipped, with a warning.
/// Nothing if there is none. Throws Error(unsupported) for the newest of another format, and
/// Error(bad_file) if there are some and all are damaged: to begin anew would be to lose the run.
FORESIGHT_API std::optional<Checkpoint> read_newest_checkpoint(const std::filesystem::path& folder,
                                                               OnDamage damage = OnDamage::warn);

}  // namespace foresight::train
