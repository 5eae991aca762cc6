// SPDX-License-Identifier: Apache-2.0
// Layouts of which no published sample is small enough, against what the script that wrote them
// expects (recordings/make_layouts.py), and the variants of plain folders.
#include <cerrno>
#include <cmath>
#include <fstream>
#include <system_error>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/io/json_file.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::layouts_test {
namespace {

namespace fs = std::filesystem;

Tensor expected_rows(const nlohmann::json& rows) {
  std::vector<double> flat;
  for (const auto& row : rows)
    for (const auto& value : row)
      flat.push_back(value.is_null() ? std::nan("") : value.get<double>());
  return at::tensor(flat, at::kDouble).view({static_cast<int64_t>(rows.size()), -1});
}

void check_layout(const Dataset& dataset, const nlohmann::json& expected) {
  const auto lengths = expected.at("lengths").get<std::vector<int64_t>>();
  REQUIRE(dataset.num_episodes() == static_cast<int64_t>(lengths.size()));
  std::vector<Tensor> actions, states;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const auto e = static_cast<int64_t>(i);
    REQUIRE(dataset.length(e) == lengths[i]);
    actions.push_back(dataset.read_all_rows(dataset.action_columns(), e));
    states.push_back(dataset.read_all_rows(dataset.state_columns(), e));
    for (const int64_t row : {lengths[i] - 1, int64_t{0}}) {
      INFO("episode " << e << " row " << row);
      const double level = expected.at("levels").at(i).get<double>() + 7 * static_cast<double>(row);
      const Tensor frame = dataset.read_frames(e, {row}).to(at::kDouble);
      CHECK((frame - level).abs().max().item<double>() <= 2);  // the codec's rounding
    }
  }
  CHECK(at::allclose(at::cat(states), expected_rows(expected.at("states")), 1e-6, 1e-9));
  CHECK(at::allclose(at::cat(actions), expected_rows(expected.at("actions")), 1e-6, 1e-9,
                     /*equal_nan=*/true));
}

TEST_CASE("robomimic, DINO-WM and DROID layouts read as they were written") {
  const fs::path layouts = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  const nlohmann::json all = io::read_json(layouts / "expected.json");
  for (const auto& [name, expected] : all.items()) {
    INFO(name);
    const auto dataset = opened_or_skipped(layouts / name);
    if (dataset) check_layout(*dataset, expected);
  }
}

TEST_CASE("DROID episodes are thinned to the rate asked for, with the pose changes between rows") {
  const auto folder = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "droid";
  const auto all = opened_or_skipped(folder);
  if (!all) return;
  const auto thinned = opened_or_skipped(folder, {.fps = 5});  // every third of 15 Hz
  REQUIRE(thinned);
  CHECK(thinned->fps() == Approx(5));
  CHECK(thinned->length(0) == 2);
  const Tensor state = all->read_all_rows(all->state_columns(), 0);
  CHECK(at::equal(thinned->read_all_rows(thinned->state_columns(), 0),
                  at::stack({state[0], state[3]})));
  const Tensor action = thinned->read_rows(thinned->action_columns(), 0, 0, 1)[0];
  CHECK(at::allclose(action.narrow(0, 0, 3), (state[3] - state[0]).narrow(0, 0, 3)));
  CHECK(at::equal(thinned->read_frames(0, {1}), all->read_frames(0, {3})));
  CHECK(all->cameras() == std::vector<std::string>{"left"});
}

TEST_CASE("DROID tells where the film's camera stands, unless an episode lacks it") {
  const auto layouts = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  const auto data = opened_or_skipped(layouts / "droid_extrinsics");
  if (!data) return;
  std::vector<std::string> columns;
  for (const auto& group : data->groups())
    if (group.name == "camera_extrinsics") columns = group.columns;
  REQUIRE(columns.size() == 6);
  CHECK(data->state_columns().size() == 7);
  for (int64_t e = 0; e < 2; ++e) {
    const auto rows = data->length(e);
    const auto expected = 0.1 * at::arange(6 * rows, at::kDouble).view({rows, 6}) + e;
    CHECK(at::allclose(data->read_all_rows(columns, e), expected));
  }
  const auto thinned = opened_or_skipped(layouts / "droid_extrinsics", {.fps = 5});
  CHECK(at::equal(thinned->read_all_rows(columns, 0)[1], data->read_all_rows(columns, 0)[3]));
  const auto both =
      opened_or_skipped(layouts / "droid_extrinsics", {.states = {"state", "camera_extrinsics"}});
  CHECK(both->state_columns().size() == 13);

  // An episode without: no column of half of the episodes.
  const TemporaryFolder folder;
  fs::copy(layouts / "droid_extrinsics", folder / "droid", fs::copy_options::recursive);
  const auto table = fs::path("lab") / "01_episode" / "trajectory.h5";
  fs::copy_file(layouts / "droid" / table, folder / "droid" / table,
                fs::copy_options::overwrite_existing);
  const auto without = opened_or_skipped(folder / "droid");
  CHECK(without->columns() == opened_or_skipped(layouts / "droid")->columns());
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { open_dataset(folder / "droid", {.states = {"camera_extrinsics"}}); },
      "camera_extrinsics/1001_left is missing"));
}

TEST_CASE("robomimic's filter keys choose demonstrations") {
  const auto layout = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "robomimic_split";
  const auto all = opened_or_skipped(layout);
  if (!all) return;
  CHECK(all->num_episodes() == 11);
  const auto train = opened_or_skipped(layout, {.split = "train"});
  REQUIRE(train->num_episodes() == 3);
  const std::vector<int64_t> demos = {0, 2, 10};  // in the order of their numbers
  for (int64_t e = 0; e < 3; ++e) {
    const auto demo = demos[static_cast<std::size_t>(e)];
    CHECK(train->episode_name(e) == "demo_" + std::to_string(demo));
    CHECK(train->read_rows(train->action_columns(), e, 0, 1)[0][0].item<double>() ==
          static_cast<double>(demo));
    CHECK(at::equal(train->read_frames(e, {1}), all->read_frames(demo, {1})));
  }
  CHECK(opened_or_skipped(layout, {.split = "valid"})->episode_name(0) == "demo_1");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(layout, {.split = "test"}); }, "mask/test",
      "it has: lost, train, valid"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(layout, {.split = "lost"}); },
      "mask/lost lists 'demo_99'"));
  // Others have none.
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { open_dataset(layout.parent_path() / "droid", {.split = "train"}); },
      "DatasetOptions.split = 'train'", "has no splits"));
}

TEST_CASE("recordings tell their splits and the episodes of each") {
  const auto recorded = fs::path(FORESIGHT_TEST_DATA) / "recordings";
  if (const auto all = opened_or_skipped(recorded / "layouts" / "robomimic_split")) {
    CHECK(all->splits() == std::vector<std::string>{"lost", "train", "valid"});
    CHECK(all->episodes_of_split("train") == std::vector<int64_t>{0, 2, 10});
    CHECK(all->episodes_of_split("valid").front() == 1);
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { all->episodes_of_split("lost"); }, "lists 'demo_99'"));
    CHECK(fails_with(
        ErrorCategory::not_found, [&] { all->episodes_of_split("test"); },
        "has no split 'test'. There are: lost, train, valid"));
    const auto train =
        opened_or_skipped(recorded / "layouts" / "robomimic_split", {.split = "train"});
    CHECK(train->episodes_of_split("train") == std::vector<int64_t>{0, 1, 2});
    CHECK(train->episodes_of_split("valid").empty());
  }
  const auto droid = opened_or_skipped(recorded / "layouts" / "droid");
  if (droid) CHECK(droid->splits().empty());

  const TemporaryFolder folder;
  fs::copy(recorded / "tworoom" / "lerobot_v21", folder / "set", fs::copy_options::recursive);
  auto info = io::read_json(folder / "set" / "meta" / "info.json");
  info["splits"] = {{"train", "0:4"}, {"val", "4:6"}, {"late", "4:7"}, {"odd", "4:x"}};
  io::write_json(folder / "set" / "meta" / "info.json", info);
  const auto lerobot = opened_or_skipped(folder / "set");
  if (!lerobot) return;
  CHECK(lerobot->splits() == std::vector<std::string>{"late", "odd", "train", "val"});
  CHECK(lerobot->episodes_of_split("train") == std::vector<int64_t>{0, 1, 2, 3});
  CHECK(lerobot->episodes_of_split("val") == std::vector<int64_t>{4, 5});
  for (const auto* wrong : {"late", "odd"})
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { lerobot->episodes_of_split(wrong); }, "info.json", wrong,
        "is not FIRST:END of the episodes 0:6"));
}

TEST_CASE("an empty folder beside the cameras of stable-worldmodel is said to be none") {
  const TemporaryFolder folder;
  fs::copy(recordings() / "tworoom" / "swm" / "folder", folder / "set",
           fs::copy_options::recursive);
  const auto before = open_dataset(folder / "set");
  fs::create_directories(folder / "set" / "wrist");
  fs::create_directories(folder / "set" / "lost+found");
  const auto data = open_dataset(folder / "set");
  CHECK(data->cameras() == before->cameras());
  const auto remarks = data->remarks();
  REQUIRE(remarks.size() == before->remarks().size() + 1);
  CHECK_THAT(remarks.front(), Catch::Contains((folder / "set" / "wrist").string() + ": is empty"));
}

// Pictures whose pixels are known (images/write_fixture.py), as frames 0, 1, 2.
void copy_pictures(const fs::path& folder) {
  fs::create_directories(folder);
  const fs::path images = fs::path(FORESIGHT_TEST_DATA) / "images";
  int number = 0;
  for (const char* name : {"rgb.png", "grey.png", "alpha.png"})
    fs::copy_file(images / name, folder / ("frame" + std::to_string(number++) + ".png"));
}

// Pixel (y, x) of them is ((37x + 11y) % 256, 255 - 5x, 9y); grey repeats its first channel.
Tensor expected_picture(bool grey) {
  Tensor picture = at::empty({9, 13, 3}, at::kByte);
  for (int64_t y = 0; y < 9; ++y)
    for (int64_t x = 0; x < 13; ++x) {
      const int64_t red = (37 * x + 11 * y) % 256;
      picture[y][x][0] = red;
      picture[y][x][1] = grey ? red : 255 - 5 * x;
      picture[y][x][2] = grey ? red : 9 * y;
    }
  return picture;
}

TEST_CASE("a plain folder may hold pictures and JSON lines, and several cameras") {
  TemporaryFolder folder;
  copy_pictures(folder / "episode_0003");
  copy_pictures(folder / "episode_0003.wrist");
  std::ofstream(folder / "episode_0003.jsonl")
      << R"({"action": [0.5, -1], "state_x": 1, "done": false, "note": "a"})"
      << "\n"
      << R"({"action": [0.25, null], "state_x": 2, "done": false, "note": "b"})"
      << "\n"
      << R"({"action": [0, 0], "state_x": 3, "done": true, "note": "c"})"
      << "\n";
  const auto dataset = open_dataset(folder.path(), {.fps = 30});
  CHECK(dataset->fps() == 30);
  CHECK(dataset->cameras() == std::vector<std::string>{"pixels", "wrist"});
  CHECK(dataset->columns() == std::vector<std::string>{"action_0", "action_1", "done", "state_x"});
  CHECK(dataset->image_size() == ImageSize{9, 13});
  const Tensor rows = dataset->read_all_rows({"action_0", "action_1", "done", "state_x"}, 0);
  const auto nan = std::nan("");
  CHECK(at::allclose(
      rows, at::tensor({0.5, -1.0, 0.0, 1.0, 0.25, nan, 0.0, 2.0, 0.0, 0.0, 1.0, 3.0}).view({3, 4}),
      0, 0, /*equal_nan=*/true));
  const Tensor frames = dataset->read_frames(0, {2, 1, 0});
  CHECK(at::equal(frames[0], expected_picture(false)));
  CHECK(at::equal(frames[1], expected_picture(true)));
  CHECK(at::equal(frames[2], expected_picture(false)));
  CHECK(open_dataset(folder.path(), {.camera = "wrist", .fps = 30})->length(0) == 3);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { dataset->read_rows({"note"}, 0, 0, 1); }, "note", "string"));
  fs::remove(folder / "episode_0003" / "frame1.png");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), {.fps = 30}); }, "3 rows",
      "2 frames"));
}

// In builds with -DFORESIGHT_WITH_HDF5=OFF or -DFORESIGHT_WITH_PARQUET=OFF.
TEST_CASE("a recording that the system does not let in is an error that names path and reason") {
  const TemporaryFolder folder;
  const auto refused = [](const fs::path& path, const std::string& named, int reason) {
    INFO(path);
    CHECK(fails_with(
        ErrorCategory::io_failure, [&] { open_dataset(path); }, named + ": cannot be read",
        std::generic_category().message(reason)));
  };
  // As a folder without permission, which root may enter all the same.
  const auto loop = folder / "loop";
  fs::create_symlink(loop, loop);
  refused(loop, loop.string(), ELOOP);
  refused(loop / "set", (loop / "set").string(), ELOOP);
  const auto endless = folder / std::string(300, 'x');
  refused(endless, endless.string(), ENAMETOOLONG);
  for (const char* sign : {"ep_len.npz", "meta", "_versions"}) {
    const auto set = folder / (std::string("set_") + sign);
    fs::create_directory(set);
    fs::create_symlink(sign, set / sign);
    refused(set, set.string() + "/" + sign + (sign == std::string("meta") ? "/info.json" : ""),
            ELOOP);
  }
}

TEST_CASE("a build without HDF5 or Parquet names what is missing and how to get it") {
  struct Lacking {
    fs::path path;
    const char* library;
    const char* package;
  };
  const auto sets = fs::path(FORESIGHT_TEST_DATA) / "recordings";
  int lacking = 0;
  for (const auto& one :
       {Lacking{sets / "layouts" / "robomimic", "no HDF5", "libhdf5-dev"},
        Lacking{sets / "layouts" / "droid", "no HDF5", "libhdf5-dev"},
        Lacking{sets / "tworoom" / "lerobot_v21", "no Apache Parquet", "pip install pyarrow"},
        Lacking{sets / "tworoom" / "lerobot_v30_rollover", "no Apache Parquet",
                "libparquet-dev"}}) {
    try {
      open_dataset(one.path);
    } catch (const Error& error) {
      const std::string message = error.what();
      INFO(message);
      CHECK(error.category() == ErrorCategory::unsupported);
      CHECK(message.find(one.library) != std::string::npos);
      CHECK(message.find(one.package) != std::string::npos);
      ++lacking;
    }
  }
  if (lacking == 0) FORESIGHT_SKIP("this build has both");
}

TEST_CASE("the rate of a folder of pictures is that of its timestamps, or unknown") {
  TemporaryFolder folder;
  copy_pictures(folder / "episode_0000");
  std::ofstream(folder / "episode_0000.csv") << "action_0\n1\n2\n3\n";
  CHECK(open_dataset(folder.path())->fps() == 0);
  std::ofstream(folder / "episode_0000.csv") << "action_0,timestamp\n1,0.5\n2,0.54\n3,0.58\n";
  CHECK(open_dataset(folder.path())->fps() == Approx(25));
  CHECK(open_dataset(folder.path(), {.fps = 7})->fps() == 7);
}

TEST_CASE("a file with another's ending is an error that names it") {
  TemporaryFolder folder;
  std::ofstream(folder / "a.h5") << "this is no HDF5 file, but long enough to look into";
  const auto message = [&](const char* name) {
    try {
      open_dataset(folder / name);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(message("a.h5").find("a.h5") != std::string::npos);
  fs::create_directories(folder / "set" / "meta");
  std::ofstream(folder / "set" / "meta" / "info.json")
      << R"({"codebase_version": "v2.1", "fps": 10, "features": {}, "data_path": "../../{episode_index}"})";
  std::ofstream(folder / "set" / "meta" / "episodes.jsonl")
      << R"({"episode_index": 0, "length": 2})";
  CHECK(message("set").find("outside the data set") != std::string::npos);
}

}  // namespace
}  // namespace foresight::data::layouts_test
