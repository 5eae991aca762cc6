// SPDX-License-Identifier: Apache-2.0
// What readers and the next recorder make of a folder whose recorder was killed while it finished
// an episode, or before it had finished any.
#include "killed_recorder.hpp"

#include <sys/resource.h>

#include <fstream>

#include "error_message.hpp"

namespace foresight::data::killed_recorder_test {
namespace {

namespace fs = std::filesystem;

// Ends this process, as a kill would, when it writes a file beyond `bytes`.
void die_at_file_size(std::uint64_t bytes) {
  ::signal(SIGXFSZ, [](int) { ::kill(::getpid(), SIGKILL); });
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  ::setrlimit(RLIMIT_FSIZE, &limit);
}

// Words that make the table larger than the films, compressed or not.
std::string long_note(int64_t t) {
  std::string note;
  auto state = static_cast<std::uint32_t>(t + 1);
  while (note.size() < 60'000) {
    state = state * 1664525 + 1013904223;
    note += static_cast<char>('a' + state % 1000003 % 26);
  }
  return note;
}

RecordedRow noted_row(int64_t t) {
  auto row = kept_row(0, t);
  row.texts["note"] = long_note(t);
  return row;
}

// Kills a recorder that keeps no rows while it finishes its first episode.
void die_finishing(const fs::path& path, TargetFormat format) {
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  run_and_die([&] {
    const auto writer = open_episode_writer(path, format, options);
    for (int64_t t = 0; t < 4; ++t) writer->append(noted_row(t));
    die_at_file_size(20'000);  // the films fit, the table does not
    writer->finish_episode();
  });
}

}  // namespace

TEST_CASE("a recorder that is killed while it finishes its first episode loses nothing") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    TemporaryFolder folder;
    const auto path = folder / "set";
    run_and_die([&] {
      const auto writer = open_episode_writer(path, format, kept_rows());
      for (int64_t t = 0; t < 4; ++t) writer->append(noted_row(t));
      die_at_file_size(20'000);  // the films fit, the table does not
      writer->finish_episode();
    });
    const auto film = format == TargetFormat::folder
                          ? path / "episode_0000.wrist.mp4"
                          : path / "videos/observation.images.wrist/chunk-000/file-000.mp4.staged";
    REQUIRE(fs::exists(film));
    const auto writer = open_episode_writer(path, format, kept_rows());
    CHECK(writer->next_episode() == 1);
    const auto data = open_dataset(path);
    REQUIRE(data->num_episodes() == 1);
    REQUIRE(data->length(0) == 4);
    CHECK(data->read_text("note", 0, 3, 1)[0] == long_note(3));
    writer->finish();
  }
}

TEST_CASE("after a recorder that keeps no rows was killed, readers and the next writer go on") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  for (const auto format : writable_formats())
    for (const int64_t whole : {0, 1})
      for (const bool finishing : {false, true}) {
        INFO(enum_name(format) << ", " << whole << " whole episode(s), killed "
                               << (finishing ? "while it finished one" : "within one"));
        TemporaryFolder folder;
        const auto path = folder / "set";
        run_and_die([&] {
          const auto writer = open_episode_writer(path, format, options);
          for (int64_t e = 0; e < whole; ++e) {
            for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(e, t));
            writer->finish_episode();
          }
          for (int64_t t = 0; t < 4; ++t) writer->append(noted_row(t));
          if (!finishing) ::kill(::getpid(), SIGKILL);
          die_at_file_size(20'000);  // the films fit, the table does not
          writer->finish_episode();
        });
        if (whole > 0) {
          const auto data = open_dataset(path);
          CHECK(data->num_episodes() == whole);
          check_recovered(path, 0, 0, 3);
          if (format == TargetFormat::folder && finishing) {
            REQUIRE(data->remarks().size() == 1);
            CHECK(data->remarks()[0].find("episode_0001.front.mp4: of an episode that was not") !=
                  std::string::npos);
          }
        }
        const auto writer = open_episode_writer(path, format, options);
        CHECK(writer->next_episode() == whole);
        for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(whole, t));
        CHECK(writer->finish_episode() == whole);
        writer->finish();
        const auto data = open_dataset(path);
        CHECK(data->num_episodes() == whole + 1);
        CHECK(data->remarks().empty());
        check_recovered(path, whole, whole, 3);
        for (const auto& entry : fs::recursive_directory_iterator(path)) {
          const auto name = entry.path().filename().string();
          CHECK_FALSE((name.find(".tmp") != std::string::npos || name.ends_with(".staged")));
        }
      }
}

TEST_CASE("a table that is missing of a whole episode is not taken for an unfinished one") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  {
    const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
    for (int64_t e = 0; e < 2; ++e) {
      writer->append(kept_row(e, 0));
      writer->finish_episode();
    }
    writer->finish();
  }
  fs::remove(path / "episode_0001.jsonl");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(path); }, "episode_0001",
      "the table of this video is missing"));
}

TEST_CASE("a folder with settings and no episode yet binds the next recorder to nothing") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  fs::create_directories(path);
  std::ofstream(path / "dataset.json") << R"({"fps": 30, "action_columns": ["other"]})";
  const auto writer = open_episode_writer(path, TargetFormat::folder, kept_rows());
  for (int64_t t = 0; t < 3; ++t) writer->append(kept_row(0, t));
  CHECK(writer->finish_episode() == 0);
  writer->finish();
  check_recovered(path, 0, 0, 3);
  CHECK(open_dataset(path)->fps() == 5);
}

TEST_CASE(
    "a folder whose recorder was killed within its first episode is no folder of films alone") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  die_finishing(path, TargetFormat::folder);
  REQUIRE(fs::exists(path / "episode_0000.front.mp4"));
  for (const auto unreadable : {Unreadable::fail, Unreadable::skip})
    CHECK(fails_with(
        ErrorCategory::not_found, [&] { open_dataset(path, {.unreadable = unreadable}); },
        "episode_0000", "stopped before its first episode was finished", "clears them away"));
  std::ofstream(path.string() + ".unfinished") << "rows";
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(path); }, path.string() + ".unfinished"));
  fs::remove(path / "dataset.json");  // as the message says
  CHECK(open_dataset(path)->action_columns().empty());
}

TEST_CASE("films beside a dataset.json of another kind are films alone") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  VideoWriter film(folder / "episode_0000.mp4", {.fps = 5});
  film.write(at::zeros({2, 16, 16, 3}, at::kByte));
  film.close();
  std::ofstream(folder / "dataset.json") << R"({"fps": 5, "place": "kitchen"})";
  CHECK(open_dataset(folder.path())->length(0) == 2);
}

TEST_CASE("LeRobot data without info.json are refused, and say what lies there") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  const auto path = folder / "set";
  const fs::path film = "videos/observation.images.front/chunk-000/file-000.mp4";
  fs::create_directories((path / film).parent_path());
  VideoWriter writer(path / film, {.fps = 5});  // as an older recorder left it
  writer.write(at::zeros({2, 16, 16, 3}, at::kByte));
  writer.close();
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(path); }, path.string(), "meta/info.json",
      film.string(), "remove it"));
  CHECK(open_dataset(path / "videos")->length(0) == 2);
  if (writable_formats().size() < 2) return;
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { open_episode_writer(path, TargetFormat::lerobot, kept_rows()); }, path.string(),
      film.string(), "meta/info.json", "remove the folder"));
  CHECK(fs::exists(path / film));
}

}  // namespace foresight::data::killed_recorder_test
