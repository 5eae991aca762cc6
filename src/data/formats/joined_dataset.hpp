// SPDX-License-Identifier: Apache-2.0
// Several files or folders that are one recording. Private to the data folder.
#pragma once

#include <string>
#include <vector>

#include "formats.hpp"

namespace foresight::data {

/// What each of several parts is.
enum class JoinedParts {
  files,   ///< an HDF5 file; splits are those that every part tells
  splits,  ///< a folder, which is the split of its name
};

/// The episodes of all parts, one part after the other; the path of each is its name(). What looks
/// like the same episodes twice is remarked. Throws Error(bad_file) that names two of them and what
/// differs unless all have the same columns, actions, states, cameras, size of pictures, rate and
/// kind of last action. At least one part.
OpenedDataset join_datasets(std::string name, std::vector<OpenedDataset> parts,
                            JoinedParts are = JoinedParts::files);

}  // namespace foresight::data
