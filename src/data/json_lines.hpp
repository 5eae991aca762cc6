// SPDX-License-Identifier: Apache-2.0
// Files with one JSON value a line. Private to the data folder.
#pragma once

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "foresight/io/json_file.hpp"

namespace foresight::data {

/// The values of all lines that are not blank. Throws Error(not_found | bad_file) naming the line.
inline std::vector<nlohmann::json> read_json_lines(const std::filesystem::path& file) {
  const std::string text = io::read_text(file, std::uint64_t{1} << 31);
  std::vector<nlohmann::json> lines;
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      lines.push_back(io::parse_json(line, file.string() + ":" + std::to_string(number)));
    begin = end + 1;
  }
  return lines;
}

}  // namespace foresight::data
