// SPDX-License-Identifier: Apache-2.0
// Recording row by row into both layouts, and what is left when it stops in the middle.
#include "foresight/data/episode_writer.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/io/json_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::episode_writer_test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kHeight = 64, kWidth = 80;

RecordingOptions two_cameras() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front", "wrist"};
  options.features = {{"action", {"grip"}},
                      {"observation.state", {"x", "y"}, at::kDouble},
                      {"step", {"step"}, at::kLong},
                      {"done", {"done"}, at::kBool}};
  options.texts = {"note"};
  return options;
}

double grey_level(int64_t episode, int64_t t) {
  return 20.0 * static_cast<double>(t) + 5.0 * static_cast<double>(episode);
}

RecordedRow row_at(int64_t episode, int64_t t) {
  const auto level = static_cast<int64_t>(grey_level(episode, t));
  RecordedRow row;
  row.frames = {{"front", at::full({kHeight, kWidth, 3}, level, at::kByte)},
                {"wrist", at::full({kHeight, kHeight, 3}, 255 - level, at::kByte)}};
  row.values = {
      {"action", at::tensor({0.1 * static_cast<double>(t)})},
      {"observation.state", at::tensor({1.0 / 3, static_cast<double>(episode)}, at::kDouble)},
      {"step", at::tensor({(int64_t{1} << 40) + t}, at::kLong)},
      {"done", at::full({1}, t == 3, at::kBool)}};
  row.texts = {{"note", t == 0 ? "zero, \"first\"" : "später"}};
  return row;
}

std::vector<TargetFormat> formats_at_hand() {
  TemporaryFolder folder;
  try {
    open_episode_writer(folder / "probe", TargetFormat::lerobot, two_cameras());
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    WARN("SKIPPED: LeRobot: " << error.what());
    return {TargetFormat::folder};
  }
  return {TargetFormat::folder, TargetFormat::lerobot};
}

void check_episode(const fs::path& path, int64_t number, int64_t episode, TargetFormat format) {
  INFO(enum_name(format) << " episode " << number);
  const bool lerobot = format == TargetFormat::lerobot;
  for (const std::string camera : {"front", "wrist"}) {
    const auto dataset =
        open_dataset(path, {.camera = lerobot ? "observation.images." + camera : camera});
    REQUIRE(dataset->num_episodes() > number);
    REQUIRE(dataset->length(number) == 4);
    for (int64_t t = 0; t < 4; ++t) {
      const double level = grey_level(episode, t);
      CHECK(std::abs(dataset->read_frames(number, {t}).to(at::kDouble).mean().item<double>() -
                     (camera == "front" ? level : 255 - level)) <= 3);
    }
  }
  const auto dataset = open_dataset(path);
  const std::string x = lerobot ? "observation.state_0" : "x";
  const std::string grip = lerobot ? "action" : "grip";
  CHECK(dataset->action_columns() == std::vector<std::string>{grip});
  const Tensor rows = dataset->read_all_rows({grip, x, "step", "done"}, number);
  for (int64_t t = 0; t < 4; ++t) {
    CHECK(static_cast<float>(rows[t][0].item<double>()) ==
          static_cast<float>(0.1 * static_cast<double>(t)));
    CHECK(rows[t][1].item<double>() == 1.0 / 3);  // not cut to float32
    CHECK(rows[t][2].item<double>() == std::pow(2.0, 40) + static_cast<double>(t));
    CHECK(rows[t][3].item<double>() == (t == 3 ? 1 : 0));
  }
  CHECK(dataset->column_type(grip) == at::kFloat);
  CHECK(dataset->column_type(x) == at::kDouble);
  CHECK(dataset->column_type("step") == at::kLong);
  CHECK(dataset->column_type("done") == at::kBool);
  if (lerobot)
    CHECK(dataset->read_text("task", number, 0, 1)[0] == (episode % 2 == 0 ? "even" : "odd"));
  CHECK(dataset->read_text("note", number, 0, 2) ==
        std::vector<std::string>{"zero, \"first\"", "später"});
}

TEST_CASE("rows of two cameras, four types and words come back from both layouts") {
  for (const auto format : formats_at_hand()) {
    TemporaryFolder folder;
    const auto path = folder / "set";
    {
      const auto writer = open_episode_writer(path, format, two_cameras());
      for (int64_t e = 0; e < 2; ++e) {
        for (int64_t t = 0; t < 4; ++t) writer->append(row_at(e, t));
        CHECK(writer->rows() == 4);
        CHECK(writer->finish_episode(e % 2 == 0 ? "even" : "odd") == e);
        check_episode(path, e, e, format);  // on disk already
      }
      writer->append(row_at(7, 0));
      writer->discard_episode();
      CHECK(writer->rows() == 0);
      writer->append(row_at(8, 0));  // unfinished when the writer goes
    }
    const auto writer = open_episode_writer(path, format, two_cameras());  // another day
    for (int64_t t = 0; t < 4; ++t) writer->append(row_at(2, t));
    CHECK(writer->finish_episode("even") == 2);
    writer->finish();
    for (int64_t e = 0; e < 3; ++e) check_episode(path, e, e, format);
    CHECK(open_dataset(path)->num_episodes() == 3);
  }
}

TEST_CASE("what a killed recorder had finished stays, and the next one goes on") {
  for (const auto format : formats_at_hand()) {
    TemporaryFolder folder;
    const auto path = folder / "set";
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const auto writer = open_episode_writer(path, format, two_cameras());
      for (int64_t t = 0; t < 4; ++t) writer->append(row_at(0, t));
      writer->finish_episode("even");
      for (int64_t t = 0; t < 3; ++t) writer->append(row_at(1, t));
      ::kill(::getpid(), SIGKILL);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    CHECK(open_dataset(path)->num_episodes() == 1);
    check_episode(path, 0, 0, format);
    const auto writer = open_episode_writer(path, format, two_cameras());
    for (int64_t t = 0; t < 4; ++t) writer->append(row_at(1, t));
    writer->finish_episode("odd");
    writer->finish();
    check_episode(path, 1, 1, format);
    for (const auto& entry : fs::recursive_directory_iterator(path))
      CHECK(entry.path().extension() != ".tmp");
  }
}

TEST_CASE("a row that does not fit is refused by name, and leaves the episode as it was") {
  for (const auto format : formats_at_hand()) {
    TemporaryFolder folder;
    const auto writer = open_episode_writer(folder / "set", format, two_cameras());
    writer->append(row_at(0, 0));
    const auto refused = [&](ErrorCategory category, auto&& spoil, const char* words) {
      auto row = row_at(0, 1);
      spoil(row);
      CHECK(fails_with(
          category, [&] { writer->append(row); }, words));
      CHECK(writer->rows() == 1);
    };
    const auto invalid = ErrorCategory::invalid_argument;
    refused(
        invalid, [](auto& row) { row.frames.erase("wrist"); }, "'wrist'");
    refused(
        invalid, [](auto& row) { row.values["speed"] = at::zeros({1}); }, "'speed'");
    refused(
        invalid, [](auto& row) { row.values["action"] = at::zeros({2}); }, "'action'");
    refused(
        invalid, [](auto& row) { row.values["step"] = at::tensor({0.5}); }, "'step'");
    refused(
        invalid, [](auto& row) { row.texts.clear(); }, "'note'");
    refused(
        invalid,
        [](auto& row) {
          row.frames["front"] = at::zeros({64, 64, 3}, at::kByte);
        },
        "64x64");
    refused(
        ErrorCategory::non_finite,
        [](auto& row) {
          row.values["observation.state"] = at::tensor({0.0, NAN});
        },
        "'y'");
    for (int64_t t = 1; t < 4; ++t) writer->append(row_at(0, t));
    writer->finish_episode("even");
    writer->finish();
    check_episode(folder / "set", 0, 0, format);
    auto others = two_cameras();
    others.features[0].columns = {"grip", "turn"};
    CHECK(fails_with(
        invalid, [&] { open_episode_writer(folder / "set", format, others); },
        format == TargetFormat::folder ? "action_columns" : "features"));
  }
}

TEST_CASE("LeRobot files end at their limits, and statistics are those of the rows") {
  if (formats_at_hand().size() < 2) FORESIGHT_SKIP("this build has no Parquet");
  for (const auto storage : {FrameStorage::video, FrameStorage::pictures}) {
    TemporaryFolder folder;
    const auto path = folder / "set";
    auto options = two_cameras();
    options.storage = storage;
    options.episodes_per_file = 2;
    options.files_per_chunk = 2;
    const auto writer = open_episode_writer(path, TargetFormat::lerobot, options);
    for (int64_t e = 0; e < 5; ++e) {
      for (int64_t t = 0; t < 4; ++t) writer->append(row_at(e, t));
      if (e == 1 || e == 2) {  // discarded rows must not shift the frames of what follows
        writer->discard_episode();
        for (int64_t t = 0; t < 4; ++t) writer->append(row_at(e, t));
      }
      writer->finish_episode(e % 2 == 0 ? "even" : "odd");
    }
    writer->finish();
    CHECK(fs::exists(path / "data" / "chunk-001" / "file-000.parquet"));
    for (int64_t e = 0; e < 5; ++e) check_episode(path, e, e, TargetFormat::lerobot);
    const auto stats = io::read_json(path / "meta" / "stats.json");
    CHECK(stats["action"]["mean"][0].get<double>() == Approx(0.15));
    CHECK(stats["action"]["std"][0].get<double>() == Approx(0.1 * std::sqrt(1.25)));
    CHECK(stats["observation.state"]["max"][1].get<double>() == 4);
    CHECK(stats["observation.state"]["std"][1].get<double>() == Approx(std::sqrt(2.0)));
    CHECK(stats["action"]["count"][0] == 20);
    CHECK(stats["step"]["min"][0] == int64_t{1} << 40);
    CHECK(stats["done"]["max"][0] == true);
    const auto& red = stats["observation.images.front"];
    CHECK(red["mean"][0][0][0].get<double>() == Approx(40.0 / 255));  // 0..60 plus 0..20
    CHECK(red["count"][0] == 20);
    if (storage == FrameStorage::pictures)
      CHECK(at::equal(open_dataset(path)->read_frames(3, {2})[0], row_at(3, 2).frames.at("front")));
  }
}

TEST_CASE("AV1 videos are written where FFmpeg has an encoder, and read back") {
  if (!has_video_encoder("av1")) FORESIGHT_SKIP("this FFmpeg has no AV1 encoder");
  TemporaryFolder folder;
  for (const int64_t side : {int64_t{64}, int64_t{34}}) {  // SVT-AV1 refuses the smaller one
    const auto path = folder / ("film" + std::to_string(side) + ".mp4");
    VideoWriter film(path, {.fps = 10, .crf = 20, .key_interval = 2, .encoder = "av1"});
    for (int64_t t = 0; t < 6; ++t) film.write(at::full({side, side, 3}, 30 * t, at::kByte));
    film.close();
    VideoReader reader(path.string());
    CHECK(reader.info().codec == "av1");
    REQUIRE(reader.num_frames() == 6);
    for (int64_t t = 0; t < 6; ++t)
      CHECK(std::abs(reader.frame(t).to(at::kDouble).mean().item<double>() -
                     30.0 * static_cast<double>(t)) <= 3);
  }
}

}  // namespace
}  // namespace foresight::data::episode_writer_test
