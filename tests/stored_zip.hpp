// SPDX-License-Identifier: Apache-2.0
// Checkpoints made entry by entry, for tests of what the reader refuses.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace foresight {

/// `count` little-endian bytes of a number.
inline std::string little_endian(std::uint64_t number, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += static_cast<char>((number >> (8 * i)) & 0xff);
  return bytes;
}

/// A zip archive of stored entries without checksums.
inline std::string stored_zip(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string file, directory;
  for (const auto& [name, data] : entries) {
    const auto sizes = little_endian(data.size(), 4) + little_endian(data.size(), 4);
    const auto at = file.size();
    const auto name_size = little_endian(name.size(), 2);
    // version, flags, method, time, date, checksum, sizes, name
    file +=
        "PK\3\4" + std::string(14, '\0') + sizes + name_size + std::string(2, '\0') + name + data;
    directory += "PK\1\2" + std::string(16, '\0') + sizes + name_size + std::string(12, '\0') +
                 little_endian(at, 4) + name;
  }
  const auto count = little_endian(entries.size(), 2);
  return file + directory + "PK\5\6" + std::string(4, '\0') + count + count +
         little_endian(directory.size(), 4) + little_endian(file.size(), 4) + std::string(2, '\0');
}

/// A checkpoint with this pickle and one storage, "0", of `storage_bytes` zeros.
inline std::string torch_file(const std::string& pickle, std::size_t storage_bytes = 0) {
  return stored_zip({{"a/data.pkl", pickle},
                     {"a/byteorder", "little"},
                     {"a/data/0", std::string(storage_bytes, '\0')}});
}

}  // namespace foresight
