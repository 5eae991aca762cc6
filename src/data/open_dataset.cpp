// SPDX-License-Identifier: Apache-2.0
// Which format lies at a path: each is told by one file that every recording of it has.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "episode_files.hpp"
#include "foresight/data/folder_dataset.hpp"
#include "foresight/io/json_file.hpp"
#include "formats.hpp"
#include "lerobot_layout.hpp"
#include "natural_order.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

struct FolderFormat {
  const char* name;
  const char* sign;  ///< what was looked for, for messages
  bool (*holds)(const fs::path& folder);
  OpenedDataset (*open)(const fs::path& folder, const DatasetOptions& options);
  bool splits = false;  ///< may have parts that DatasetOptions.split names
  bool below = false;   ///< told by what lies in folders below
};

bool any_entry(const fs::path& folder, bool (*wanted)(const fs::path& entry)) {
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(),
                     [&](const fs::directory_entry& entry) { return wanted(entry.path()); });
}

// A recorder's dataset.json names the columns of its tables.
bool awaits_tables(const fs::path& folder) {
  if (!fs::exists(folder / "dataset.json")) return false;
  const auto settings = io::read_json(folder / "dataset.json");
  return settings.is_object() && settings.contains("action_columns");
}

// Films without any table are videos alone, unless a recorder was about to write one.
bool holds_episodes(const fs::path& folder) {
  const bool tables = any_entry(folder, [](const fs::path& p) {
    return p.filename().string().starts_with("episode_") &&
           (p.extension() == ".csv" || p.extension() == ".jsonl");
  });
  return tables ||
         (any_entry(folder,
                    [](const fs::path& p) {
                      const auto name = p.filename().string();
                      return is_video_file(p) && episode_number(name.substr(0, name.find('.')));
                    }) &&
          awaits_tables(folder));
}

OpenedDataset open_plain(const fs::path& folder, const DatasetOptions& options) {
  return std::make_shared<FolderDataset>(folder, options);
}

std::vector<fs::path> hdf5_files(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto extension = entry.path().extension();
    if (extension == ".h5" || extension == ".hdf5") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), path_before);
  return found;
}

OpenedDataset refuse_lance(const fs::path& folder, const DatasetOptions&) {
  throw Error(ErrorCategory::unsupported,
              folder.string() +
                  ": is a Lance table, for which there is no C++ reader. Convert it in Python: "
                  "stable_worldmodel.data.convert(..., dest_format=\"hdf5\")");
}

// What meta/info.json belongs to, without it.
bool holds_lerobot_rest(const fs::path& folder) {
  for (const char* files : {"data", "videos"}) {
    if (!fs::is_directory(folder / files)) continue;
    if (fs::exists(folder / files / "chunk-000")) return true;
    if (any_entry(folder / files, [](const fs::path& p) { return fs::exists(p / "chunk-000"); }))
      return true;
  }
  return false;
}

OpenedDataset refuse_lerobot_rest(const fs::path& folder, const DatasetOptions&) {
  const bool staged = fs::exists(staged_path(folder / "meta" / "info.json"));
  throw Error(ErrorCategory::bad_file,
              folder.string() +
                  ": is LeRobot data without meta/info.json, which says what is in "
                  "it: it was not copied whole, or its recorder was killed before "
                  "its first file was finished. " +
                  (staged ? "Its files lie ready: recording into the folder again puts them in "
                            "their place"
                          : "It holds " + first_files(folder) +
                                ". Nothing refers to them: copy the folder again, or remove it") +
                  "; films alone are read from " + (folder / "videos").string());
}

bool holds_sets(const fs::path& folder);
OpenedDataset refuse_sets(const fs::path& folder, const DatasetOptions&);

const FolderFormat kFolderFormats[] = {
    {"LeRobot", "meta/info.json",
     [](const fs::path& folder) { return fs::exists(folder / "meta" / "info.json"); },
     open_lerobot},
    {"LeRobot, not whole", "data/ or videos/ with chunk-000/", holds_lerobot_rest,
     refuse_lerobot_rest},
    {"stable-worldmodel video or folder", "ep_len.npz",
     [](const fs::path& folder) { return fs::exists(folder / "ep_len.npz"); }, open_swm_folder},
    {"DINO-WM", "states.pth",
     [](const fs::path& folder) { return fs::exists(folder / "states.pth"); }, open_dino_wm},
    {"DINO-WM", "train/states.pth + val/states.pth", holds_dino_wm_splits, open_dino_wm_splits,
     /*splits=*/true},
    {"a plain folder", "episode_0000.mp4 + episode_0000.csv", holds_episodes, open_plain},
    {"stable-worldmodel or robomimic", "one *.h5 or *.hdf5, not called trajectory.h5",
     [](const fs::path& folder) {
       const auto files = hdf5_files(folder);
       return files.size() == 1 && files.front().filename() != "trajectory.h5";
     },
     [](const fs::path& folder, const DatasetOptions& options) {
       return open_hdf5(hdf5_files(folder).front(), options);
     },
     /*splits=*/true},
    {"Lance, not read", "_versions/",
     [](const fs::path& folder) { return fs::is_directory(folder / "_versions"); }, refuse_lance},
    {"DROID", "trajectory.h5, here or in folders below", holds_droid_episodes, open_droid,
     /*splits=*/false, /*below=*/true},
    {"several data sets, refused", "folders below that are data sets", holds_sets, refuse_sets,
     /*splits=*/true, /*below=*/true},
    {"videos or pictures alone", "*.mp4, *.mkv, *.webm, *.avi, *.mov, *.png, *.jpg, here or below",
     holds_pictures, open_pictures, /*splits=*/false, /*below=*/true},
    {"stable-worldmodel or robomimic", "several *.h5 or *.hdf5 with the same features",
     [](const fs::path& folder) { return hdf5_files(folder).size() > 1; },
     [](const fs::path& folder, const DatasetOptions& options) {
       return open_hdf5_files(hdf5_files(folder), options);
     },
     /*splits=*/true},
};

// By its own files.
bool is_set(const fs::path& folder) {
  try {
    return std::any_of(
        std::begin(kFolderFormats), std::end(kFolderFormats),
        [&](const FolderFormat& format) { return !format.below && format.holds(folder); });
  } catch (const std::exception&) {  // one that may not be looked into, a dataset.json that is cut
    return false;
  }
}

// Data sets in the folders below and in the folders of these. Hidden ones are passed over, as films
// in them are.
std::vector<fs::path> sets_below(const fs::path& root) {
  constexpr int kDepth = 1;
  std::vector<fs::path> sets;
  std::error_code problem;  // listing the films says it
  fs::recursive_directory_iterator entry(root, fs::directory_options::skip_permission_denied,
                                         problem);
  for (; !problem && entry != fs::recursive_directory_iterator(); entry.increment(problem)) {
    std::error_code no_folder;
    if (!entry->is_directory(no_folder)) continue;
    const bool hidden = entry->path().filename().string().starts_with(".");
    const bool set = !hidden && is_set(entry->path());
    if (set) sets.push_back(entry->path());
    if (hidden || set || entry.depth() >= kDepth) entry.disable_recursion_pending();
  }
  std::sort(sets.begin(), sets.end(), path_before);
  return sets;
}

// Several HDF5 files in the folder itself are a data set, whatever lies below.
bool holds_sets(const fs::path& folder) {
  return hdf5_files(folder).empty() && !sets_below(folder).empty();
}

OpenedDataset refuse_sets(const fs::path& folder, const DatasetOptions&) {
  constexpr std::size_t kShown = 5;
  const auto sets = sets_below(folder);
  std::string names;
  for (std::size_t s = 0; s < std::min(kShown, sets.size()); ++s)
    names += (s > 0 ? ", " : "") + sets[s].lexically_relative(folder).string();
  if (sets.size() > kShown) names += " and " + std::to_string(sets.size() - kShown) + " more";
  throw Error(ErrorCategory::invalid_argument,
              folder.string() + ": is no data set, but folders in it are: " + names +
                  ". Open one of them, as --data " + sets.front().string() +
                  "; films alone are read from a folder without any");
}

OpenedDataset open_known(const fs::path& path, const DatasetOptions& options) {
  require(fs::exists(path), ErrorCategory::not_found, path.string() + ": no such file or folder");
  std::string looked_for;
  if (fs::is_directory(path)) {
    for (const auto& format : kFolderFormats) {
      if (format.holds(path)) {
        if (!format.splits) refuse_split(path, options);
        return format.open(path, options);
      }
      looked_for += std::string("\n  ") + format.sign + " (" + format.name + ")";
    }
  } else {
    const auto extension = path.extension();
    if (extension == ".h5" || extension == ".hdf5") return open_hdf5(path, options);
    refuse_split(path, options);
    if (extension == ".txt") return open_droid(path, options);
    if (holds_pictures(path)) return open_pictures(path, options);
    looked_for =
        "\n  *.h5, *.hdf5 (stable-worldmodel, robomimic)\n  *.txt (a list of DROID episodes)\n  a "
        "video or a "
        "picture";
  }
  throw Error(ErrorCategory::not_found,
              path.string() + ": holds no recording of a known format. Looked for:" + looked_for);
}

}  // namespace

void refuse_split(const fs::path& path, const DatasetOptions& options) {
  require(options.split.empty(), ErrorCategory::invalid_option,
          "DatasetOptions.split = '" + options.split + "' (--reading.split): " + path.string() +
              " has no splits that are opened alone; robomimic's files have (mask/train, ...), and "
              "folders of DINO-WM with train/ and val/");
}

OpenedDataset open_dataset(const fs::path& path, const DatasetOptions& options) {
  require_valid(options);
  try {
    return open_known(path, options);
  } catch (const fs::filesystem_error& problem) {  // no permission, a loop of links, ...
    const auto& where = problem.path1().empty() ? path : problem.path1();
    throw Error(ErrorCategory::io_failure,
                where.string() + ": cannot be read: " + problem.code().message());
  }
}

}  // namespace foresight::data
