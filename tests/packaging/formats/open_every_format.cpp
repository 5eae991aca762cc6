// SPDX-License-Identifier: Apache-2.0
// Opens recordings of every format in a build without FFmpeg, HDF5 and Apache Parquet. Those that
// need one of them must fail with an error that names path, library and packages; all others open.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/data/video_writer.hpp"

namespace {

namespace fs = std::filesystem;
namespace data = foresight::data;

const std::vector<std::string> kFfmpeg = {"no FFmpeg", "libavformat-dev", "FORESIGHT_WITH_FFMPEG"};
const std::vector<std::string> kHdf5 = {"no HDF5", "libhdf5-dev"};
const std::vector<std::string> kParquet = {"no Apache Parquet", "pip install pyarrow",
                                           "libparquet-dev"};
int failures = 0;

void fail(const std::string& what, const std::string& problem) {
  std::printf("FAILED: %s: %s\n", what.c_str(), problem.c_str());
  ++failures;
}

// `action` must fail for want of a library, in `words`; without words it must not fail.
void check(const std::string& what, const std::vector<std::string>& words,
           const std::function<void()>& action) {
  try {
    action();
  } catch (const foresight::Error& error) {
    const std::string said = error.what();
    if (words.empty()) return fail(what, said);
    if (error.category() != foresight::ErrorCategory::unsupported)
      fail(what, "not 'unsupported': " + said);
    for (const auto& word : words)
      if (said.find(word) == std::string::npos) fail(what, "no '" + word + "' in: " + said);
    return;
  }
  if (!words.empty()) fail(what, "no error, expected '" + words.front() + "'");
}

void open(const fs::path& path, const std::vector<std::string>& words,
          data::DatasetOptions options = {}) {
  auto with_path = words;
  if (!words.empty()) with_path.push_back(path.string());
  for (const auto unreadable : {data::Unreadable::fail, data::Unreadable::skip}) {
    options.unreadable = unreadable;
    check(path.string(), with_path,
          [&] { data::open_dataset(path, options)->read_frames(0, {0}); });
  }
}

void record(const fs::path& path, data::TargetFormat format,
            const std::vector<std::string>& words) {
  data::RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.features = {{"action", {"push"}}};
  if (format == data::TargetFormat::lerobot) options.storage = data::FrameStorage::pictures;
  check("recording to " + path.string(), words,
        [&] { data::open_episode_writer(path, format, options); });
}

// Two rows and their pictures.
void write_plain_folder(const fs::path& folder, const std::vector<fs::path>& pictures) {
  fs::create_directories(folder / "episode_0000");
  std::ofstream(folder / "episode_0000.csv") << "action_0\n0.5\n1.5\n";
  for (const auto& picture : pictures)
    fs::copy_file(picture, folder / "episode_0000" / picture.filename());
}

}  // namespace

int main() {
  const fs::path all = RECORDINGS;
  const auto rooms = all / "tworoom", layouts = all / "layouts";
  const auto own = fs::temp_directory_path() / ("foresight-formats-" + std::to_string(::getpid()));
  // libjpeg and zlib are all that these need.
  const auto jpegs = rooms / "swm" / "folder" / "pixels";
  open(rooms / "swm" / "folder", {});
  open(jpegs, {});
  open(layouts / "dino_wm_maze", {});
  write_plain_folder(own / "jpeg", {jpegs / "ep_0_step_0.jpeg", jpegs / "ep_0_step_1.jpeg"});
  open(own / "jpeg", {});

  for (const char* set : {"folder", "swm/video"}) open(rooms / set, kFfmpeg);
  open(layouts / "dino_wm_pusht", kFfmpeg);
  const auto film = all / "camera" / "cup_h264_bframes.mp4";
  check("opening a film", kFfmpeg, [&] { data::open_dataset(film); });
  check("reading a film", kFfmpeg, [&] { data::VideoReader reader(film.string()); });
  check("writing a film", kFfmpeg, [&] { data::VideoWriter writer(own / "film.mp4"); });
  if (data::has_video_encoder()) fail("has_video_encoder()", "true");
  const auto png = data::encode_png(at::zeros({8, 8, 3}, at::kByte));
  std::ofstream(own / "a.png", std::ios::binary) << png;
  write_plain_folder(own / "png", {own / "a.png"});
  fs::copy_file(own / "a.png", own / "png" / "episode_0000" / "b.png");
  open(own / "png", kFfmpeg);
  check("opening pictures alone", kFfmpeg,
        [&] { data::open_dataset(own / "png" / "episode_0000"); });
  data::DatasetOptions small;
  small.video.height = small.video.width = 32;
  check("scaling", kFfmpeg, [&] { data::open_dataset(own / "jpeg", small)->read_frames(0, {0}); });

  for (const char* name : {"robomimic", "robomimic_split", "robomimic_merged", "droid"})
    open(layouts / name, kHdf5);
  open(layouts / "robomimic" / "low_dim.hdf5", kHdf5);
  open(rooms / "swm" / "tworoom_nan_gzip.h5", kHdf5);
  for (const char* name : {"lerobot_v21", "lerobot_v30_rollover"}) open(rooms / name, kParquet);
  open(layouts / "lerobot_matrix", kParquet);

  fs::create_directories(own / "several");
  for (const char* name : {"a.hdf5", "b.hdf5"})
    fs::copy_file(layouts / "robomimic" / "low_dim.hdf5", own / "several" / name);
  open(own / "several", kHdf5);
  record(own / "set", data::TargetFormat::lerobot, kParquet);
  record(own / "plain", data::TargetFormat::folder, kFfmpeg);
  for (const char* name : {"set", "plain"})
    if (fs::exists(own / name)) fail("recording", "left a folder that it cannot write to");
  fs::remove_all(own);

  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
