// SPDX-License-Identifier: Apache-2.0
// Which format lies at a path: each is told by one file that every recording of it has.
#include <algorithm>
#include <array>
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

// What formats look for among the names in a folder, of one listing: there may be a million.
struct Listing {
  fs::path folder;
  std::vector<fs::path> hdf5 = {};     ///< sorted
  std::vector<fs::path> folders = {};  ///< sorted; neither hidden ones nor links, as of films
  bool tables = false;                 ///< called episode_*
  bool numbered_tables = false;        ///< episode_0000.csv
  bool numbered_films = false;         ///< episode_0000.mp4, episode_0000.front.mp4
};

bool is_hdf5_file(const fs::path& path) {
  const auto extension = small_extension(path);
  return extension == ".h5" || extension == ".hdf5";
}

Listing list_folder(const fs::path& folder) {
  Listing found{folder};
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (is_hidden(path)) continue;
    const auto name = path.filename().string();
    std::error_code no_folder;
    if (is_hdf5_file(path)) {
      found.hdf5.push_back(path);
    } else if (name.starts_with("episode_") && is_table_file(path)) {
      found.tables = true;
      if (episode_number(path.stem().string())) found.numbered_tables = true;
    } else if (is_video_file(path)) {
      if (episode_number(name.substr(0, name.find('.')))) found.numbered_films = true;
    } else if (entry.is_directory(no_folder) && !entry.is_symlink(no_folder)) {
      found.folders.push_back(path);
    }
  }
  std::sort(found.hdf5.begin(), found.hdf5.end(), path_before);
  std::sort(found.folders.begin(), found.folders.end(), path_before);
  return found;
}

struct FolderFormat {
  const char* name;
  const char* sign;  ///< what was looked for, for messages
  bool (*holds)(const Listing& listing);
  OpenedDataset (*open)(const fs::path& folder, const DatasetOptions& options);
  /// Of a folder that it holds, in another one: whether it is a data set there. None: never, as
  /// what is only refused.
  bool (*is_set)(const Listing& listing) = nullptr;
  bool splits = false;  ///< may have parts that DatasetOptions.split names
  bool below = false;   ///< told by what lies in folders below
};

bool always(const Listing&) { return true; }

// Films without any table are videos alone, unless a recorder was about to write one: its
// dataset.json names the columns.
bool awaits_tables(const Listing& listing) {
  const auto file = listing.folder / "dataset.json";
  if (!listing.numbered_films || !fs::exists(file)) return false;
  const auto settings = io::read_json(file);
  return settings.is_object() && settings.contains("action_columns");
}

bool holds_episodes(const Listing& listing) { return listing.tables || awaits_tables(listing); }

// Labels of films may be called episode_labels.csv.
bool is_plain_set(const Listing& listing) {
  return listing.numbered_tables || awaits_tables(listing);
}

OpenedDataset open_plain(const fs::path& folder, const DatasetOptions& options) {
  return std::make_shared<FolderDataset>(folder, options);
}

// Weights and features lie in HDF5 files, too.
bool holds_recordings(const Listing& listing) {
  return std::any_of(listing.hdf5.begin(), listing.hdf5.end(), holds_hdf5_recording);
}

// "a, b and 3 more", as the folder that they lie in sees them.
std::string first_names(const std::vector<fs::path>& paths, const fs::path& folder) {
  constexpr std::size_t kShown = 5;
  std::string names;
  for (std::size_t p = 0; p < std::min(kShown, paths.size()); ++p)
    names += (p > 0 ? ", " : "") + paths[p].lexically_relative(folder).string();
  return paths.size() > kShown ? names + " and " + std::to_string(paths.size() - kShown) + " more"
                               : names;
}

OpenedDataset open_several_hdf5(const fs::path& folder, const DatasetOptions& options) {
  std::vector<std::string> remarks;
  if (const auto picture = any_picture(folder); !picture.empty())
    remarks.push_back(folder.string() +
                      ": the data set is its HDF5 files; videos and pictures beside them and in "
                      "folders below are left out (one is " +
                      picture.lexically_relative(folder).string() + ")");
  return open_hdf5_files(list_folder(folder).hdf5, options, std::move(remarks));
}

OpenedDataset open_pictures_alone(const fs::path& folder, const DatasetOptions& options) {
  std::vector<std::string> remarks;
  if (const auto files = list_folder(folder).hdf5; !files.empty())
    remarks.push_back(
        folder.string() + ": the data set is its videos and pictures; HDF5 files, " +
        "which hold no recording that can be read, are left out: " + first_names(files, folder));
  return open_pictures(folder, options, std::move(remarks));
}

OpenedDataset refuse_lance(const fs::path& folder, const DatasetOptions&) {
  throw Error(ErrorCategory::unsupported,
              folder.string() +
                  ": is a Lance table, for which there is no C++ reader. Convert it in Python: "
                  "stable_worldmodel.data.convert(..., dest_format=\"hdf5\")");
}

// What meta/info.json belongs to, without it.
bool holds_lerobot_rest(const Listing& listing) {
  for (const char* files : {"data", "videos"}) {
    const auto folder = listing.folder / files;
    if (!fs::is_directory(folder)) continue;
    if (fs::exists(folder / "chunk-000")) return true;
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.is_directory() && fs::exists(entry.path() / "chunk-000")) return true;
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

bool holds_sets(const Listing& listing);
OpenedDataset refuse_sets(const fs::path& folder, const DatasetOptions&);

const FolderFormat kFolderFormats[] = {
    {"LeRobot", "meta/info.json",
     [](const Listing& in) { return fs::exists(in.folder / "meta" / "info.json"); }, open_lerobot,
     always},
    {"LeRobot, not whole", "data/ or videos/ with chunk-000/", holds_lerobot_rest,
     refuse_lerobot_rest},
    {"stable-worldmodel video or folder", "ep_len.npz",
     [](const Listing& in) { return fs::exists(in.folder / "ep_len.npz"); }, open_swm_folder,
     always},
    {"DINO-WM", "states.pth",
     [](const Listing& in) { return fs::exists(in.folder / "states.pth"); }, open_dino_wm, always},
    {"DINO-WM", "train/states.pth + val/states.pth",
     [](const Listing& in) { return holds_dino_wm_splits(in.folder); }, open_dino_wm_splits, always,
     /*splits=*/true},
    {"a plain folder", "episode_0000.mp4 + episode_0000.csv", holds_episodes, open_plain,
     is_plain_set},
    {"stable-worldmodel or robomimic", "one *.h5 or *.hdf5, not called trajectory.h5",
     [](const Listing& in) {
       return in.hdf5.size() == 1 && in.hdf5.front().filename() != "trajectory.h5";
     },
     [](const fs::path& folder, const DatasetOptions& options) {
       return open_hdf5(list_folder(folder).hdf5.front(), options);
     },
     holds_recordings, /*splits=*/true},
    {"Lance, not read", "_versions/",
     [](const Listing& in) { return fs::is_directory(in.folder / "_versions"); }, refuse_lance},
    {"DROID", "trajectory.h5, here or in folders below",
     [](const Listing& in) { return holds_droid_episodes(in.folder); }, open_droid, nullptr,
     /*splits=*/false, /*below=*/true},
    {"several data sets, refused", "folders below that are data sets", holds_sets, refuse_sets,
     nullptr, /*splits=*/true, /*below=*/true},
    {"stable-worldmodel or robomimic", "several *.h5 or *.hdf5 with the same features",
     [](const Listing& in) {
       return in.hdf5.size() > 1 && (holds_recordings(in) || any_picture(in.folder).empty());
     },
     open_several_hdf5, holds_recordings, /*splits=*/true},
    {"videos or pictures alone", "*.mp4, *.mkv, *.webm, *.avi, *.mov, *.png, *.jpg, here or below",
     [](const Listing& in) { return !any_picture(in.folder).empty(); }, open_pictures_alone,
     nullptr, /*splits=*/false, /*below=*/true},
};

// By its own files: the first format that holds it decides, as where it is opened. One that may not
// be looked into is none, nor one whose dataset.json is cut.
bool is_set(const Listing& listing) {
  try {
    const auto* format =
        std::find_if(std::begin(kFolderFormats), std::end(kFolderFormats),
                     [&](const auto& one) { return !one.below && one.holds(listing); });
    return format != std::end(kFolderFormats) && format->is_set != nullptr &&
           format->is_set(listing);
  } catch (const std::exception&) {
    return false;
  }
}

// Data sets in the folders below and, to this depth, in the folders of these.
std::vector<fs::path> sets_below(const Listing& root, int depth = 2) {
  std::vector<fs::path> sets;
  for (const auto& folder : root.folders) {
    Listing listing;
    try {
      listing = list_folder(folder);
    } catch (const fs::filesystem_error&) {  // listing the films says it
      continue;
    }
    if (is_set(listing)) {
      sets.push_back(folder);
    } else if (depth > 1) {
      const auto below = sets_below(listing, depth - 1);
      sets.insert(sets.end(), below.begin(), below.end());
    }
  }
  return sets;
}

bool holds_sets(const Listing& listing) { return !sets_below(listing).empty(); }

OpenedDataset refuse_sets(const fs::path& folder, const DatasetOptions&) {
  const auto listing = list_folder(folder);
  const auto sets = sets_below(listing);
  const auto names = first_names(sets, folder);
  const auto is = listing.hdf5.empty() ? ": is no data set, but folders in it are: " + names
                                       : ": is no one data set: it holds HDF5 files (" +
                                             first_names(listing.hdf5, folder) +
                                             ") and folders that are data sets: " + names;
  const auto other = listing.hdf5.empty() ? "; films alone are read from a folder without any"
                                          : " or " + listing.hdf5.front().string();
  throw Error(ErrorCategory::invalid_argument,
              folder.string() + is + ". Open one of them: " + sets.front().string() + other);
}

// The folder of the data set that a file is part of; empty where it is of none.
fs::path set_of_file(const fs::path& file) {
  constexpr int kDeepest = 4;  // LeRobot's meta/episodes/chunk-000/file-000.parquet
  auto folder = fs::absolute(file).lexically_normal().parent_path();
  try {
    if (is_set(list_folder(folder))) return folder;
    for (int level = 1; level < kDeepest; ++level) {
      folder = folder.parent_path();
      if (fs::exists(folder / "meta" / "info.json")) return folder;
    }
  } catch (const fs::filesystem_error&) {  // one that may not be looked into tells nothing
  }
  return {};
}

// Data sets, and bundles, have such files, and none of them is either.
bool is_part_of_set(const fs::path& file) {
  constexpr std::array kEndings{".json", ".jsonl", ".csv", ".parquet", ".npz"};
  return std::find(kEndings.begin(), kEndings.end(), small_extension(file)) != kEndings.end();
}

[[noreturn]] void refuse_file(const fs::path& file) {
  if (const auto set = set_of_file(file); !set.empty())
    throw Error(ErrorCategory::invalid_argument, file.string() + ": is one file of the data set " +
                                                     set.string() +
                                                     ", which is opened by its folder");
  throw Error(
      ErrorCategory::not_found,
      file.string() +
          (is_part_of_set(file)
               ? ": is no recording by itself: give the folder that it belongs to, of a data set "
                 "or of a bundle"
               : ": holds no recording of a known format. Looked for:\n  *.h5, *.hdf5 "
                 "(stable-worldmodel, robomimic)\n  *.txt (a list of DROID episodes)\n  a video "
                 "or a picture"));
}

OpenedDataset open_known(const fs::path& path, const DatasetOptions& options) {
  require(fs::exists(path), ErrorCategory::not_found, path.string() + ": no such file or folder");
  std::string looked_for;
  if (fs::is_directory(path)) {
    const auto listing = list_folder(path);
    for (const auto& format : kFolderFormats) {
      if (format.holds(listing)) {
        if (!format.splits) refuse_split(path, options);
        return format.open(path, options);
      }
      looked_for += std::string("\n  ") + format.sign + " (" + format.name + ")";
    }
  } else {
    if (is_hdf5_file(path)) return open_hdf5(path, options);
    refuse_split(path, options);
    if (small_extension(path) == ".txt") return open_droid(path, options);
    if (!any_picture(path).empty()) return open_pictures(path, options);
    refuse_file(path);
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
