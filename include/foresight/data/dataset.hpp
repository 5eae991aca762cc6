// SPDX-License-Identifier: Apache-2.0
// Recorded experience as training sees it: episodes of rows, a row being one frame, the numbers
// recorded with it and *the action applied in it* (which leads to the next row).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/fnv1a.hpp"
#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"
#include "foresight/data/csv.hpp"
#include "foresight/data/stored_statistics.hpp"
#include "foresight/data/unreadable.hpp"
#include "foresight/data/video_reader.hpp"

namespace foresight::data {

/// Frame size in pixels.
struct ImageSize {
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const ImageSize&) const = default;
};

/// What the action in the last row of an episode is. It leads to a row that was not recorded, so
/// nothing can be learned from it in either case, and neither windows nor action statistics use it.
enum class LastAction {
  applied,   ///< an action that was applied, like the others
  artefact,  ///< whatever the recorder left there: a repeated first action, NaN, zeros
};

/// How closely stored pictures are looked at, to know them again.
enum class PictureEvidence {
  sizes,  ///< of their files, as these were when the data set was opened: reads nothing; of the
          ///< packets of one of several episodes in a film, whose header may be read
  bytes,  ///< some of their bytes too
};

/// Numbers that were recorded under one name.
struct ColumnGroup {
  std::string name;                  ///< e.g. "action"
  std::vector<std::string> columns;  ///< its numbers, e.g. action_0, action_1
  std::vector<int64_t> shape;        ///< of a row, e.g. [2]; with several sizes, `columns` are in
                                     ///< row-major order
  std::vector<std::string> names = {};  ///< what its numbers are, where that was recorded beside
                                        ///< `columns` (LeRobot), e.g. dx, dy; else empty
};

/// Recorded episodes. Const access is thread-safe, so that one data set serves all threads of a
/// loader.
class FORESIGHT_API Dataset {
 public:
  virtual ~Dataset() = default;

  /// For messages: the path it was opened from.
  virtual const std::string& name() const = 0;
  virtual int64_t num_episodes() const = 0;
  /// Rows (= frames) of an episode, at least 1.
  virtual int64_t length(int64_t episode) const = 0;
  /// For messages, e.g. the file name of an episode.
  virtual std::string episode_name(int64_t episode) const = 0;
  /// Frames as read_frames() returns them.
  virtual ImageSize image_size() const = 0;
  /// Rows per second; 0 where the recording does not tell.
  virtual double fps() const = 0;
  /// Names of all columns with numbers.
  virtual const std::vector<std::string>& columns() const = 0;
  virtual const std::vector<std::string>& action_columns() const = 0;
  virtual const std::vector<std::string>& state_columns() const = 0;
  virtual LastAction last_action() const = 0;
  /// Names of the cameras that were recorded. read_frames() gives the pictures of one of them,
  /// DatasetOptions.camera; by default the first in this list: by name, but of stable-worldmodel's
  /// "pixels", then those whose names begin so (its environments show a goal under "goal").
  virtual std::vector<std::string> cameras() const { return {"pixels"}; }
  /// The one of them whose pictures read_frames() gives.
  virtual std::string camera() const { return cameras().front(); }
  /// The type in which a column's numbers are stored; read_rows() gives float64 of any. Throws
  /// Error(not_found) for an unknown column.
  virtual at::ScalarType column_type(const std::string& column) const;
  /// Columns by the names under which they were recorded; every column is in one group.
  virtual std::vector<ColumnGroup> groups() const;
  /// What was noticed while opening and may matter to training, e.g. a video whose frames are not
  /// equally spaced in time. Empty where there was nothing.
  virtual std::vector<std::string> remarks() const { return {}; }
  /// Episodes none of whose frames can be read, as found while opening with Unreadable::skip, and
  /// why. Where their numbers are lost too, those are NaN; columns of integers are then float64.
  virtual std::map<int64_t, std::string> unreadable_episodes() const { return {}; }
  /// What the recorder noted of the whole recording (RecordingOptions.notes), by name, e.g.
  /// "environment" of `foresight record`; of LeRobot's info.json "robot_type". Empty where the
  /// format has no place for it.
  virtual std::map<std::string, std::string> notes() const { return {}; }
  /// Statistics that were stored with the recordings (LeRobot), by the names in groups() and
  /// cameras(). Read when asked for; nothing else here depends on them. Empty where there are none.
  /// Throws Error(bad_file) naming file, feature and rule.
  virtual std::map<std::string, StoredStatistics> stored_statistics() const { return {}; }
  /// Names of the parts of the recordings that they tell of themselves: robomimic's mask/<name>,
  /// the splits of LeRobot's info.json and of a folder's dataset.json, DINO-WM's train and val.
  virtual std::vector<std::string> splits() const { return {}; }
  /// The episodes of one of splits(), ascending. Throws Error(not_found) listing those that there
  /// are, Error(bad_file) for one that names what is not there.
  virtual std::vector<int64_t> episodes_of_split(const std::string& split) const;
  /// Names of the columns with words, e.g. "task".
  virtual std::vector<std::string> text_columns() const { return {}; }

  /// Rows first..first+count-1 of the named columns, float64 [count, columns]. Action columns may
  /// hold NaN. Throws Error(not_found) for an unknown column, Error(invalid_argument) for rows
  /// outside the episode.
  virtual Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                           int64_t count) const = 0;
  /// The same rows in the type that holds what is stored in all of the columns: 64-bit integers
  /// (identifiers, nanoseconds) keep the digits that float64 has no room for. Throws as
  /// read_rows().
  virtual Tensor read_stored(const std::vector<std::string>& columns, int64_t episode,
                             int64_t first, int64_t count) const;
  /// The words of a column in rows first..first+count-1. Throws as read_rows().
  virtual std::vector<std::string> read_text(const std::string& column, int64_t episode,
                                             int64_t first, int64_t count) const;
  /// Frames in the order asked for, uint8 [N,H,W,3]. Throws Error(bad_file) naming file and frame.
  virtual Tensor read_frames(int64_t episode, at::IntArrayRef indices) const = 0;
  /// Says that read_frames() will soon be asked for these frames, so that the system may fetch
  /// their bytes from the disk meanwhile, those of many frames at once. Changes nothing else;
  /// whatever is wrong with them, read_frames() says. May throw as it does. Does nothing by
  /// default.
  virtual void announce_frames(int64_t /*episode*/, at::IntArrayRef /*indices*/) const {}
  /// Adds what tells these frames from others, without reading one: names, sizes and times of
  /// change of the files they lie in, wherever those are, and how they are decoded. The file that
  /// name() is, where it is one, and camera() need not be among it. Nothing by default: whatever
  /// lies below name() then tells them.
  virtual void identify_frames(Fnv1a& /*hash*/) const {}
  /// Adds how frames are made of what is stored: part of identify_frames(). Nothing by default.
  virtual void identify_decoding(Fnv1a& /*hash*/) const {}
  /// Adds what tells the stored pictures of an episode from others: the same on every machine,
  /// wherever they lie and however they are decoded. Of a film at most 12 KiB are read, of
  /// pictures three. Returns whether anything is known of them: not by default, nor of an episode
  /// whose pictures cannot be read.
  virtual bool identify_pictures(int64_t /*episode*/, PictureEvidence /*evidence*/,
                                 Fnv1a& /*hash*/) const {
    return false;
  }

  /// Rows of all episodes together.
  int64_t total_rows() const;
  /// All rows of the named columns of an episode.
  Tensor read_all_rows(const std::vector<std::string>& columns, int64_t episode) const {
    return read_rows(columns, episode, 0, length(episode));
  }

 protected:
  /// The type that holds the numbers of all these columns.
  at::ScalarType stored_type(const std::vector<std::string>& columns) const;
  /// The type that holds the numbers of all these types; float64 of none.
  static at::ScalarType type_holding(const std::vector<at::ScalarType>& types);
  /// Throws Error(invalid_argument) unless the rows exist.
  void check_rows(int64_t episode, int64_t first, int64_t count) const;
};

/// How recorded data is opened.
struct FORESIGHT_API DatasetOptions {
  VideoReaderOptions video = {};  ///< size and conversion of frames, and what to do with damage
  std::string camera = {};        ///< whose frames are read; empty: the first of cameras()
  std::string split = {};  ///< robomimic: the demonstrations that mask/<split> lists, e.g. "train";
                           ///< DINO-WM: "train" or "val", where both lie in the folder; empty: all.
                           ///< Other formats have none that is read
  std::vector<std::string> actions = {};  ///< action columns; empty: as the format says
  std::vector<std::string> states = {};   ///< state columns; empty: as the format says
  double fps = 0;                         ///< rows per second; 0: as recorded
  double tolerance_s =
      1e-4;  ///< furthest that a frame of LeRobot video may lie from its row's time
  int64_t tail_mismatch =
      0;  ///< rows or frames that may be dropped at an episode's end so that both agree
  int64_t threads = 0;  ///< threads that check the files while opening; 0: one per core
  /// States without a value (NaN, infinite) in some row, infinite actions of a plain folder:
  /// refused, or kept as they are, as inspect() wants them.
  NanPolicy missing_states = NanPolicy::reject;
  /// Films and pictures that cannot be opened. With skip, reading frames of such an episode fails
  /// and all others keep their numbers; of a folder of pictures or videos alone it is left out.
  /// So are DROID's trajectories and robomimic's demonstrations, which are an episode each: rows
  /// that nothing tells are then as many as the film or another array has, else one, and numbers
  /// that are lost are NaN. Of several HDF5 files in a folder, which are one data set, those that
  /// do not open are left out.
  /// Other tables that are gone always fail.
  Unreadable unreadable = Unreadable::fail;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("video", self.video, "size and conversion of frames, and what to do with damage");
    visit("camera", self.camera, "whose frames are read; empty: the first that `inspect` lists");
    visit("split", self.split,
          "robomimic: demonstrations that mask/<split> lists; DINO-WM: train or val; empty: all");
    visit("actions", self.actions, "action columns; empty: as the format says");
    visit("states", self.states, "state columns; empty: as the format says");
    visit("fps", self.fps, "rows per second; 0: as recorded");
    visit("tolerance_s", self.tolerance_s,
          "furthest that a frame of LeRobot video may lie from its row's time, seconds");
    visit("tail_mismatch", self.tail_mismatch,
          "rows or frames that may be dropped at an episode's end so that both agree");
    visit("threads", self.threads, "threads that check the files while opening; 0: one per core");
    visit("missing_states", self.missing_states, "states without a value: reject or accept");
    visit("unreadable", self.unreadable, "films and pictures that cannot be opened: fail or skip");
  }
  std::vector<std::string> validate() const;
};

/// Opens recorded data of any format that is read, found by what lies at `path` (docs/data.md):
/// LeRobot v2 and v3, stable-worldmodel HDF5 and folders, robomimic, DINO-WM, DROID, and plain
/// folders of videos or pictures with tables. Files are checked while opening; numbers are read
/// when they are first asked for. Throws Error(not_found | bad_file); Error(unsupported) for a
/// format whose library this build lacks; Error(not_found) that lists what was looked for;
/// Error(invalid_argument) that names the data sets in folders below, for a folder that is none or
/// holds several HDF5 files too, or the folder to give, for one file of a data set.
FORESIGHT_API std::shared_ptr<const Dataset> open_dataset(const std::filesystem::path& path,
                                                          const DatasetOptions& options = {});

}  // namespace foresight::data
