// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: from bytes to checked entries, and back.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace foresight::io {

/// Longest header that the format allows.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
inline constexpr std::uint64_t kLengthBytes = 8;
inline constexpr const char* kMetadataKey = "__metadata__";

/// One tensor: bytes [begin, end) of the data section.
struct TensorEntry {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct SafeTensorsHeader {
  std::map<std::string, TensorEntry, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
};

/// Parses and validates the JSON `text` of a file whose data section has `data_size` bytes. Throws
/// Error(bad_file) or Error(unsupported) opening with `file`.
SafeTensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_size,
                                           const std::string& file);

/// The format's name of a type, or nothing where it has none.
std::optional<std::string_view> safetensors_dtype_name(at::ScalarType dtype);

}  // namespace foresight::io
