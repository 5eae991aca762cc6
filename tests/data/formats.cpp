// SPDX-License-Identifier: Apache-2.0
// Recordings in the formats of other projects, against what the loaders of those projects return
// for them (recordings/loader_goldens.json). Tests loop over all data sets of a format that are
// there: the small ones beside the tests always, more in $FORESIGHT_RECORDINGS.
#include <algorithm>
#include <fstream>
#include <map>

#include "error_message.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/data/windows.hpp"
#include "opened_recording.hpp"
#include "recorded_sets.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::formats_test {
namespace {

using Json = nlohmann::json;

std::vector<RecordedSet> lerobot_sets() { return recorded_sets("codebase_version"); }
std::vector<RecordedSet> swm_sets() { return recorded_sets("episode_offsets"); }

std::shared_ptr<const Dataset> opened(const std::string& name, const DatasetOptions& options = {}) {
  return opened_set(name, options);
}

void check_statistics(const Dataset& dataset, const Json& golden) {
  const auto cameras = dataset.cameras();
  int compared = 0;
  for (const auto& [feature, expected] : golden.at("stats").items()) {
    if (std::find(cameras.begin(), cameras.end(), feature) != cameras.end() ||
        is_known_omission(dataset, golden, feature))
      continue;
    INFO(feature);
    const auto columns = columns_of_feature(dataset, feature);
    const Statistics found =
        column_statistics(dataset, columns, LastRow::include, {}, Missing::row);
    REQUIRE(columns.size() == expected.at("mean").size());
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto near = [i, &expected = expected](const char* key) {
        return Approx(expected.at(key).at(i).get<double>()).epsilon(1e-6).margin(1e-9);
      };
      CHECK(found.mean[i] == near("mean"));
      CHECK(found.std[i] == near("std"));
      CHECK(found.min[i] == near("min"));
      CHECK(found.max[i] == near("max"));
      if (expected.contains("rows_with_nan_excluded"))
        CHECK(found.missing[i] == expected.at("rows_with_nan_excluded").get<int64_t>());
    }
    ++compared;
  }
  CHECK(compared >= 2);
}

void check_counts(const Dataset& dataset, const Json& golden) {
  CHECK(dataset.num_episodes() == golden.at("num_episodes").get<int64_t>());
  CHECK(dataset.total_rows() == golden.at("total_frames").get<int64_t>());
  std::vector<int64_t> lengths;
  for (int64_t e = 0; e < dataset.num_episodes(); ++e) lengths.push_back(dataset.length(e));
  CHECK(lengths == golden.at("episode_lengths").get<std::vector<int64_t>>());
  if (golden.contains("stats")) check_statistics(dataset, golden);
}

std::vector<double> times_of(const Json& window, const std::string& key) {
  const auto& deltas = window.at("delta_timestamps");
  if (deltas.is_null() || !deltas.contains(key)) return {0.0};
  return deltas.at(key).get<std::vector<double>>();
}

// is_pad lists the features that were asked for at several times, cameras among them.
template <class Rows>
void check_outside(const Json& window, const std::string& feature, const Rows& around) {
  const auto& asked = window.at("is_pad");
  const auto expected =
      asked.contains(feature) ? asked.at(feature).get<std::vector<int>>() : std::vector<int>{0};
  CHECK(std::vector<int>(around.outside.begin(), around.outside.end()) == expected);
}

void check_lerobot_values(const Dataset& dataset, const Json& window, int64_t episode,
                          int64_t row) {
  for (const auto& [feature, expected] : window.at("values").items()) {
    INFO(feature);
    const auto around = rows_around(dataset, episode, row, times_of(window, feature));
    if (expected.contains("text")) {
      CHECK(dataset.read_text(feature, episode, row, 1)[0] ==
            expected.at("text").get<std::string>());
      continue;
    }
    std::vector<Tensor> rows;
    for (const int64_t place : around.rows)
      rows.push_back(dataset.read_rows(columns_of_feature(dataset, feature), episode, place, 1));
    CHECK(same_values(at::cat(rows), golden_numbers(expected.at("data"))));
    check_outside(window, feature, around);
    auto shape = row_shape_of(dataset, feature);
    if (window.at("is_pad").contains(feature)) shape.insert(shape.begin(), std::ssize(rows));
    CHECK(shape == expected.at("shape").get<std::vector<int64_t>>());
  }
}

TEST_CASE("LeRobot data sets have the rows and statistics that LeRobot sees") {
  for (const auto& [name, golden] : lerobot_sets()) {
    INFO(name);
    const auto dataset = opened(name);
    if (!dataset) continue;
    CHECK(dataset->fps() == golden.at("fps").get<double>());
    CHECK(dataset->action_columns() == std::vector<std::string>{"action_0", "action_1"});
    CHECK(dataset->state_columns() == columns_of_feature(*dataset, "observation.state"));
    check_counts(*dataset, golden);
  }
}

TEST_CASE("samples around a row of a LeRobot data set are LeRobot's, of every camera") {
  int compared = 0;
  for (const auto& [name, golden] : lerobot_sets()) {
    const auto dataset = opened(name);
    if (!dataset) continue;
    std::map<std::string, std::shared_ptr<const Dataset>> cameras;
    for (const auto& camera : dataset->cameras())
      cameras[camera] = open_dataset(recordings() / name, {.camera = camera});
    for (const auto& window : golden.at("windows")) {
      const auto episode = window.at("episode_index").get<int64_t>();
      const auto row = window.at("frame_index").get<int64_t>();
      INFO(name << " episode " << episode << " row " << row << " set " << window.at("set"));
      check_lerobot_values(*dataset, window, episode, row);
      CHECK(dataset->read_text("task", episode, row, 1)[0] == window.at("task").get<std::string>());
      REQUIRE(window.at("frames").size() == cameras.size());
      for (const auto& [camera, expected] : window.at("frames").items()) {
        INFO(camera);
        const auto around = rows_around(*dataset, episode, row, times_of(window, camera));
        check_pictures(cameras.at(camera)->read_frames(episode, around.rows), expected);
        check_outside(window, camera, around);
      }
      ++compared;
    }
    CHECK(fails_with(
        ErrorCategory::invalid_argument,
        [&] { rows_around(*dataset, 0, 0, {0.5 / dataset->fps()}); }, "no multiple"));
  }
  if (compared > 0) CHECK(compared >= 10);
}

TEST_CASE("stable-worldmodel recordings have the rows and statistics that it sees") {
  for (const auto& [name, golden] : swm_sets()) {
    INFO(name);
    const auto dataset = opened(name);
    if (!dataset) continue;
    CHECK(dataset->action_columns() == std::vector<std::string>{"action_0", "action_1"});
    CHECK(dataset->last_action() == LastAction::artefact);
    check_counts(*dataset, golden);
    for (const auto& expected : golden.value("num_windows", Json::array())) {
      const WindowIndex windows(*dataset, {.frames = expected.at("num_steps").get<int64_t>(),
                                           .stride = expected.at("frameskip").get<int64_t>(),
                                           .span = WindowSpan::blocks});
      CHECK(windows.size() == expected.at("len").get<int64_t>());
    }
  }
}

TEST_CASE("windows of stable-worldmodel recordings hold its frames, values and dense actions") {
  int compared = 0;
  for (const auto& [name, golden] : swm_sets()) {
    const auto dataset = opened(name);
    if (!dataset) continue;
    for (const auto& window : golden.at("windows")) {
      const auto episode = window.at("episode").get<int64_t>();
      const auto start = window.at("start").get<int64_t>();
      const auto steps = window.at("num_steps").get<int64_t>();
      const auto stride = window.at("frameskip").get<int64_t>();
      INFO(name << " episode " << episode << " row " << start);
      const WindowIndex windows(*dataset,
                                {.frames = steps, .stride = stride, .span = WindowSpan::blocks});
      CHECK(windows[window.at("index").get<int64_t>()] == Window{episode, start});
      const auto rows = windows.frame_rows({episode, start});
      check_pictures(dataset->read_frames(episode, rows), window.at("pixels"));
      for (const auto& [feature, expected] : window.at("values").items()) {
        if (is_known_omission(*dataset, golden, feature)) continue;
        INFO(feature);
        check_type_and_shape(*dataset, feature, expected, steps, stride);
        Tensor values = dataset->read_rows(columns_of_feature(*dataset, feature), episode, start,
                                           steps * stride);
        if (feature != "action") values = values.view({steps, stride, -1}).select(1, 0);
        CHECK(same_values(values, golden_numbers(expected.at("data"))));
      }
      ++compared;
    }
  }
  CHECK(compared >= 10);
}

// load_chunk() of its loader: rows start..end-1, every frameskip-th but for actions.
TEST_CASE("pieces of stable-worldmodel recordings are those that it cuts") {
  int compared = 0;
  for (const auto& [name, golden] : swm_sets()) {
    if (!golden.contains("chunks")) continue;
    const auto dataset = opened(name);
    if (!dataset) continue;
    for (const auto& piece : golden.at("chunks")) {
      const auto episode = piece.at("episode").get<int64_t>();
      const auto start = piece.at("start").get<int64_t>();
      const auto rows = piece.at("end").get<int64_t>() - start;
      const auto stride = piece.at("frameskip").get<int64_t>();
      INFO(name << " episode " << episode << " row " << start);
      const auto values = [&, &dataset = dataset](const char* feature) {
        return dataset->read_rows(columns_of_feature(*dataset, feature), episode, start, rows);
      };
      const auto numbers = [&](const char* feature) {
        return golden_numbers(piece.at(feature).at("data"));
      };
      std::vector<int64_t> shown;
      for (int64_t row = 0; row < rows; row += stride) shown.push_back(start + row);
      check_pictures(dataset->read_frames(episode, shown), piece.at("pixels"));
      for (const auto* feature : {"action", "proprio"})
        check_type_and_shape(*dataset, feature, piece.at(feature), std::ssize(shown), stride);
      CHECK(same_values(values("action"), numbers("action")));
      CHECK(same_values(values("proprio").slice(0, 0, rows, stride), numbers("proprio")));
      ++compared;
    }
  }
  CHECK(compared >= 2);
}

TEST_CASE("training sees stable-worldmodel's pixels, not the goal that was recorded beside them") {
  const auto file =
      std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings/layouts/swm_goal/worlds.h5";
  if (const auto dataset = opened_or_skipped(file)) {
    CHECK(dataset->cameras() ==
          std::vector<std::string>{"pixels", "pixels.side", "a_view", "goal"});
    CHECK(dataset->camera() == "pixels");
    CHECK(dataset->read_frames(1, {1}).max().item<int64_t>() == 57);
    const auto goal = open_dataset(file, {.camera = "goal"});
    CHECK(goal->read_frames(1, {1}).min().item<int64_t>() == 200);
  }
  const TemporaryFolder folder;
  const auto copy = folder / "set";
  const auto recursive = std::filesystem::copy_options::recursive;
  std::filesystem::copy(recordings() / "tworoom" / "swm" / "folder", copy, recursive);
  std::filesystem::copy(copy / "pixels", copy / "goal", recursive);
  const auto dataset = open_dataset(copy);
  CHECK(dataset->cameras() == std::vector<std::string>{"pixels", "goal"});
  CHECK(dataset->camera() == "pixels");
}

TEST_CASE("missing actions are left out of statistics and become 0 after normalising") {
  const auto dataset = opened("tworoom/swm/tworoom_nan_gzip.h5");
  if (!dataset) return;
  const Statistics all = column_statistics(*dataset, dataset->action_columns(), LastRow::include);
  CHECK(all.missing[0] == dataset->num_episodes());  // one a reset
  const ActionSpace space = action_space(*dataset, 1);
  const Tensor raw = dataset->read_rows(dataset->action_columns(), 0, dataset->length(0) - 1, 1);
  REQUIRE(at::isnan(raw).all().item<bool>());
  CHECK(space.normalise(raw.unsqueeze(1)).abs().max().item<double>() == 0);
}

// A copy of a small LeRobot set, to be damaged.
class DamagedCopy {
 public:
  DamagedCopy() {
    std::filesystem::copy(recordings() / "tworoom" / "lerobot_v21", folder_ / "set",
                          std::filesystem::copy_options::recursive);
  }
  std::filesystem::path operator/(const char* name) const { return folder_ / "set" / name; }
  void replace(const char* name, const std::string& from, const std::string& to) const {
    std::string text = io::read_text(*this / name);
    REQUIRE(text.find(from) != std::string::npos);
    text.replace(text.find(from), from.size(), to);
    std::ofstream(*this / name, std::ios::binary) << text;
  }
  void cut(const char* name) const {
    std::filesystem::resize_file(*this / name, std::filesystem::file_size(*this / name) / 2);
  }
  template <class... Words>
  bool refused(ErrorCategory category, const Words&... words) const {
    return fails_with(
        category, [&] { open_dataset(folder_ / "set")->read_frames(1, {3}); }, words...);
  }

 private:
  TemporaryFolder folder_;
};

TEST_CASE("a damaged LeRobot data set is an error that names the file") {
  if (!opened("tworoom/lerobot_v21")) return;
  const auto bad = ErrorCategory::bad_file;
  {
    const DamagedCopy copy;
    copy.replace("meta/episodes.jsonl", "\"length\": 7", "\"length\": 8");
    CHECK(copy.refused(bad, "episode_000001.parquet", "7 rows", "8"));
  }
  {
    const DamagedCopy copy;
    copy.cut("data/chunk-000/episode_000002.parquet");
    CHECK(copy.refused(bad, "episode_000002.parquet"));
  }
  {  // the rows of another episode
    const DamagedCopy copy;
    std::filesystem::copy_file(copy / "data/chunk-000/episode_000003.parquet",
                               copy / "data/chunk-000/episode_000002.parquet",
                               std::filesystem::copy_options::overwrite_existing);
    CHECK(copy.refused(bad, "episode_000002.parquet"));
  }
  {
    const DamagedCopy copy;
    std::filesystem::remove(copy / "videos/chunk-000/observation.image/episode_000004.mp4");
    CHECK(copy.refused(ErrorCategory::not_found, "episode_000004.mp4"));
  }
  {
    const DamagedCopy copy;
    copy.replace("meta/episodes.jsonl", "\"episode_index\": 5,", "\"episode_index\": 99,");
    CHECK(copy.refused(bad, "after 5 episode"));
  }
  for (const std::string length : {"NaN", "7.5", "-Infinity", "true", "9223372036854775808"}) {
    const DamagedCopy copy;
    copy.replace("meta/episodes.jsonl", "\"length\": 7", "\"length\": " + length);
    CHECK(copy.refused(bad, "episodes.jsonl: key 'length'", "is no whole number"));
  }
  {
    const DamagedCopy copy;
    copy.replace("meta/tasks.jsonl", "\"task_index\": 1", "\"task_index\": NaN");
    CHECK(copy.refused(bad, "tasks.jsonl: key 'task_index' = nan"));
    copy.replace("meta/tasks.jsonl", "NaN", "1.0");
    CHECK(open_dataset(copy / ".")->num_episodes() > 5);
  }
  {
    const DamagedCopy copy;
    copy.replace("meta/info.json", "episode_{episode_index:06d}.mp4", "episode_{number:06d}.mp4");
    CHECK(copy.refused(bad, "info.json", "number"));
  }
  {
    const DamagedCopy copy;
    copy.cut("videos/chunk-000/observation.image/episode_000001.mp4");
    CHECK(copy.refused(bad, "episode_000001.mp4"));
  }
}

TEST_CASE("HDF5 arrays of a format that this HDF5 does not know say what makes them readable") {
  if (!opened("tworoom/swm/tworoom_nan_gzip.h5")) return;
  const TemporaryFolder folder;
  const auto newer = [&](const std::string& layout) {
    auto bytes = io::read_text(std::filesystem::path(FORESIGHT_TEST_DATA) /
                               "recordings/tworoom/swm/tworoom_nan_gzip.h5");
    const auto place = bytes.find(layout);
    REQUIRE(place != std::string::npos);
    bytes[place] = 100;  // the version of the layout message, 3
    io::write_text(folder / "newer.h5", bytes);
    return folder / "newer.h5";
  };
  // Layouts in chunks of [1, 64, 64, 3], of the pictures; and, of ep_len, at 3472 in the file.
  const auto pictures = newer("\x03\x02\x05");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(pictures); }, pictures.string(), "pixels",
      "`h5repack --high=2 OLD NEW`"));
  const auto lengths = newer("\x03\x01\x90\x0d");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(lengths); }, lengths.string(), "ep_len",
      "`h5repack --high=2 OLD NEW`"));
}

TEST_CASE("columns that cannot be read say so, and unknown cameras and columns are named") {
  const auto dataset = opened("tworoom/lerobot_v30_rollover");
  if (!dataset) return;
  CHECK(dataset->cameras() == std::vector<std::string>{"observation.image",
                                                       "observation.images.wide",
                                                       "observation.thumb"});
  CHECK(fails_with(
      ErrorCategory::not_found,
      [] { open_dataset(recordings() / "tworoom/lerobot_v30_rollover", {.camera = "wrist"}); },
      "wrist", "observation.images.wide"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { dataset->read_rows({"action_2"}, 0, 0, 1); }, "action_2",
      "did you mean"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { dataset->read_text("words", 0, 0, 1); }, "words", "task"));
  const auto small = opened("tworoom/lerobot_v30_rollover", {.video = {.height = 32, .width = 48}});
  REQUIRE(small);
  CHECK(small->image_size() == ImageSize{32, 48});
}

}  // namespace
}  // namespace foresight::data::formats_test
