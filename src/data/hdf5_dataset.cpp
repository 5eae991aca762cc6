// SPDX-License-Identifier: Apache-2.0
// Recordings in one HDF5 file: stable-worldmodel's flat arrays over all episodes, and robomimic's
// group for every demonstration.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <set>

#include "formats.hpp"
#include "hdf5_file.hpp"
#include "picture.hpp"

namespace foresight::data {
namespace {

using Hdf5 = std::shared_ptr<const Hdf5File>;

// A 4-D array of bytes with 1 or 3 values last holds pictures.
bool holds_pictures(const Hdf5Array& array) {
  return array.shape.size() == 4 && array.type == at::kByte &&
         (array.shape[3] == 3 || array.shape[3] == 1) && array.shape[1] >= 1 &&
         array.shape[2] >= 1 && decodable({array.shape[1], array.shape[2]});
}

Tensor as_rgb(Tensor pictures) {
  return pictures.size(3) == 3
             ? pictures
             : pictures.expand({pictures.size(0), pictures.size(1), pictures.size(2), 3});
}

// Numbers a row of an array with `rows` rows; 0 if it has another number of rows.
int64_t row_width(const Hdf5Array& array, int64_t rows) {
  if (array.shape.empty() || array.shape[0] != rows) return 0;
  int64_t width = 1;
  for (std::size_t d = 1; d < array.shape.size(); ++d) {
    constexpr int64_t kMost = int64_t{1} << 31;  // no row has so many
    if (array.shape[d] < 0 || array.shape[d] > kMost || width * array.shape[d] > kMost) return 0;
    width *= array.shape[d];
  }
  return width;
}

std::vector<int64_t> row_shape(const Hdf5Array& array) {
  return array.shape.size() < 2 ? std::vector<int64_t>{}
                                : std::vector<int64_t>(array.shape.begin() + 1, array.shape.end());
}

constexpr int64_t kWidestColumn = 4096;  // wider ones are pictures of another kind, or maps

std::string shape_problem(const Hdf5Array& array) {
  return "it has shape " + shape_string(array.shape) + ", which is no column of numbers";
}

// Why there is no camera, if there is none: often an array that this HDF5 is too old for.
void require_camera(const Recording& recording) {
  if (!recording.cameras.empty()) return;
  std::string reasons;
  for (const auto& [name, why] : recording.skipped) reasons += "\n  " + name + ": " + why;
  throw Error(ErrorCategory::not_found,
              recording.name + ": has no camera, that is, no uint8 array [rows, height, width, 3]" +
                  (reasons.empty() ? "" : ". Not read:" + reasons));
}

// ---- stable-worldmodel ----

void list_swm_columns(const Hdf5& file, int64_t rows, Recording& recording) {
  for (const auto& name : file->names("/")) {
    if (name == "ep_len" || name == "ep_offset") continue;
    const Hdf5Array array = file->array(name);
    const int64_t width = row_width(array, rows);
    if (!array.problem.empty())
      recording.skipped[name] = "this HDF5 cannot open it: " + array.problem;
    else if (holds_pictures(array) && width > 0)
      recording.cameras.push_back(name);
    else if (array.text && width > 0)
      recording.texts.push_back({name, [file, name] { return file->read_texts(name); }});
    else if (array.type && width > 0 && width <= kWidestColumn)
      recording.features.push_back({name, width,
                                    [file, name, rows] {
                                      return file->read(name).reshape({rows, -1});
                                    },
                                    row_shape(array)});
    else
      recording.skipped[name] = shape_problem(array);
  }
}

OpenedDataset open_swm_file(const Hdf5& file, const DatasetOptions& options) {
  Recording recording{.name = file->path()};
  recording.last_action = LastAction::artefact;  // the recorder's first action, moved, or NaN
  recording.actions = {{"action"}};
  recording.states = {{"state"}, {"proprio"}};
  const Tensor lengths = file->read("ep_len").to(at::kLong).flatten();
  const Tensor offsets = file->read("ep_offset").to(at::kLong).flatten();
  require(lengths.numel() == offsets.numel(), ErrorCategory::bad_file,
          file->path() + ": ep_len lists " + std::to_string(lengths.numel()) +
              " episodes, ep_offset " + std::to_string(offsets.numel()));
  for (int64_t e = 0; e < lengths.numel(); ++e) {
    const auto first = offsets[e].item<int64_t>(), length = lengths[e].item<int64_t>();
    constexpr int64_t kMost = int64_t{1} << 40;
    require(first >= 0 && first < kMost && length >= 1 && length < kMost, ErrorCategory::bad_file,
            file->path() + ": episode " + std::to_string(e) + " has ep_offset " +
                std::to_string(first) + " and ep_len " + std::to_string(length));
    recording.episodes.push_back({"episode " + std::to_string(e), first, length});
  }
  require(!recording.episodes.empty(), ErrorCategory::bad_file, file->path() + ": no episode");
  const auto& last = recording.episodes.back();
  list_swm_columns(file, last.first + last.length, recording);
  require_camera(recording);
  const std::string camera = chosen_camera(recording.name, recording.cameras, options);
  std::vector<int64_t> all(recording.episodes.size());
  std::iota(all.begin(), all.end(), 0);
  recording.frames = tensor_frames(
      [file, camera, episodes = recording.episodes](int64_t episode, at::IntArrayRef rows) {
        std::vector<int64_t> places(rows.begin(), rows.end());
        for (auto& row : places) row += episodes[static_cast<std::size_t>(episode)].first;
        return as_rgb(file->read_rows(camera, places));
      },
      options.video, all, options.unreadable);
  return make_columnar_dataset(std::move(recording), options);
}

// ---- robomimic ----

// demo_10 comes after demo_9.
std::vector<std::string> demonstrations(const Hdf5File& file) {
  std::vector<std::pair<int64_t, std::string>> numbered;
  for (const auto& name : file.names("data")) {
    const auto underscore = name.rfind('_');
    if (underscore == std::string::npos) continue;
    // One that is damaged is no group either: leaving it out would number the others anew.
    if (!file.is_group("data/" + name) && file.array("data/" + name).problem.empty()) continue;
    int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [stop, code] = std::from_chars(name.data() + underscore + 1, end, number);
    if (code == std::errc() && stop == end) numbered.emplace_back(number, name);
  }
  std::sort(numbered.begin(), numbered.end());
  std::vector<std::string> names;
  for (auto& [number, name] : numbered) names.push_back(std::move(name));
  return names;
}

class RobomimicOpener {
 public:
  RobomimicOpener(Hdf5 file, const DatasetOptions& options)
      : file_(std::move(file)), options_(options), demos_(demonstrations(*file_)) {
    recording_.name = file_->path();
    recording_.actions = {{"actions"}};
    recording_.states = {{"obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos"},
                         {"states"}};
    require(!demos_.empty(), ErrorCategory::bad_file,
            file_->path() + ": group 'data' holds no demonstration (demo_0, demo_1, ...)");
    list_episodes();
    if (options_.unreadable == Unreadable::skip) choose_whole();
    for (const auto& name : array_names(whole_)) add_column(name);
    list_cameras();
  }

  OpenedDataset open() {
    require_camera(recording_);
    const std::string camera = chosen_camera(recording_.name, recording_.cameras, options_);
    std::vector<int64_t> shown;
    for (std::size_t e = 0; e < demos_.size(); ++e)
      if (shows(e, camera)) shown.push_back(static_cast<int64_t>(e));
    if (shown.empty())
      throw Error(ErrorCategory::bad_file,
                  recording_.name + ": no demonstration's frames can be read, the first: " +
                      recording_.unreadable.begin()->second);
    recording_.frames = tensor_frames(
        [file = file_, camera, demos = demos_](int64_t episode, at::IntArrayRef rows) {
          const auto& demo = demos[static_cast<std::size_t>(episode)];
          return as_rgb(file->read_rows("data/" + demo + "/" + camera, rows));
        },
        options_.video, shown, options_.unreadable);
    return make_columnar_dataset(std::move(recording_), options_);
  }

 private:
  // Ends the opening, or is noted of that demonstration.
  void lose(std::size_t demo, const std::string& problem) {
    require(options_.unreadable == Unreadable::skip, ErrorCategory::bad_file, problem);
    recording_.unreadable.emplace(static_cast<int64_t>(demo), problem);
    damaged_->insert(demo);
  }

  // Actions say how many rows a demonstration has.
  void list_episodes() {
    std::vector<int64_t> lengths(demos_.size(), 0);
    int64_t longest = 0;
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      const std::string path = "data/" + demos_[d] + "/actions";
      const Hdf5Array actions = file_->array(path);
      constexpr int64_t kMost = int64_t{1} << 40;  // no demonstration has so many
      if (actions.problem.empty() && actions.shape.size() == 2 && actions.shape[0] >= 1 &&
          actions.shape[0] < kMost)
        lengths[d] = actions.shape[0];
      else
        lose(d, file_->path() + ": " + path + " has no shape [rows, dimensions]" +
                    (actions.problem.empty() ? "" : ": " + actions.problem));
      if (longest == 0 && lengths[d] > 0) whole_ = d;
      longest = std::max(longest, lengths[d]);
    }
    if (longest == 0)
      throw Error(ErrorCategory::bad_file, file_->path() +
                                               ": no demonstration can be read, the first: " +
                                               recording_.unreadable.begin()->second);
    int64_t first = 0;
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      without_numbers_.push_back(lengths[d] == 0);
      if (lengths[d] == 0) lengths[d] = rows_left(demos_[d], longest);
      recording_.episodes.push_back({demos_[d], first, lengths[d]});
      first += lengths[d];
    }
  }

  // As many as another array of the demonstration has: windows of the others then keep their
  // numbers. A length that no other comes near may be damage.
  int64_t rows_left(const std::string& demo, int64_t longest) const {
    for (const std::string& group : {"data/" + demo + "/obs", "data/" + demo})
      for (const auto& name : file_->names(group)) {
        const Hdf5Array array = file_->array(group + "/" + name);
        if (array.problem.empty() && !array.shape.empty() && array.shape[0] >= 1 &&
            array.shape[0] / 10 <= longest)
          return array.shape[0];
      }
    return 1;
  }

  // In the demonstration; next_obs is obs, one row later.
  std::vector<std::string> array_names(std::size_t demo) const {
    const std::string group = "data/" + demos_[demo];
    auto names = file_->names(group);
    std::erase_if(names, [](const auto& name) { return name == "next_obs" || name == "obs"; });
    for (const auto& name : file_->names(group + "/obs")) names.push_back("obs/" + name);
    return names;
  }

  // The first one may have lost columns: the one that has the most of them tells all.
  void choose_whole() {
    std::size_t most = 0;
    for (std::size_t d = whole_; d < demos_.size(); ++d) {
      const auto columns = without_numbers_[d] ? 0 : array_names(d).size();
      if (columns > most) whole_ = d;
      most = std::max(most, columns);
    }
  }

  // Those of the first demonstration; of all where some may have lost one.
  void list_cameras() {
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      if (without_numbers_[d]) continue;
      for (const auto& name : array_names(d)) {
        const Hdf5Array array = file_->array("data/" + demos_[d] + "/" + name);
        const auto& known = recording_.cameras;
        if (holds_pictures(array) && row_width(array, recording_.episodes[d].length) > 0 &&
            std::find(known.begin(), known.end(), name) == known.end())
          recording_.cameras.push_back(name);
      }
      if (options_.unreadable == Unreadable::fail) return;
    }
  }

  // Whether a demonstration has pictures of the camera, one a row at least.
  bool shows(std::size_t demo, const std::string& camera) {
    if (without_numbers_[demo]) return false;
    const std::string path = "data/" + demos_[demo] + "/" + camera;
    const Hdf5Array array = file_->array(path);
    const int64_t rows = recording_.episodes[demo].length;
    if (array.problem.empty() && holds_pictures(array) && array.shape[0] >= rows) return true;
    lose(demo, file_->path() + ": " + path +
                   (array.problem.empty()
                        ? " has shape " + shape_string(array.shape) + ", expected bytes [" +
                              std::to_string(rows) + ", height, width, 3]"
                        : " cannot be opened: " + array.problem));
    return false;
  }

  void add_column(const std::string& name) {
    const Hdf5Array array = file_->array("data/" + demos_[whole_] + "/" + name);
    const int64_t width = row_width(array, recording_.episodes[whole_].length);
    if (holds_pictures(array) && width > 0) return;
    if (array.problem.empty() && array.type && width > 0 && width <= kWidestColumn)
      recording_.features.push_back({name, width,
                                     [file = file_, episodes = recording_.episodes,
                                      lost = without_numbers_, damaged = damaged_, name, width] {
                                       return all_rows(*file, episodes, lost, *damaged, name,
                                                       width);
                                     },
                                     row_shape(array)});
    else
      recording_.skipped[name] = array.problem.empty() ? shape_problem(array) : array.problem;
  }

  static bool can_be_read(const Hdf5File& file, const EpisodeRows& demo, const std::string& name) {
    try {
      file.read("data/" + demo.name + "/" + name);
      return true;
    } catch (const Error& problem) {
      if (!is_unreadable(problem)) throw;
      return false;
    }
  }

  static Tensor all_rows(const Hdf5File& file, const std::vector<EpisodeRows>& episodes,
                         std::vector<bool> lost, const std::set<std::size_t>& damaged,
                         const std::string& name, int64_t width) {
    std::vector<Tensor> parts(episodes.size());
    at::ScalarType type = at::kDouble;
    for (std::size_t e = 0; e < episodes.size(); ++e) {
      // What broke its pictures may have broken its numbers, too.
      if (damaged.contains(e) && !lost[e]) lost[e] = !can_be_read(file, episodes[e], name);
      if (lost[e]) continue;
      const auto& demo = episodes[e];
      const std::string path = "data/" + demo.name + "/" + name;
      const Tensor values = file.read(path);
      require(values.numel() == demo.length * width, ErrorCategory::bad_file,
              file.path() + ": " + path + " has shape " + shape_string(values.sizes()) +
                  ", but the demonstration has " + std::to_string(demo.length) +
                  " actions and the first one " + std::to_string(width) + " such numbers a row");
      parts[e] = values.reshape({demo.length, width});
      type = values.scalar_type();
    }
    // Integers have no NaN: where some are lost, the column is of float64.
    if (!at::isFloatingType(type)) type = at::kDouble;
    for (std::size_t e = 0; e < episodes.size(); ++e)
      if (lost[e]) parts[e] = at::full({episodes[e].length, width}, std::nan(""), type);
    return at::cat(parts);
  }

  Hdf5 file_;
  DatasetOptions options_;
  std::vector<std::string> demos_;
  std::size_t whole_ = 0;              // the first that has its actions: it tells the columns
  std::vector<bool> without_numbers_;  // by demonstration
  std::shared_ptr<std::set<std::size_t>> damaged_ = std::make_shared<std::set<std::size_t>>();
  Recording recording_;
};

}  // namespace

OpenedDataset open_hdf5(const std::filesystem::path& path, const DatasetOptions& options) {
  const auto file = std::make_shared<const Hdf5File>(path);
  if (file->has("ep_len") && file->has("ep_offset")) return open_swm_file(file, options);
  if (file->is_group("data")) return RobomimicOpener(file, options).open();
  throw Error(ErrorCategory::bad_file,
              path.string() +
                  ": no recording of a known format. Looked for: arrays ep_len and "
                  "ep_offset (stable-worldmodel), a group data/ with demo_0, ... "
                  "(robomimic). It holds: " +
                  listed_names(file->names("/")));
}

}  // namespace foresight::data
