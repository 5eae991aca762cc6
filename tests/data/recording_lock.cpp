// SPDX-License-Identifier: Apache-2.0
// Two writers of one folder, and what of a folder's files is a writer's own.
#include <fstream>

#include "error_message.hpp"
#include "foresight/io/files.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::recording_lock_test {
namespace {

namespace fs = std::filesystem;

RecordingOptions plain_rows() {
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  return options;
}

TEST_CASE("two writers do not share a folder, and the second names it") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const TemporaryFolder folder;
    const auto path = folder / "set";
    const auto open = [&] { return open_episode_writer(path, format, plain_rows()); };
    {
      const auto writer = open();
      for (const auto unfinished : {Unfinished::lost, Unfinished::recovered}) {
        auto options = plain_rows();
        options.unfinished = unfinished;
        CHECK(fails_with(
            ErrorCategory::invalid_argument, [&] { open_episode_writer(path, format, options); },
            path.string() + ": another process is recording here"));
      }
      CHECK_FALSE(fs::exists(path.string() + ".unfinished"));
      for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(0, t));
      CHECK(writer->finish_episode() == 0);
      writer->finish();
      CHECK(open()->next_episode() == 1);  // though the first is still there
    }
    const auto writer = open();
    writer->append(kept_row(1, 0));
    CHECK(writer->finish_episode() == 1);
    check_recovered(path, 0, 0, 3);
  }
}

TEST_CASE("a writer in another process keeps a folder until it ends") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "set";
  int ready[2], done[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  char byte = 0;
  if (child == 0) {
    const auto writer = open_episode_writer(path, TargetFormat::folder, plain_rows());
    const bool told = ::write(ready[1], &byte, 1) == 1;
    ::_exit(told && ::read(done[0], &byte, 1) == 1 ? 0 : 1);
  }
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  const auto open = [&] { open_episode_writer(path, TargetFormat::folder, plain_rows()); };
  CHECK(fails_with(ErrorCategory::invalid_argument, open, path.string()));
  CHECK(::write(done[1], &byte, 1) == 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  open();
  for (const int end : {ready[0], ready[1], done[0], done[1]}) ::close(end);
}

TEST_CASE("a LeRobot writer without an episode removes its own files alone") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (writable_formats().size() < 2) return;
  for (const char* note : {"notes.txt", "meta/calibration/front.yaml"}) {
    INFO(note);
    const TemporaryFolder folder;
    const auto path = folder / "set";
    {
      const auto writer = open_episode_writer(path, TargetFormat::lerobot, plain_rows());
      for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(0, t));
      fs::create_directories((path / note).parent_path());
      io::write_text(path / note, "the robot program's own");
    }
    CHECK(io::read_text(path / note) == "the robot program's own");
    CHECK_FALSE(fs::exists(path / "videos"));
    int64_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path))
      files += entry.is_regular_file() ? 1 : 0;
    CHECK(files == 1);
  }
  const TemporaryFolder folder;
  open_episode_writer(folder / "set", TargetFormat::lerobot, plain_rows())->append(kept_row(0, 0));
  CHECK_FALSE(fs::exists(folder / "set"));
}

}  // namespace
}  // namespace foresight::data::recording_lock_test
