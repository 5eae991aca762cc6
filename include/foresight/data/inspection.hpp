// SPDX-License-Identifier: Apache-2.0
// What to know of recorded data before training on it: a model learns from frozen pictures, clipped
// actions and shifted clocks without complaint.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/statistics.hpp"

namespace foresight::data {

struct FORESIGHT_API InspectionOptions {
  int64_t frames = 2000;    ///< frames of every camera that are looked at, in stretches spread over
                            ///< the data set: whole episodes where more than 32 fit, else shares
                            ///< of 32 (or all; fewer where a share would have less than `frozen`
                            ///< frames), in turn from the beginning, the middle, the end
  double still = 0.02;      ///< frames that differ by less than this many grey levels on average
                            ///< are the same picture
  int64_t frozen = 5;       ///< so many equal frames in a row are a frozen camera
  double repeated = 0.1;    ///< share of frames equal to the one before, frozen stretches left out,
                            ///< that is worth a warning
  double saturated = 0.25;  ///< share of rows at an action's limit that is worth a warning
  double clock = 0.1;       ///< share of 1/fps by which a time may be off

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("frames", self.frames,
          "frames of every camera looked at, in stretches spread over the data set");
    visit("still", self.still, "mean difference in grey levels below which frames are equal");
    visit("frozen", self.frozen, "so many equal frames in a row are a frozen camera");
    visit("repeated", self.repeated, "share of frames shown twice that is worth a warning");
    visit("saturated", self.saturated, "share of rows at an action's limit worth a warning");
    visit("clock", self.clock, "share of 1/fps by which a time may be off");
  }
  std::vector<std::string> validate() const;
};

/// Rows at which an action stands at its smallest or largest value, exactly.
struct Saturation {
  std::string column;
  double share = 0;  ///< of all rows that have a value
};

/// Rows in which a column has no value (NaN), or an infinite one.
struct MissingValues {
  std::string column;
  int64_t rows = 0;
  std::vector<int64_t> episodes = {};  ///< in which they are, ascending
};

/// A stretch of equal frames.
struct FrozenStretch {
  int64_t episode = 0;
  int64_t first = 0;   ///< row
  int64_t length = 0;  ///< frames
};

/// What was seen of one camera.
struct CameraInspection {
  std::string camera;
  int64_t frames_seen = 0;
  int64_t episodes_seen = 0;               ///< of which frames were looked at
  int64_t repeated_frames = 0;             ///< equal to the frame before
  std::vector<FrozenStretch> frozen = {};  ///< at least InspectionOptions.frozen equal frames
};

struct FORESIGHT_API Inspection {
  std::vector<int64_t> lengths;         ///< of all episodes, ascending
  Statistics actions;                   ///< without last rows
  Statistics states;                    ///< empty where there are none
  /// Of actions and states as they were stored with the recordings, of all rows
  /// (Dataset::stored_statistics(); a count of 0: not told). Empty where they were not, or cannot
  /// be read.
  Statistics stored;
  std::vector<Saturation> saturation;   ///< of every action column that has values
  int64_t missing_actions = 0;          ///< rows with NaN in an action, last rows not counted
  int64_t infinite_actions = 0;         ///< rows with an infinite action, last rows not counted
  std::vector<MissingValues> missing;   ///< columns, actions apart, in which some value is missing
  std::vector<MissingValues> infinite;  ///< the same of infinite values
  std::vector<std::string> empty;       ///< columns without any value
  std::vector<std::string> constant;    ///< action columns that never change
  std::map<std::string, std::string> unread;  ///< columns that cannot be read, and why
  bool timed = false;                   ///< a column `timestamp` was there to be checked
  int64_t irregular_steps = 0;          ///< steps in time that are not 1/fps
  std::vector<CameraInspection> cameras;  ///< the data set's own first
  std::vector<std::string> unreadable;  ///< episodes whose frames do not decode, and why
  std::vector<std::string> faults;      ///< would break training: it stops, or learns nothing
  std::vector<std::string> warnings;    ///< worth a look before training: it learns something else
  /// Nothing that would break training.
  bool usable() const { return faults.empty() && unreadable.empty(); }
  /// Nothing found that would spoil training: no warnings either.
  bool good() const { return usable() && warnings.empty(); }
};

/// Reads all numbers and some of the frames (InspectionOptions.frames): what is said of pictures is
/// said of those. `others` are the same recordings, opened for their other cameras. Faults and
/// warnings name episodes by their numbers, from 0 on, and cameras where there are several. A
/// column that cannot be read is left out and told, as a fault where it is an action or a state.
/// Open the data set with DatasetOptions.missing_states = accept and .unreadable = skip, so that
/// states without a value and films that cannot be opened are reported, as frames that do not
/// decode are.
FORESIGHT_API Inspection inspect(const Dataset& dataset, const InspectionOptions& options = {},
                                 const std::vector<std::shared_ptr<const Dataset>>& others = {});

/// Frames of some episodes as one picture, uint8 [H,W,3]: a line an episode, `columns` frames
/// evenly spread over it, none shrunk, one grey pixel between them. A grey frame with a dark cross
/// is one that cannot be read.
FORESIGHT_API Tensor contact_sheet(const Dataset& dataset, int64_t episodes = 6,
                                   int64_t columns = 8);

}  // namespace foresight::data
