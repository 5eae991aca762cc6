// SPDX-License-Identifier: Apache-2.0
#include "lerobot_layout.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "../../io/temporary.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kStaged = ".staged";

}  // namespace

std::string lerobot_file(std::int64_t number, std::int64_t files_per_chunk,
                         const std::string& ending) {
  char name[64];
  std::snprintf(name, sizeof name, "chunk-%03lld/file-%03lld",
                static_cast<long long>(number / files_per_chunk),
                static_cast<long long>(number % files_per_chunk));
  return name + ending;
}

std::string lerobot_camera(const std::string& camera) {
  std::string feature = camera;
  std::replace(feature.begin(), feature.end(), '/', '.');  // paths are made of it
  return feature.starts_with("observation.") ? feature : "observation.images." + feature;
}

fs::path staged_path(fs::path file) { return file += kStaged; }

fs::path prepared_staged_path(const fs::path& file) {
  std::error_code code;
  fs::create_directories(file.parent_path(), code);
  require(!code, ErrorCategory::io_failure,
          file.parent_path().string() + ": cannot be created: " + code.message());
  return staged_path(file);
}

std::string first_files(const fs::path& folder) {
  constexpr std::size_t kShown = 5;
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    files.push_back(entry.path().lexically_relative(folder).string());
    if (files.size() > kShown) break;
  }
  std::sort(files.begin(), files.end());
  std::string text;
  for (std::size_t f = 0; f < std::min(kShown, files.size()); ++f)
    text += (f > 0 ? ", " : "") + files[f];
  return files.size() > kShown ? text + " and others" : text;
}

void put_in_place(const fs::path& file) {  // a rename needs no room on a full disk
  const fs::path from = staged_path(file);
  std::error_code code;
  fs::rename(from, file, code);
  require(!code, ErrorCategory::io_failure,
          from.string() + ": cannot be renamed to " + file.string() + ": " + code.message());
  io::sync_folder(file.parent_path());
}

void finish_publishing(const fs::path& folder) {
  const fs::path info = folder / "meta/info.json";
  std::error_code ignored;
  // It is staged last, and placed last.
  if (!fs::is_regular_file(staged_path(info), ignored)) return;
  std::vector<fs::path> files, meta;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto& path = entry.path();
    if (path.extension() != kStaged || path == staged_path(info)) continue;
    const bool refers = *path.lexically_relative(folder).begin() == "meta";
    (refers ? meta : files).push_back(fs::path(path).replace_extension());
  }
  files.insert(files.end(), meta.begin(), meta.end());
  files.push_back(info);
  for (const auto& file : files) put_in_place(file);
  log(LogLevel::warning,
      folder.string() + ": the last file of a writer that was killed is now part of the data set");
}

}  // namespace foresight::data
