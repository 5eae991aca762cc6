// SPDX-License-Identifier: Apache-2.0
// Where the coded pictures of an mp4 lie and how they begin and end: known from three small reads,
// none of them of its header. Private to the data folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "../file_stamp.hpp"

namespace foresight::data {

/// The bytes of a file's first `mdat`, or the first of them.
struct CodedBytes {
  std::int64_t offset = 0, count = 0;
  std::uint64_t ends = 0;  ///< a hash of the first and last 4 KiB
};

/// The first `count` coded bytes of an mp4 or mov, or all. Nothing of another kind of file, of one
/// that has fewer or none, that cannot be read, or that has another stamp than `then`.
std::optional<CodedBytes> coded_bytes(const std::filesystem::path& path, const FileStamp& then,
                                      std::optional<std::int64_t> count = {});

}  // namespace foresight::data
