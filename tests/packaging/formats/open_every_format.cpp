// SPDX-License-Identifier: Apache-2.0
// Opens recordings of every format in a build without HDF5 and Apache Parquet. Those that need one
// of them must fail with an error that names path, library and packages; all others open.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/episode_writer.hpp"

namespace {

namespace fs = std::filesystem;
namespace data = foresight::data;

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

}  // namespace

int main() {
  const fs::path all = RECORDINGS;
  const auto rooms = all / "tworoom", layouts = all / "layouts";
  // FFmpeg, libjpeg and zlib are all that these need.
  open(rooms / "folder", {});
  open(rooms / "swm" / "video", {});
  open(rooms / "swm" / "folder", {});
  open(layouts / "dino_wm_pusht", {});
  open(layouts / "dino_wm_maze", {});
  open(all / "camera" / "cup_h264_bframes.mp4", {});

  for (const char* name : {"robomimic", "robomimic_split", "robomimic_merged", "droid"})
    open(layouts / name, kHdf5);
  open(layouts / "robomimic" / "low_dim.hdf5", kHdf5);
  open(rooms / "swm" / "tworoom_nan_gzip.h5", kHdf5);
  for (const char* name : {"lerobot_v21", "lerobot_v30_rollover"}) open(rooms / name, kParquet);
  open(layouts / "lerobot_matrix", kParquet);

  const auto own = fs::temp_directory_path() / ("foresight-formats-" + std::to_string(::getpid()));
  fs::create_directories(own / "several");
  for (const char* name : {"a.hdf5", "b.hdf5"})
    fs::copy_file(layouts / "robomimic" / "low_dim.hdf5", own / "several" / name);
  open(own / "several", kHdf5);
  record(own / "set", data::TargetFormat::lerobot, kParquet);
  if (fs::exists(own / "set")) fail("recording", "left a folder that it cannot write to");
  record(own / "plain", data::TargetFormat::folder, {});
  fs::remove_all(own);

  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
