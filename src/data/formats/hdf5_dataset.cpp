// SPDX-License-Identifier: Apache-2.0
// Recordings in one HDF5 file: which project's it is, and stable-worldmodel's flat arrays over all
// episodes. robomimic_dataset.cpp reads the others.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
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
  recording.unremarked.insert(name);
}

using Arrays = std::map<std::string, Hdf5Array>;

int64_t rows_of(const std::vector<EpisodeRows>& episodes) {
  return episodes.back().first + episodes.back().length;
}

// What has a value for each row by its name.
bool is_of_rows(const std::string& name) {
  return name == "pixels" || name == "action" || name == "state" || name == "proprio";
}

// Whether some of `rows` rows are not in the array of a column. What has no more than half of them,
// rounded up in each of `episodes`, is taken for something else, such as values of half the rate or
// of each episode, unless its name says what it is. Another camera may have a picture for each
// episode, or one more or less: a recorder need not write it when it lists the episode.
bool lacks_rows(const std::string& name, const Hdf5Array& array, int64_t rows, int64_t episodes) {
  if (!array.problem.empty() || !(array.type || array.text) || array.shape.empty()) return false;
  const int64_t has = array.shape[0];
  const bool camera =
      holds_pictures(array) && name.starts_with("pixels") && std::abs(has - episodes) > 1;
  return has < rows && (is_of_rows(name) || camera || 2 * has > rows + episodes);
}

std::string lack_of_rows(const std::string& name, const Hdf5Array& array, int64_t rows) {
  return "array '" + name + "' has " + std::to_string(array.shape[0]) + " of " +
         std::to_string(rows) + " rows";
}

// Takes away the episodes that are listed, but whose rows are not in all arrays: a recorder may
// list them first. Says how many, and why; empty: none. Texts, which cannot be recorded in SWMR
// mode, close no episodes, nor, where no recorder is at work (`recorded`), do columns that training
// can do without.
std::string take_incomplete_away(const Arrays& arrays, bool recorded, Recording& recording) {
  auto& episodes = recording.episodes;
  const int64_t listed = rows_of(episodes), number = std::ssize(episodes);
  int64_t rows = listed;  // of the shortest array
  std::string lack;
  for (const auto& [name, array] : arrays) {
    if (array.text || !lacks_rows(name, array, listed, number) || array.shape[0] >= rows) continue;
    if (!recorded && !is_of_rows(name) && !holds_pictures(array)) continue;
    rows = array.shape[0];
    lack = lack_of_rows(name, array, listed);
  }
  if (lack.empty()) return {};
  while (!episodes.empty() && rows_of(episodes) > rows) episodes.pop_back();
  require(!episodes.empty(), ErrorCategory::bad_file,
          recording.name + ": no episode that ep_len lists is complete: " + lack);
  return "ep_len lists " + std::to_string(number - std::ssize(episodes)) +
         " episode(s) that are not complete: " + lack;
}

// Such as seeds, also one for all; a recorder (`more`) need not write one when it lists the
// episode.
bool is_of_episodes(const Hdf5Array& array, int64_t listed, bool more) {
  return array.shape.empty() || std::abs(array.shape[0] - listed) <= (more ? 1 : 0);
}

// `listed` episodes, of which not all need be read. `more`: arrays may have rows of others.
void list_swm_columns(const Hdf5& file, const Arrays& arrays, int64_t listed, bool more,
                      const DatasetOptions& options, Recording& recording) {
  const int64_t rows = rows_of(recording.episodes);
  for (auto [name, array] : arrays) {
    if (more && !array.shape.empty()) array.shape[0] = std::min(array.shape[0], rows);
    const int64_t width = row_width(array, rows);
    if (!array.problem.empty())
      leave_out(name, array, options, recording);
    else if (holds_pictures(array) && width > 0)
      recording.cameras.push_back(name);
    else if (array.text && width > 0)
      recording.texts.push_back({name, [file, name = name, rows] {
                                   auto texts = file->read_texts(name);
                                   texts.resize(static_cast<std::size_t>(rows));
                                   return texts;
                                 }});
    else if (is_column(array, rows))
      recording.features.push_back(  // the file may have grown when it is read
          {name, width,
           [file, name = name, rows] {
             return file->read(name).narrow(0, 0, rows).reshape({rows, -1});
           },
           row_shape(array)});
    else if (lacks_rows(name, array, rows, listed))
      recording.skipped[name] = lack_of_rows(name, array, rows);
    else if (is_of_episodes(array, listed, more)) {
      recording.skipped[name] = "it has a value for each episode, not for each row";
      recording.unremarked.insert(name);
    } else
      recording.skipped[name] = shape_problem(array, rows);
  }
  put_pixels_first(recording.cameras);
}

bool begins_with(const Tensor& all, const Tensor& known) {
  return all.numel() >= known.numel() && at::equal(all.narrow(0, 0, known.numel()), known);
}

Tensor whole_numbers(const Hdf5File& file, const char* name) {
  return file.read(name).to(at::kLong).flatten();
}

// Whether a file that has changed still has the episodes that were in it: the same lengths at the
// same places, arrays of the same kind with their rows, and the same pictures of the camera as far
// as three tell.
std::function<bool(const Hdf5File&)> still_has(const Hdf5File& file, const Recording& recording,
                                               const std::string& camera, const Tensor& lengths,
                                               const Tensor& offsets) {
  const int64_t rows = rows_of(recording.episodes);
  std::map<std::string, Hdf5Array> arrays{{camera, file.array(camera)}};
  for (const auto& feature : recording.features) arrays[feature.name] = file.array(feature.name);
  for (const auto& text : recording.texts) arrays[text.name] = file.array(text.name);
  return [=, pictures = sampled_pictures(file, camera, rows)](const Hdf5File& now) {
    if (!begins_with(whole_numbers(now, "ep_len"), lengths) ||
        !begins_with(whole_numbers(now, "ep_offset"), offsets))
      return false;
    for (const auto& [name, then] : arrays) {
      const auto array = now.array(name);
      if (!array.problem.empty() || array.type != then.type || array.text != then.text ||
          row_shape(array) != row_shape(then) || array.shape.empty() || array.shape[0] < rows)
        return false;
    }
    return sampled_pictures(now, camera, rows) == pictures;
  };
}

OpenedDataset open_swm_file(const Hdf5& file, const DatasetOptions& options,
                            std::vector<std::string> remarks) {
  refuse_split(file->path(), options);
  Recording recording{.name = file->path()};
  recording.remarks = std::move(remarks);
  recording.last_action = LastAction::artefact;  // the recorder's first action, moved, or NaN
  recording.actions = {{"action"}};
  recording.states = {{"state"}, {"proprio"}};
  Tensor lengths = whole_numbers(*file, "ep_len"), offsets = whole_numbers(*file, "ep_offset");
  const bool recorded = file->is_recorded_now();
  if (recorded) {  // the last of them may have a place already, and no value
    int64_t both = std::min(lengths.numel(), offsets.numel());
    while (both > 0 && (lengths[both - 1].item<int64_t>() == 0 ||
                        (both > 1 && offsets[both - 1].item<int64_t>() == 0)))
      --both;
    lengths = lengths.narrow(0, 0, both), offsets = offsets.narrow(0, 0, both);
  }
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
  Arrays arrays;
  for (const auto& name : file->names("/"))
    if (name != "ep_len" && name != "ep_offset") arrays[name] = file->array(name);
  const auto incomplete = take_incomplete_away(arrays, recorded, recording);
  const int64_t complete = std::ssize(recording.episodes);
  if (recorded) {
    recording.remarks.push_back(recording.name + ": its recorder has it open, or was killed; the " +
                                std::to_string(complete) + " episodes that " +
                                (incomplete.empty() ? "it lists now are read"
                                                    : "are complete now are read; " + incomplete));
  } else if (!incomplete.empty()) {
    const auto damage = recording.name + ": " + incomplete +
                        ". No recorder has it open in HDF5's SWMR mode: it is damaged, unless one "
                        "that opens it now and then is not done yet";
    require(options.unreadable == Unreadable::skip, ErrorCategory::bad_file,
            damage + ". With DatasetOptions.unreadable = skip (--reading.unreadable skip) the " +
                std::to_string(complete) + " others are read");
    recording.remarks.push_back(damage + ". The " + std::to_string(complete) + " others are read");
  }
  list_swm_columns(file, arrays, lengths.numel(), recorded || complete < lengths.numel(), options,
                   recording);
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
  file->accept_growth(still_has(*file, recording, camera, lengths.narrow(0, 0, complete),
                                offsets.narrow(0, 0, complete)));
  return make_columnar_dataset(std::move(recording), options);
}

}  // namespace

std::optional<std::uint64_t> sampled_pictures(const Hdf5File& file, const std::string& name,
                                              int64_t rows) {
  Fnv1a hash;
  const bool read = add_three_rows(rows, [&](int64_t row) {
    const Tensor picture = file.read_rows(name, {row});
    hash.add(picture.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(picture.numel()));
  });
  if (!read) return std::nullopt;
  return hash.value();
}

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
