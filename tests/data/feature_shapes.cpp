// SPDX-License-Identifier: Apache-2.0
// Matrices, and whole numbers beyond float64: through both writers, and from each to the other.
#include <algorithm>
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/io/json_file.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::feature_shapes_test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStamp = 1'717'171'717'123'456'789;  // nanoseconds; float64 ends with ...768
constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

RecordingOptions matrices_and_stamps() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.features = {
      {"action", {"action_0", "action_1"}},
      {.name = "grid",
       .columns = {"grid_0", "grid_1", "grid_2", "grid_3", "grid_4", "grid_5"},
       .type = at::kDouble,
       .shape = {2, 3}},
      {.name = "pair", .columns = {"pair_0", "pair_1"}, .type = at::kLong, .shape = {1, 2}},
      {"stamp", {"stamp"}, at::kLong}};
  options.texts = {"note"};
  return options;
}

// Element (i, j) of the grid in row t of an episode.
double grid_value(int64_t episode, int64_t t, int64_t i, int64_t j) {
  return static_cast<double>(1000 * episode + 100 * t + 10 * i + j) / 3;
}

RecordedRow shaped_row(int64_t episode, int64_t t) {
  Tensor grid = at::empty({2, 3}, at::kDouble);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 3; ++j) grid[i][j] = grid_value(episode, t, i, j);
  RecordedRow row;
  row.frames = {{"front", at::full({32, 32, 3}, 20 * t, at::kByte)}};
  row.values = {{"action", at::tensor({0.5, -0.5})},
                {"grid", grid},
                {"pair", at::tensor({kLargest - t, -kLargest + episode}).view({1, 2})},
                {"stamp", at::tensor({kStamp + t})}};
  row.texts = {{"note", "n"}};
  return row;
}

void write_two_episodes(const fs::path& path, TargetFormat format) {
  for (int64_t e = 0; e < 2; ++e) {  // the second by a writer that goes on
    const auto writer = open_episode_writer(path, format, matrices_and_stamps());
    for (int64_t t = 0; t < 3; ++t) writer->append(shaped_row(e, t));
    CHECK(writer->finish_episode("task") == e);
    writer->finish();
  }
}

ColumnGroup group_of(const Dataset& dataset, const std::string& name) {
  for (const auto& group : dataset.groups())
    if (group.name == name) return group;
  FAIL("no group " << name);
  return {};
}

void check_shapes_and_digits(const fs::path& path) {
  const auto dataset = open_dataset(path);
  REQUIRE(dataset->num_episodes() == 2);
  const auto grid = group_of(*dataset, "grid");
  CHECK(grid.shape == std::vector<int64_t>{2, 3});
  CHECK(group_of(*dataset, "pair").shape == std::vector<int64_t>{1, 2});
  CHECK(group_of(*dataset, "stamp").columns == std::vector<std::string>{"stamp"});
  CHECK(group_of(*dataset, "action").shape == std::vector<int64_t>{2});
  CHECK(dataset->column_type("stamp") == at::kLong);
  // Beside a float32 column: float64, where float32 would lose minutes.
  const Tensor mixed = dataset->read_stored({"action_0", "stamp"}, 1, 2, 1);
  CHECK(mixed.scalar_type() == at::kDouble);
  CHECK(mixed[0][1].item<double>() == static_cast<double>(kStamp + 2));
  for (int64_t e = 0; e < 2; ++e) {
    const Tensor values = dataset->read_all_rows(grid.columns, e).view({3, 2, 3});
    const Tensor stamps = dataset->read_stored({"stamp"}, e, 0, 3);
    const Tensor pairs = dataset->read_stored(group_of(*dataset, "pair").columns, e, 0, 3);
    REQUIRE(stamps.scalar_type() == at::kLong);
    REQUIRE(pairs.scalar_type() == at::kLong);
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t j = 0; j < 3; ++j)
          CHECK(values[t][i][j].item<double>() == grid_value(e, t, i, j));
      CHECK(stamps[t][0].item<int64_t>() == kStamp + t);
      CHECK(pairs[t][0].item<int64_t>() == kLargest - t);
      CHECK(pairs[t][1].item<int64_t>() == -kLargest + e);
    }
  }
}

bool writes_lerobot() {
  TemporaryFolder folder;
  try {
    open_episode_writer(folder / "probe", TargetFormat::lerobot, matrices_and_stamps());
    return true;
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    WARN("SKIPPED: LeRobot: " << error.what());
    return false;
  }
}

}  // namespace

TEST_CASE(
    "matrices and 64-bit integers come back from both layouts, and from either to the other") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  write_two_episodes(folder / "plain", TargetFormat::folder);
  check_shapes_and_digits(folder / "plain");
  if (!writes_lerobot()) return;
  write_two_episodes(folder / "set", TargetFormat::lerobot);
  check_shapes_and_digits(folder / "set");
  const auto info = io::read_json(folder / "set" / "meta" / "info.json");
  CHECK(info["features"]["grid"]["shape"] == nlohmann::json({2, 3}));
  CHECK(info["features"]["pair"]["shape"] == nlohmann::json({1, 2}));
  CHECK(info["features"]["stamp"]["shape"] == nlohmann::json({1}));
  convert_dataset(folder / "set", folder / "back", {.format = TargetFormat::folder});
  check_shapes_and_digits(folder / "back");
  convert_dataset(folder / "back", folder / "again", {.format = TargetFormat::lerobot});
  check_shapes_and_digits(folder / "again");
  CHECK(io::read_json(folder / "again" / "meta" / "info.json")["features"]["grid"]["shape"] ==
        nlohmann::json({2, 3}));
}

TEST_CASE("LeRobot statistics have the shape of their feature, and whole limits all digits") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (!writes_lerobot()) return;
  TemporaryFolder folder;
  write_two_episodes(folder / "set", TargetFormat::lerobot);
  const auto stats = io::read_json(folder / "set" / "meta" / "stats.json");
  CHECK(stats["stamp"]["min"][0] == kStamp);
  CHECK(stats["stamp"]["max"][0] == kStamp + 2);
  CHECK(stats["pair"]["max"][0][0] == kLargest);
  CHECK(stats["pair"]["min"][0][1] == -kLargest);
  for (const char* name : {"min", "max", "mean", "std", "q50"}) {
    REQUIRE(stats["grid"][name].size() == 2);
    REQUIRE(stats["grid"][name][1].size() == 3);
  }
  CHECK(stats["grid"]["count"] == nlohmann::json({6}));
  CHECK(stats["grid"]["min"][1][2].get<double>() == Approx(grid_value(0, 0, 1, 2)));
  CHECK(stats["grid"]["mean"][1][0].get<double>() ==
        Approx((grid_value(0, 1, 1, 0) + grid_value(1, 1, 1, 0)) / 2));
}

TEST_CASE("a shape that does not fit its columns or its rows is refused by name") {
  TemporaryFolder folder;
  auto options = matrices_and_stamps();
  options.features[1].shape = {2, 2};
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { open_episode_writer(folder / "set", TargetFormat::folder, options); }, "'grid'", "6"));
  if (!has_video_encoder()) return;
  const auto writer =
      open_episode_writer(folder / "set", TargetFormat::folder, matrices_and_stamps());
  auto row = shaped_row(0, 0);
  row.values["grid"] = at::zeros({3, 2});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer->append(row); }, "'grid'", "[3, 2]", "[2, 3]"));
  row.values["grid"] = at::zeros({6});  // flat is fine
  writer->append(row);
  CHECK(writer->rows() == 1);
}

TEST_CASE("shapes that no row can have are refused in options and in dataset.json") {
  const std::vector<std::vector<int64_t>> bad = {{-2, -3},
                                                 {0, 6},
                                                 {1, 1, 1, 1, 1, 6},
                                                 {6, 100'001},
                                                 {100'000, 100'000, 100'000, 100'000, 100'000},
                                                 {kLargest, 2, 3}};
  TemporaryFolder folder;
  for (const auto format : {TargetFormat::folder, TargetFormat::lerobot})
    for (const auto& shape : bad) {
      auto options = matrices_and_stamps();
      options.features[1].shape = shape;
      const auto problems = options.validate(format);
      REQUIRE(problems.size() >= 1);
      CHECK(problems.front().find("'grid'") != std::string::npos);
    }
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  write_two_episodes(folder / "set", TargetFormat::folder);
  const auto file = folder / "set" / "dataset.json";
  auto settings = io::read_json(file);
  const auto opened_with = [&](const nlohmann::json& shape) {
    settings["shapes"]["grid"] = shape;
    io::write_json(file, settings);
    return open_dataset(folder / "set");
  };
  for (const auto& shape : bad)
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { opened_with(shape); }, file.string(), "grid", "1..100000"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { opened_with(nlohmann::json::array()); }, "grid", "1..100000"));
  CHECK(group_of(*opened_with({3, 2}), "grid").shape == std::vector<int64_t>{3, 2});
  CHECK(group_of(*opened_with({2, 2}), "grid").shape == std::vector<int64_t>{6});
}

TEST_CASE("a matrix whose columns a folder could not put together again is refused there") {
  auto options = matrices_and_stamps();
  const auto refused = [&](TargetFormat format) {
    const auto problems = options.validate(format);
    return std::any_of(problems.begin(), problems.end(), [](const std::string& problem) {
      return problem.find("'grid'") != std::string::npos &&
             problem.find("NAME_0") != std::string::npos;
    });
  };
  CHECK_FALSE(refused(TargetFormat::folder));
  const auto numbered = options.features[1].columns;
  options.features[1].columns = {"a", "b", "c", "d", "e", "f"};
  CHECK(refused(TargetFormat::folder));
  CHECK_FALSE(refused(TargetFormat::lerobot));
  options.features[1].columns = numbered;
  std::swap(options.features[1].columns[0], options.features[1].columns[1]);
  CHECK(refused(TargetFormat::folder));  // it would come back in another order
  options.features[1].columns = numbered;
  for (const char* neighbour : {"grid_6", "grid"}) {  // would be taken for one more, or for all
    options.features[3] = {"stamp", {neighbour}, at::kLong};
    CHECK(refused(TargetFormat::folder));
  }
  options.features[3] = {.name = "stamp", .columns = {"stamp"}, .type = at::kLong, .shape = {1, 1}};
  CHECK(options.validate(TargetFormat::folder).empty());  // one number is one in any shape
}

TEST_CASE("a folder is not continued with matrices of another shape") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  TemporaryFolder folder;
  write_two_episodes(folder / "set", TargetFormat::folder);
  auto options = matrices_and_stamps();
  const auto opened = [&] { open_episode_writer(folder / "set", TargetFormat::folder, options); };
  options.features[1].shape = {3, 2};
  CHECK(fails_with(ErrorCategory::invalid_argument, opened, "shapes", "[2,3]", "[3,2]"));
  options.features[1].shape = options.features[2].shape = {};
  CHECK(fails_with(ErrorCategory::invalid_argument, opened, "shapes", "[2,3]"));
}

TEST_CASE("features of the formats keep the shape in which they were recorded") {
  const auto path = recordings() / "tworoom" / "lerobot_v30_rollover";
  const auto dataset = opened_or_skipped(path);
  if (!dataset) return;
  const auto features = io::read_json(path / "meta" / "info.json").at("features");
  std::size_t compared = 0, columns = 0;
  for (const auto& group : dataset->groups()) {
    CHECK(nlohmann::json(group.shape) == features.at(group.name).at("shape"));
    columns += group.columns.size();
    ++compared;
  }
  CHECK(compared > 5);
  CHECK(columns == dataset->columns().size());
}

}  // namespace foresight::data::feature_shapes_test
