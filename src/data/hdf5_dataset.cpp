// SPDX-License-Identifier: Apache-2.0
// Recordings in one HDF5 file: stable-worldmodel's flat arrays over all episodes, and robomimic's
// group for every demonstration.
#include <algorithm>
#include <charconv>

#include "formats.hpp"
#include "hdf5_file.hpp"
#include "picture.hpp"

namespace foresight::data {
namespace {

using Hdf5 = std::shared_ptr<const Hdf5File>;

// A 4-D array of bytes with 1 or 3 values last holds pictures.
bool holds_pictures(const Hdf5Array& array) {
  return array.shape.size() == 4 && array.type == at::kByte &&
         (array.shape[3] == 3 || array.shape[3] == 1);
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
  recording.frames = tensor_frames(
      [file, camera, episodes = recording.episodes](int64_t episode, at::IntArrayRef rows) {
        std::vector<int64_t> places(rows.begin(), rows.end());
        for (auto& row : places) row += episodes[static_cast<std::size_t>(episode)].first;
        return as_rgb(file->read_rows(camera, places));
      },
      options.video);
  return make_columnar_dataset(std::move(recording), options);
}

// ---- robomimic ----

// demo_10 comes after demo_9.
std::vector<std::string> demonstrations(const Hdf5File& file) {
  std::vector<std::pair<int64_t, std::string>> numbered;
  for (const auto& name : file.names("data")) {
    const auto underscore = name.rfind('_');
    if (underscore == std::string::npos || !file.is_group("data/" + name)) continue;
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
    for (const auto& demo : demos_) add_episode(demo);
    const std::string first = "data/" + demos_.front();
    for (const auto& name : file_->names(first))
      if (name != "next_obs" && name != "obs") add_column(name);  // next_obs is obs, one row later
    for (const auto& name : file_->names(first + "/obs")) add_column("obs/" + name);
  }

  OpenedDataset open() {
    require_camera(recording_);
    const std::string camera = chosen_camera(recording_.name, recording_.cameras, options_);
    recording_.frames = tensor_frames(
        [file = file_, camera, demos = demos_](int64_t episode, at::IntArrayRef rows) {
          const auto& demo = demos[static_cast<std::size_t>(episode)];
          return as_rgb(file->read_rows("data/" + demo + "/" + camera, rows));
        },
        options_.video);
    return make_columnar_dataset(std::move(recording_), options_);
  }

 private:
  void add_episode(const std::string& demo) {
    const Hdf5Array actions = file_->array("data/" + demo + "/actions");
    require(actions.problem.empty() && actions.shape.size() == 2, ErrorCategory::bad_file,
            file_->path() + ": data/" + demo + "/actions has no shape [rows, dimensions]" +
                (actions.problem.empty() ? "" : ": " + actions.problem));
    const int64_t first = recording_.episodes.empty() ? 0
                                                      : recording_.episodes.back().first +
                                                            recording_.episodes.back().length;
    recording_.episodes.push_back({demo, first, actions.shape[0]});
  }

  void add_column(const std::string& name) {
    const Hdf5Array array = file_->array("data/" + demos_.front() + "/" + name);
    const int64_t width = row_width(array, recording_.episodes.front().length);
    if (holds_pictures(array) && width > 0)
      recording_.cameras.push_back(name);
    else if (array.problem.empty() && array.type && width > 0 && width <= kWidestColumn)
      recording_.features.push_back(
          {name, width,
           [file = file_, episodes = recording_.episodes, name, width] {
             std::vector<Tensor> parts;
             for (const auto& demo : episodes) {
               const std::string path = "data/" + demo.name + "/" + name;
               parts.push_back(file->read(path));
               require(parts.back().numel() == demo.length * width, ErrorCategory::bad_file,
                       file->path() + ": " + path + " has shape " +
                           shape_string(parts.back().sizes()) + ", but the demonstration has " +
                           std::to_string(demo.length) + " actions and the first one " +
                           std::to_string(width) + " such numbers a row");
               parts.back() = parts.back().reshape({demo.length, width});
             }
             return at::cat(parts);
           },
           row_shape(array)});
    else
      recording_.skipped[name] = array.problem.empty() ? shape_problem(array) : array.problem;
  }

  Hdf5 file_;
  DatasetOptions options_;
  std::vector<std::string> demos_;
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
