// SPDX-License-Identifier: Apache-2.0
// Names of the files of a folder of episodes. Private to the data folder.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace foresight::data {

/// The number in "episode_0012", if the name is one.
inline std::optional<std::int64_t> episode_number(const std::string& stem) {
  constexpr std::string_view prefix = "episode_";
  if (!stem.starts_with(prefix) || stem.size() == prefix.size()) return std::nullopt;
  std::int64_t number = 0;
  const char* end = stem.data() + stem.size();
  const auto [stop, code] = std::from_chars(stem.data() + prefix.size(), end, number);
  if (code != std::errc() || stop != end || number < 0) return std::nullopt;
  return number;
}

/// Whether it begins with a dot, as notes of the system do, whatever their ending (macOS writes
/// ._film.mp4 beside film.mp4), and folders of thumbnails.
inline bool is_hidden(const std::filesystem::path& path) {
  return path.filename().string().starts_with(".");
}

/// In small letters: cameras write .MP4 and .JPG.
inline std::string small_extension(const std::filesystem::path& path) {
  auto extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension;
}

inline bool is_video_file(const std::filesystem::path& path) {
  constexpr std::array kEndings{".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v"};
  return std::find(kEndings.begin(), kEndings.end(), small_extension(path)) != kEndings.end();
}

inline bool is_picture_file(const std::filesystem::path& path) {
  constexpr std::array kEndings{".png", ".jpg", ".jpeg"};
  return std::find(kEndings.begin(), kEndings.end(), small_extension(path)) != kEndings.end();
}

/// Of an episode of a plain folder.
inline bool is_table_file(const std::filesystem::path& path) {
  const auto extension = small_extension(path);
  return extension == ".csv" || extension == ".jsonl";
}

}  // namespace foresight::data
