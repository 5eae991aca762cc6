// SPDX-License-Identifier: Apache-2.0
// One implementation of Dataset for all formats that store a column as one array over all episodes.
// A format's reader only describes what it found; columns are read when they are first asked for
// and then kept, so that a recording with wide columns that nobody uses costs nothing. Private to
// the data folder.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "foresight/core/fnv1a.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Pictures of one camera.
class FrameSource {
 public:
  virtual ~FrameSource() = default;
  virtual ImageSize size() const = 0;
  /// Frames uint8 [N,H,W,3] in the order asked for; the rows exist. Thread-safe.
  virtual Tensor read(int64_t episode, at::IntArrayRef rows) const = 0;
  /// See Dataset::announce_frames().
  virtual void announce(int64_t /*episode*/, at::IntArrayRef /*rows*/) const {}
  /// See Dataset::identify_frames().
  virtual void identify(Fnv1a& /*hash*/) const {}
  /// See Dataset::identify_pictures(); of an episode of `length` rows.
  virtual bool identify_pictures(int64_t episode, int64_t length, PictureEvidence evidence,
                                 Fnv1a& hash) const = 0;
};

/// A named array of numbers. Its `width` values a row become columns: "action" of width 2 gives
/// action_0 and action_1; width 1 keeps its name.
struct Feature {
  std::string name;
  int64_t width = 1;
  std::function<Tensor()> load;     ///< [rows of all episodes, width], any type of numbers
  std::vector<int64_t> shape = {};  ///< of a row; empty: [width]
  std::vector<std::string> names = {};  ///< as ColumnGroup::names
};

struct TextFeature {
  std::string name;
  std::function<std::vector<std::string>()> load;  ///< one text a row
};

/// Where an episode's rows lie in the columns.
struct EpisodeRows {
  std::string name;
  int64_t first = 0;
  int64_t length = 0;
};

/// What a format's reader found.
struct Recording {
  std::string name;  ///< path, for messages
  double fps = 0;    ///< 0: not recorded
  LastAction last_action = LastAction::applied;
  std::vector<EpisodeRows> episodes = {};
  std::vector<Feature> features = {};
  std::vector<TextFeature> texts = {};
  std::map<std::string, std::string> skipped = {};  ///< column -> why it is not read
  std::set<std::string> unremarked = {};  ///< those of `skipped` that need no remark, or have one
  std::vector<std::string> remarks = {};  ///< as Dataset::remarks(), of all else
  std::map<int64_t, std::string> unreadable = {};  ///< as Dataset::unreadable_episodes()
  std::map<std::string, std::string> notes = {};   ///< as Dataset::notes()
  /// As Dataset::stored_statistics(); empty: there are none.
  std::function<std::map<std::string, StoredStatistics>()> statistics = {};
  /// Episodes of each of Dataset::splits(), read when asked for.
  std::map<std::string, std::function<std::vector<int64_t>()>> splits = {};
  std::vector<std::string> cameras = {};
  std::shared_ptr<const FrameSource> frames = {};  ///< of the chosen camera
  /// Files that frames lie in, or that say which frame a row shows, besides those that `frames`
  /// identifies and `name` itself.
  std::vector<std::filesystem::path> frame_files = {};
  /// Features that hold actions and states where DatasetOptions do not say: the first list of
  /// which all are there.
  std::vector<std::vector<std::string>> actions = {}, states = {};
};

/// Adds remarks of the columns that are skipped. Throws Error(not_found) if there is no camera, no
/// such camera, or no action column; Error(bad_file) if episodes or columns contradict each other.
std::shared_ptr<const Dataset> make_columnar_dataset(Recording recording,
                                                     const DatasetOptions& options);

/// The camera that DatasetOptions.camera means. Throws Error(not_found) listing `cameras`.
std::string chosen_camera(const std::string& recording, const std::vector<std::string>& cameras,
                          const DatasetOptions& options);

/// Puts stable-worldmodel's camera, "pixels", first, then those whose names begin so. Its recorder
/// keeps whatever an environment tells, among it pictures of the goal, under "goal".
void put_pixels_first(std::vector<std::string>& cameras);

/// Dataset::identify_decoding() of one that is decoded with these options.
void add_decoding(Fnv1a& hash, const VideoReaderOptions& options);

/// "a, b, c", or "none".
std::string listed_names(const std::vector<std::string>& names);

/// ". Not read:" and a line for each of Recording::skipped; empty where nothing was.
std::string not_read(const std::map<std::string, std::string>& skipped);

}  // namespace foresight::data
