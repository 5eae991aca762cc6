// SPDX-License-Identifier: Apache-2.0
// DROID's raw episodes, as V-JEPA 2-AC is trained on them. An episode is a folder:
//   metadata_*.json              {"left_mp4_path": ".../recordings/MP4/<serial>.mp4", ...}
//   recordings/MP4/<serial>.mp4
//   trajectory.h5                observation/robot_state/cartesian_position [T,6] (xyz, Euler
//   angles)
//                                observation/robot_state/gripper_position [T]
//                                observation/camera_extrinsics/<serial>_left [T,6], may be absent
// The state is pose and gripper; the action of a row is what changes until the next one: never the
// recorded command. "camera_extrinsics" is where the film's camera stands (xyz, Euler angles). With
// DatasetOptions.fps every k-th frame is a row, k = ceil(recorded / fps).
#include <algorithm>
#include <cmath>
#include <limits>

#include "../parallel.hpp"
#include "../tables/hdf5_file.hpp"
#include "../video/video_frames.hpp"
#include "droid_folders.hpp"
#include "euler_turns.hpp"
#include "formats.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using namespace droid;

constexpr const char* kPose = "observation/robot_state/cartesian_position";
constexpr const char* kGripper = "observation/robot_state/gripper_position";
constexpr const char* kCameras = "observation/camera_extrinsics/";
constexpr int64_t kStateWidth = 7, kCameraWidth = 6;

struct DroidEpisode {
  fs::path folder;
  std::map<std::string, fs::path> videos = {};  // by camera, as the metadata name them
  int64_t rows = 0;                             // of trajectory and video, before thinning
  double rate = 0;
  int64_t stride = 1;    // frames a row
  FileStamp stamp = {};  // of the trajectory
  std::vector<std::string> remarks = {};
  std::string no_film = {}, no_numbers = {};  // why they cannot be read; empty: they can
  std::string extrinsics = {};                // the array of the film's camera
  std::string no_extrinsics = {};             // why it cannot be read; empty: it can

  double row_rate() const { return rate / static_cast<double>(stride); }
};

class DroidOpener {
 public:
  DroidOpener(const fs::path& path, const DatasetOptions& options)
      : options_(options), name_(path.string()) {
    if (fs::is_directory(path)) {
      const auto found = folders_below(path);
      for (const auto& folder : found.episodes) episodes_.push_back({.folder = folder});
      for (const auto& folder : found.films)
        remarks_.push_back((folder / "recordings" / "MP4").string() +
                           ": films of no episode, left out: beside them is neither trajectory.h5 "
                           "nor a *.json that names them (left_mp4_path, ...)");
    } else {
      for (const auto& folder : listed_folders(path)) episodes_.push_back({.folder = folder});
    }
    require(!episodes_.empty(), ErrorCategory::not_found, name_ + ": lists no episode");
    for (auto& episode : episodes_) unless_lost(episode.no_film, [&] { find_videos(episode); });
    cameras_ = cameras();
    if (cameras_.empty()) refuse_without_camera(fs::is_directory(path));
    camera_ = chosen_camera(name_, cameras_, options_);
    parallel_for(static_cast<int64_t>(episodes_.size()), options_.threads,
                 [this](int64_t e) { measure(episodes_[static_cast<std::size_t>(e)]); });
    fill_lost();
  }

  OpenedDataset open() {
    Recording recording{.name = name_};
    recording.fps = episodes_.front().row_rate();
    recording.last_action = LastAction::artefact;  // nothing follows, so it is NaN
    recording.actions = {{"action"}};
    recording.states = {{"state"}};
    recording.cameras = cameras_;
    recording.remarks = remarks_;
    std::vector<EpisodeClip> clips;
    int64_t first = 0;
    double slowest = recording.fps, fastest = recording.fps;
    for (const auto& episode : episodes_) {
      const int64_t length = (episode.rows + episode.stride - 1) / episode.stride;
      recording.episodes.push_back({episode.folder.filename().string(), first, length});
      const auto& problem = episode.no_film.empty() ? episode.no_numbers : episode.no_film;
      if (problem.empty()) {
        clips.push_back({.file = episode.videos.at(camera_), .stride = episode.stride});
      } else {
        clips.emplace_back();
        recording.unreadable.emplace(std::ssize(clips) - 1, problem);
      }
      for (const auto& remark : episode.remarks) recording.remarks.push_back(remark);
      first += length;
      slowest = std::min(slowest, episode.row_rate());
      fastest = std::max(fastest, episode.row_rate());
    }
    if (fastest > slowest * (1 + kRateTolerance))
      recording.remarks.push_back(name_ + ": rows follow each other " + std::to_string(slowest) +
                                  " to " + std::to_string(fastest) +
                                  " times a second: a window covers different times in them");
    const auto states = [episodes = episodes_] {
      return all_rows(episodes, kStateWidth,
                      [](const DroidEpisode&, const Hdf5File& file) { return states_of(file); });
    };
    recording.features.push_back({"state", kStateWidth, states});
    recording.features.push_back({"action", kStateWidth, [states, rows = recording.episodes] {
                                    return pose_changes(states(), rows);
                                  }});
    add_extrinsics(recording);
    recording.frames = video_frames(std::move(clips), {}, options_.video, options_.unreadable);
    auto options = options_;
    options.fps = 0;  // already in the rows
    return make_columnar_dataset(std::move(recording), options);
  }

 private:
  // What `look` throws of a part of an episode ends the opening, or is kept in `problem`.
  template <class Look>
  void unless_lost(std::string& problem, Look&& look) const {
    try {
      look();
    } catch (const Error& error) {
      if (options_.unreadable == Unreadable::fail || !is_unreadable(error)) throw;
      problem = error.what();
    }
  }

  // Cameras that every episode names and some episode has a film of: where a film is not there, it
  // was lost, and no other camera stands in for it.
  std::vector<std::string> cameras() const {
    std::map<std::string, bool> there;  // by name: in some episode
    for (const auto& episode : episodes_)
      for (const auto& [camera, file] : episode.videos)
        there[camera] = there[camera] || fs::exists(file);
    std::vector<std::string> names;
    for (const auto& [camera, any] : there)
      if (any &&
          std::all_of(episodes_.begin(), episodes_.end(), [&camera = camera](const auto& episode) {
            return episode.videos.contains(camera) || !episode.no_film.empty();
          }))
        names.push_back(camera);
    return names;
  }

  [[noreturn]] void refuse_without_camera(bool folder) const {
    const auto named = std::find_if(episodes_.begin(), episodes_.end(),
                                    [](const auto& episode) { return !episode.videos.empty(); });
    std::string why;
    if (named == episodes_.end())
      why = (folder ? ": none of its episodes names a film, the first: "
                    : ": is read as a list of DROID episodes, a folder in each line, and none is "
                      "one, the first: ") +
            episodes_.front().no_film;
    else
      why = ": has no camera that every episode names and some has the film of; looked for " +
            named->videos.begin()->second.string() + " and others";
    throw Error(ErrorCategory::not_found, name_ + why);
  }

  static void find_videos(DroidEpisode& episode) {
    require(fs::is_directory(episode.folder), ErrorCategory::not_found,
            episode.folder.string() + ": no such folder");
    episode.videos = named_films(episode.folder);
    require(!episode.videos.empty(), ErrorCategory::not_found,
            episode.folder.string() +
                ": no video. Looked for a *.json with a key like "
                "left_mp4_path and recordings/MP4/ with that file");
  }

  void measure(DroidEpisode& episode) const {
    int64_t poses = 0, frames = 0;
    unless_lost(episode.no_numbers, [&] { poses = poses_of(episode); });
    if (episode.no_film.empty()) unless_lost(episode.no_film, [&] { frames = frames_of(episode); });
    episode.rows = !episode.no_film.empty()      ? poses
                   : !episode.no_numbers.empty() ? frames
                                                 : std::min(poses, frames);
    const bool both = episode.no_film.empty() && episode.no_numbers.empty();
    if (both && poses != frames)
      episode.remarks.push_back(episode.folder.string() + ": trajectory.h5 has " +
                                std::to_string(poses) + " rows, the video " +
                                std::to_string(frames) +
                                " frames; what only one of them has is left out");
  }

  int64_t poses_of(DroidEpisode& episode) const {
    require(fs::exists(episode.folder / kTrajectory), ErrorCategory::not_found,
            (episode.folder / kTrajectory).string() +
                ": no such file beside the films of its episode; with DatasetOptions.unreadable = "
                "skip (--reading.unreadable skip) the episode is kept without numbers");
    episode.stamp = file_stamp(episode.folder / kTrajectory);
    const Hdf5File trajectory(episode.folder / kTrajectory);
    const auto pose = trajectory.array(kPose), gripper = trajectory.array(kGripper);
    constexpr int64_t kMost = int64_t{1} << 40;  // no episode has so many rows
    require(pose.shape.size() == 2 && pose.shape[1] == 6 && gripper.shape.size() == 1 &&
                gripper.shape[0] == pose.shape[0] && pose.shape[0] < kMost,
            ErrorCategory::bad_file,
            trajectory.path() + ": expected " + kPose + " [rows, 6] and " + kGripper + " [rows]");
    require(pose.shape[0] >= 1, ErrorCategory::bad_file, trajectory.path() + ": has no rows");
    states_of(trajectory);  // an array may be there, and its bytes not
    find_extrinsics(episode, trajectory, pose.shape[0]);
    return pose.shape[0];
  }

  // ZED cameras have two lenses each: films are those of the left ones.
  void find_extrinsics(DroidEpisode& episode, const Hdf5File& trajectory, int64_t rows) const {
    const auto film = episode.videos.find(camera_);
    if (film == episode.videos.end()) return;
    episode.extrinsics = kCameras + film->second.stem().string() + "_left";
    const std::string where = trajectory.path() + ": " + episode.extrinsics;
    if (!trajectory.has(episode.extrinsics)) {
      episode.no_extrinsics = where + " is missing";
      return;
    }
    const auto array = trajectory.array(episode.extrinsics);
    if (!array.problem.empty())
      episode.no_extrinsics = where + ": " + array.problem;
    else if (array.shape != std::vector<int64_t>{rows, kCameraWidth} || !array.type)
      episode.no_extrinsics = where + " has shape " + shape_string(array.shape) + ", expected " +
                              shape_string({rows, kCameraWidth});
    else
      try_extrinsics(episode, trajectory);
  }

  // As with the poses: an array may be there, and its bytes not.
  static void try_extrinsics(DroidEpisode& episode, const Hdf5File& trajectory) {
    try {
      trajectory.read(episode.extrinsics);
    } catch (const Error& problem) {
      // A filter that this HDF5 has not costs this column only, too.
      if (!is_unreadable(problem) && problem.category() != ErrorCategory::unsupported) throw;
      episode.no_extrinsics = problem.what();
    }
  }

  // A column, where no episode lacks it.
  void add_extrinsics(Recording& recording) const {
    const std::string name = "camera_extrinsics";
    const auto lacks = std::find_if(episodes_.begin(), episodes_.end(), [](const auto& episode) {
      return !episode.no_extrinsics.empty();
    });
    if (lacks != episodes_.end()) {
      recording.skipped[name] = lacks->no_extrinsics;
      return;
    }
    const auto read = [](const DroidEpisode& episode, const Hdf5File& file) {
      return episode.extrinsics.empty() ? Tensor() : file.read(episode.extrinsics);
    };
    recording.features.push_back({name, kCameraWidth, [episodes = episodes_, read] {
                                    return all_rows(episodes, kCameraWidth, read);
                                  }});
  }

  // Pose and gripper of every row, [rows,7].
  static Tensor states_of(const Hdf5File& trajectory) {
    return at::cat({trajectory.read(kPose).to(at::kDouble),
                    trajectory.read(kGripper).to(at::kDouble).unsqueeze(1)},
                   1);
  }

  int64_t frames_of(DroidEpisode& episode) const {
    const auto& file = episode.videos.at(camera_);
    require(fs::exists(file), ErrorCategory::not_found,
            file.string() + ": the film of camera '" + camera_ +
                "' is missing, which the metadata of its episode name; with "
                "DatasetOptions.unreadable = skip (--reading.unreadable skip) the episode is kept "
                "without frames");
    const VideoReader reader(file.string(), options_.video);
    require(reader.num_frames() >= 1, ErrorCategory::bad_file, file.string() + ": has no frames");
    episode.rate = reader.info().average_rate;
    if (options_.fps > 0 && episode.rate > 0)  // every film by its own rate, as V-JEPA 2-AC does
      episode.stride =
          static_cast<int64_t>(std::clamp(std::ceil(episode.rate / options_.fps - 1e-6), 1.0, 1e9));
    if (const auto uneven = uneven_frames(reader); !uneven.empty())
      episode.remarks.push_back(uneven);
    return reader.num_frames();
  }

  // A lost film has no rate: it is taken to be that of another. Nothing tells the rows of an
  // episode that has lost both parts.
  void fill_lost() {
    const auto film = std::find_if(episodes_.begin(), episodes_.end(), [](const auto& episode) {
      return episode.no_film.empty() && episode.no_numbers.empty();
    });
    const auto& first = episodes_.front();
    require(film != episodes_.end(), ErrorCategory::bad_file,
            name_ + ": no episode can be read, the first: " +
                (first.no_film.empty() ? first.no_numbers : first.no_film));
    for (auto& episode : episodes_) {
      episode.rows = std::max<int64_t>(episode.rows, 1);
      if (episode.no_film.empty()) continue;
      episode.rate = film->rate;
      episode.stride = film->stride;
    }
  }

  // What `read` gives of each trajectory, [rows,width], of the rows that are kept; NaN where there
  // is none.
  template <class Read>
  static Tensor all_rows(const std::vector<DroidEpisode>& episodes, int64_t width,
                         const Read& read) {
    std::vector<Tensor> parts;
    for (const auto& episode : episodes) {
      Tensor values;
      if (episode.no_numbers.empty()) {
        require_unchanged(episode.folder / kTrajectory, episode.stamp);
        values = read(episode, Hdf5File(episode.folder / kTrajectory));
      }
      const int64_t rows = (episode.rows + episode.stride - 1) / episode.stride;
      parts.push_back(
          values.defined()
              ? values.to(at::kDouble).slice(0, 0, episode.rows, episode.stride)
              : at::full({rows, width}, std::numeric_limits<double>::quiet_NaN(), at::kDouble));
    }
    return at::cat(parts).contiguous();
  }

  static Tensor pose_changes(const Tensor& states, const std::vector<EpisodeRows>& episodes) {
    Tensor actions =
        at::full(states.sizes(), std::numeric_limits<double>::quiet_NaN(), at::kDouble);
    const auto* state = states.const_data_ptr<double>();
    auto* action = actions.mutable_data_ptr<double>();
    for (const auto& episode : episodes)
      for (int64_t row = episode.first; row + 1 < episode.first + episode.length; ++row) {
        const double* now = state + row * kStateWidth;
        const double* next = now + kStateWidth;
        double* change = action + row * kStateWidth;
        for (int i = 0; i < 3; ++i) change[i] = next[i] - now[i];
        turn_between(now + 3, next + 3, change + 3);
        change[6] = next[6] - now[6];
      }
    return actions;
  }

  DatasetOptions options_;
  std::string name_, camera_;
  std::vector<std::string> cameras_, remarks_;
  std::vector<DroidEpisode> episodes_;
};

}  // namespace

OpenedDataset open_droid(const fs::path& path, const DatasetOptions& options) {
  return DroidOpener(path, options).open();
}

bool holds_droid_episodes(const fs::path& folder) {
  if (is_surely_episode(folder)) return true;
  int looked_at = 0;
  for (auto it =
           fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied);
       it != fs::recursive_directory_iterator(); ++it) {
    if (it.depth() > 4) it.disable_recursion_pending();
    if (it->path().filename() == kTrajectory) return true;
    if (++looked_at > 20000) return false;  // it would be among the first of a DROID folder
  }
  return false;
}

}  // namespace foresight::data
