// SPDX-License-Identifier: Apache-2.0
// The statistics that LeRobot stores with its recordings: read, checked, and compared with the
// rows.
#include "foresight/data/stored_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/inspection.hpp"
#include "killed_recorder.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::stored_statistics_test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kRollover = "lerobot_v30_rollover";  // v3.0: meta/stats.json
constexpr const char* kOlder = "lerobot_v21";              // meta/episodes_stats.jsonl

// A copy of a set, whose statistics are to be changed.
class Copy {
 public:
  explicit Copy(const char* set) {
    fs::copy(recordings() / "tworoom" / set, path(), fs::copy_options::recursive);
  }
  fs::path path() const { return folder_ / "set"; }
  fs::path stats() const { return path() / "meta" / "stats.json"; }
  Json read() const { return Json::parse(io::read_text(stats())); }
  void write(const Json& stats_json) const { io::write_text(stats(), stats_json.dump()); }
  std::shared_ptr<const Dataset> open() const { return open_dataset(path()); }

 private:
  TemporaryFolder folder_;
};

std::vector<std::string> said_of_statistics(const Dataset& data) {
  auto warnings = inspect(data, {.frames = 0}).warnings;
  std::erase_if(warnings, [](const std::string& one) {
    return one.find("not made from these files") == std::string::npos &&
           one.find("stored statistics") == std::string::npos;
  });
  return warnings;
}

TEST_CASE("LeRobot's stored statistics are read as they are, of every feature") {
  const auto data = opened_or_skipped(recordings() / "tworoom" / kRollover);
  if (!data) return;
  const auto file = recordings() / "tworoom" / kRollover / "meta" / "stats.json";
  const auto stored = data->stored_statistics();
  const auto written = Json::parse(io::read_text(file));
  const auto& action = stored.at("action");
  CHECK(action.file == file.string());
  CHECK(action.count == data->total_rows());
  CHECK(action.mean == written["action"]["mean"].get<std::vector<double>>());
  CHECK(action.std == written["action"]["std"].get<std::vector<double>>());
  CHECK(action.min == written["action"]["min"].get<std::vector<double>>());
  CHECK(stored.at("observation.state").max ==
        written["observation.state"]["max"].get<std::vector<double>>());
  CHECK(stored.at("next.done").max == std::vector<double>{1});   // stored as true
  CHECK(stored.at("observation.images.wide").mean.size() == 3);  // a camera's channels
  CHECK(stored.at("grid").mean.size() == 2);                     // of a matrix, the last size
  const auto found = inspect(*data);
  CHECK(found.stored.columns == std::vector<std::string>{"action_0", "action_1",
                                                         "observation.state_0",
                                                         "observation.state_1"});
  CHECK(found.stored.mean[0] == action.mean[0]);
  CHECK(found.stored.count[3] == data->total_rows());
}

TEST_CASE("statistics of LeRobot's episodes are put together where nothing else is there") {
  const auto data = opened_or_skipped(recordings() / "tworoom" / kOlder);
  if (!data) return;
  const auto stored = data->stored_statistics();
  const auto columns = data->action_columns();
  const auto own = column_statistics(*data, columns, LastRow::include);
  const auto& action = stored.at("action");
  CHECK(fs::path(action.file).filename() == "episodes_stats.jsonl");
  CHECK(action.count == data->total_rows());
  for (std::size_t i = 0; i < columns.size(); ++i) {
    CHECK(action.mean[i] == Approx(own.mean[i]).margin(1e-6));
    CHECK(action.std[i] == Approx(own.std[i]).epsilon(1e-6));
    CHECK(action.min[i] == own.min[i]);
    CHECK(action.max[i] == own.max[i]);
  }
  CHECK(stored.at("observation.image").mean.size() == 3);
}

TEST_CASE("statistics that LeRobot and foresight stored are those of the rows") {
  int compared = 0;
  for (const char* set :
       {"tworoom/lerobot_v30", "tworoom/lerobot_v30_rollover", "tworoom/lerobot_v30_converted",
        "tworoom/lerobot_v21", "pusht/lerobot_v30"}) {
    if (!fs::exists(recordings() / set)) continue;
    INFO(set);
    const auto data = opened_or_skipped(recordings() / set);
    if (!data) continue;
    CHECK(said_of_statistics(*data) == std::vector<std::string>{});
    CHECK(inspect(*data, {.frames = 0}).stored.columns.size() ==
          data->action_columns().size() + data->state_columns().size());
    ++compared;
  }
  if (compared > 0) CHECK(compared >= 2);
  if (!has_video_encoder() || writable_formats().size() < 2) return;
  const TemporaryFolder folder;
  convert_dataset(recordings() / "tworoom" / "native224", folder / "set", {});
  const auto own = open_dataset(folder / "set");
  CHECK(own->stored_statistics().size() >= 8);
  CHECK(said_of_statistics(*own) == std::vector<std::string>{});
  const auto plain = open_dataset(recordings() / "tworoom" / "native224");
  CHECK(plain->stored_statistics().empty());
  CHECK(inspect(*plain, {.frames = 0}).stored.columns.empty());
}

TEST_CASE("statistics of other rows are found, and sets without any are sound") {
  if (!opened_or_skipped(recordings() / "tworoom" / kRollover)) return;
  const Copy copy(kRollover);
  const auto written = copy.read();
  const auto says = [&](const char* feature, const char* name, double value,
                        const std::string& words) {
    auto changed = written;
    changed[feature][name][1] = value;
    copy.write(changed);
    const auto said = said_of_statistics(*copy.open());
    return said.size() == 1 && said[0].find(copy.stats().string() + " was not made") == 0 &&
           said[0].find(words) != std::string::npos;
  };
  const auto shifted = [&](const char* feature, const char* name, double by) {
    return written[feature][name][1].get<double>() + by;
  };
  CHECK(says("action", "mean", shifted("action", "mean", 1e-3), "the mean of 'action_1' is"));
  CHECK(says("action", "std", shifted("action", "std", 1e-3), "the std of 'action_1' is"));
  CHECK(says("observation.state", "min", 22.5, "the min of 'observation.state_1' is 22.5 there"));
  CHECK(says("observation.state", "max", 203.01, "the max of 'observation.state_1' is 203.01"));
  CHECK_FALSE(says("action", "mean", shifted("action", "mean", 1e-6), ""));
  auto fewer = written;
  fewer["action"]["count"] = {148};
  copy.write(fewer);
  CHECK_THAT(said_of_statistics(*copy.open()).at(0),
             Catch::Contains("'action_0' is of 148 rows there, of 149 here; 1 more column(s)"));
  fs::remove(copy.stats());
  CHECK(copy.open()->stored_statistics().empty());
  CHECK(said_of_statistics(*copy.open()).empty());
}

TEST_CASE("stored statistics count the rows that know a number") {
  if (writable_formats().size() < 2) return;
  const TemporaryFolder folder;
  RecordingOptions options{.cameras = {"front"}, .features = {{"action", {"push", "turn"}}}};
  options.storage = FrameStorage::pictures;
  {
    const auto writer = open_episode_writer(folder / "set", TargetFormat::lerobot, options);
    for (int64_t t = 0; t < 4; ++t)
      writer->append(
          {.frames = {{"front", at::full({8, 8, 3}, 20 * t, at::kByte)}},
           .values = {
               {"action", at::tensor({t == 1 ? std::nan("") : static_cast<double>(t), 0.5})}}});
    writer->finish_episode();
    writer->finish();
  }
  CHECK(open_dataset(folder / "set")->stored_statistics().at("action").known ==
        std::vector<double>{3, 4});
  const auto found = inspect(*open_dataset(folder / "set"));
  CHECK(found.stored.count == std::vector<int64_t>{3, 4});
  CHECK(found.stored.missing == std::vector<int64_t>{1, 0});
  CHECK(said_of_statistics(*open_dataset(folder / "set")) == std::vector<std::string>{});
  const auto file = folder / "set" / "meta" / "stats.json";
  auto stats = Json::parse(io::read_text(file));
  stats["action"]["known_count"][0] = 2;
  io::write_text(file, stats.dump());
  CHECK_THAT(said_of_statistics(*open_dataset(folder / "set")).at(0),
             Catch::Contains("'action_0' has a value in 2 rows there, in 3 here"));
}

TEST_CASE("stored statistics that contradict themselves are refused by file, feature and rule") {
  if (!opened_or_skipped(recordings() / "tworoom" / kRollover)) return;
  const Copy copy(kRollover);
  const auto written = copy.read();
  const auto refused = [&](const char* name, const Json& value, const std::string& rule) {
    auto changed = written;
    if (value.is_null())
      changed["action"].erase(name);
    else
      changed["action"][name] = value;
    copy.write(changed);
    const auto data = copy.open();  // rows and frames can be read
    const auto said = said_of_statistics(*data);
    CHECK(inspect(*data, {.frames = 0}).usable());
    const auto message = copy.stats().string() + ": 'action' " + rule;
    return said.size() == 1 && said[0].find("stored statistics cannot be read: ") == 0 &&
           said[0].find(message) != std::string::npos &&
           fails_with(ErrorCategory::bad_file, [&] { data->stored_statistics(); }, message);
  };
  CHECK(refused("mean", Json(), "lacks one of min, max, mean, std"));
  CHECK(refused("std", {0.5, -0.5}, "has a std below 0"));
  CHECK(refused("min", {0.5, 2.0}, "has a min above its max"));
  CHECK(refused("max", {1.0}, "max has 1 numbers, its mean 2"));
  CHECK(refused("mean", {0.5, nullptr}, "mean holds what is no finite number"));
  CHECK(refused("mean", {"a", "b"}, "mean holds what is no finite number"));
  CHECK(refused("q50", {0.5}, "q50 has 1 numbers"));
  CHECK(refused("count", {0}, "has a count that is none"));
  CHECK(refused("count", {149, 149}, "has a count that is none"));
  auto wide = written;
  for (const char* name : {"min", "max", "mean", "std"}) wide["action"][name] = {1, 1, 1};
  for (const char* name : {"q01", "q10", "q50", "q90", "q99"}) wide["action"].erase(name);
  copy.write(wide);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { copy.open()->stored_statistics(); },
      "'action' has 3 numbers, meta/info.json says 2"));
  io::write_text(copy.stats(), "[1, 2]");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { copy.open()->stored_statistics(); },
      copy.stats().string() + ": holds no statistics"));
  io::write_text(copy.stats(), R"({"action": {"mean": [NaN, 1]}})");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { copy.open()->stored_statistics(); }, copy.stats().string(),
      "JSON"));
}

TEST_CASE("stored statistics of an episode that contradict the others are refused by line") {
  if (!opened_or_skipped(recordings() / "tworoom" / kOlder)) return;
  const Copy copy(kOlder);
  const auto file = copy.path() / "meta" / "episodes_stats.jsonl";
  const std::string text = io::read_text(file);
  const std::string first = text.substr(0, text.find('\n') + 1);
  const auto refused = [&](const std::string& second, const std::string& rule) {
    io::write_text(file, first + second);
    return fails_with(
        ErrorCategory::bad_file, [&] { copy.open()->stored_statistics(); },
        file.string() + ":2: ", rule);
  };
  CHECK(refused(first, "episode_index 0 is there twice"));
  CHECK(refused("{}", "lacks one of episode_index, stats"));
  CHECK(refused(R"({"episode_index": 1, "stats": {"action": {"min": [0, 0], "max": [1, 1], )"
                R"("mean": [0, 0], "std": [1, 1]}}})",
                "'action' lacks a count"));
  // An episode less: the rows of the others are counted.
  io::write_text(file, text.substr(first.size()));
  CHECK_THAT(said_of_statistics(*copy.open()).at(0), Catch::Contains("rows there, of"));
}

}  // namespace
}  // namespace foresight::data::stored_statistics_test
