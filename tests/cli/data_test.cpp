// SPDX-License-Identifier: Apache-2.0
// Recorded data on the command line: what it holds, and in another format.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "film_folder.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/episode_writer.hpp"
#include "foresight/io/files.hpp"
#include "recordings_folder.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::data_command_test {

namespace fs = std::filesystem;

TEST_CASE("inspect describes recordings of other projects and writes a contact sheet") {
  TemporaryFolder folder;
  const auto sheet = folder / "sheet.png";
  const auto done =
      foresight_command("inspect " + (test::recordings() / "tworoom" / "swm" / "video").string() +
                        " --sheet " + sheet.string());
  INFO(done.output);
  REQUIRE(done.code == 0);
  for (const char* words : {"4 episodes, 98 frames of 64x64", "action_1", "cameras: pixels",
                            "at its limit", "verdict:"})
    CHECK(done.output.find(words) != std::string::npos);
  CHECK(fs::file_size(sheet) > 500);
}

TEST_CASE("inspect says how much it looked at, and that its verdict is of the frames looked at") {
  const auto inspected = [](const char* set, const std::string& options) {
    return foresight_command("inspect " + (test::recordings() / "tworoom" / set).string() +
                             " --saturated 1" + options);
  };
  const auto many = inspected("folder", " --frames 60");
  INFO(many.output);
  REQUIRE(many.code == 0);
  CHECK(many.output.find("frames: 60 of 14227 looked at, ") != std::string::npos);
  CHECK(many.output.find("; in 12 of 240 episodes\n") != std::string::npos);
  const std::string good = "verdict: nothing found that would spoil training";
  CHECK(inspected("native224", "").output.find(good + "\n") != std::string::npos);
  CHECK(inspected("native224", " --frames 30").output.find(good + ", of the frames looked at\n") !=
        std::string::npos);
}

TEST_CASE("inspect refuses a contact sheet of another kind than PNG before it reads anything") {
  const TemporaryFolder folder;
  const auto sheet = folder / "sheet.jpg";
  const auto done = foresight_command("inspect " + (test::recordings() / "tworoom").string() +
                                      "/native224 --sheet " + sheet.string());
  INFO(done.output);
  CHECK(done.code == 2);
  CHECK(done.output.find("--sheet " + sheet.string() + ": ") != std::string::npos);
  CHECK(done.output.find("ends in .png") != std::string::npos);
  CHECK(done.output.find("episodes") == std::string::npos);
  CHECK_FALSE(fs::exists(sheet));
}

TEST_CASE("inspect of nothing lists what was looked for") {
  TemporaryFolder folder;
  const auto done = foresight_command("inspect " + folder.path().string());
  CHECK(done.code == 1);
  CHECK(done.output.find("meta/info.json") != std::string::npos);
}

TEST_CASE("inspect of one file of a data set says which folder to give") {
  const auto sets = test::recordings() / "tworoom";
  for (const char* file :
       {"folder/episode_0001.csv", "swm/folder/ep_len.npz", "lerobot_v21/meta/info.json",
        "lerobot_v21/data/chunk-000/episode_000000.parquet"}) {
    INFO(file);
    const auto done = foresight_command("inspect " + (sets / file).string());
    INFO(done.output);
    CHECK(done.code == 1);
    const auto set = std::string(file).substr(0, std::string(file).find('/'));
    CHECK(done.output.find("is one file of the data set") != std::string::npos);
    CHECK(done.output.find("/" + set) != std::string::npos);
    CHECK(done.output.find("opened by its folder") != std::string::npos);
  }
}

TEST_CASE("convert writes a folder that opens, and refuses to write over it") {
  TemporaryFolder folder;
  const auto source = test::recordings() / "tworoom" / "swm" / "folder";
  const auto line = "convert " + source.string() + " " + (folder / "copy").string() +
                    " --format folder --reading.fps 10";
  const auto done = foresight_command(line);
  INFO(done.output);
  REQUIRE(done.code == 0);
  CHECK(done.output.find("2 episodes") != std::string::npos);
  const auto copy = data::open_dataset(folder / "copy");
  const auto original = data::open_dataset(source);
  REQUIRE(copy->num_episodes() == original->num_episodes());
  for (int64_t e = 0; e < copy->num_episodes(); ++e)
    CHECK(at::equal(copy->read_all_rows(copy->action_columns(), e).to(at::kFloat),  // as recorded
                    original->read_all_rows(original->action_columns(), e).to(at::kFloat)));
  CHECK(foresight_command(line).code == 1);
}

TEST_CASE("inspect gives its verdict on damaged recordings, exits with 3 and writes the sheet") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(6, 12);
  films.remove(2);
  films.spoil(4);
  TemporaryFolder folder;
  const auto sheet = folder / "sheet.png";
  const auto done =
      foresight_command("inspect " + films.path().string() + " --sheet " + sheet.string());
  INFO(done.output);
  CHECK(done.code == 3);
  const auto place = [&](const char* words) { return done.output.find(words); };
  REQUIRE(place("UNREADABLE episode 2 (episode_0002") != std::string::npos);
  CHECK(place("UNREADABLE episode 4 (episode_0004") != std::string::npos);
  CHECK(place("verdict: not fit for training: some frames do not decode") <
        place("contact sheet: "));
  CHECK(fs::file_size(sheet) > 500);
  // What it has found is left out: by hand, or by the command.
  for (const std::string way : {" --episodes 0-1,3,5", " --reading.unreadable skip"}) {
    const auto copy = (folder / ("copy" + std::to_string(way.size()))).string();
    const auto converted = foresight_command("convert " + films.path().string() + " " + copy +
                                             " --format folder" + way);
    INFO(converted.output);
    REQUIRE(converted.code == 0);
    CHECK(converted.output.find("converted 4 episodes, 48 rows") != std::string::npos);
    const bool told =
        converted.output.find("LEFT OUT episode 2 (episode_0002") != std::string::npos &&
        converted.output.find("2 episode(s) left out") != std::string::npos;
    CHECK(told == (way.find("skip") != std::string::npos));
    CHECK(foresight_command("inspect " + copy).code == 0);
  }
}

TEST_CASE("without Blosc's plug-in, inspect says what to install") {
  ::setenv("HDF5_PLUGIN_PRELOAD", "::", 1);  // HDF5 then loads none
  const auto done = foresight_command(
      "inspect " + (test::recordings() / "tworoom" / "swm" / "tworoom_blosc.h5").string());
  ::unsetenv("HDF5_PLUGIN_PRELOAD");
  INFO(done.output);
  CHECK(done.code == 1);
  if (done.output.find("has no HDF5") != std::string::npos) FORESIGHT_SKIP(done.output);
  CHECK(done.output.find("is compressed by filter 32001 (blosc)") != std::string::npos);
  CHECK(done.output.find("hdf5-filter-plugin-blosc-serial") != std::string::npos);
}

TEST_CASE("inspect and convert tell the columns that are left out, and why") {
  const auto set = test::recordings() / "tworoom" / "swm" / "tworoom_hdf5v20_raw.h5";
  const auto inspected = foresight_command("inspect " + set.string());
  if (inspected.output.find("has no HDF5") != std::string::npos) FORESIGHT_SKIP(inspected.output);
  if (inspected.output.find(", terminated ") != std::string::npos)
    FORESIGHT_SKIP("this HDF5 opens the booleans of a newer one");
  const auto words =
      set.string() + ": 'terminated', 'truncated' are left out: this HDF5 cannot open it: ";
  INFO(inspected.output);
  CHECK(inspected.output.find("WARNING " + words) != std::string::npos);
  if (!data::has_video_encoder()) return;
  const TemporaryFolder folder;
  const auto copy = (folder / "copy").string();
  const auto converted = foresight_command("convert " + set.string() + " " + copy +
                                           " --format folder --reading.fps 10");
  INFO(converted.output);
  CHECK(converted.code == 0);
  const auto place = converted.output.find(words);
  REQUIRE(place != std::string::npos);
  CHECK(converted.output.find(words, place + 1) == std::string::npos);  // once
}

TEST_CASE("inspect and convert of two cameras log once that a column is left out") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  data::RecordingOptions options;
  options.video.fps = 10;
  options.cameras = {"front", "wrist"};
  options.features = {{"action", {"push"}}};
  const auto writer =
      data::open_episode_writer(folder / "set", data::TargetFormat::folder, options);
  const auto picture = at::zeros({16, 16, 3}, at::kByte);
  for (int64_t e = 0; e < 2; ++e) {
    for (int64_t t = 0; t < 3; ++t)
      writer->append({.frames = {{"front", picture}, {"wrist", picture}},
                      .values = {{"action", at::full({1}, static_cast<double>(t))}}});
    writer->finish_episode();
  }
  writer->finish();
  const auto set = (folder / "set").string(), table = set + "/episode_0001.csv";
  std::string longer;
  for (const char c : io::read_text(table)) longer += c == '\n' ? ",late\n" : std::string(1, c);
  io::write_text(table, longer);
  const auto words =
      "[warning] " + set + ": 'late' is left out: it is not in " + set + "/episode_0000.csv";
  for (const auto& command :
       {"inspect " + set, "convert " + set + " " + set + "_copy --format folder"}) {
    const auto done = foresight_command(command);
    INFO(done.output);
    const auto place = done.output.find(words);
    REQUIRE(place != std::string::npos);
    CHECK(done.output.find(words, place + 1) == std::string::npos);
  }
}

TEST_CASE("inspect exits with 3 where a number would break training") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(1, 4);
  std::ofstream(films.path() / "episode_0000.csv") << "action_0\n1\n1\n1\n1\n";
  const auto done = foresight_command("inspect " + films.path().string());
  INFO(done.output);
  CHECK(done.code == 3);
  CHECK(done.output.find("FAULT no action ever changes") != std::string::npos);
}

TEST_CASE("inspect looks at every camera and, like train, names the one that training sees") {
  if (!data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  data::RecordingOptions options;
  options.video.fps = 10;
  options.cameras = {"front", "wrist"};
  options.features = {{"action", {"push"}}};
  const auto writer =
      data::open_episode_writer(folder / "set", data::TargetFormat::folder, options);
  for (int64_t e = 0; e < 2; ++e) {
    for (int64_t t = 0; t < 8; ++t)  // the second camera is frozen
      writer->append({.frames = {{"front", at::full({16, 16, 3}, 20 * t, at::kByte)},
                                 {"wrist", at::full({16, 16, 3}, 100, at::kByte)}},
                      .values = {{"action", at::full({1}, static_cast<double>(t % 3))}}});
    writer->finish_episode();
  }
  writer->finish();
  const auto set = (folder / "set").string();
  const auto done = foresight_command("inspect " + set);
  INFO(done.output);
  CHECK(done.code == 0);  // a warning
  for (const char* words :
       {"training sees camera 'front', unless", "frames of 'wrist': 16 of 16 looked at, 14 equal",
        "WARNING camera 'wrist': 2 stretch(es) of equal frames of episode(s) 0-1"})
    CHECK(done.output.find(words) != std::string::npos);
  CHECK(done.output.find("WARNING camera 'front'") == std::string::npos);
  const auto chosen = foresight_command("inspect " + set + " --camera front");
  CHECK(chosen.output.find("camera looked at: front") != std::string::npos);
  CHECK(chosen.output.find("stretch(es)") == std::string::npos);
  const auto trained =  // too short to train on, which is said after what it is
      foresight_command("train --data " + set + " --steps 1 --out " + (folder / "run").string());
  INFO(trained.output);
  CHECK(trained.output.find("16 frames of 16x16 of camera 'front', one of front, wrist") !=
        std::string::npos);
  for (const char* words : {"rows that a window needs", "--windows.frames", "--windows.stride"})
    CHECK(trained.output.find(words) != std::string::npos);
  fs::remove(folder / "set" / "episode_0001.wrist.mp4");
  const auto lost = foresight_command("inspect " + set);
  INFO(lost.output);
  CHECK(lost.code == 3);
  CHECK(lost.output.find("UNREADABLE camera 'wrist': episode 1 (episode_0001") !=
        std::string::npos);
}

TEST_CASE("every command that reads recordings names the cameras where the wanted one is missing") {
  TemporaryFolder folder;
  const auto set = (test::recordings() / "tworoom" / "native224").string();
  const auto run = (folder / "run").string();
  for (const auto& line :
       {"inspect " + set, "convert " + set + " " + run, "train --data " + set + " --out " + run,
        "eval --bundle " + run + " --data " + set}) {
    const auto done = foresight_command(line + " --camera wrist");
    INFO(line << ": " << done.output);
    CHECK(done.code == 1);
    CHECK(done.output.find("camera 'wrist' was not recorded. Cameras: pixels") !=
          std::string::npos);
  }
  CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("record goes on in a folder without recording any of its episodes again") {
  TemporaryFolder folder;
  const auto set = (folder / "set").string();
  for (const char* seed : {"1", "1", "0"}) {
    const auto done = foresight_command("record --episodes 3 --size 16 --seed " +
                                        std::string(seed) + " --out " + set);
    INFO(done.output);
    REQUIRE(done.code == 0);
  }
  const auto data = data::open_dataset(set);
  REQUIRE(data->num_episodes() == 9);
  for (int64_t e = 0; e < 9; ++e)
    for (int64_t other = 0; other < e; ++other)
      CHECK_FALSE(at::equal(data->read_rows(data->state_columns(), e, 0, 1),
                            data->read_rows(data->state_columns(), other, 0, 1)));
}

TEST_CASE("record writes LeRobot data of the episodes that it writes to a folder, types included") {
  const TemporaryFolder folder;
  const auto recorded = [&](const char* name, const std::string& options) {
    return foresight_command("record --episodes 2 --size 16 --seed 4 --out " +
                             (folder / name).string() + options);
  };
  REQUIRE(recorded("tables", "").code == 0);
  const auto tables = data::open_dataset(folder / "tables");
  CHECK(tables->column_type("action_0") == at::kDouble);
  CHECK(tables->column_type("terminated") == at::kBool);
  const auto done = recorded("lerobot", " --format lerobot");
  INFO(done.output);
  if (done.output.find("has no Apache Parquet") != std::string::npos) FORESIGHT_SKIP(done.output);
  REQUIRE(done.code == 0);
  CHECK(recorded("lerobot", " --format lerobot").code == 0);  // and on
  const auto copy = data::open_dataset(folder / "lerobot");
  REQUIRE(copy->num_episodes() == 4);
  CHECK(copy->column_type("terminated") == at::kBool);
  CHECK(copy->notes().at("environment") == "two_room");
  for (int64_t e = 0; e < 2; ++e) {
    REQUIRE(copy->length(e) == tables->length(e));
    const auto same = [&](const std::vector<std::string>& there,
                          const std::vector<std::string>& here) {
      return at::allclose(copy->read_all_rows(there, e), tables->read_all_rows(here, e), 0, 0,
                          /*equal_nan=*/true);
    };
    CHECK(same(copy->action_columns(), tables->action_columns()));
    CHECK(same(copy->state_columns(), tables->state_columns()));
    CHECK(same({"distance", "truncated"}, {"distance", "truncated"}));
  }
  CHECK_FALSE(at::equal(copy->read_rows(copy->state_columns(), 2, 0, 1),
                        copy->read_rows(copy->state_columns(), 0, 0, 1)));
  CHECK(recorded("other", " --format hdf5").code == 2);
  for (const char* other : {"lerobot", "tables --format lerobot"}) {
    const auto refused = recorded(other, "");
    INFO(refused.output);
    CHECK(refused.code == 1);
    CHECK(refused.output.find("LeRobot data set") != std::string::npos);
  }
  data::RecordingOptions narrow;  // float32 all
  narrow.video.fps = tables->fps();
  narrow.cameras = {"pixels"};
  narrow.last_action = data::LastAction::artefact;
  narrow.features = {{"action", tables->action_columns()},
                     {"observation.state", tables->state_columns()},
                     {"distance", {"distance"}},
                     {"terminated", {"terminated"}},
                     {"truncated", {"truncated"}}};
  CHECK_THROWS_WITH(
      data::open_episode_writer(folder / "tables", data::TargetFormat::folder, narrow),
      Catch::Contains("types = "));
}

TEST_CASE("inspect ends with its verdict where a column cannot be read") {
  const TemporaryFolder folder;
  const auto recordings = fs::path(FORESIGHT_TEST_DATA) / "recordings";
  const auto set = folder / "set";
  fs::copy(recordings / "tworoom" / "lerobot_v21", set, fs::copy_options::recursive);
  for (const auto& [file, code] : {std::pair("numbers", 0), std::pair("needed", 3)}) {
    fs::copy_file(recordings / "layouts/lerobot_nulls" / (std::string(file) + ".parquet"),
                  set / "data/chunk-000/episode_000001.parquet",
                  fs::copy_options::overwrite_existing);
    const auto done = foresight_command("inspect " + set.string());
    INFO(done.output);
    if (done.output.find("has no Apache Parquet") != std::string::npos) FORESIGHT_SKIP(done.output);
    CHECK(done.code == code);
    CHECK(done.output.find("verdict: ") != std::string::npos);
    CHECK((done.output.find("next.done not read") != std::string::npos) == (code == 3));
  }
}

}  // namespace foresight::data_command_test
