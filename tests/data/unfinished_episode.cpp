// SPDX-License-Identifier: Apache-2.0
// What is left of the episode that a process was recording when it was killed.

#include <fstream>
#include <sstream>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "file_size_limit.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/episode_writer.hpp"
#include "killed_recorder.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::unfinished_episode_test {
namespace {

namespace fs = std::filesystem;

// Records a whole episode and `rows` of the next, and is killed.
void record_and_die(const fs::path& path, TargetFormat format, int64_t rows) {
  run_and_die([&] {
    const auto writer = open_episode_writer(path, format, kept_rows());
    for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(0, t));
    writer->finish_episode();
    for (int64_t t = 0; t < rows; ++t) writer->append(kept_row(1, t));
    ::kill(::getpid(), SIGKILL);
  });
}

fs::path journal_of(const fs::path& path) { return path.string() + ".unfinished"; }

}  // namespace

TEST_CASE("the rows of a killed recorder's unfinished episode become an episode") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    TemporaryFolder folder;
    const auto path = folder / "set";
    record_and_die(path, format, 5);
    CHECK(open_dataset(path)->num_episodes() == 1);
    REQUIRE(fs::exists(journal_of(path)));
    const auto writer = open_episode_writer(path, format, kept_rows());
    check_recovered(path, 0, 0, 3);
    check_recovered(path, 1, 1, 5);
    for (int64_t t = 0; t < 2; ++t) writer->append(kept_row(2, t));
    CHECK(writer->finish_episode() == 2);
    writer->finish();
    check_recovered(path, 2, 2, 2);
    CHECK(open_dataset(path)->num_episodes() == 3);
    CHECK_FALSE(fs::exists(journal_of(path)));
  }
}

TEST_CASE("a recorder that is killed before its first episode is finished loses nothing either") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    TemporaryFolder folder;
    const auto path = folder / "set";
    run_and_die([&] {
      const auto writer = open_episode_writer(path, format, kept_rows());
      for (int64_t t = 0; t < 4; ++t) writer->append(kept_row(0, t));
      ::kill(::getpid(), SIGKILL);
    });
    open_episode_writer(path, format, kept_rows())->finish();
    check_recovered(path, 0, 0, 4);
    CHECK(open_dataset(path)->num_episodes() == 1);
  }
}

TEST_CASE("of a record that was cut, the whole rows before it are kept; damage ends them") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  record_and_die(path, TargetFormat::folder, 5);
  const auto journal = journal_of(path);
  const auto whole = fs::file_size(journal);
  fs::resize_file(journal, whole - 10);  // within the last row
  {
    std::fstream bytes(journal, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(whole / 2));  // within the third
    bytes.put('\x7F');
  }
  open_episode_writer(path, TargetFormat::folder, kept_rows())->finish();
  check_recovered(path, 1, 1, 2);
}

TEST_CASE("rows that were finished or discarded are not recovered a second time") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  record_and_die(path, TargetFormat::folder, 3);
  fs::copy_file(journal_of(path), folder / "kept");
  open_episode_writer(path, TargetFormat::folder, kept_rows())->finish();
  CHECK(open_dataset(path)->num_episodes() == 2);
  fs::copy_file(folder / "kept", journal_of(path));  // as if killed before they were forgotten
  const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
  CHECK(writer->next_episode() == 2);
  writer->append(kept_row(2, 0));
  writer->discard_episode();
  writer->finish();
  CHECK(open_dataset(path)->num_episodes() == 2);
}

TEST_CASE("rows of another recording are not mixed in, and two recorders do not share a folder") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  record_and_die(path, TargetFormat::folder, 3);
  auto others = kept_rows();
  others.texts = {"note", "more"};
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { open_episode_writer(path, TargetFormat::folder, others); }, journal_of(path).string(),
      "other features"));
  const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { open_episode_writer(path, TargetFormat::folder, kept_rows()); },
      "another process is recording here"));
}

TEST_CASE(
    "a program that ends by an exception keeps the rows, and a full disk stops no recording") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  try {
    const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
    writer->append(kept_row(0, 0));
    writer->append(kept_row(0, 1));
    throw std::runtime_error("the robot fell");
  } catch (const std::runtime_error&) {
  }
  {
    const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
    check_recovered(path, 0, 0, 2);
    const FileSizeLimit limit(9'000);  // a row of two uncompressed frames is 7,740 bytes
    for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(1, t));
    CHECK(writer->finish_episode() == 1);
    writer->finish();
  }
  check_recovered(path, 1, 1, 3);
}

TEST_CASE("an episode that a full disk refuses waits for the next writer, or to be discarded") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    TemporaryFolder folder;
    const auto path = folder / "set";
    const auto refused = [&](EpisodeWriter& writer, int64_t episode, int64_t rows) {
      for (int64_t t = 0; t < rows; ++t) writer.append(kept_row(episode, t));
      const FileSizeLimit limit(100);
      CHECK(fails_with(
          ErrorCategory::io_failure, [&] { writer.finish_episode(); }, path.string()));
    };
    {
      const auto writer = open_episode_writer(path, format, kept_rows());
      refused(*writer, 1, 2);
      writer->discard_episode();
      CHECK(writer->rows() == 0);
      refused(*writer, 0, 3);
      CHECK(writer->rows() == 3);
      const auto journal = journal_of(path).string();
      CHECK(fails_with(
          ErrorCategory::invalid_argument, [&] { writer->append(kept_row(0, 3)); }, journal,
          "3 rows", "discard_episode()"));
      CHECK(fails_with(
          ErrorCategory::invalid_argument, [&] { writer->finish_episode(); }, journal));
      const RecordedEpisode more{.frames = {{"front", at::zeros({1, 32, 48, 3}, at::kByte)}},
                                 .values = {}};
      CHECK(fails_with(
          ErrorCategory::invalid_argument, [&] { writer->write_episode(more); }, "3 rows"));
    }
    REQUIRE(fs::exists(journal_of(path)));
    open_episode_writer(path, format, kept_rows())->finish();
    check_recovered(path, 0, 0, 3);
    CHECK(open_dataset(path)->num_episodes() == 1);
    CHECK_FALSE(fs::exists(journal_of(path)));
  }
}

TEST_CASE("a recorder that is refused leaves the files of the one at work alone") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    TemporaryFolder folder;
    const auto path = folder / "set";
    const auto writer = open_episode_writer(path, format, kept_rows());
    writer->append(kept_row(0, 0));
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { open_episode_writer(path, format, kept_rows()); },
        "another process is recording here"));
    writer->append(kept_row(0, 1));
    CHECK(writer->finish_episode() == 0);
    writer->finish();
    check_recovered(path, 0, 0, 2);
  }
}

TEST_CASE("episodes that are lost with their open LeRobot file are counted, whatever failed") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (writable_formats().size() < 2) return;
  TemporaryFolder folder;
  const auto path = folder / "set";
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  options.episodes_per_file = 3;
  const CapturedLog warnings;
  const auto writer = open_episode_writer(path, TargetFormat::lerobot, options);
  for (int64_t e = 0; e < 2; ++e) {
    writer->append(kept_row(e, 0));
    writer->finish_episode();
  }
  fs::create_directories(path / "meta" / "info.json.staged");  // the last file cannot be written
  CHECK(fails_with(
      ErrorCategory::io_failure, [&] { writer->finish(); }, path.string()));
  CHECK(warnings.text().find("2 episodes of a file") != std::string::npos);
}

TEST_CASE("the journal lies beside the folder, however the folder is named") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  fs::create_directories(path);
  for (const char* name : {".", "../set/", "./"}) {
    INFO(name);
    const auto before = fs::current_path();
    fs::current_path(path);
    const auto writer = open_episode_writer(name, TargetFormat::folder, kept_rows());
    fs::current_path(before);
    CHECK(fs::exists(journal_of(path)));
  }
  CHECK_FALSE(fs::exists(journal_of(path)));
  auto options = kept_rows();
  options.features.clear();
  CHECK(fails_with(ErrorCategory::invalid_option,
                   [&] { open_episode_writer(path, TargetFormat::folder, options); }));
  CHECK_FALSE(fs::exists(journal_of(path)));
}

}  // namespace foresight::data::unfinished_episode_test
