// SPDX-License-Identifier: Apache-2.0
// Frames that are announced before they are read: what is read stays the same, the bytes come from
// the disk ahead of time, and nothing is held without bound.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <mutex>
#include <thread>

#include "catch.hpp"
#include "film_folder.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/resized_dataset.hpp"
#include "foresight/io/files.hpp"
#include "memory_dataset.hpp"
#include "recordings.hpp"

namespace foresight::data::announced_frames_test {
namespace {

namespace fs = std::filesystem;

// Notes what is announced and what is read, in order; otherwise a MemoryDataset's rows.
class NotedDataset final : public Dataset {
 public:
  struct Event {
    bool announced = false;
    int64_t episode = 0;
    std::vector<int64_t> rows;
  };

  const std::string& name() const override { return base_.name(); }
  int64_t num_episodes() const override { return base_.num_episodes(); }
  int64_t length(int64_t episode) const override { return base_.length(episode); }
  std::string episode_name(int64_t episode) const override { return base_.episode_name(episode); }
  ImageSize image_size() const override { return base_.image_size(); }
  double fps() const override { return base_.fps(); }
  const std::vector<std::string>& columns() const override { return base_.columns(); }
  const std::vector<std::string>& action_columns() const override { return base_.action_columns(); }
  const std::vector<std::string>& state_columns() const override { return base_.state_columns(); }
  LastAction last_action() const override { return base_.last_action(); }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    return base_.read_rows(columns, episode, first, count);
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef rows) const override {
    note({false, episode, rows.vec()});
    return base_.read_frames(episode, rows);
  }
  void announce_frames(int64_t episode, at::IntArrayRef rows) const override {
    note({true, episode, rows.vec()});
    throw Error(ErrorCategory::bad_file, "what is wrong is said where frames are read");
  }

  std::vector<Event> events() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  void note(Event event) const {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }

  MemoryDataset base_{{9, 14, 19}};  // 36 windows: no batch is incomplete
  mutable std::mutex mutex_;
  mutable std::vector<Event> events_;
};

ActionSpace two_actions(int64_t block) {
  ActionSpace space;
  space.dim = 2;
  space.block = block;
  return space;
}

std::shared_ptr<const FrameCache> not_held(std::shared_ptr<const Dataset> data) {
  return std::make_shared<FrameCache>(std::move(data), FrameCacheOptions{.budget_mb = 0});
}

TEST_CASE("a loader announces every window once an epoch, before it is read and a batch ahead") {
  for (const int64_t threads : {0, 1, 3}) {
    const auto data = std::make_shared<NotedDataset>();
    const WindowIndex windows(*data, {.frames = 2, .stride = 2});
    Loader loader(not_held(data), windows, two_actions(2), {.batch = 4, .threads = threads});
    int64_t batches = 0;
    while (loader.next()) ++batches;
    REQUIRE(batches == windows.size() / 4);
    const auto events = data->events();
    std::vector<std::pair<int64_t, std::vector<int64_t>>> announced;
    int64_t read = 0;
    // One of several threads may read a window that another is about to announce.
    if (threads > 1)
      for (const auto& event : events)
        if (event.announced) announced.emplace_back(event.episode, event.rows);
    for (const auto& event : events) {
      const std::pair window{event.episode, event.rows};
      const auto known = std::find(announced.begin(), announced.end(), window) != announced.end();
      if (event.announced) {
        // Threads may be in the second epoch already, and announce all of it again.
        if (threads == 0) CHECK_FALSE(known);
        announced.push_back(window);
        continue;
      }
      CHECK(known);
      if (threads > 0 || read++ % 4 != 0) continue;
      const int64_t whole = std::min(batches, read / 4 + 2);  // this batch and the next one
      CHECK(static_cast<int64_t>(announced.size()) == 4 * whole);
    }
    if (threads == 0) CHECK(read == 4 * batches);
  }
}

TEST_CASE("a loader that goes on elsewhere announces what it reads there") {
  const auto data = std::make_shared<NotedDataset>();
  const WindowIndex windows(*data, {.frames = 2, .stride = 2});
  Loader loader(not_held(data), windows, two_actions(2), {.batch = 4, .threads = 0});
  loader.next();
  loader.seek({0, 0});
  const auto before = data->events().size();
  loader.next();
  const auto events = data->events();
  REQUIRE(events.size() == before + 12);  // two batches announced, one read
  for (std::size_t i = before; i < events.size(); ++i)
    CHECK(events[i].announced == (i < before + 8));
}

TEST_CASE("announced frames are the frames that are read without it") {
  std::vector<std::shared_ptr<const Dataset>> sets;
  for (const char* name : {"lerobot_v30_rollover", "lerobot_v21", "folder", "native224",
                           "swm/folder", "swm/video", "swm/tworoom_nan_gzip.h5"})
    try {
      if (const auto path = recordings() / "tworoom" / name; fs::exists(path))
        sets.push_back(open_dataset(path));
    } catch (const Error& missing) {  // a library that this build lacks
      if (missing.category() != ErrorCategory::unsupported) throw;
    }
  REQUIRE(!sets.empty());
  sets.push_back(std::make_shared<ResizedDataset>(sets.front(), ImageSize{16, 16}));
  for (const auto& data : sets) {
    INFO(data->name());
    const int64_t last = data->num_episodes() - 1, rows = data->length(last);
    const std::vector<int64_t> some{rows - 1, 0, rows / 2, 0};
    const Tensor plain = data->read_frames(last, some);
    for (int round = 0; round < 2; ++round) {
      data->announce_frames(last, some);
      data->announce_frames(last, {-1});
      data->announce_frames(last, {rows});
      CHECK(at::equal(data->read_frames(last, some), plain));
    }
  }
}

// Whether all of these bytes of a file are in memory, within two seconds.
bool comes_into_memory(const fs::path& path, std::size_t first, std::size_t bytes) {
  const int file = ::open(path.c_str(), O_RDONLY);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t from = first / page * page, length = first + bytes - from;
  void* start = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, file, static_cast<::off_t>(from));
  ::close(file);
  REQUIRE(start != MAP_FAILED);
  std::vector<unsigned char> there((length + page - 1) / page);
  bool all = false;
  for (int wait = 0; wait < 200 && !all; ++wait) {
    REQUIRE(::mincore(start, length, there.data()) == 0);
    all = std::all_of(there.begin(), there.end(), [](unsigned char one) { return (one & 1) != 0; });
    if (!all) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ::munmap(start, length);
  return all;
}

// Out of the system's memory, where the file system has another place for it.
void forget(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY);
  ::fsync(file);
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  ::close(file);
}

std::vector<fs::path> written_pictures(const fs::path& folder, int64_t count) {
  fs::create_directories(folder / "episode_0000");
  std::ofstream table(folder / "episode_0000.csv");
  table << "action_0\n";
  std::vector<fs::path> files;
  for (int64_t t = 0; t < count; ++t) {
    table << t << '\n';
    char name[32];
    std::snprintf(name, sizeof name, "%05d.png", static_cast<int>(t));
    files.push_back(folder / "episode_0000" / name);
    io::write_text(files.back(), encode_png(at::full({4, 4, 3}, t % 251, at::kByte)));
  }
  return files;
}

TEST_CASE("announced frames come from the disk without being read") {
  const TemporaryFolder folder;
  SECTION("pictures in files") {
    const auto files = written_pictures(folder.path(), 3);
    const auto data = open_dataset(folder.path(), {.fps = 10});
    for (const auto& file : files) forget(file);
    data->announce_frames(0, {2, 1});
    CHECK(comes_into_memory(files[1], 0, fs::file_size(files[1])));
    CHECK(comes_into_memory(files[2], 0, fs::file_size(files[2])));
  }
  SECTION("packets of a video") {
    if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
    const FilmFolder films(1, 24, 64);
    const auto data = open_dataset(films.path());
    const Tensor plain = data->read_frames(0, {9, 23});
    forget(films.film(0));
    data->announce_frames(0, at::IntArrayRef({9, 23}));
    // Its packets lie somewhere in the file, most of which they are.
    const auto bytes = fs::file_size(films.film(0));
    CHECK(comes_into_memory(films.film(0), bytes / 2, 1));
    CHECK(at::equal(data->read_frames(0, {9, 23}), plain));
  }
  SECTION("pictures in Parquet") {
    RecordingOptions options;
    options.video.fps = 10;
    options.cameras = {"front"};
    options.features = {{"action", {"grip"}}};
    options.storage = FrameStorage::pictures;
    options.episodes_per_file = 2;
    const auto noise = at::randint(256, {16, 64, 64, 3}, at::kByte);  // no PNG makes it smaller
    try {
      const auto writer = open_episode_writer(folder / "set", TargetFormat::lerobot, options);
      for (int64_t e = 0; e < 2; ++e)
        writer->write_episode(
            {.frames = {{"front", noise}}, .values = {{"action", at::ones({16, 1})}}});
      writer->finish();
    } catch (const Error& missing) {
      if (missing.category() != ErrorCategory::unsupported) throw;
      FORESIGHT_SKIP(missing.what());
    }
    const auto file = folder / "set/data/chunk-000/file-000.parquet";
    const auto data = open_dataset(folder / "set");
    const Tensor plain = data->read_frames(1, {15, 3});
    const auto again = open_dataset(folder / "set");
    again->announce_frames(0, {0});  // reads the footer
    const auto bytes = fs::file_size(file);
    REQUIRE(bytes > 16 * 4096);
    forget(file);
    again->announce_frames(1, {15, 3});
    CHECK(comes_into_memory(file, bytes / 8 * 5, bytes / 4));  // of the second episode
    CHECK(at::equal(again->read_frames(1, {15, 3}), plain));
    again->announce_frames(1, {15});  // held now
    CHECK(at::equal(again->read_frames(0, {3}), data->read_frames(0, {3})));
  }
  SECTION("a file of decoded frames") {
    const auto data = std::make_shared<MemoryDataset>(std::vector<int64_t>{9000, 9000});
    const FrameCacheOptions options{.threads = 1, .folder = (folder / "frames").string()};
    fs::path file;
    {
      const FrameCache written(data, options);
      file = fs::directory_iterator(folder / "frames")->path();
    }
    const FrameCache mapped(data, options);
    forget(file);
    constexpr std::size_t kFrame = 2 * 3 * 3;
    mapped.announce(1, {8000, 8001, 8002, 8990});
    CHECK(comes_into_memory(file, (9000 + 8000) * kFrame, 3 * kFrame));
    CHECK(comes_into_memory(file, (9000 + 8990) * kFrame, kFrame));
    mapped.announce(1, {-1, 9000});  // no such frames: for copy() to say
    mapped.announce(1, {8999, 9000});
    CHECK(at::equal(mapped.frames(1, {8000, 8990}), data->read_frames(1, {8000, 8990})));
  }
}

TEST_CASE("pictures that are announced and never read hold few descriptors") {
  if (!fs::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  const auto descriptors = [] {
    const fs::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const TemporaryFolder folder;
  constexpr int64_t kPictures = 700;
  written_pictures(folder.path(), kPictures);
  const auto before = descriptors();
  {
    const auto data = open_dataset(folder.path(), {.fps = 10});
    for (int64_t t = 0; t < kPictures; ++t) data->announce_frames(0, {t});
    CHECK(descriptors() - before <= 256);
    for (const int64_t t : {int64_t{0}, int64_t{699}, int64_t{444}})  // closed again; still open
      CHECK(data->read_frames(0, {t})[0][0][0][0].item<int64_t>() == t % 251);
  }
  CHECK(descriptors() == before);
}

}  // namespace
}  // namespace foresight::data::announced_frames_test
