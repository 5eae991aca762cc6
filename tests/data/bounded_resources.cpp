// SPDX-License-Identifier: Apache-2.0
// Long training must not run out of descriptors or memory: thousands of windows of every kind of
// storage, from more files than are kept open.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/png.hpp"
#include "foresight/io/files.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "sanitized.hpp"

namespace foresight::data::bounded_resources_test {
namespace {

int64_t open_descriptors() {
  int64_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

// Memory in use, MB.
double resident_mb() {
  std::ifstream statm("/proc/self/statm");
  int64_t all = 0, resident = 0;
  statm >> all >> resident;
  return static_cast<double>(resident * ::sysconf(_SC_PAGESIZE)) * 1e-6;
}

// Windows in random order: at most `most_open` descriptors more than before, and no more
// memory than when every file had been opened.
void check_bounded(const std::filesystem::path& path, int64_t most_open, int64_t count) {
  constexpr int64_t kBatch = 50, kThreads = 2;
  const auto before = open_descriptors();
  {
    const auto data = opened_or_skipped(path, {.fps = 10});
    if (!data) return;
    const WindowIndex windows(*data, {.frames = 2, .stride = 2});
    ActionSpace actions;
    actions.dim = static_cast<int64_t>(data->action_columns().size());
    actions.block = 2;
    Loader loader(std::make_shared<FrameCache>(data, FrameCacheOptions{.budget_mb = 0}), windows,
                  actions,
                  {.batch = std::min(kBatch, windows.size()), .threads = kThreads, .seed = 5});
    int64_t seen = 0, most_seen = 0;
    double early_mb = 0, most_mb = 0;
    while (seen < count) {
      const auto batch = loader.next();
      if (!batch) continue;
      seen += batch->windows.size(0);
      most_seen = std::max(most_seen, open_descriptors() - before);
      if (early_mb == 0 && seen >= count * 3 / 10)
        early_mb = resident_mb();  // every file was opened by now
      if (early_mb > 0) most_mb = std::max(most_mb, resident_mb());
    }
    INFO(path << ": descriptors at most " << most_seen << ", memory " << early_mb
              << " MB after three tenths of the windows, at most " << most_mb << " MB");
    CHECK(most_seen <= most_open + kThreads + 16);
#if !FORESIGHT_SANITIZED  // they keep what was freed
    CHECK(most_mb - early_mb < 40);
#endif
  }
  CHECK(open_descriptors() <= before + 2);
}

}  // namespace

TEST_CASE("descriptors and memory stay bounded over 10,000 windows from 600 films") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  constexpr int64_t kFilms = 600, kMostOpen = 256;
  const FilmFolder one(1, 8);
  const TemporaryFolder folder;
  for (int64_t e = 0; e < kFilms; ++e) {
    char name[32];
    std::snprintf(name, sizeof name, "episode_%04d", static_cast<int>(e));
    for (const char* extension : {".mp4", ".csv"}) {
      auto source = one.film(0);
      std::filesystem::copy_file(source.replace_extension(extension),
                                 folder / (std::string(name) + extension));
    }
  }
  check_bounded(folder.path(), kMostOpen, 10'000);
}

TEST_CASE("descriptors and memory stay bounded over thousands of windows of LeRobot data") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  const FilmFolder films(16, 8);
  for (const auto storage : {FrameStorage::video, FrameStorage::pictures}) {
    const TemporaryFolder folder;
    try {  // a file an episode: more Parquet files than groups of pictures are kept
      convert_dataset(films.path(), folder / "set",
                      {.storage = storage, .data_file_mb = 0.001, .video_file_mb = 0.001});
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::unsupported) throw;
      FORESIGHT_SKIP(error.what());
    }
    check_bounded(folder / "set", 16, storage == FrameStorage::video ? 10'000 : 3'000);
  }
}

TEST_CASE("descriptors and memory stay bounded over thousands of windows of HDF5 data") {
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  const auto layouts = std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  check_bounded(recordings() / "tworoom" / "swm" / "tworoom_nan_gzip.h5", 1, 10'000);
  check_bounded(layouts / "robomimic", 1, 3'000);
  check_bounded(layouts / "droid", 2, 3'000);
}

TEST_CASE("descriptors and memory stay bounded over thousands of windows of pictures and tensors") {
  if (!std::filesystem::exists("/proc/self/fd")) FORESIGHT_SKIP("no /proc");
  constexpr int64_t kMostAnnounced = 256;
  const TemporaryFolder folder;
  for (int64_t e = 0; e < 80; ++e) {
    char name[32];
    std::snprintf(name, sizeof name, "episode_%04d", static_cast<int>(e));
    std::filesystem::create_directories(folder / name);
    std::ofstream table(folder / (std::string(name) + ".csv"));
    table << "action_0\n";
    for (int64_t t = 0; t < 6; ++t) {
      const auto png = encode_png(at::full({16, 16, 3}, 20 * t, at::kByte));
      io::replace_file_atomically(folder / name / (std::to_string(t) + ".png"),
                                  [&](io::OutputFile& out) { out.write(png.data(), png.size()); });
      table << t << "\n";
    }
  }
  check_bounded(folder.path(), kMostAnnounced, 4'000);
  check_bounded(recordings() / "tworoom" / "swm" / "folder", kMostAnnounced, 3'000);
  const auto layouts = std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  check_bounded(layouts / "dino_wm_maze", 2, 3'000);
  check_bounded(layouts / "dino_wm_pusht", 2, 3'000);
}

#if !FORESIGHT_SANITIZED
TEST_CASE("rows that wait for a LeRobot file to be full take little more than their numbers") {
  if (!std::filesystem::exists("/proc/self/statm")) FORESIGHT_SKIP("no /proc");
  const TemporaryFolder folder;
  constexpr int64_t kEpisodes = 40, kRows = 250, kFeatures = 12;
  RecordingOptions options;
  options.cameras = {"pixels"};
  options.storage = FrameStorage::pictures;
  options.episodes_per_file = kEpisodes;
  options.features = {{"action", {"a"}}};
  for (int64_t f = 1; f < kFeatures; ++f)
    options.features.push_back({"f" + std::to_string(f), {"f" + std::to_string(f)}});
  std::unique_ptr<EpisodeWriter> writer;
  try {
    writer = open_episode_writer(folder / "set", TargetFormat::lerobot, options);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
  RecordedEpisode episode;
  episode.frames["pixels"] = at::zeros({kRows, 4, 4, 3}, at::kByte);
  for (const auto& feature : options.features)
    episode.values[feature.name] = at::arange(kRows, at::kFloat);
  writer->write_episode(episode);
  const double before = resident_mb();
  for (int64_t e = 2; e < kEpisodes; ++e) writer->write_episode(episode);
  const double more = resident_mb() - before;
  INFO(more << " MB for " << (kEpisodes - 2) * kRows << " rows");
  CHECK(more < 16);  // 0.5 MB of numbers, 1 MB of pictures; a tensor a number took 80
  writer->finish();
}
#endif

}  // namespace foresight::data::bounded_resources_test
