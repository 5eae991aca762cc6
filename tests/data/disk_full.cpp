// SPDX-License-Identifier: Apache-2.0
// Recordings on a full disk: the error names the file, and nothing half-written is left.
#include <filesystem>

#include "catch.hpp"
#include "error_message.hpp"
#include "file_size_limit.hpp"
#include "film_folder.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/data/lerobot_writer.hpp"

namespace foresight::data::disk_full_test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

Tensor noisy_pictures(int64_t count) {
  return PhiloxNoise(1).uniform({count, 64, 64, 3}).mul(255).to(at::kByte);
}

}  // namespace

TEST_CASE("a film that does not fit on the disk is an error and leaves nothing") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "film.mp4";
  const auto pictures = noisy_pictures(30);
  const auto film = [&] {
    VideoWriter writer(path);
    writer.write(pictures);
    writer.close();
  };
  film();
  const auto whole = fs::file_size(path);
  REQUIRE(whole > 60'000);
  fs::remove(path);
  for (const std::uint64_t room : {std::uint64_t{0}, whole / 2, whole - 500}) {
    INFO(room);
    const FileSizeLimit limit(room);
    CHECK(fails_with(ErrorCategory::io_failure, film, path.string()));
    CHECK(files_in(folder.path()).empty());
  }
  film();
  CHECK(fs::file_size(path) == whole);
}

TEST_CASE("an episode that does not fit is left out whole, and recording can go on") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  FolderWriter writer(folder.path(), {.actions = {"push"}});
  const auto pictures = noisy_pictures(12);
  const auto pushes = at::rand({12, 1});
  writer.write_episode(pictures, pushes);
  const auto before = files_in(folder.path());
  for (const std::uint64_t room : {0, 100, 300, 20'000}) {
    INFO(room);
    const FileSizeLimit limit(room);
    CHECK(fails_with(
        ErrorCategory::io_failure, [&] { writer.write_episode(pictures, pushes); },
        folder.path().string()));
    CHECK(files_in(folder.path()) == before);
  }
  CHECK(writer.write_episode(pictures, pushes) == 1);
  const auto data = open_dataset(folder.path());
  CHECK(data->num_episodes() == 2);
  CHECK(data->length(1) == 12);
}

TEST_CASE(
    "a LeRobot data set on a full disk keeps its finished episodes, and recording can go on") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto storage : {FrameStorage::video, FrameStorage::pictures}) {
    INFO(enum_name(storage));
    const TemporaryFolder folder;
    const auto path = folder / "set";
    RecordingOptions options;
    options.video.fps = 10;
    options.cameras = {"front"};
    options.features = {{"action", {"push"}}};
    options.storage = storage;
    const RecordedEpisode episode{.frames = {{"front", noisy_pictures(12)}},
                                  .values = {{"action", at::arange(12, at::kFloat).view({12, 1})}}};
    std::unique_ptr<EpisodeWriter> writer;
    try {
      writer = open_episode_writer(path, TargetFormat::lerobot, options);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::unsupported) throw;
      FORESIGHT_SKIP(error.what());
    }
    writer->write_episode(episode);
    const auto before = files_in(path);
    // Room for nothing; for the table but not the frames; for the frames but not info.json.
    for (const std::uint64_t room : {0, 100, 1'000, 5'000, 20'000}) {
      INFO(room);
      {
        const FileSizeLimit limit(room);
        CHECK(fails_with(
            ErrorCategory::io_failure, [&] { writer->write_episode(episode); }, path.string()));
      }
      const auto data = open_dataset(path);  // whole and readable all the time
      CHECK(data->num_episodes() == 1);
      CHECK(data->read_frames(0, {11}).size(0) == 1);
    }
    CHECK(writer->write_episode(episode) == 1);
    writer->finish();
    const auto data = open_dataset(path);
    REQUIRE(data->num_episodes() == 2);
    CHECK(data->length(1) == 12);
    CHECK(data->read_rows({"action"}, 1, 11, 1).item<double>() == 11);
    CHECK(data->read_frames(1, {0, 11}).size(0) == 2);
    for (const auto& name : files_in(path)) CHECK(name.find(".tmp") == std::string::npos);
    CHECK(files_in(path).size() > before.size());
  }
}

TEST_CASE("a file of decoded frames that does not fit is an error, and is written the next time") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(2, 8);
  const auto data = open_dataset(films.path());
  const TemporaryFolder folder;
  const FrameCacheOptions options{.budget_mb = 1, .folder = folder.path().string()};
  const auto held = [&] { return FrameCache(data, options).frames_held(); };
  {
    const FileSizeLimit limit(5'000);  // 16 frames of 768 bytes are 12,288
    CHECK(fails_with(ErrorCategory::io_failure, held, folder.path().string()));
  }
  CHECK(files_in(folder.path()).empty());
  CHECK(held() == 16);
  CHECK(files_in(folder.path()).size() == 1);
}

}  // namespace foresight::data::disk_full_test
