// SPDX-License-Identifier: Apache-2.0
// Several files that are one recording. Private to the data folder.
#pragma once

#include <string>
#include <vector>

#include "formats.hpp"

namespace foresight::data {

/// The episodes of all parts, one part after the other; each is a file, which its name() is. What
/// looks like the same episodes twice is remarked. Throws Error(bad_file) that names two of them
/// and what differs unless all have the same columns, actions, states, cameras, size of pictures,
/// rate and kind of last action. At least one part.
OpenedDataset join_datasets(std::string name, std::vector<OpenedDataset> parts);

}  // namespace foresight::data
