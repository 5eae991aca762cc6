// SPDX-License-Identifier: Apache-2.0
// What LeRobot's info.json tells of numbers and of the robot: converted, and gone on with.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/io/json_file.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::recorded_names_test {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

Names names_of(const Dataset& dataset, const std::string& feature) {
  for (const auto& group : dataset.groups())
    if (group.name == feature) return group.names;
  FAIL("no feature " << feature);
  return {};
}

RecordingOptions pushing(Names names = {}) {
  RecordingOptions options;
  options.cameras = {"front"};
  options.storage = FrameStorage::pictures;
  options.features = {{.name = "action", .columns = {"a", "b"}, .names = std::move(names)}};
  return options;
}

void add_episode(const fs::path& folder, TargetFormat format, const RecordingOptions& options) {
  const auto writer = open_episode_writer(folder, format, options);
  for (int64_t t = 0; t < 3; ++t)
    writer->append({.frames = {{"front", at::full({16, 16, 3}, 20 * t, at::kByte)}},
                    .values = {{"action", at::full({2}, t)}}});
  writer->finish_episode();
  writer->finish();
}

}  // namespace

TEST_CASE("a conversion keeps what LeRobot calls the numbers of a feature, and its robot") {
  const auto set = recordings() / "tworoom" / "lerobot_v21";
  const auto source = opened_or_skipped(set);
  if (!source) return;
  CHECK(names_of(*source, "action") == Names{"dx", "dy"});
  CHECK(names_of(*source, "next.reward").empty());
  CHECK(source->notes().at("robot_type") == "swm_tworoom");
  const TemporaryFolder folder;
  auto from = set;  // to LeRobot, to a folder, and back
  for (const auto& [name, format] :
       {std::pair("first", TargetFormat::lerobot), std::pair("tables", TargetFormat::folder),
        std::pair("again", TargetFormat::lerobot)}) {
    INFO(name);
    convert_dataset(from, folder / name, {.format = format, .episodes = "0-1"});
    from = folder / name;
    const auto copy = open_dataset(from);
    CHECK(names_of(*copy, "action") == Names{"dx", "dy"});
    CHECK(copy->notes().at("robot_type") == "swm_tworoom");
    if (format == TargetFormat::folder) continue;
    CHECK(names_of(*copy, "observation.state") == Names{"x", "y"});
    const auto info = io::read_json(from / "meta" / "info.json");
    CHECK(info.at("robot_type") == "swm_tworoom");
    CHECK(info.at("features").at("action").at("names") == Names{"dx", "dy"});
    CHECK_FALSE(io::read_json(from / "meta" / "foresight.json").contains("robot_type"));
  }
  convert_dataset(set, folder / "one", {.reading = {.actions = {"action_1"}}, .episodes = "0-1"});
  const auto info = io::read_json(folder / "one" / "meta" / "info.json");
  CHECK(info.at("features").at("action").at("names") == Names{"dy"});
  CHECK(info.at("features").at("action_0").at("names") == Names{"dx"});
}

TEST_CASE("a LeRobot data set that is gone on with keeps its robot, names and foreign keys") {
  const TemporaryFolder folder;
  const auto set = folder / "set", file = set / "meta" / "info.json";
  try {
    add_episode(set, TargetFormat::lerobot, pushing());
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
  auto info = io::read_json(file);
  CHECK(info.at("features").at("action").at("names") == Names{"a", "b"});
  info["robot_type"] = "arm";
  info["lab"] = {{"room", 3}};
  info["features"]["action"]["names"] = {{"motors", {"left", "right"}}};  // as of older sets
  info["features"]["action"]["unit"] = "rad";
  io::write_json(file, info);
  CHECK(names_of(*open_dataset(set), "action") == Names{"left", "right"});
  add_episode(set, TargetFormat::lerobot, pushing());
  auto expected = info;
  expected["total_episodes"] = 2;
  expected["total_frames"] = 6;
  expected["splits"]["train"] = "0:2";
  CHECK(io::read_json(file) == expected);
  auto other = pushing();
  other.robot_type = "another arm";
  add_episode(set, TargetFormat::lerobot, other);
  CHECK(io::read_json(file).at("robot_type") == "another arm");
}

TEST_CASE("a folder keeps what its numbers are, by column") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto set = folder / "set", file = set / "dataset.json";
  auto options = pushing({"left", "right"});
  options.storage = FrameStorage::video;
  options.robot_type = "arm";
  options.features.front().columns = {"action_0", "action_1"};
  add_episode(set, TargetFormat::folder, options);
  options.features.front().names.clear();
  options.robot_type = "unknown";
  add_episode(set, TargetFormat::folder, options);
  const auto data = open_dataset(set);
  CHECK(data->num_episodes() == 2);
  CHECK(names_of(*data, "action") == Names{"left", "right"});
  CHECK(data->notes().at("robot_type") == "arm");
  auto settings = io::read_json(file);
  CHECK(settings.at("names") == nlohmann::json{{"action_0", "left"}, {"action_1", "right"}});
  settings["names"]["action_0"] = 7;
  io::write_json(file, settings);
  CHECK(names_of(*open_dataset(set), "action") == Names{"action_0", "right"});
  auto one = pushing({"one"});
  one.storage = FrameStorage::video;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { add_episode(folder / "other", TargetFormat::folder, one); },
      "RecordingOptions.names = 1", "'action'", "columns, 2"));
}

}  // namespace foresight::data::recorded_names_test
