// SPDX-License-Identifier: Apache-2.0
// Recording, row by row: what a robot's program calls in its loop, and what `foresight convert`
// writes with. One interface, two layouts on disk: LeRobot v3.0 (data/lerobot_writer.hpp) and a
// plain folder of videos and tables (data/folder_writer.hpp).
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/data/dataset.hpp"
#include "foresight/data/video_writer.hpp"

namespace foresight::data {

/// What is written.
enum class TargetFormat {
  lerobot,  ///< LeRobot v3.0; needs a build with Apache Parquet
  folder,   ///< episode_XXXX.mp4 and episode_XXXX.csv (.jsonl where words are recorded)
};

/// Numbers that are recorded in every row under one name.
struct RecordedFeature {
  std::string name;  ///< "action" and "observation.state" are what training looks for; the latter
                     ///< may never be NaN
  std::vector<std::string> columns;  ///< the names of its numbers, at least one
  at::ScalarType type = at::kFloat;  ///< stored as float32, float64, int64 or bool
  std::vector<int64_t> shape = {};   ///< of a row, with as many numbers as there are columns, e.g.
                                     ///< [2,3] for a matrix; empty: a vector. In a folder the
                                     ///< columns of a matrix are called NAME_0, NAME_1, ...
  std::vector<std::string> names = {};  ///< what its numbers are, as many as columns, e.g. dx, dy:
                                        ///< LeRobot's `names` of a vector, a folder's in
                                        ///< dataset.json; empty: `columns` tell. A writer that goes
                                        ///< on keeps those that are there
};

/// How LeRobot data keep frames.
enum class FrameStorage {
  video,     ///< mp4, many frames a file
  pictures,  ///< one PNG a frame inside the Parquet files: lossless, larger
};

/// What becomes of the episode that is being recorded when the process ends before it is finished.
enum class Unfinished {
  lost,  ///< it is gone, as in LeRobot's own recorder: a film that is not closed cannot be read
  recovered,  ///< every row is also kept in FOLDER.unfinished, frames uncompressed, until the
              ///< episode is finished; the next writer makes an episode of what a killed one left
              ///< there, or one that could not finish it, e.g. on a full disk
};

/// What is recorded, and how it is kept.
struct FORESIGHT_API RecordingOptions {
  VideoWriterOptions video = {.crf = 18, .key_interval = 2};  ///< encoding; its fps is the rate of
                                                              ///< rows (LeRobot: a whole number). A
                                                              ///< key frame every second frame
                                                              ///< makes reading at random cheap
  std::vector<std::string> cameras = {};       ///< names, at least one. In LeRobot "front" becomes
                                               ///< the feature "observation.images.front"
  std::vector<RecordedFeature> features = {};  ///< "action" must be among them. In a folder,
                                               ///< "timestamp" are the times of the rows in
                                               ///< seconds; without, and in LeRobot always, they
                                               ///< are row / fps
  std::vector<std::string> texts = {};         ///< columns of words beside the task
  std::string task = "unknown task";           ///< of episodes that are finished without one
  LastAction last_action = LastAction::applied;   ///< what the action in an episode's last row is;
                                                  ///< LeRobot has no place to say so
  std::string robot_type = "unknown";             ///< as LeRobot's info.json has it, a note of a
                                                  ///< folder's; "unknown" keeps what is there
  std::map<std::string, std::string> notes = {};  ///< of the recording, by name (Dataset::notes()):
                                                  ///< further keys of a folder's dataset.json
                                                  ///< (none of its own, e.g. "splits"), or
                                                  ///< LeRobot's meta/foresight.json. A writer that
                                                  ///< goes on keeps those it gives no other words
  FrameStorage storage = FrameStorage::video;     ///< LeRobot only
  Unfinished unfinished = Unfinished::lost;       ///< recovered: needs episodes_per_file = 1
  int64_t episodes_per_file = 1;   ///< LeRobot: a file is closed after so many episodes. 1 puts
                                   ///< every finished episode on disk at once; more make fewer
                                   ///< files, and a crash loses those of the open one
  double data_file_mb = 100;       ///< LeRobot: ... or when the rows reach this size in memory
  double video_file_mb = 200;      ///< LeRobot: ... or when a video reaches this size
  int64_t files_per_chunk = 1000;  ///< LeRobot: files of one folder

  /// `format` sets some of the rules.
  std::vector<std::string> validate(TargetFormat format) const;
};

/// One row. The tensors may be on any device.
struct RecordedRow {
  std::map<std::string, Tensor> frames;           ///< of every camera, uint8 [H,W,3]
  std::map<std::string, Tensor> values;           ///< of every feature, in its shape or as
                                                  ///< [columns] ([] for one)
  std::map<std::string, std::string> texts = {};  ///< of every column of words
};

/// A whole episode, or a piece of one, of T rows.
struct RecordedEpisode {
  std::map<std::string, Tensor> frames;                        ///< of every camera, uint8 [T,H,W,3]
  std::map<std::string, Tensor> values;                        ///< of every feature, [T,columns]
                                                               ///< or [T,shape...]
  std::map<std::string, std::vector<std::string>> texts = {};  ///< of every column of words
  std::string task = {};
};

/// Appends episodes to a recording. Crash-safe: a finished episode stays readable whatever happens
/// afterwards (LeRobot: with episodes_per_file = 1). Of an unfinished one nothing is left, and the
/// next writer clears away what a killed one left, unless RecordingOptions.unfinished asks for its
/// rows. One writer a folder, which is locked until finish() or the writer's end; one thread a
/// writer; append() encodes, so that a control loop calls it from a thread of its own. A recording
/// that is gone on with keeps its splits: new episodes belong to "train" if that ends with the last
/// one, else to none, which is logged, and what a split names behind the last one is taken from it;
/// of a new one LeRobot's "train" are all.
class FORESIGHT_API EpisodeWriter {
 public:
  virtual ~EpisodeWriter() = default;

  /// Adds a row to the unfinished episode. Throws Error(invalid_argument) naming what is missing,
  /// unknown, or of another shape, type or size than before, Error(non_finite) for an infinite
  /// number or a NaN in "observation.state", bool or int64: the row is then not added. After
  /// Error(io_failure) the episode can only be discarded.
  virtual void append(const RecordedRow& row) = 0;
  /// Ends the episode. Returns its number. Throws Error(invalid_argument) without rows,
  /// Error(io_failure): its rows are then lost or, with Unfinished::recovered, kept for the next
  /// writer, and this one takes no others before discard_episode().
  virtual int64_t finish_episode(const std::string& task = {}) = 0;
  /// Forgets the rows since the last finished episode.
  virtual void discard_episode() = 0;
  /// The number that the unfinished episode will have.
  virtual int64_t next_episode() const noexcept = 0;
  /// Rows of the unfinished episode.
  virtual int64_t rows() const noexcept = 0;
  /// Closes all files; the unfinished episode is discarded. Nothing can be added afterwards.
  virtual void finish() = 0;

  /// append() for every row of a piece of an episode; its task is not looked at.
  void append_rows(const RecordedEpisode& rows);
  /// append_rows(), then finish_episode(). Nothing of the episode is left if that throws.
  int64_t write_episode(const RecordedEpisode& episode);
};

/// Opens a recording for writing, a new one or one to be continued (which must have the same
/// features, cameras and rate). Throws Error(invalid_option | invalid_argument), the latter also
/// where another writer is at work in the folder, Error(unsupported) without the encoder or, for
/// LeRobot, without Parquet, Error(io_failure).
FORESIGHT_API std::unique_ptr<EpisodeWriter> open_episode_writer(
    const std::filesystem::path& folder, TargetFormat format, const RecordingOptions& options);

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::TargetFormat> {
  static constexpr std::array<std::pair<std::string_view, data::TargetFormat>, 2> names = {
      {{"lerobot", data::TargetFormat::lerobot}, {"folder", data::TargetFormat::folder}}};
};
template <>
struct foresight::EnumNames<foresight::data::Unfinished> {
  static constexpr std::array<std::pair<std::string_view, data::Unfinished>, 2> names = {
      {{"lost", data::Unfinished::lost}, {"recovered", data::Unfinished::recovered}}};
};
template <>
struct foresight::EnumNames<foresight::data::FrameStorage> {
  static constexpr std::array<std::pair<std::string_view, data::FrameStorage>, 2> names = {
      {{"video", data::FrameStorage::video}, {"pictures", data::FrameStorage::pictures}}};
};
