// SPDX-License-Identifier: Apache-2.0
// DINO-WM's recordings: tensors over all episodes, padded to the longest, saved by torch.save; and
// frames as one video, or one saved tensor, an episode.
//   states.pth [E,T,...]  velocities.pth  rel_actions.pth | abs_actions.pth | actions.pth [E,T,A]
//   seq_lengths.pkl | seq_lengths.pth (none: every episode has T rows)
//   obses/episode_000.mp4 | obses/episode_000.pth [T,H,W,3] | 000000/obses.pth [T,H,W,3]
// Or a folder with two of these, train/ and val/.
#include <algorithm>
#include <array>
#include <cstdio>

#include "../video/picture.hpp"
#include "../video/video_frames.hpp"
#include "foresight/io/pickled_integers.hpp"
#include "foresight/io/torch_checkpoint.hpp"
#include "formats.hpp"
#include "joined_dataset.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Push-T's actions are stored in hundreds of its environment's unit.
constexpr double kPushTActionScale = 100;
constexpr std::array kSplits{"train", "val"};

std::string numbered_name(const char* pattern, int64_t number) {
  char name[64];
  std::snprintf(name, sizeof name, pattern, static_cast<long long>(number));
  return name;
}

class DinoWmOpener {
 public:
  DinoWmOpener(const fs::path& folder, const DatasetOptions& options)
      : folder_(folder), options_(options) {
    recording_.name = folder.string();
    recording_.cameras = {"pixels"};
    recording_.actions = {{"action"}};
    recording_.states = {{"state"}};
    const Tensor states = saved(folder_ / "states.pth");
    require(states.dim() >= 3, ErrorCategory::bad_file,
            (folder_ / "states.pth").string() + ": has shape " + shape_string(states.sizes()) +
                ", expected [episodes, rows, ...]");
    list_episodes(states.size(0), states.size(1));
    add_states(states);
    add_actions();
  }

  OpenedDataset open() {
    chosen_camera(recording_.name, recording_.cameras, options_);
    recording_.frames = holds_films() ? videos() : tensors();
    return make_columnar_dataset(std::move(recording_), options_);
  }

 private:
  static Tensor saved(const fs::path& path) {
    const auto file = io::TorchCheckpoint::open(path);
    require(file.names() == std::vector<std::string>{""}, ErrorCategory::bad_file,
            path.string() + ": expected one tensor, it holds " + listed_names(file.names()));
    return file.at("");
  }

  void list_episodes(int64_t episodes, int64_t rows) {
    std::vector<int64_t> lengths(static_cast<std::size_t>(episodes), rows);
    if (fs::exists(folder_ / "seq_lengths.pkl")) {
      lengths = io::read_pickled_integers(folder_ / "seq_lengths.pkl");
    } else if (fs::exists(folder_ / "seq_lengths.pth")) {
      const Tensor stored = saved(folder_ / "seq_lengths.pth").to(at::kLong).flatten().contiguous();
      lengths.assign(stored.const_data_ptr<int64_t>(),
                     stored.const_data_ptr<int64_t>() + stored.numel());
    }
    require(static_cast<int64_t>(lengths.size()) == episodes, ErrorCategory::bad_file,
            recording_.name + ": seq_lengths lists " + std::to_string(lengths.size()) +
                " episodes, states.pth holds " + std::to_string(episodes));
    int64_t first = 0;
    for (std::size_t e = 0; e < lengths.size(); ++e) {
      require(lengths[e] >= 1 && lengths[e] <= rows, ErrorCategory::bad_file,
              recording_.name + ": seq_lengths says " + std::to_string(lengths[e]) +
                  " rows for episode " + std::to_string(e) + ", states.pth has 1.." +
                  std::to_string(rows));
      recording_.episodes.push_back({"episode " + std::to_string(e), first, lengths[e]});
      first += lengths[e];
    }
  }

  // Rows of all episodes without the padding, [rows, width].
  Tensor unpadded(const Tensor& padded, const fs::path& path) const {
    const auto episodes = static_cast<int64_t>(recording_.episodes.size());
    std::vector<Tensor> parts;
    for (int64_t e = 0; e < episodes; ++e) {
      const int64_t length = recording_.episodes[static_cast<std::size_t>(e)].length;
      require(padded.dim() >= 3 && padded.size(0) == episodes && padded.size(1) >= length,
              ErrorCategory::bad_file,
              path.string() + ": has shape " + shape_string(padded.sizes()) +
                  ", expected [episodes, rows, ...] as states.pth");
      parts.push_back(padded[e].narrow(0, 0, length).reshape({length, -1}));
    }
    return at::cat(parts);
  }

  void add(const std::string& name, const Tensor& values) {
    recording_.features.push_back({name, values.size(1), [values] { return values; }});
  }

  // The state of Push-T has the agent's velocity behind it.
  void add_states(const Tensor& states) {
    Tensor values = unpadded(states, folder_ / "states.pth");
    const fs::path velocities = folder_ / "velocities.pth";
    if (fs::exists(velocities)) {
      const Tensor speed = unpadded(saved(velocities), velocities);
      values = at::cat({values, speed.to(values.scalar_type())}, 1);
    }
    add("state", values);
  }

  void add_actions() {
    for (const char* name : {"rel_actions.pth", "abs_actions.pth", "actions.pth"}) {
      const fs::path path = folder_ / name;
      if (!fs::exists(path)) continue;
      const Tensor values = unpadded(saved(path), path);
      const bool push_t = std::string(name) != "actions.pth";
      add("action", push_t ? values / kPushTActionScale : values);
      return;
    }
    throw Error(ErrorCategory::not_found,
                recording_.name + ": no rel_actions.pth, abs_actions.pth or actions.pth");
  }

  fs::path film(int64_t episode) const {
    return folder_ / "obses" / numbered_name("episode_%03lld.mp4", episode);
  }

  bool holds_films() const {
    for (int64_t e = 0; e < static_cast<int64_t>(recording_.episodes.size()); ++e)
      if (fs::exists(film(e))) return true;
    return false;
  }

  std::shared_ptr<const FrameSource> videos() {
    std::vector<EpisodeClip> clips(recording_.episodes.size());
    for (std::size_t e = 0; e < clips.size(); ++e) clips[e].file = film(static_cast<int64_t>(e));
    require_files(recording_, clips, options_.unreadable);
    open_films(recording_, clips, options_, [&](std::size_t e, const VideoReader& film) {
      const int64_t rows = recording_.episodes[e].length;
      require(film.num_frames() >= rows, ErrorCategory::bad_file,
              film.path() + ": has " + std::to_string(film.num_frames()) +
                  " frames, its episode has " + std::to_string(rows) + " rows");
    });
    return video_frames(std::move(clips), {}, options_.video, options_.unreadable);
  }

  std::shared_ptr<const FrameSource> tensors() {
    const auto file = [folder = folder_](int64_t episode) {
      const fs::path one = folder / "obses" / numbered_name("episode_%03lld.pth", episode);
      return fs::exists(one) ? one : folder / numbered_name("%06lld", episode) / "obses.pth";
    };
    std::vector<int64_t> shown;  // episodes whose frames are there
    for (int64_t e = 0; e < static_cast<int64_t>(recording_.episodes.size()); ++e) {
      if (fs::exists(file(e))) {
        shown.push_back(e);
        recording_.frame_files.push_back(file(e));
        continue;
      }
      const auto problem = recording_.name + ": the frames of episode " + std::to_string(e) +
                           " are missing. Looked for: obses/episode_" + numbered_name("%03lld", e) +
                           ".mp4, the same .pth, " + numbered_name("%06lld", e) + "/obses.pth";
      require(options_.unreadable == Unreadable::skip, ErrorCategory::not_found, problem);
      recording_.unreadable.emplace(e, problem);
    }
    require(!shown.empty(), ErrorCategory::not_found,
            recording_.name + ": the frames of all episodes are missing");
    return tensor_frames(
        [file](int64_t episode, at::IntArrayRef rows) {
          const fs::path path = file(episode);
          const Tensor frames = saved(path);  // mapped: only the rows asked for are read
          require(frames.dim() == 4 && frames.size(3) == 3 && frames.scalar_type() == at::kByte,
                  ErrorCategory::bad_file,
                  path.string() + ": has shape " + shape_string(frames.sizes()) +
                      ", expected bytes [rows, height, width, 3]");
          std::vector<Tensor> chosen;
          for (const int64_t row : rows) {
            require(row < frames.size(0), ErrorCategory::bad_file,
                    path.string() + ": has " + std::to_string(frames.size(0)) + " frames, row " +
                        std::to_string(row) + " is missing");
            chosen.push_back(frames[row]);
          }
          return at::stack(chosen);
        },
        options_.video, shown, options_.unreadable);
  }

  fs::path folder_;
  DatasetOptions options_;
  Recording recording_;
};

}  // namespace

OpenedDataset open_dino_wm(const fs::path& folder, const DatasetOptions& options) {
  return DinoWmOpener(folder, options).open();
}

bool holds_dino_wm_splits(const fs::path& folder) {
  return std::all_of(kSplits.begin(), kSplits.end(),
                     [&](const char* split) { return fs::exists(folder / split / "states.pth"); });
}

OpenedDataset open_dino_wm_splits(const fs::path& folder, const DatasetOptions& options) {
  std::vector<OpenedDataset> parts;
  auto whole = options;
  whole.split.clear();
  for (const char* split : kSplits)
    if (options.split.empty() || options.split == split)
      parts.push_back(open_dino_wm(folder / split, whole));
  require(!parts.empty(), ErrorCategory::not_found,
          folder.string() + ": has no split '" + options.split +
              "', which DatasetOptions.split (--reading.split) asks for; it has: " +
              listed_names({kSplits.begin(), kSplits.end()}));
  return join_datasets(folder.string(), std::move(parts), JoinedParts::splits);
}

}  // namespace foresight::data
