// SPDX-License-Identifier: Apache-2.0
// Where DROID's episodes lie, and the films that they name. Private to droid_dataset.cpp.
#pragma once

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "episode_files.hpp"
#include "foresight/data/unreadable.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::data::droid {

namespace fs = std::filesystem;

inline constexpr const char* kTrajectory = "trajectory.h5";
inline constexpr std::string_view kVideoKey = "_mp4_path";

inline std::vector<fs::path> listed_folders(const fs::path& list) {
  std::vector<fs::path> folders;
  std::ifstream lines(list);
  for (std::string line; std::getline(lines, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    if (line.empty()) continue;
    folders.push_back(fs::path(line).is_absolute() ? fs::path(line) : list.parent_path() / line);
  }
  return folders;
}

// Of films, in an episode's folder.
inline bool is_film_folder(const fs::directory_entry& entry) {
  return entry.path().filename() == "MP4" &&
         entry.path().parent_path().filename() == "recordings" && entry.is_directory();
}

// The films that an episode's metadata name, by camera. Their paths are those of the recording
// machine: only the file's name holds.
inline std::map<std::string, fs::path> named_films(const fs::path& folder) {
  std::map<std::string, fs::path> films;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json" || is_hidden(entry.path())) continue;
    const auto metadata = io::read_json(entry.path());
    if (!metadata.is_object()) continue;
    for (const auto& [key, value] : metadata.items())
      if (key.ends_with(kVideoKey) && value.is_string())
        films[key.substr(0, key.size() - kVideoKey.size())] =
            folder / "recordings" / "MP4" / fs::path(value.get<std::string>()).filename();
  }
  return films;
}

// An episode has a trajectory (DROID's own reader takes no other folder), or had one: its metadata,
// which name its films, are written after it. Films without both are videos alone.
inline bool is_surely_episode(const fs::path& folder) {
  if (fs::exists(folder / kTrajectory)) return true;
  if (!fs::is_directory(folder / "recordings" / "MP4")) return false;
  try {
    return !named_films(folder).empty();
  } catch (const Error&) {
    return false;
  }
}

// What lies below a folder of DROID.
struct FoundFolders {
  std::set<fs::path> episodes, films;  // `films`: without anything that makes them an episode's
};

// Metadata that are damaged may have named films.
inline bool may_be_episode(const fs::path& folder) {
  try {
    return fs::exists(folder / kTrajectory) || !named_films(folder).empty();
  } catch (const Error& problem) {
    if (!is_unreadable(problem)) throw;
    return true;
  }
}

// An episode that has lost one of its two parts is told by the other.
inline FoundFolders folders_below(const fs::path& root) {
  if (is_surely_episode(root)) return {.episodes = {root}, .films = {}};
  FoundFolders found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().filename() == kTrajectory) found.episodes.insert(entry.path().parent_path());
    if (!is_film_folder(entry)) continue;
    const auto folder = entry.path().parent_path().parent_path();
    (may_be_episode(folder) ? found.episodes : found.films).insert(folder);
  }
  return found;
}

}  // namespace foresight::data::droid
