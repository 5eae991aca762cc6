// SPDX-License-Identifier: Apache-2.0
// Files written byte by byte, for tests of what readers refuse.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace foresight {

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Eight little-endian bytes.
inline std::string length_field(std::uint64_t length) {
  std::string bytes(8, '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(length & 0xff);
    length >>= 8;
  }
  return bytes;
}

/// A safetensors file with this header and `data_size` zero bytes.
inline std::string safetensors_bytes(const std::string& header, std::size_t data_size) {
  return length_field(header.size()) + header + std::string(data_size, '\0');
}

}  // namespace foresight
