// SPDX-License-Identifier: Apache-2.0
// Times of rows and rates of recordings, in another format.
#include <fstream>

#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/inspection.hpp"
#include "hdf5_recordings.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::convert_times_test {
namespace {

namespace fs = std::filesystem;

// Ten rows a second from 1000 s on, of which two were dropped before row 3.
double time_of(int64_t row) { return 1000 + 0.1 * static_cast<double>(row < 3 ? row : row + 2); }

void write_table(const fs::path& folder, const std::string& settings) {
  std::ofstream(folder / "dataset.json") << settings;
  std::ofstream table(folder / "episode_0000.csv");
  table << "timestamp,action_0,state_0\n";
  for (int64_t t = 0; t < 6; ++t)
    table << number_text(time_of(t)) << ',' << t << ',' << 2 * t << '\n';
}

bool lerobot_is_written() { return writable_formats().size() > 1; }

TEST_CASE("a folder keeps the times of a recording with dropped frames") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(1, 6);
  write_table(films.path(), R"({"fps": 10})");
  const TemporaryFolder folder;
  const auto done = convert_dataset(films.path(), folder / "set", {.format = TargetFormat::folder});
  CHECK(done.irregular_steps == 0);
  const auto copy = open_dataset(folder / "set");
  CHECK(copy->fps() == 10);
  const Tensor times = copy->read_all_rows({"timestamp"}, 0);
  for (int64_t t = 0; t < 6; ++t) CHECK(times[t].item<double>() == time_of(t));
  CHECK(copy->columns().size() == 4);  // frame, timestamp, action_0, state_0
  CHECK(inspect(*copy).irregular_steps == 1);
}

TEST_CASE("times of another rate than the one that is asked for are not kept") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(1, 6);
  write_table(films.path(), R"({"fps": 10})");
  const TemporaryFolder folder;
  ConvertOptions options{.format = TargetFormat::folder};
  options.reading.fps = 20;
  convert_dataset(films.path(), folder / "set", options);
  const auto copy = open_dataset(folder / "set");
  CHECK(copy->fps() == 20);
  const Tensor times = copy->read_all_rows({"timestamp"}, 0);
  for (int64_t t = 0; t < 6; ++t) CHECK(times[t].item<double>() == Approx(0.05 * t));
  CHECK(inspect(*copy).irregular_steps == 0);
}

TEST_CASE("a conversion to LeRobot counts the steps in time that it makes regular") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!lerobot_is_written()) return;
  const FilmFolder films(1, 6);
  write_table(films.path(), R"({"fps": 10})");
  const TemporaryFolder folder;
  CHECK(convert_dataset(films.path(), folder / "set", {}).irregular_steps == 1);
  CHECK(inspect(*open_dataset(folder / "set")).irregular_steps == 0);
}

TEST_CASE("a recorder's own times are written in both kinds of table, and kept in the journal") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const bool words : {false, true}) {
    const TemporaryFolder folder;
    RecordingOptions options;
    options.video.fps = 10;
    options.cameras = {"front"};
    options.features = {{"action", {"grip"}}, {"timestamp", {"timestamp"}, at::kDouble}};
    if (words) options.texts = {"note"};
    options.unfinished = Unfinished::recovered;
    run_and_die([&] {
      const auto writer = open_episode_writer(folder / "set", TargetFormat::folder, options);
      for (int64_t t = 0; t < 4; ++t) {
        RecordedRow row{
            .frames = {{"front", at::full({16, 16, 3}, 20 * t, at::kByte)}},
            .values = {{"action", at::tensor({static_cast<double>(t)})},
                       {"timestamp", at::tensor({t == 1 ? NAN : time_of(t)}, at::kDouble)}}};
        if (words) row.texts["note"] = "row";
        writer->append(row);
      }
      ::kill(::getpid(), SIGKILL);
    });
    open_episode_writer(folder / "set", TargetFormat::folder, options)->finish();
    const auto data = open_dataset(folder / "set");
    const Tensor times = data->read_all_rows({"timestamp"}, 0);
    REQUIRE(times.size(0) == 4);
    CHECK(std::isnan(times[1].item<double>()));
    for (const int64_t t : {0, 2, 3}) CHECK(times[t].item<double>() == time_of(t));
    CHECK(data->read_all_rows({"grip"}, 0)[3].item<double>() == 3);
    CHECK_FALSE(options.validate(TargetFormat::lerobot).empty());  // which makes its own
    options.texts = {"timestamp"};
    CHECK_FALSE(options.validate(TargetFormat::folder).empty());
  }
}

TEST_CASE("a rate that LeRobot has no number for is rounded where it is nearly whole") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const auto converted = [](double rate, const ConvertOptions& options) {
    const FilmFolder films(1, 6);
    std::ofstream(films.path() / "dataset.json") << R"({"fps": )" << rate << "}";
    const TemporaryFolder folder;
    convert_dataset(films.path(), folder / "set", options);
    return open_dataset(folder / "set")->fps();
  };
  CHECK(converted(12.5, {.format = TargetFormat::folder}) == 12.5);
  if (!lerobot_is_written()) return;
  CHECK(converted(14.9998, {}) == 15);
  CHECK(converted(29.97, {}) == 30);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { converted(12.5, {}); }, "12.5", "--reading.fps",
      "--format folder"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { converted(0.2, {}); }, "--reading.fps"));
  ConvertOptions chosen;
  chosen.reading.fps = 12;
  CHECK(converted(12.5, chosen) == 12);
}

TEST_CASE("robomimic's rate is the control frequency of its environment") {
  if (!hdf5_is_built_in()) return;
  CHECK(open_dataset(layout_of("robomimic_rate"))->fps() == 20);
  CHECK(open_dataset(layout_of("robomimic_rate"), {.fps = 5})->fps() == 5);
  CHECK(open_dataset(layout_of("robomimic"))->fps() == 0);  // it tells no environment's options
  if (!has_video_encoder()) return;
  const TemporaryFolder folder;
  convert_dataset(layout_of("robomimic_rate"), folder / "set", {.format = TargetFormat::folder});
  CHECK(open_dataset(folder / "set")->fps() == 20);
}

}  // namespace
}  // namespace foresight::data::convert_times_test
