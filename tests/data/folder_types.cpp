// SPDX-License-Identifier: Apache-2.0
// Types of numbers in plain folders: what dataset.json tells of them, and its way through others.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "error_message.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/io/json_file.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::folder_types_test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Whose values alone would tell float32 of every column.
RecordingOptions four_types() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.features = {{"action", {"push"}},
                      {"half", {"half_0", "half_1"}, at::kDouble},
                      {"step", {"step"}, at::kLong},
                      {"done", {"done"}, at::kBool}};
  return options;
}

void record(const fs::path& path, TargetFormat format, const RecordingOptions& options) {
  const auto writer = open_episode_writer(path, format, options);
  for (int64_t t = 0; t < 3; ++t)
    writer->append({.frames = {{"front", at::full({32, 32, 3}, 20 * t, at::kByte)}},
                    .values = {{"action", at::tensor({0.5 * static_cast<double>(t)})},
                               {"half", at::tensor({0.5, 1.5}, at::kDouble)},
                               {"step", at::tensor({7 + t})},
                               {"done", at::full({1}, t == 2, at::kBool)}}});
  writer->finish_episode();
  writer->finish();
}

// Of the last number of a feature.
at::ScalarType type_of(const Dataset& data, const std::string& feature) {
  for (const auto& group : data.groups())
    if (group.name == feature) return data.read_stored(group.columns, 0, 2, 1).scalar_type();
  FAIL("no group " << feature);
  return at::kByte;
}

void check_types(const fs::path& path) {
  const auto data = open_dataset(path);
  CHECK(data->column_type(data->action_columns().front()) == at::kFloat);
  CHECK(type_of(*data, "half") == at::kDouble);
  CHECK(type_of(*data, "step") == at::kLong);
  CHECK(type_of(*data, "done") == at::kBool);
  CHECK(data->read_stored({"step"}, 0, 2, 1).item<int64_t>() == 9);
  CHECK(data->read_stored({"done"}, 0, 2, 1).item<bool>());
  CHECK_FALSE(data->read_stored({"done"}, 0, 1, 1).item<bool>());
}

TEST_CASE("numbers keep their types in a folder, from there to LeRobot and back") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const auto formats = writable_formats();
  for (const auto first : formats)
    for (const auto second : formats) {
      INFO(enum_name(first) << " to " << enum_name(second) << " and back");
      const TemporaryFolder folder;
      record(folder / "set", first, four_types());
      check_types(folder / "set");
      convert_dataset(folder / "set", folder / "other", {.format = second});
      check_types(folder / "other");
      convert_dataset(folder / "other", folder / "again", {.format = first});
      check_types(folder / "again");
    }
}

TEST_CASE("a folder goes on with its types, and one that tells none without") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "set", settings = path / "dataset.json";
  const auto options = four_types();
  record(path, TargetFormat::folder, options);
  const Json types = {
      {"done", "bool"}, {"half_0", "float64"}, {"half_1", "float64"}, {"step", "int64"}};
  auto told = io::read_json(settings);
  CHECK(told.at("types") == types);
  record(path, TargetFormat::folder, options);
  CHECK(io::read_json(settings).at("types") == types);
  check_types(path);
  auto others = options;
  others.features[2].type = at::kDouble;
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { open_episode_writer(path, TargetFormat::folder, others); },
      "dataset.json: types = ", R"("step":"int64")", R"("step":"float64")"));
  told = io::read_json(settings);
  told.erase("types");
  io::write_json(settings, told);
  CHECK(open_dataset(path)->column_type("step") == at::kFloat);
  record(path, TargetFormat::folder, others);
  CHECK_FALSE(io::read_json(settings).contains("types"));
  CHECK(open_dataset(path)->num_episodes() == 3);
}

TEST_CASE("a folder of float32 alone tells so, and goes on with nothing else") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "set", settings = path / "dataset.json";
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.features = {{"action", {"push"}}};
  const auto frame = at::full({32, 32, 3}, 40, at::kByte);
  for (const int64_t episodes : {1, 2}) {
    const auto writer = open_episode_writer(path, TargetFormat::folder, options);
    writer->append({.frames = {{"front", frame}}, .values = {{"action", at::tensor({0.5})}}});
    writer->finish_episode();
    writer->finish();
    CHECK(io::read_json(settings).at("types") == Json::object());
    CHECK(open_dataset(path)->num_episodes() == episodes);
  }
  const std::map<std::string, at::ScalarType> types = {{"float64", at::kDouble},
                                                       {"int64", at::kLong}};
  for (const auto& [name, type] : types) {
    auto others = options;
    others.features[0].type = type;
    CHECK(fails_with(
        ErrorCategory::invalid_argument,
        [&] { open_episode_writer(path, TargetFormat::folder, others); },
        "dataset.json: types = {}, but", R"({"push":")" + name + R"("})"));
  }
  const FolderWriterOptions plain{
      .video = {.fps = 5}, .actions = {"push"}, .last_action = LastAction::applied};
  FolderWriter writer(path, plain);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { writer.append(frame, at::full({1}, 0.5, at::kDouble)); },
      "'action' is recorded as float32", "float64"));
  writer.append(frame, at::full({1}, 0.5, at::kFloat));
  CHECK(writer.finish_episode() == 2);
  CHECK(open_dataset(path)->column_type("push") == at::kFloat);
}

TEST_CASE("types that dataset.json tells are checked against the numbers") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "set", settings = path / "dataset.json";
  record(path, TargetFormat::folder, four_types());
  const auto refused = [&](const char* types, const std::string& words) {
    auto told = io::read_json(settings);
    told["types"] = Json::parse(types);
    io::write_json(settings, told);
    return fails_with(
        ErrorCategory::bad_file, [&] { open_dataset(path); }, settings.string(), words);
  };
  CHECK(refused("[]", "types is not a JSON object"));
  CHECK(refused(R"({"step": "int8"})",
                R"(types: step = "int8" must be one of float32, float64, int64, bool)"));
  CHECK(refused(R"({"step": 8})", "types: step = 8 must be one of"));
  CHECK(refused(R"({"stop": "int64"})", "types: stop = int64 is of no column of numbers"));
  CHECK(refused(R"({"half_0": "int64"})", "episode_0000.csv: row 0 of column 'half_0' holds 0.5"));
  CHECK(refused(R"({"step": "bool"})", "episode_0000.csv: row 0 of column 'step' holds 7"));
  CHECK_FALSE(refused(R"({"step": "float64", "done": "int64"})", ""));
  CHECK(open_dataset(path)->column_type("step") == at::kDouble);
  CHECK(open_dataset(path)->column_type("done") == at::kLong);
}

}  // namespace
}  // namespace foresight::data::folder_types_test
