// SPDX-License-Identifier: Apache-2.0
// Frames of episodes from video files: one file an episode, or many episodes in one file. Private
// to the data folder.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../formats/columnar_dataset.hpp"
#include "foresight/data/video_reader.hpp"

namespace foresight::data {

/// The part of a video file that is one episode.
struct EpisodeClip {
  std::filesystem::path file;        ///< empty: its frames cannot be read, and nobody asks for them
  double start = 0;                  ///< presentation time of row 0, seconds; used with times only
  int64_t first_row = 0;             ///< of the episode in the recording; used with times only
  int64_t rows = 0;                  ///< of the episode; used with shared films only
  int64_t stride = 1;                ///< frames a row; used without times only
  std::vector<int64_t> frames = {};  ///< of each row, instead of stride; used without times only
  std::shared_ptr<const FrameTable> table = {};  ///< if the file has been opened with these options
};

/// Rates that differ by less are the same.
inline constexpr double kRateTolerance = 0.01;

/// How the frame of a row is found.
struct FrameLookup {
  /// Seconds of every row since the start of its episode, read when first needed. Empty: row t is
  /// frame t * stride of the file, or frame frames[t].
  std::function<std::vector<double>()> times = {};
  double tolerance_s = 1e-4;  ///< furthest that a frame may lie from its row's time
  bool shared = false;        ///< films hold several episodes, or may take up another one
  int64_t threads = 0;        ///< that look at shared films to know them again; 0: one per core
};

/// Opens nothing but the first file, whose size of picture all must have; with Unreadable::skip the
/// first that opens. Looks at how shared films begin and end, so that they may grow before they are
/// read. Throws what VideoReader throws.
std::shared_ptr<const FrameSource> video_frames(std::vector<EpisodeClip> clips, FrameLookup lookup,
                                                const VideoReaderOptions& options,
                                                Unreadable unreadable = Unreadable::fail);

/// Throws Error(not_found) naming the first file that is not there; with Unreadable::skip it is
/// noted in `recording` that frames of those episodes cannot be read, and Error(bad_file) says why
/// of the first where that leaves no film.
void require_files(Recording& recording, std::vector<EpisodeClip>& clips, Unreadable unreadable);

/// Opens films that are an episode each, on several threads, and keeps their tables of frames and
/// the rate of the first. `check` may throw what is wrong with one. With Unreadable::skip that, or
/// what opening throws, is noted in `recording` as above.
void open_films(Recording& recording, std::vector<EpisodeClip>& clips,
                const DatasetOptions& options,
                const std::function<void(std::size_t episode, const VideoReader& film)>& check);

/// What is to be remarked of a film whose rows are matched by frame number; empty: nothing.
std::string uneven_frames(const VideoReader& film);

}  // namespace foresight::data
