// SPDX-License-Identifier: Apache-2.0
// The simplest format of recorded data: a folder with one video, or one folder of pictures, and one
// table per episode.
//
//   dataset.json                         optional: {"fps": 10, "action_columns": [...],
//                                         "state_columns": [...], "last_action": "artefact",
//                                         "shapes": {"grid": [2, 3]}, "types": {"done": "bool"},
//                                         "names": {"action_0": "dx"},
//                                         "splits": {"train": "0-14", "valid": "15,17-"}}; other
//                                         keys are ignored. The rate is else that of the videos, or
//                                         of the column `timestamp`, or unknown (0). Types are
//                                         float32, float64, int64 or bool, of columns. Splits name
//                                         the numbers of files; those that are missing between them
//                                         are passed over
//   episode_0000.mp4  episode_0000.csv   row t of the table belongs to frame t of the video
//
// Where the frames of a video are not equally spaced in time and the table has a column `timestamp`
// (seconds), both clocks, from the first row and the first frame on, are compared: row t is frame t
// if all of them agree within half a step between rows (the median), else the frame nearest in time
// if each row has one within half a step; else rows are matched by number, with a remark.
// Episodes are ordered by number; gaps are fine. The video may also be .mkv, .webm or .avi, or a
// folder episode_0000/ of .png or .jpg files, one a row in the order of their names, numbers in
// them counted (2.png comes before 10.png); the table may be .jsonl, one object a row. Several
// cameras: episode_0000.front.mp4, episode_0000.wrist.mp4.
#pragma once

#include <map>
#include <mutex>

#include "foresight/data/csv.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

class FrameSource;  // private to the library

/// A plain folder. Tables are held in memory, videos are read on demand by a small pool of open
/// readers.
class FORESIGHT_API FolderDataset final : public Dataset {
 public:
  /// Opens every file once and checks that each table has as many rows as its video has frames, or
  /// is matched by time, that all frames have one size (unless `options` choose one) and that all
  /// tables have the same columns. Throws Error(not_found | bad_file) naming the file and the rule.
  explicit FolderDataset(const std::filesystem::path& folder, const DatasetOptions& options = {});
  ~FolderDataset() override;

  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return static_cast<int64_t>(episodes_.size()); }
  int64_t length(int64_t episode) const override;
  std::string episode_name(int64_t episode) const override;
  ImageSize image_size() const override { return image_size_; }
  double fps() const override { return fps_; }
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& action_columns() const override { return action_columns_; }
  const std::vector<std::string>& state_columns() const override { return state_columns_; }
  LastAction last_action() const override { return last_action_; }
  std::vector<std::string> cameras() const override { return cameras_; }
  std::string camera() const override { return camera_; }
  /// As dataset.json says ("types"); else float32 if all numbers of the column were printed as
  /// such, int64 if they are whole and float64 cannot hold some of them, float64 otherwise.
  at::ScalarType column_type(const std::string& column) const override;
  /// As dataset.json says ("shapes", "names"); else columns that differ by a number at the end,
  /// goal_0 and goal_1, are one group, goal.
  std::vector<ColumnGroup> groups() const override;
  std::vector<std::string> remarks() const override;
  std::map<int64_t, std::string> unreadable_episodes() const override;
  std::map<std::string, std::string> notes() const override { return notes_; }
  std::vector<std::string> splits() const override;
  std::vector<int64_t> episodes_of_split(const std::string& split) const override;
  std::vector<std::string> text_columns() const override { return text_columns_; }
  std::vector<std::string> read_text(const std::string& column, int64_t episode, int64_t first,
                                     int64_t count) const override;
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override;
  Tensor read_stored(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                     int64_t count) const override;
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override;
  void announce_frames(int64_t episode, at::IntArrayRef indices) const override;
  void identify_frames(Fnv1a& hash) const override;
  void identify_decoding(Fnv1a& hash) const override;
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const override;

 private:
  struct Episode {
    std::string name;
    std::filesystem::path frames;  // of the chosen camera: a video, or a folder of pictures
    std::vector<std::filesystem::path> pictures;  // of such a folder
    CsvTable table;
    std::vector<std::string> remarks;
    std::string problem;  // why its frames cannot be read; empty: they can
    int64_t length = 0;
    ImageSize size;
    double rate = 0;
    std::vector<int64_t> frame_of_row;  // of a video matched by time; empty: row t has frame t
    std::shared_ptr<const FrameTable> frame_table;  // of a video
  };

  std::vector<std::string> columns_of(const std::vector<std::string>& asked) const;
  void find_episodes(const std::filesystem::path& folder);
  void read_settings(const std::filesystem::path& file);
  void check_types() const;
  void open_episodes();
  void open_episode(Episode& episode) const;
  void open_frames_of(Episode& episode) const;
  void match_by_time(Episode& episode, std::vector<int64_t> frames, double rate) const;
  const Episode& shown() const;
  void open_frames();
  void agree();
  void look_for_left_out();
  double rate_of_timestamps() const;
  bool is_whole(const std::string& column) const;
  at::ScalarType found_type(const std::string& column) const;
  std::vector<std::string> prefixed(const std::string& word) const;

  std::string name_, camera_;
  std::string unfinished_;  // what is said of an episode that was left out
  std::vector<std::string> left_out_;  // what is said of columns that were
  DatasetOptions options_;
  std::vector<Episode> episodes_;
  std::vector<std::string> columns_, action_columns_, state_columns_, text_columns_, cameras_;
  ImageSize image_size_;
  std::map<std::string, std::vector<int64_t>> shapes_;  // of groups, where dataset.json has them
  std::map<std::string, std::string> notes_, splits_;   // of splits, the numbers as text
  std::map<std::string, std::string> names_;            // of columns: ColumnGroup::names
  double fps_ = 0;
  LastAction last_action_ = LastAction::applied;
  std::shared_ptr<const FrameSource> frames_;
  mutable std::mutex types_mutex_;
  // Of columns: those that dataset.json tells, and those that were asked for.
  mutable std::map<std::string, at::ScalarType> types_;
};

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::LastAction> {
  static constexpr std::array<std::pair<std::string_view, data::LastAction>, 2> names = {
      {{"applied", data::LastAction::applied}, {"artefact", data::LastAction::artefact}}};
};
