// SPDX-License-Identifier: Apache-2.0
// Decoded frames that are kept in a file from run to run.
#include "../../src/data/frame_file.hpp"

#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>

#include "../../src/io/descriptor.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/data/png.hpp"
#include "memory_dataset.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::frame_file_test {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<MemoryDataset> three_episodes() {
  return std::make_shared<MemoryDataset>(std::vector<int64_t>{4, 9, 1});
}

FrameCacheOptions kept_in(const fs::path& folder, int64_t budget_mb = 100) {
  return {.budget_mb = budget_mb, .threads = 2, .folder = folder.string()};
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

// Frames that a cache of this data set decodes besides the few that identify the recording.
int64_t frames_decoded(const std::shared_ptr<MemoryDataset>& data, const fs::path& folder) {
  constexpr int64_t kIdentifying = 6;  // first and last of three episodes
  const int64_t before = data->frames_read();
  const FrameCache cache(data, kept_in(folder));
  CHECK(cache.frames_held() == 14);
  CHECK(at::equal(cache.frames(1, {7, 0, 7}), data->read_frames(1, {7, 0, 7})));
  return data->frames_read() - before - kIdentifying - 3;
}

TEST_CASE("a file of frames is written once and read by the next cache") {
  const TemporaryFolder folder;
  const auto data = three_episodes();
  CHECK(frames_decoded(data, folder.path() / "made" / "here") == 14);
  CHECK(frames_decoded(data, folder.path() / "made" / "here") == 0);
  CHECK(frames_decoded(three_episodes(), folder.path() / "made" / "here") == 0);
  CHECK(files_in(folder.path() / "made" / "here").size() == 1);
}

TEST_CASE("frames outlive the cache that mapped them") {
  const TemporaryFolder folder;
  const auto data = three_episodes();
  Tensor frames;
  {
    const FrameCache cache(data, kept_in(folder.path()));
    frames = cache.held(1);
  }
  CHECK(at::equal(frames, FrameCache(data, {.threads = 1}).held(1)));
}

TEST_CASE("a file of frames that is cut, damaged or of another recording is written anew") {
  const TemporaryFolder folder;
  const auto data = three_episodes();
  REQUIRE(frames_decoded(data, folder.path()) == 14);
  const fs::path file = files_in(folder.path()).front();
  const auto bytes = fs::file_size(file);
  SECTION("cut at any place") {
    for (const auto left :
         {bytes - 1, bytes - 64, bytes / 2, std::uintmax_t{3}, std::uintmax_t{0}}) {
      fs::resize_file(file, left);
      CHECK(frames_decoded(data, folder.path()) == 14);
      CHECK(fs::file_size(file) == bytes);
    }
  }
  SECTION("longer than it says") {
    std::ofstream(file, std::ios::app | std::ios::binary) << "more";
    CHECK(frames_decoded(data, folder.path()) == 14);
  }
  SECTION("any byte of index or trailer changed") {
    constexpr std::uintmax_t kNumbers = (3 * 3 + 8) * 8;
    for (std::uintmax_t place = bytes - kNumbers; place < bytes; place += 7) {
      std::fstream change(file, std::ios::in | std::ios::out | std::ios::binary);
      change.seekg(static_cast<std::streamoff>(place));
      const int byte = change.get();
      change.seekp(static_cast<std::streamoff>(place));
      change.put(static_cast<char>(byte ^ 0x40));
      change.close();
      INFO("byte " << place);
      CHECK(frames_decoded(data, folder.path()) == 14);
    }
  }
  SECTION("it holds the frames of other episodes under this name") {
    const auto other = std::make_shared<MemoryDataset>(std::vector<int64_t>{5, 8, 1});
    CHECK(frames_decoded(other, folder.path()) == 14);
    CHECK(files_in(folder.path()).size() == 1);
    CHECK(frames_decoded(data, folder.path()) == 14);
  }
}

TEST_CASE("a recording whose files were touched is decoded again") {
  const TemporaryFolder folder;
  const fs::path copy = folder.path() / "recording";
  fs::copy(recordings() / "tworoom" / "native224", copy);
  const auto cache = [&] {
    return FrameCache(open_dataset(copy), kept_in(folder.path() / "frames"));
  };
  const Tensor first = cache().held(0);
  const fs::path file = files_in(folder.path() / "frames").front();
  const auto written = fs::last_write_time(file);
  CHECK(at::equal(cache().held(0), first));
  CHECK(fs::last_write_time(file) == written);
  for (const auto& entry : fs::directory_iterator(copy))
    fs::last_write_time(entry.path(), fs::last_write_time(entry.path()) + std::chrono::hours(1));
  CHECK(at::equal(cache().held(0), first));
  CHECK(fs::last_write_time(file) != written);
}

// Pictures in folders of which nothing but links lies in the recording itself.
class LinkedPictures {
 public:
  LinkedPictures() {
    fs::create_directories(set());
    for (const std::string camera : {"front", "wrist"}) {
      fs::create_directories(folder_ / camera);
      for (int64_t t = 0; t < 5; ++t) write(camera, t, 10 * t + (camera == "wrist" && t == 2));
      fs::create_directory_symlink(folder_ / camera, set() / ("episode_0000." + camera));
    }
    std::ofstream(set() / "episode_0000.csv") << "action_0\n0\n1\n2\n3\n4\n";
  }
  void write(const std::string& camera, int64_t t, int64_t level) const {
    std::ofstream(folder_ / camera / (std::to_string(t) + ".png"), std::ios::binary)
        << encode_png(at::full({8, 8, 3}, level, at::kByte));
  }
  fs::path set() const { return folder_ / "set"; }
  // The grey level of the frame in the middle, as a cache in a file shows it.
  int64_t middle(const DatasetOptions& options) const {
    const FrameCache cache(open_dataset(set(), options), kept_in(folder_ / "frames"));
    return cache.held(0)[2][0][0][0].item<int64_t>();
  }

  // Files of frames, and when each was written.
  std::map<std::string, int64_t> written() const {
    std::map<std::string, int64_t> files;
    for (const auto& entry : fs::directory_iterator(folder_ / "frames"))
      files[entry.path().filename().string()] = entry.last_write_time().time_since_epoch().count();
    return files;
  }

 private:
  TemporaryFolder folder_;
};

TEST_CASE("a frame that no look at the folder would show to have changed is decoded again") {
  const LinkedPictures pictures;
  const DatasetOptions front = {.camera = "front", .fps = 10},
                       wrist = {.camera = "wrist", .fps = 10};
  CHECK(pictures.middle(front) == 20);
  pictures.write("front", 2, 99);  // neither first nor last, behind a link
  CHECK(pictures.middle(front) == 99);
  CHECK(pictures.middle(wrist) == 21);  // first and last frame are those of the other camera
  CHECK(pictures.middle(front) == 99);
}

TEST_CASE("cameras and decodings that alternate keep a file of frames each") {
  const LinkedPictures pictures;
  const DatasetOptions front = {.camera = "front", .fps = 10},
                       wrist = {.camera = "wrist", .fps = 10};
  auto area = front;
  area.video.height = area.video.width = 8;  // the same size, but asked for
  area.video.scaling = Scaling::area;
  for (const auto& options : {front, wrist, area}) pictures.middle(options);
  const auto first = pictures.written();
  CHECK(first.size() == 3);
  for (const auto& options : {front, wrist, area, wrist, front}) pictures.middle(options);
  CHECK(pictures.written() == first);
}

TEST_CASE("the same files decoded otherwise are other frames") {
  const auto identity = [](const VideoReaderOptions& video) {
    Fnv1a hash;
    open_dataset(recordings() / "tworoom" / "native224", {.video = video})->identify_frames(hash);
    return hash.value();
  };
  const VideoReaderOptions small = {.height = 32, .width = 32};
  auto area = small;
  area.scaling = Scaling::area;
  CHECK(identity(small) == identity(small));
  CHECK(identity(small) != identity(area));
}

TEST_CASE("frames of another size or budget lie in another file") {
  const TemporaryFolder folder;
  const auto open = [](int64_t side) {
    return open_dataset(recordings() / "tworoom" / "native224",
                        {.video = {.height = side, .width = side}});
  };
  const FrameCache large(open(64), kept_in(folder.path())), small(open(32), kept_in(folder.path()));
  CHECK(files_in(folder.path()).size() == 2);
  CHECK(large.held(0).size(1) == 64);
  CHECK(small.held(0).size(1) == 32);
  CHECK(FrameCache(open(64), kept_in(folder.path(), 0)).frames_held() == 0);
  CHECK(files_in(folder.path()).size() == 2);
}

TEST_CASE("a file of frames that cannot be written is an error and leaves nothing behind") {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "file") << "no folder";
  CHECK(fails_with(
      ErrorCategory::io_failure,
      [&] { FrameCache(three_episodes(), kept_in(folder.path() / "file" / "frames")); }, "folder"));
  const auto broken = three_episodes();
  broken->break_frame(1, 3);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { FrameCache(broken, kept_in(folder.path() / "frames")); },
      "frame 3"));
  CHECK(files_in(folder.path() / "frames").empty());
  const FrameCache some(broken, kept_in(folder.path() / "frames"), {}, Unreadable::skip);
  CHECK(some.frames_held() == 5);
  CHECK_FALSE(some.held(1).defined());
  const int64_t before = broken->frames_read();
  const FrameCache again(broken, kept_in(folder.path() / "frames"), {}, Unreadable::skip);
  CHECK(again.frames_held() == 5);
  CHECK(broken->frames_read() - before <= 6);  // those that identify the recording
  CHECK(at::equal(again.held(2), broken->read_frames(2, {0})));
}

TEST_CASE("an episode that decodes to fewer frames than it has is not written") {
  const TemporaryFolder folder;
  const FrameFile::Content content{.size = {2, 3}, .episodes = {{7, 4}}};
  const auto write = [&](int64_t frames) {
    FrameFile::write(folder / "some.frames", content, 1, [&](int64_t, const FrameFile::Put& put) {
      put(0, at::zeros({frames, 2, 3, 3}, at::kByte));
      return true;
    });
  };
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { write(3); }, (folder / "some.frames").string(),
      "episode 7 has 4 frames, 3 were decoded"));
  CHECK(files_in(folder.path()).empty());
  write(4);
  CHECK(files_in(folder.path()).size() == 1);
}

TEST_CASE("the splits of a recording have files of their own") {
  const TemporaryFolder folder;
  const fs::path layouts = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  try {
    for (const char* split : {"train", "valid", ""}) {
      const auto data = open_dataset(layouts / "robomimic_split", {.split = split});
      const FrameCache cache(data, kept_in(folder.path()), std::vector<int64_t>{0});
      CHECK(at::equal(cache.held(0)[1], data->read_frames(0, {1})[0]));
    }
    CHECK(files_in(folder.path()).size() == 3);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;  // a build without HDF5
  }
}

TEST_CASE("what lies beside a recording does not make it another, its own files do") {
  const TemporaryFolder folder;
  const fs::path layouts = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  const auto check = [&](const fs::path& from, const fs::path& file) {
    INFO(from);
    const fs::path copy = folder / ("copy_of_" + from.filename().string());
    fs::copy(from, copy, fs::copy_options::recursive);
    const auto state = [&] { return fingerprint(*open_dataset(copy)); };
    const auto first = state();
    fs::create_directories(copy / "run");
    std::ofstream(copy / "run" / "metrics.jsonl") << "{}";
    fs::create_directories(copy / "lost+found");
    fs::permissions(copy / "lost+found", fs::perms::none);
    CHECK(state() == first);
    fs::last_write_time(copy / file, fs::last_write_time(copy / file) + std::chrono::hours(1));
    CHECK(state() != first);
    fs::permissions(copy / "lost+found", fs::perms::owner_all);
  };
  check(recordings() / "tworoom" / "swm" / "video", "pixels/ep_1.mp4");
  check(recordings() / "tworoom" / "swm" / "folder", "pixels/ep_0_step_1.jpeg");
  check(layouts / "dino_wm_pusht", "obses/episode_001.mp4");
  check(layouts / "dino_wm_maze", "obses/episode_001.pth");
  try {
    check(recordings() / "tworoom" / "lerobot_v21", "data/chunk-000/episode_000001.parquet");
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
}

TEST_CASE("frames may be kept below the recording that they are of") {
  const TemporaryFolder folder;
  fs::copy(recordings() / "tworoom" / "native224", folder / "set");
  const auto written = [&] {
    const FrameCache cache(open_dataset(folder / "set"), kept_in(folder / "set" / ".frames"));
    CHECK(cache.held(0).defined());
    return fs::last_write_time(files_in(folder / "set" / ".frames").front());
  };
  const auto first = written();
  CHECK(written() == first);
}

TEST_CASE("decoding that is stopped leaves no file, and frames that are decoded at each use") {
  const TemporaryFolder folder;
  const auto data = three_episodes();
  for (const bool in_file : {true, false}) {
    std::atomic<int> pieces{0};
    const FrameCacheHooks hooks{.stop = [&] { return ++pieces > 2; }};
    auto options = kept_in(folder.path());
    if (!in_file) options.folder.clear();
    options.threads = 1;
    const FrameCache cache(data, options, {}, Unreadable::fail, hooks);
    CHECK(cache.frames_held() == (in_file ? 0 : 13));
    CHECK(at::equal(cache.frames(2, {0}), data->read_frames(2, {0})));
    CHECK(files_in(folder.path()).empty());
  }
  CHECK(frames_decoded(data, folder.path()) == 14);
}

TEST_CASE("waiting for another process that decodes can be stopped") {
  const TemporaryFolder folder;
  const io::Descriptor other(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY));
  REQUIRE(::flock(other.get(), LOCK_EX) == 0);
  int asked = 0;
  const FrameCache cache(three_episodes(), kept_in(folder.path()), {}, Unreadable::fail,
                         {.stop = [&] { return ++asked > 1; }});
  CHECK(cache.frames_held() == 0);
  CHECK(asked == 2);
}

TEST_CASE("decoding tells how far it is") {
  std::vector<DecodingProgress> told;
  const FrameCache cache(
      three_episodes(), {.threads = 1}, {}, Unreadable::fail,
      {.progress = [&](const auto& now) { told.push_back(now); }, .interval_s = 0});
  REQUIRE(told.size() == 4);  // a piece each, and the end
  CHECK(told.front().frames == 4);
  CHECK(told.front().all_frames == 14);
  CHECK(told.back().episodes == 3);
  CHECK(told.back().all_episodes == 3);
  CHECK(told.back().bytes == told.back().all_bytes);
  CHECK(told.back().all_bytes == 14 * 2 * 3 * 3);
}

}  // namespace
}  // namespace foresight::data::frame_file_test
