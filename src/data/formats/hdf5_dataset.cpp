// SPDX-License-Identifier: Apache-2.0
// Recordings in one HDF5 file: which project's it is, and stable-worldmodel's flat arrays over all
// episodes. robomimic_dataset.cpp reads the others.
#include <numeric>
#include <utility>

#include "../tables/hdf5_arrays.hpp"
#include "formats.hpp"
#include "joined_dataset.hpp"

namespace foresight::data {
namespace {

bool is_swm(const Hdf5File& file) { return file.has("ep_len") && file.has("ep_offset"); }
bool is_robomimic(const Hdf5File& file) { return file.is_group("data"); }

// All episodes lose what was in an array that is damaged. One that is of a kind that this HDF5 does
// not know closes no others.
void leave_out(const std::string& name, const Hdf5Array& array, const DatasetOptions& options,
               Recording& recording) {
  recording.skipped[name] = (array.cut ? "" : "this HDF5 cannot open it: ") + array.problem;
  if (!array.cut) return;
  const std::string damage = recording.name + ": array '" + name + "' cannot be read: ";
  require(options.unreadable == Unreadable::skip, ErrorCategory::bad_file, damage + array.problem);
  recording.remarks.push_back(damage + array.problem + ". It is left out");
}

void list_swm_columns(const Hdf5& file, int64_t rows, const DatasetOptions& options,
                      Recording& recording) {
  for (const auto& name : file->names("/")) {
    if (name == "ep_len" || name == "ep_offset") continue;
    const Hdf5Array array = file->array(name);
    const int64_t width = row_width(array, rows);
    if (!array.problem.empty())
      leave_out(name, array, options, recording);
    else if (holds_pictures(array) && width > 0)
      recording.cameras.push_back(name);
    else if (array.text && width > 0)
      recording.texts.push_back({name, [file, name] { return file->read_texts(name); }});
    else if (is_column(array, rows))
      recording.features.push_back(
          {name, width, [file, name, rows] { return file->read(name).reshape({rows, -1}); },
           row_shape(array)});
    else
      recording.skipped[name] = shape_problem(array);
  }
}

OpenedDataset open_swm_file(const Hdf5& file, const DatasetOptions& options,
                            std::vector<std::string> remarks) {
  refuse_split(file->path(), options);
  Recording recording{.name = file->path()};
  recording.remarks = std::move(remarks);
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
  list_swm_columns(file, last.first + last.length, options, recording);
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

}  // namespace

void require_camera(const Recording& recording, const std::string& remedy) {
  if (!recording.cameras.empty()) return;
  throw Error(ErrorCategory::not_found,
              recording.name + ": has no camera, that is, no uint8 array [rows, height, width, 3]" +
                  not_read(recording.skipped) + remedy);
}

OpenedDataset open_hdf5(const std::filesystem::path& path, const DatasetOptions& options,
                        std::vector<std::string> remarks) {
  const auto file = std::make_shared<const Hdf5File>(path);
  if (is_swm(*file)) return open_swm_file(file, options, std::move(remarks));
  if (is_robomimic(*file)) return open_robomimic(file, options, std::move(remarks));
  throw Error(ErrorCategory::bad_file,
              path.string() +
                  ": no recording of a known format. Looked for: arrays ep_len and "
                  "ep_offset (stable-worldmodel), a group data/ with demo_0, ... "
                  "(robomimic). It holds: " +
                  listed_names(file->names("/")));
}

bool holds_hdf5_recording(const std::filesystem::path& path) {
  try {
    const Hdf5File file(path);
    return is_swm(file) || is_robomimic(file);
  } catch (const Error&) {
    return false;
  }
}

OpenedDataset open_hdf5_files(const std::vector<std::filesystem::path>& files,
                              const DatasetOptions& options, std::vector<std::string> remarks) {
  std::vector<std::filesystem::path> sound;
  std::vector<std::string> problems;
  for (const auto& file : files) {
    try {
      const Hdf5File opened(file);
      sound.push_back(file);
    } catch (const Error& problem) {
      if (!is_unreadable(problem)) throw;
      problems.emplace_back(problem.what());
    }
  }
  const std::string folder = files.front().parent_path().string();
  require(!sound.empty(), ErrorCategory::bad_file,
          folder + ": none of its " + std::to_string(files.size()) + " HDF5 files can be opened, " +
              "the first: " + (problems.empty() ? "" : problems.front()));
  require(problems.empty() || options.unreadable == Unreadable::skip, ErrorCategory::bad_file,
          (problems.empty() ? "" : problems.front()) +
              "; with DatasetOptions.unreadable = skip (--reading.unreadable skip) it is left "
              "out");
  for (const auto& problem : problems) remarks.push_back(problem + ". The file is left out");
  if (sound.size() == 1) return open_hdf5(sound.front(), options, std::move(remarks));
  std::vector<OpenedDataset> parts;
  for (const auto& file : sound)
    parts.push_back(open_hdf5(file, options, std::exchange(remarks, {})));
  return join_datasets(folder, std::move(parts));
}

}  // namespace foresight::data
