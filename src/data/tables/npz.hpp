// SPDX-License-Identifier: Apache-2.0
// Arrays that numpy saved: .npy files, and .npz archives of them. A file is untrusted: its header
// is read by a parser for the few literals that numpy writes, and nothing is allocated before sizes
// are checked. Private to the data folder.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/export.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// An array of a .npy file: numbers, or texts, of which `numbers` is then undefined.
struct NpyArray {
  Tensor numbers = {};
  std::vector<std::string> texts = {};  ///< of a 1-D array of numpy's <U type, as UTF-8
  bool text = false;
};

/// The array in the bytes of a .npy file (format 1.0 to 3.0, little-endian): float16/32/64,
/// integers (uint16 to uint64 become int64), bool, and 1-D texts. `name` opens every message.
/// Throws Error(bad_file) for damage, Error(unsupported) for Python objects, big-endian and other
/// types.
FORESIGHT_API NpyArray parse_npy(std::string_view bytes, const std::string& name);

/// The one array of an .npz file, stored or deflated. Throws as parse_npy(), and Error(bad_file) if
/// it holds another number of arrays.
NpyArray read_npz(const std::filesystem::path& path);

}  // namespace foresight::data
