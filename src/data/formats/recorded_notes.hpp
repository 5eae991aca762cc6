// SPDX-License-Identifier: Apache-2.0
// What a recorder notes of a whole recording, in dataset.json of a folder and in a file of its own
// beside LeRobot's. Private to the data folder.
#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/core/options.hpp"

namespace foresight::data {

/// In a LeRobot data set. LeRobot warns of keys of info.json that it does not know; of files in
/// meta it takes no notice.
inline constexpr const char* kLeRobotNotes = "meta/foresight.json";

/// LeRobot's robot_type, which is a note elsewhere, and what it is where nobody has told it.
inline constexpr const char* kRobotNote = "robot_type";
inline constexpr const char* kUnknownRobot = "unknown";

/// Whether dataset.json has the key for itself.
inline bool is_folder_setting(const std::string& key) {
  constexpr const char* kSettings[] = {
      "format",        "fps",         "height", "width", "cameras", "episodes", "action_columns",
      "state_columns", "last_action", "shapes", "types", "names",   "splits"};
  return std::find(std::begin(kSettings), std::end(kSettings), key) != std::end(kSettings);
}

/// Such a key would not be read as a note.
inline void check_notes(Rules& rules, const std::map<std::string, std::string>& notes) {
  for (const auto& [key, text] : notes)
    rules.check(!is_folder_setting(key), "notes", key,
                "must be none of the keys that dataset.json has for itself (fps, splits, ...)");
}

/// The words in `settings` that are none of a folder's own settings.
inline std::map<std::string, std::string> notes_in(const nlohmann::json& settings) {
  std::map<std::string, std::string> notes;
  if (!settings.is_object()) return notes;
  for (const auto& [key, value] : settings.items())
    if (value.is_string() && !is_folder_setting(key)) notes[key] = value.get<std::string>();
  return notes;
}

/// What the columns of a folder are, by column: {"action_0": "dx"} of `names` in its `settings`.
/// Others' keys of that name are passed over.
inline std::map<std::string, std::string> names_in(const nlohmann::json& settings) {
  std::map<std::string, std::string> names;
  const auto told = settings.value("names", nlohmann::json());
  if (!told.is_object()) return names;
  for (const auto& [column, name] : told.items())
    if (name.is_string()) names[column] = name.get<std::string>();
  return names;
}

}  // namespace foresight::data
