// SPDX-License-Identifier: Apache-2.0
// robomimic's recordings: an HDF5 file with a group for every demonstration, data/demo_0, ...
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "../tables/hdf5_arrays.hpp"

namespace foresight::data {
namespace {

constexpr int64_t kMostRows = int64_t{1} << 40;  // no demonstration has so many

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

// Those of a split, a list of names ("filter key").
std::vector<std::string> of_split(const Hdf5File& file, std::vector<std::string> demos,
                                  const std::string& split) {
  if (split.empty()) return demos;
  const auto splits = file.names("mask");
  require(std::find(splits.begin(), splits.end(), split) != splits.end(), ErrorCategory::not_found,
          file.path() + ": has no split 'mask/" + split +
              "', which DatasetOptions.split (--reading.split) asks for; it has: " +
              listed_names(splits));
  const auto listed = file.read_texts("mask/" + split);
  const std::set<std::string> wanted(listed.begin(), listed.end());
  for (const auto& name : wanted)
    require(std::find(demos.begin(), demos.end(), name) != demos.end(), ErrorCategory::bad_file,
            file.path() + ": mask/" + split + " lists '" + name + "', which is not in data");
  std::erase_if(demos, [&](const std::string& demo) { return !wanted.contains(demo); });
  require(!demos.empty(), ErrorCategory::bad_file,
          file.path() + ": mask/" + split + " lists no demonstration");
  return demos;
}

// Actions a second of the environment, which `env_args` describe; 0 where they do not tell.
double control_rate(const Hdf5File& file) {
  const auto text = file.attribute("data", "env_args").value_or(std::string());
  const auto told = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!told.is_object() || !told.contains("env_kwargs")) return 0;
  const auto& environment = told["env_kwargs"];
  if (!environment.is_object() || !environment.contains("control_freq")) return 0;
  const auto& rate = environment["control_freq"];
  return rate.is_number() && rate.get<double>() > 0 ? rate.get<double>() : 0;
}

// The order of arrays, and so of cameras, of which the first is shown unless another is asked for.
struct ObsLast {
  bool operator()(const std::string& a, const std::string& b) const {
    const bool of_obs = a.starts_with("obs/");
    return of_obs == b.starts_with("obs/") ? a < b : !of_obs;
  }
};

using Arrays = std::map<std::string, Hdf5Array, ObsLast>;

// What a demonstration holds, by name: "actions", "obs/robot0_eef_pos". next_obs is obs, one row
// later.
Arrays arrays_of(const Hdf5File& file, const std::string& demo) {
  const std::string group = "data/" + demo + "/";
  Arrays arrays;
  for (const auto& name : file.names("data/" + demo))
    if (name != "next_obs" && name != "obs") arrays[name] = file.array(group + name);
  for (const auto& name : file.names(group + "obs"))
    arrays["obs/" + name] = file.array(group + "obs/" + name);
  return arrays;
}

Tensor rows_of(const Hdf5File& file, const EpisodeRows& demo, const std::string& name,
               int64_t width) {
  const std::string path = "data/" + demo.name + "/" + name;
  const Tensor values = file.read(path);
  const bool even = values.dim() > 0 && values.size(0) == demo.length;
  require(even && values.numel() == demo.length * width, ErrorCategory::bad_file,
          file.path() + ": " + path + " has shape " + shape_string(values.sizes()) +
              ", but the demonstration has " + std::to_string(demo.length) + " actions and " +
              std::to_string(width) + " such numbers a row");
  return values.reshape({demo.length, width});
}

// Of a column, in all demonstrations. `lost` ones have no numbers; of `damaged` ones some arrays
// may be gone.
Tensor all_rows(const Hdf5File& file, const std::vector<EpisodeRows>& demos, std::vector<bool> lost,
                const std::set<std::size_t>& damaged, const std::string& name, int64_t width) {
  std::vector<Tensor> parts(demos.size());
  at::ScalarType type = at::kDouble;
  for (std::size_t d = 0; d < demos.size(); ++d) {
    if (lost[d]) continue;
    try {
      parts[d] = rows_of(file, demos[d], name, width);
      type = parts[d].scalar_type();
    } catch (const Error& problem) {
      if (!damaged.contains(d) || !is_unreadable(problem)) throw;
      lost[d] = true;
    }
  }
  // Integers have no NaN: where some are lost, the column is of float64.
  if (!at::isFloatingType(type)) type = at::kDouble;
  for (std::size_t d = 0; d < demos.size(); ++d)
    if (lost[d]) parts[d] = at::full({demos[d].length, width}, std::nan(""), type);
  return at::cat(parts);
}

class RobomimicOpener {
 public:
  RobomimicOpener(Hdf5 file, const DatasetOptions& options, std::vector<std::string> remarks)
      : file_(std::move(file)), options_(options), demos_(demonstrations(*file_)) {
    recording_.name = file_->path();
    recording_.remarks = std::move(remarks);
    recording_.fps = control_rate(*file_);
    recording_.actions = {{"actions"}};
    recording_.states = {{"obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos"},
                         {"states"}};
    require(!demos_.empty(), ErrorCategory::bad_file,
            file_->path() + ": group 'data' holds no demonstration (demo_0, demo_1, ...)");
    demos_ = of_split(*file_, std::move(demos_), options_.split);
    for (const auto& name : file_->names("mask"))
      recording_.splits[name] = [file = file_, demos = demos_, name] {
        const auto listed = of_split(*file, demonstrations(*file), name);
        const std::set<std::string> wanted(listed.begin(), listed.end());
        std::vector<int64_t> episodes;
        for (std::size_t d = 0; d < demos.size(); ++d)
          if (wanted.contains(demos[d])) episodes.push_back(static_cast<int64_t>(d));
        return episodes;
      };
    for (const auto& demo : demos_) arrays_.push_back(arrays_of(*file_, demo));
    list_episodes();
    list_columns();
    list_cameras();
  }

  OpenedDataset open() {
    require_camera(recording_,
                   "; robomimic's dataset_states_to_obs.py renders pictures of its demonstrations");
    const std::string camera = chosen_camera(recording_.name, recording_.cameras, options_);
    std::vector<int64_t> shown;
    for (std::size_t d = 0; d < demos_.size(); ++d)
      if (shows(d, camera)) shown.push_back(static_cast<int64_t>(d));
    require_any(!shown.empty(), "no demonstration's frames can be read");
    recording_.frames = tensor_frames(
        [file = file_, camera, demos = demos_](int64_t episode, at::IntArrayRef rows) {
          const auto& demo = demos[static_cast<std::size_t>(episode)];
          return as_rgb(file->read_rows("data/" + demo + "/" + camera, rows));
        },
        options_.video, shown, options_.unreadable);
    file_->accept_growth(still_has(shown, camera));
    return make_columnar_dataset(std::move(recording_), options_);
  }

 private:
  std::string path(std::size_t demo, const std::string& name) const {
    return "data/" + demos_[demo] + "/" + name;
  }

  // Null where the demonstration has none of that name.
  const Hdf5Array* array(std::size_t demo, const std::string& name) const {
    const auto found = arrays_[demo].find(name);
    return found == arrays_[demo].end() ? nullptr : &found->second;
  }

  // The group that an array would be in, where it is there and cannot be opened.
  std::string closed_group(std::size_t demo, const std::string& name) const {
    for (const auto& group : {"data/" + demos_[demo], path(demo, "obs")})
      if (path(demo, name).starts_with(group + "/") && file_->has(group) && !file_->is_group(group))
        return group;
    return {};
  }

  // "data/demo_1/states is missing", "... has shape [2, 3]".
  std::string state_of(std::size_t demo, const std::string& name) const {
    if (const auto* found = array(demo, name); found != nullptr)
      return path(demo, name) + (found->problem.empty() ? " has shape " + shape_string(found->shape)
                                                        : " cannot be read: " + found->problem);
    const auto group = closed_group(demo, name);
    return group.empty() ? path(demo, name) + " is missing" : group + " cannot be opened";
  }

  // Whether a file that has changed still has the demonstrations that are shown: actions and
  // pictures of as many rows, and the same pictures in the first and last as far as three tell.
  std::function<bool(const Hdf5File&)> still_has(const std::vector<int64_t>& shown,
                                                 const std::string& camera) const {
    std::vector<std::pair<std::string, std::vector<int64_t>>> shapes;
    for (const int64_t demo : shown)
      for (const auto& name : {std::string("actions"), camera}) {
        const auto d = static_cast<std::size_t>(demo);
        if (const auto* found = array(d, name)) shapes.emplace_back(path(d, name), found->shape);
      }
    std::vector<std::pair<std::string, int64_t>> ends;  // with their rows
    for (const int64_t demo : {shown.front(), shown.back()}) {
      const auto d = static_cast<std::size_t>(demo);
      ends.emplace_back(path(d, camera), recording_.episodes[d].length);
    }
    const auto pictures = [ends](const Hdf5File& file) {
      std::vector<std::optional<std::uint64_t>> all;
      for (const auto& [name, rows] : ends) all.push_back(sampled_pictures(file, name, rows));
      return all;
    };
    return [shapes, pictures, then = pictures(*file_)](const Hdf5File& now) {
      return std::all_of(
                 shapes.begin(), shapes.end(),
                 [&](const auto& one) { return now.array(one.first).shape == one.second; }) &&
             pictures(now) == then;
    };
  }

  // Ends the opening, or is noted of that demonstration.
  void lose(std::size_t demo, const std::string& what) {
    const std::string problem = file_->path() + ": " + what;
    require(options_.unreadable == Unreadable::skip, ErrorCategory::bad_file, problem);
    recording_.unreadable.emplace(static_cast<int64_t>(demo), problem);
    damaged_->insert(demo);
  }

  void require_any(bool any, const char* otherwise) const {
    if (any) return;
    throw Error(ErrorCategory::bad_file, recording_.name + ": " + otherwise + ", the first: " +
                                             recording_.unreadable.begin()->second);
  }

  // Actions say how many rows a demonstration has.
  void list_episodes() {
    std::vector<int64_t> lengths(demos_.size(), 0);
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      const auto* actions = array(d, "actions");
      if (actions != nullptr && actions->problem.empty() && actions->shape.size() == 2 &&
          actions->shape[0] >= 1 && actions->shape[0] < kMostRows)
        lengths[d] = actions->shape[0];
      else
        lose(d, state_of(d, "actions") + "; expected [rows, dimensions]");
    }
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    require_any(longest > 0, "no demonstration can be read");
    int64_t first = 0;
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      without_numbers_.push_back(lengths[d] == 0);
      if (lengths[d] == 0) lengths[d] = rows_left(d, longest);
      recording_.episodes.push_back({demos_[d], first, lengths[d]});
      first += lengths[d];
    }
  }

  // As many as another array of the demonstration has: windows of the others then keep their
  // numbers. A length that no other comes near may be damage.
  int64_t rows_left(std::size_t demo, int64_t longest) const {
    int64_t rows = 0;
    for (const auto& [name, array] : arrays_[demo]) {
      if (!array.problem.empty() || array.shape.empty() || array.shape[0] < 1 ||
          array.shape[0] / 10 > longest)
        continue;
      if (name.starts_with("obs/")) return array.shape[0];
      if (rows == 0) rows = array.shape[0];
    }
    return std::max<int64_t>(rows, 1);
  }

  bool has_column(std::size_t demo, const std::string& name) const {
    const auto* found = array(demo, name);
    return !without_numbers_[demo] && found != nullptr &&
           is_column(*found, recording_.episodes[demo].length);
  }

  void list_columns() {
    std::set<std::string, ObsLast> names;
    for (std::size_t d = 0; d < demos_.size(); ++d)
      if (!without_numbers_[d])
        for (const auto& [name, array] : arrays_[d]) names.insert(name);
    for (const auto& name : names) add_column(name);
  }

  // Damage that is seen in the array itself, not by comparison with other demonstrations.
  bool is_closed(std::size_t demo, const std::string& name) const {
    if (const auto* found = array(demo, name); found != nullptr)
      return !found->problem.empty() && !file_->is_group(path(demo, name));
    return !closed_group(demo, name).empty();
  }

  bool is_uneven(std::size_t demo, const std::string& name) const {
    const auto* found = array(demo, name);
    return found != nullptr && found->problem.empty() &&
           (found->shape.empty() || found->shape[0] != recording_.episodes[demo].length);
  }

  // Demonstrations without a column that others have have lost it if all of them show damage, or
  // are too few for a task of their own. Merged tasks differ in what they hold and how wide it is:
  // such a column is left out.
  void add_column(const std::string& name) {
    std::vector<std::pair<std::vector<int64_t>, std::size_t>> found;  // shapes of a row, how often
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      if (!has_column(d, name)) continue;
      const auto shape = row_shape(*array(d, name));
      const auto known = std::find_if(found.begin(), found.end(),
                                      [&](const auto& one) { return one.first == shape; });
      if (known == found.end())
        found.emplace_back(shape, 1);
      else
        ++known->second;
    }
    if (found.empty()) return skip_column(name);
    const auto [shape, having] =
        *std::max_element(found.begin(), found.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
    std::vector<std::size_t> others;
    std::size_t closed = 0, uneven = 0;
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      if (without_numbers_[d] || (has_column(d, name) && row_shape(*array(d, name)) == shape))
        continue;
      others.push_back(d);
      if (is_closed(d, name)) ++closed;
      if (is_uneven(d, name)) ++uneven;
    }
    const std::size_t all = having + others.size();
    const std::string share = std::to_string(having) + " of " + std::to_string(all) +
                              " demonstrations have it with a row for each action";
    const bool damage = closed + uneven == others.size() && having > uneven;
    const bool nearly_all = having > 2 && 10 * others.size() <= all;
    if (!damage && !nearly_all) {
      recording_.skipped[name] = share + ", " + state_of(others.front(), name);
      return;
    }
    for (const auto d : others) {
      auto expected = shape;
      expected.insert(expected.begin(), recording_.episodes[d].length);
      lose(d, state_of(d, name) + "; expected " + shape_string(expected) + ": " + share);
    }
    int64_t width = 1;
    for (const int64_t size : shape) width *= size;
    recording_.features.push_back(
        {name, width,
         [file = file_, demos = recording_.episodes, lost = without_numbers_, damaged = damaged_,
          name, width] { return all_rows(*file, demos, lost, *damaged, name, width); },
         shape});
  }

  // No demonstration has it as a column. Pictures are none that could be missed.
  void skip_column(const std::string& name) {
    std::string why;
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      const auto* found = array(d, name);
      if (without_numbers_[d] || found == nullptr) continue;
      if (holds_pictures(*found) && row_width(*found, recording_.episodes[d].length) > 0) return;
      if (why.empty())
        why = found->problem.empty() ? shape_problem(*found, recording_.episodes[d].length)
                                     : found->problem;
    }
    recording_.skipped[name] = why;
  }

  // Those of the first demonstration; of all where some may have lost one.
  void list_cameras() {
    for (std::size_t d = 0; d < demos_.size(); ++d) {
      if (without_numbers_[d]) continue;
      auto& known = recording_.cameras;
      for (const auto& [name, array] : arrays_[d])
        if (holds_pictures(array) && row_width(array, recording_.episodes[d].length) > 0 &&
            std::find(known.begin(), known.end(), name) == known.end())
          known.push_back(name);
      if (options_.unreadable == Unreadable::fail) return;
    }
  }

  // Whether a demonstration has pictures of the camera, one a row at least.
  bool shows(std::size_t demo, const std::string& camera) {
    if (recording_.unreadable.contains(static_cast<int64_t>(demo))) return false;
    const auto* found = array(demo, camera);
    const int64_t rows = recording_.episodes[demo].length;
    if (found != nullptr && found->problem.empty() && holds_pictures(*found) &&
        found->shape[0] >= rows)
      return true;
    lose(demo, state_of(demo, camera) + "; expected bytes [" + std::to_string(rows) +
                   ", height, width, 3]");
    return false;
  }

  Hdf5 file_;
  DatasetOptions options_;
  std::vector<std::string> demos_;
  std::vector<Arrays> arrays_;         // by demonstration
  std::vector<bool> without_numbers_;  // by demonstration: has no actions
  std::shared_ptr<std::set<std::size_t>> damaged_ = std::make_shared<std::set<std::size_t>>();
  Recording recording_;
};

}  // namespace

OpenedDataset open_robomimic(const Hdf5& file, const DatasetOptions& options,
                             std::vector<std::string> remarks) {
  return RobomimicOpener(file, options, std::move(remarks)).open();
}

}  // namespace foresight::data
