// SPDX-License-Identifier: Apache-2.0
// Reads the recorded TwoRoom episodes and digests without the library's own data code, as an
// independent reference.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "recordings_folder.hpp"
#include "sha256.hpp"

namespace foresight::test {

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// One row of a TwoRoom episode file.
struct RecordedRow {
  std::array<float, 2> action, state, goal;
  bool terminated;
};

/// Columns:
/// frame,timestamp,step_idx,action_0,action_1,state_0,state_1,goal_0,goal_1,distance,reward,terminated,...
inline std::vector<RecordedRow> read_episode(const std::filesystem::path& folder, int64_t episode) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "episode_%04d.csv", static_cast<int>(episode));
  std::ifstream file(folder / name.data());
  std::vector<RecordedRow> rows;
  std::string line;
  std::getline(file, line);  // titles
  while (std::getline(file, line)) {
    std::vector<float> cells;
    std::stringstream stream(line);
    for (std::string cell; std::getline(stream, cell, ',');)
      cells.push_back(std::strtof(cell.c_str(), nullptr));
    rows.push_back(
        {{cells[3], cells[4]}, {cells[5], cells[6]}, {cells[7], cells[8]}, cells[11] != 0});
  }
  return rows;
}

}  // namespace foresight::test
