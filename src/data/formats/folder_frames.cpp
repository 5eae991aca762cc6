// SPDX-License-Identifier: Apache-2.0
// The frames of a plain folder, and which row each belongs to.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "../video/frame_table.hpp"
#include "../video/video_frames.hpp"
#include "columnar_dataset.hpp"
#include "episode_files.hpp"
#include "foresight/data/folder_dataset.hpp"
#include "irregular_steps.hpp"
#include "natural_order.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (is_picture_file(entry.path()) && !is_hidden(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end(), path_before);
  return files;
}

// What the times of a table say of a film.
struct TimedRows {
  bool by_number = false;       // row t is frame t, within half a step
  std::vector<int64_t> frames;  // else of every row that has one, the nearest
  double rate = 0;              // rows a second
  std::string problem;          // else why not all rows have one; empty where there are no times
};

// Both clocks begin with the first row and the first frame. At most `tail` rows, or frames that are
// matched by number, may be left over at the end.
TimedRows timed_rows(const CsvTable& table, const FrameTable& film, int64_t tail) {
  TimedRows found;
  const auto& names = table.columns;
  if (film.counted || std::find(names.begin(), names.end(), kTimeColumn) == names.end())
    return found;
  const Tensor times = table.values.select(1, table.column(kTimeColumn)).contiguous();
  const auto* time = times.const_data_ptr<double>();
  const int64_t rows = times.numel(), frames = std::ssize(film.pts);
  for (int64_t t = 0; t < rows; ++t)
    if (!std::isfinite(time[t]) || (t > 0 && time[t] <= time[t - 1])) {
      found.problem = fmt::format("the column {} does not ascend at row {}", kTimeColumn, t);
      return found;
    }
  if (rows < 2) return found;
  const auto step = at::diff(times).median().item<double>();
  found.rate = std::round(1e6 / step) / 1e6;
  const auto off = [&](int64_t t, int64_t frame) {
    return std::abs((time[t] - time[0]) - (film.time(frame) - film.time(0)));
  };
  const auto is_near = [&](int64_t t, int64_t frame) { return off(t, frame) <= step / 2; };
  const int64_t both = std::min(rows, frames);
  int64_t numbered = 0;
  while (numbered < both && is_near(numbered, numbered)) ++numbered;
  found.by_number = numbered == both && std::abs(rows - frames) <= tail;
  if (found.by_number) return found;
  for (int64_t t = 0; t < rows; ++t) {
    const int64_t frame = film.nearest(film.time(0) + time[t] - time[0]);
    if (is_near(t, frame)) {
      found.frames.push_back(frame);
      continue;
    }
    if (rows - t <= tail) break;
    found.frames.clear();
    found.problem = fmt::format(
        "by the column {} row {}, {:.3f} s after the first, is {:.3f} s away from the nearest "
        "frame, more than half a step of the rows",
        kTimeColumn, t, time[t] - time[0], off(t, frame));
    break;
  }
  return found;
}

}  // namespace

void FolderDataset::open_frames_of(Episode& episode) const {
  const std::string table = episode.table.name;
  const int64_t rows = episode.table.rows();
  int64_t frames = 0;
  std::string otherwise;  // why rows are not matched by time
  if (fs::is_directory(episode.frames)) {
    episode.pictures = pictures_in(episode.frames);
    frames = static_cast<int64_t>(episode.pictures.size());
    require(frames > 0, ErrorCategory::bad_file,
            episode.frames.string() + ": holds no .png or .jpg file");
  } else {
    const VideoReader reader(episode.frames.string(), options_.video);
    frames = reader.num_frames();
    episode.size = {reader.info().height, reader.info().width};
    episode.rate = reader.info().average_rate;
    episode.frame_table = reader.table();
    if (const auto uneven = uneven_frames(reader); !uneven.empty()) {
      auto timed = timed_rows(episode.table, *episode.frame_table, options_.tail_mismatch);
      if (!timed.frames.empty()) return match_by_time(episode, std::move(timed.frames), timed.rate);
      if (!timed.problem.empty()) otherwise = ": " + timed.problem;
      if (!timed.by_number) episode.remarks.push_back(uneven + otherwise);
    }
  }
  require(std::abs(rows - frames) <= options_.tail_mismatch, ErrorCategory::bad_file,
          table + ": has " + std::to_string(rows) + " rows, but its video " +
              episode.frames.string() + " has " + std::to_string(frames) +
              " frames; one row a frame is required, as DatasetOptions.tail_mismatch "
              "(--reading.tail_mismatch) = " +
              std::to_string(options_.tail_mismatch) + " says" + otherwise);
  episode.length = std::min(rows, frames);
  if (rows != frames)
    episode.remarks.push_back(table + ": has " + std::to_string(rows) + " rows, its video " +
                              std::to_string(frames) +
                              " frames; what only one of them has is left out");
}

void FolderDataset::match_by_time(Episode& episode, std::vector<int64_t> frames,
                                  double rate) const {
  const int64_t rows = episode.table.rows();
  episode.length = std::ssize(frames);
  episode.rate = rate;
  episode.frame_of_row = std::move(frames);
  episode.remarks.push_back(fmt::format(
      "{}: frames are not equally spaced in time; rows are matched by the column {}: {} rows, {} "
      "frames",
      episode.frames.string(), kTimeColumn, rows, episode.frame_table->pts.size()));
  if (episode.length < rows)
    episode.remarks.push_back(
        fmt::format("{}: its last {} row(s) are left out: its video has no frame near them",
                    episode.table.name, rows - episode.length));
}

}  // namespace foresight::data
