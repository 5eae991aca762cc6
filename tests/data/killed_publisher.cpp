// SPDX-License-Identifier: Apache-2.0
// A LeRobot writer that is killed while it puts the meta files of finished episodes in their place:
// all of them lie ready, so the next writer puts the rest there.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/io/files.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::killed_publisher_test {
namespace {

namespace fs = std::filesystem;

// In the order in which they are put in place.
constexpr std::array kMeta = {"tasks.parquet", "episodes/chunk-000/file-001.parquet", "stats.json",
                              "info.json"};

RecordingOptions of_pictures() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.features = {{"action", {"grip"}}};
  options.storage = FrameStorage::pictures;
  return options;
}

RecordedRow picture_row(int64_t t) {
  return {.frames = {{"front", at::full({8, 8, 3}, 20 * t, at::kByte)}},
          .values = {{"action", at::tensor({static_cast<double>(t)})}}};
}

// False where this build writes no LeRobot data.
bool record_episode(const fs::path& path) {
  try {
    const auto writer = open_episode_writer(path, TargetFormat::lerobot, of_pictures());
    for (int64_t t = 0; t < 3; ++t) writer->append(picture_row(t));
    writer->finish_episode("task " + std::to_string(writer->next_episode()));
    writer->finish();
    return true;
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    return false;
  }
}

// `before` and `after` an episode is added; a folder as it is when only the first `placed` of the
// new meta files are in their place.
void make_killed(const fs::path& before, const fs::path& after, std::size_t placed,
                 const fs::path& killed) {
  fs::copy(after, killed, fs::copy_options::recursive);
  for (std::size_t f = placed; f < kMeta.size(); ++f) {
    const fs::path file = killed / "meta" / kMeta[f];
    if (!fs::exists(file)) continue;
    fs::rename(file, file.string() + ".staged");
    if (fs::exists(before / "meta" / kMeta[f])) fs::copy_file(before / "meta" / kMeta[f], file);
  }
}

int64_t staged_files(const fs::path& path) {
  int64_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.path().extension() == ".staged") ++count;
  return count;
}

}  // namespace

TEST_CASE("what a killed writer had staged is put in place by the next one") {
  const TemporaryFolder folder;
  const auto before = folder / "before", after = folder / "after";
  if (!record_episode(before)) FORESIGHT_SKIP("this build has no Parquet");
  fs::copy(before, after, fs::copy_options::recursive);
  REQUIRE(record_episode(after));
  for (const char* file : kMeta) REQUIRE(fs::exists(after / "meta" / file));
  for (std::size_t placed = 0; placed < kMeta.size(); ++placed) {
    INFO(placed << " meta files were in place");
    const auto killed = folder / ("killed" + std::to_string(placed));
    make_killed(before, after, placed, killed);
    if (placed == 0) {  // the rows come first
      const auto rows = killed / "data/chunk-000/file-001.parquet";
      fs::rename(rows, rows.string() + ".staged");
    }
    const auto writer = open_episode_writer(killed, TargetFormat::lerobot, of_pictures());
    CHECK(writer->next_episode() == 2);
    CHECK(staged_files(killed) == 0);
    CHECK(io::read_text(killed / "meta/stats.json") == io::read_text(after / "meta/stats.json"));
    const auto data = open_dataset(killed);
    REQUIRE(data->num_episodes() == 2);
    CHECK(data->read_text("task", 1, 0, 1)[0] == "task 1");
    CHECK(data->read_frames(1, {2})[0][0][0][0].item<int64_t>() == 40);
  }
}

TEST_CASE("files that were staged without the last of them are cleared away") {
  const TemporaryFolder folder;
  const auto path = folder / "set";
  if (!record_episode(path)) FORESIGHT_SKIP("this build has no Parquet");
  std::ofstream(path / "meta" / "tasks.parquet.staged") << "half of it";
  const auto writer = open_episode_writer(path, TargetFormat::lerobot, of_pictures());
  CHECK(writer->next_episode() == 1);
  CHECK(staged_files(path) == 0);
  CHECK(open_dataset(path)->num_episodes() == 1);
}

TEST_CASE("a first episode that was staged is kept, and its rows are not recovered once more") {
  const TemporaryFolder folder;
  const auto after = folder / "after", killed = folder / "killed";
  if (!record_episode(after)) FORESIGHT_SKIP("this build has no Parquet");
  fs::copy(after, killed, fs::copy_options::recursive);
  for (const char* file :
       {"tasks.parquet", "episodes/chunk-000/file-000.parquet", "stats.json", "info.json"})
    fs::rename(killed / "meta" / file, (killed / "meta" / file).string() + ".staged");
  auto kept = of_pictures();
  kept.unfinished = Unfinished::recovered;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // leaves the rows of an episode 0 in its file
    const auto writer = open_episode_writer(folder / "other", TargetFormat::lerobot, kept);
    for (int64_t t = 0; t < 3; ++t) writer->append(picture_row(t));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  fs::rename(folder / "other.unfinished", folder / "killed.unfinished");
  const auto writer = open_episode_writer(killed, TargetFormat::lerobot, kept);
  CHECK(writer->next_episode() == 1);
  CHECK(open_dataset(killed)->num_episodes() == 1);
}

}  // namespace foresight::data::killed_publisher_test
