// SPDX-License-Identifier: Apache-2.0
// stable-worldmodel's folders: every column is an .npz file, and every camera a folder of videos
// (pixels/ep_3.mp4) or of pictures (pixels/ep_3_step_17.jpeg).
#include <algorithm>

#include "../tables/npz.hpp"
#include "../video/picture.hpp"
#include "../video/video_frames.hpp"
#include "formats.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

class SwmFolderOpener {
 public:
  SwmFolderOpener(const fs::path& folder, const DatasetOptions& options)
      : folder_(folder), options_(options) {
    recording_.name = folder.string();
    recording_.last_action = LastAction::artefact;  // the recorder's first action, moved, or NaN
    recording_.actions = {{"action"}};
    recording_.states = {{"state"}, {"proprio"}};
    list_episodes();
    list_columns();
  }

  OpenedDataset open() {
    require_camera();
    const std::string camera = chosen_camera(recording_.name, recording_.cameras, options_);
    std::error_code problem;
    fs::directory_iterator(folder_ / camera, problem);
    require(!problem, ErrorCategory::io_failure,
            (folder_ / camera).string() + ": cannot be listed: " + problem.message());
    recording_.frames = holds_films(camera) ? videos(camera) : pictures(camera);
    return make_columnar_dataset(std::move(recording_), options_);
  }

 private:
  void require_camera() const {
    if (!recording_.cameras.empty()) return;
    std::string empty;
    for (const auto& remark : recording_.remarks) empty += "\n  " + remark;
    throw Error(ErrorCategory::not_found,
                recording_.name +
                    ": has no camera, that is, no folder with ep_0.mp4, ... or ep_0_step_0.jpeg, "
                    "... in it" +
                    empty);
  }

  Tensor whole_column(const char* name) const {
    const fs::path path = folder_ / (std::string(name) + ".npz");
    const NpyArray array = read_npz(path);
    require(!array.text && array.numbers.dim() == 1, ErrorCategory::bad_file,
            path.string() + ": expected a list of whole numbers");
    return array.numbers.to(at::kLong).contiguous();
  }

  void list_episodes() {
    const Tensor lengths = whole_column("ep_len"), offsets = whole_column("ep_offset");
    require(lengths.numel() == offsets.numel() && lengths.numel() > 0, ErrorCategory::bad_file,
            recording_.name + ": ep_len.npz lists " + std::to_string(lengths.numel()) +
                " episodes, ep_offset.npz " + std::to_string(offsets.numel()));
    for (int64_t e = 0; e < lengths.numel(); ++e)
      recording_.episodes.push_back({"ep_" + std::to_string(e),
                                     offsets.const_data_ptr<int64_t>()[e],
                                     lengths.const_data_ptr<int64_t>()[e]});
  }

  // Runs, and decoded frames that are kept, may lie beside the cameras. A folder that cannot be
  // listed may be a camera, which must not vanish unsaid; an empty one is told.
  bool is_camera(const fs::path& path) {
    const std::string name = path.filename().string();
    if (name.starts_with(".") || name == "lost+found") return false;
    std::error_code problem;
    fs::directory_iterator entry(path, problem);
    if (!problem && entry == fs::directory_iterator())
      recording_.remarks.push_back(path.string() + ": is empty, and no camera for that");
    for (; !problem && entry != fs::directory_iterator(); entry.increment(problem))
      if (entry->path().filename().string().starts_with("ep_")) return true;
    std::error_code ignored;
    return problem && problem != std::errc::not_a_directory && fs::is_directory(path, ignored);
  }

  // The columns are small next to the frames, so that they are read at once.
  void list_columns() {
    std::vector<fs::path> entries;
    for (const auto& entry : fs::directory_iterator(folder_)) entries.push_back(entry.path());
    std::sort(entries.begin(), entries.end());
    for (const auto& path : entries) {
      const std::string name = path.stem().string();
      if (is_camera(path)) {
        recording_.cameras.push_back(path.filename().string());
      } else if (path.extension() == ".npz" && name != "ep_len" && name != "ep_offset") {
        add_column(path, name);
      }
    }
    put_pixels_first(recording_.cameras);
  }

  void add_column(const fs::path& path, const std::string& name) {
    NpyArray array;
    try {
      array = read_npz(path);
    } catch (const Error& error) {  // one odd column must not close the others
      recording_.skipped[name] = error.what();
      return;
    }
    if (array.text) {
      recording_.texts.push_back({name, [texts = array.texts] { return texts; }});
    } else if (array.numbers.dim() >= 1 && array.numbers.size(0) > 0) {
      const Tensor values = array.numbers.reshape({array.numbers.size(0), -1});
      recording_.features.push_back({name, values.size(1), [values] { return values; },
                                     array.numbers.sizes().slice(1).vec()});
    } else {
      recording_.skipped[name] = path.string() + " is not a column";
    }
  }

  fs::path video(const std::string& camera, int64_t episode) const {
    return folder_ / camera / ("ep_" + std::to_string(episode) + ".mp4");
  }

  bool holds_films(const std::string& camera) const {
    for (int64_t e = 0; e < static_cast<int64_t>(recording_.episodes.size()); ++e)
      if (fs::exists(video(camera, e))) return true;
    return false;
  }

  std::shared_ptr<const FrameSource> videos(const std::string& camera) {
    std::vector<EpisodeClip> clips(recording_.episodes.size());
    for (std::size_t e = 0; e < clips.size(); ++e)
      clips[e].file = video(camera, static_cast<int64_t>(e));
    require_files(recording_, clips, options_.unreadable);
    open_films(recording_, clips, options_, [&](std::size_t e, const VideoReader& film) {
      const int64_t rows = recording_.episodes[e].length;
      require(film.num_frames() == rows, ErrorCategory::bad_file,
              film.path() + ": has " + std::to_string(film.num_frames()) +
                  " frames, ep_len.npz says " + std::to_string(rows));
    });
    return video_frames(std::move(clips), {}, options_.video, options_.unreadable);
  }

  std::shared_ptr<const FrameSource> pictures(const std::string& camera) const {
    const std::string ending = fs::exists(folder_ / camera / "ep_0_step_0.jpg") ? ".jpg" : ".jpeg";
    const auto file = [folder = folder_ / camera, ending](int64_t episode, int64_t row) {
      return (folder / ("ep_" + std::to_string(episode) + "_step_" + std::to_string(row) + ending))
          .string();
    };
    std::vector<std::vector<FileStamp>> stamps(recording_.episodes.size());
    for (std::size_t e = 0; e < stamps.size(); ++e)
      for (int64_t t = 0; t < recording_.episodes[e].length; ++t) {
        const std::string path = file(static_cast<int64_t>(e), t);
        const bool there = fs::exists(path);  // one that is not fails when it is read
        require(there || options_.unreadable == Unreadable::skip, ErrorCategory::not_found,
                path + ": no such file, but ep_len.npz lists this row");
        stamps[e].push_back(there ? file_stamp(path) : FileStamp{});
      }
    return picture_file_frames(file, std::move(stamps), options_.video, options_.unreadable);
  }

  fs::path folder_;
  DatasetOptions options_;
  Recording recording_;
};

}  // namespace

OpenedDataset open_swm_folder(const fs::path& folder, const DatasetOptions& options) {
  return SwmFolderOpener(folder, options).open();
}

}  // namespace foresight::data
