// SPDX-License-Identifier: Apache-2.0
// Names of the files of a folder of episodes. Private to the data folder.
#pragma once

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

inline bool is_video_file(const std::filesystem::path& path) {
  const auto extension = path.extension();
  return extension == ".mp4" || extension == ".mkv" || extension == ".webm" || extension == ".avi";
}

}  // namespace foresight::data
