// SPDX-License-Identifier: Apache-2.0
// A data set with matrices that the Python package lerobot wrote (recordings/layouts), and one more
// episode for it.
#pragma once

#include <cmath>
#include <filesystem>

#include "foresight/data/episode_writer.hpp"
#include "opened_recording.hpp"
#include "temporary_folder.hpp"

namespace foresight::data {

/// Number i of the grid in row t of an episode.
inline double matrix_value(int64_t episode, int64_t t, int64_t i) {
  return static_cast<double>(100 * episode + 10 * t + i);
}

/// False where this build cannot read it; that is said.
inline bool copy_lerobot_matrices(const std::filesystem::path& path) {
  const auto source =
      std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "lerobot_matrix";
  if (!opened_or_skipped(source)) return false;
  std::filesystem::copy(source, path, std::filesystem::copy_options::recursive);
  return true;
}

/// Of five rows, behind the last. Returns its number. Number 0 of the grid has no value in one row.
inline int64_t add_matrix_episode(const std::filesystem::path& path, int64_t unknown_row = -1) {
  RecordingOptions options;
  options.video.fps = 5;
  options.storage = FrameStorage::pictures;
  options.cameras = {"front"};
  options.features = {
      {"action", {"action_0", "action_1"}},
      {.name = "grid",
       .columns = {"grid_0", "grid_1", "grid_2", "grid_3", "grid_4", "grid_5"},
       .shape = {3, 2}},
      {.name = "pair", .columns = {"pair_0", "pair_1"}, .type = at::kLong, .shape = {1, 2}}};
  const auto writer = open_episode_writer(path, TargetFormat::lerobot, options);
  const int64_t episode = writer->next_episode();
  for (int64_t t = 0; t < 5; ++t) {
    RecordedRow row;
    row.frames = {{"front", at::full({8, 8, 3}, 20 * t, at::kByte)}};
    row.values = {{"action", at::tensor({0.5 * static_cast<double>(t), -0.5})},
                  {"grid", at::arange(6) + matrix_value(episode, t, 0)},
                  {"pair", at::tensor({episode, -t})}};
    if (t == unknown_row)
      row.values["grid"] =
          row.values["grid"].to(at::kDouble).index_fill(0, at::zeros({1}, at::kLong), std::nan(""));
    writer->append(row);
  }
  writer->finish_episode("push");
  writer->finish();
  return episode;
}

}  // namespace foresight::data
