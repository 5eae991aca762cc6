// SPDX-License-Identifier: Apache-2.0
// Files with one JSON value a line. Private to the data folder.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "foresight/io/json_file.hpp"

namespace foresight::data {

/// Visits the values of all lines that are not blank, one after the other; `where` names file and
/// line. Numbers may be NaN and infinite, as Python's json.dumps() writes them. Throws
/// Error(not_found | bad_file) naming the line.
inline void visit_json_lines(
    const std::filesystem::path& file,
    const std::function<void(nlohmann::json value, const std::string& where)>& visit) {
  const std::string text = io::read_text(file, std::uint64_t{1} << 31);
  for (std::size_t begin = 0, number = 1; begin < text.size(); ++number) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const std::string_view line(text.data() + begin, end - begin);
    const std::string where = file.string() + ":" + std::to_string(number);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos)
      visit(io::parse_python_json(line, where), where);
    begin = end + 1;
  }
}

/// All of them.
inline std::vector<nlohmann::json> read_json_lines(const std::filesystem::path& file) {
  std::vector<nlohmann::json> lines;
  visit_json_lines(
      file, [&](nlohmann::json value, const std::string&) { lines.push_back(std::move(value)); });
  return lines;
}

}  // namespace foresight::data
