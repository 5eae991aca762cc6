// SPDX-License-Identifier: Apache-2.0
// A recorder that is killed, and what must be left of its rows: for the tests of what it leaves.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "catch.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/episode_writer.hpp"
#include "temporary_folder.hpp"

namespace foresight::data {

inline RecordingOptions kept_rows() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front", "wrist"};
  options.features = {{"action", {"grip"}},
                      {.name = "grid",
                       .columns = {"grid_0", "grid_1", "grid_2", "grid_3"},
                       .type = at::kDouble,
                       .shape = {2, 2}},
                      {"stamp", {"stamp"}, at::kLong}};
  options.texts = {"note"};
  options.unfinished = Unfinished::recovered;
  return options;
}

inline RecordedRow kept_row(int64_t episode, int64_t t) {
  RecordedRow row;
  row.frames = {{"front", at::full({32, 48, 3}, 10 * episode + 20 * t, at::kByte)},
                {"wrist", at::full({32, 32, 3}, 255 - 20 * t, at::kByte)}};
  row.values = {{"action", at::tensor({0.5 * static_cast<double>(t)})},
                {"grid", at::full({2, 2}, t + 1.0 / 3, at::kDouble)},
                {"stamp", at::tensor({int64_t{1717171717123456789} + t})}};
  row.texts = {{"note", "row " + std::to_string(t)}};
  return row;
}

// Runs `work` in another process, in which it must be killed.
template <class Work>
void run_and_die(Work&& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    work();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
}

inline void check_recovered(const std::filesystem::path& path, int64_t number, int64_t episode,
                            int64_t rows) {
  const auto data = open_dataset(path);
  REQUIRE(data->num_episodes() > number);
  REQUIRE(data->length(number) == rows);
  const Tensor stamps = data->read_stored({"stamp"}, number, 0, rows);
  const Tensor grid = data->read_all_rows({"grid_0", "grid_3"}, number);
  for (int64_t t = 0; t < rows; ++t) {
    CHECK(stamps[t].item<int64_t>() == 1717171717123456789 + t);
    CHECK(grid[t][1].item<double>() == static_cast<double>(t) + 1.0 / 3);
    CHECK(data->read_text("note", number, t, 1)[0] == "row " + std::to_string(t));
    const double level = data->read_frames(number, {t}).to(at::kDouble).mean().item<double>();
    CHECK(std::abs(level - static_cast<double>(10 * episode + 20 * t)) <= 3);
  }
}

inline std::vector<TargetFormat> writable_formats() {
  TemporaryFolder folder;
  try {
    open_episode_writer(folder / "probe", TargetFormat::lerobot, kept_rows());
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    WARN("SKIPPED: LeRobot: " << error.what());
    return {TargetFormat::folder};
  }
  return {TargetFormat::folder, TargetFormat::lerobot};
}

}  // namespace foresight::data
