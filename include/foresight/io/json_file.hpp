// SPDX-License-Identifier: Apache-2.0
// JSON files in and out, strictly: what the parser would quietly accept (a key given twice, a
// thousand nested brackets) and what the writer would quietly change (NaN becomes null) are errors
// here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"
#include "foresight/io/files.hpp"

namespace foresight::io {

/// Most levels of nesting that are read or written.
inline constexpr int kJsonDepth = 64;

/// The value of a JSON text. Throws Error(bad_file) opening with `name` on a syntax error (with its
/// position), a repeated key or more than kJsonDepth levels.
FORESIGHT_API nlohmann::json parse_json(std::string_view text, const std::string& name);

/// parse_json(), but a text that it refuses may hold NaN, Infinity and -Infinity where numbers
/// stand, as Python's json.dumps() writes them. Throws as parse_json().
FORESIGHT_API nlohmann::json parse_python_json(std::string_view text, const std::string& name);

/// parse_json() of a file. Throws as read_text() too.
FORESIGHT_API nlohmann::json read_json(const std::filesystem::path& path,
                                       std::uint64_t limit = kTextLimit);

/// Writes `value` indented, with a final newline, atomically. Takes a plain nlohmann::json as well;
/// keys then come in alphabetical order. Throws Error: non_finite for NaN and infinity, which JSON
/// cannot express; invalid_argument for text that is not UTF-8 or deeper nesting than is read;
/// io_failure.
FORESIGHT_API void write_json(const std::filesystem::path& path,
                              const nlohmann::ordered_json& value);

}  // namespace foresight::io
