// SPDX-License-Identifier: Apache-2.0
// Lists of whole numbers that Python's pickle wrote: data sets keep lengths that way. Nothing in
// the file is executed, see io/torch_checkpoint.hpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "foresight/core/export.hpp"

namespace foresight::io {

/// The list in a pickle of protocol 2 to 5. Throws Error: not_found; bad_file for damage or another
/// value than a list or tuple of integers; unsupported for a pickle that refers to classes.
FORESIGHT_API std::vector<std::int64_t> read_pickled_integers(const std::filesystem::path& path);

}  // namespace foresight::io
