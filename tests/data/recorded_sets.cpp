// SPDX-License-Identifier: Apache-2.0
// What recordings/loader_goldens.json tells of whole sets, beside the rows and windows that
// formats.cpp, folder_dataset.cpp and windows.cpp compare: the columns, LeRobot's features, where
// its rows and films lie, its choice of episodes, and statistics of all pixels.
#include "recorded_sets.hpp"

#include <fmt/format.h>

#include <map>
#include <set>

#include "foresight/data/windows.hpp"

namespace foresight::data::recorded_sets_test {
namespace {

using Json = nlohmann::json;

TEST_CASE("all sets that the reference loaders were run on are at hand") {
  const auto goldens = loader_goldens();
  std::string missing;
  const auto look_for = [&](const std::string& name) {
    if (!std::filesystem::exists(recordings() / name)) missing += " " + name;
  };
  for (const auto& [name, golden] : goldens.at("datasets").items()) look_for(name);
  for (const auto& name : goldens.value("elsewhere", Json::array()))
    look_for(name.get<std::string>());
  if (!missing.empty())
    FORESIGHT_SKIP("compared only where FORESIGHT_RECORDINGS names a folder that has them:" +
                   missing);
}

TEST_CASE("features of LeRobot data have the types and shapes that LeRobot tells") {
  for (const auto& [name, golden] : recorded_sets("codebase_version")) {
    INFO(name);
    const auto dataset = opened_set(name);
    if (!dataset) continue;
    std::map<std::string, ColumnGroup> groups;
    for (const auto& group : dataset->groups()) groups[group.name] = group;
    std::set<std::string> cameras, texts = {"task"};  // that one from meta/tasks
    for (const auto& [feature, told] : golden.at("features").items()) {
      INFO(feature);
      const auto dtype = told.at("dtype").get<std::string>();
      const auto shape = told.at("shape").get<std::vector<int64_t>>();
      if (dtype == "video" || dtype == "image") {
        cameras.insert(feature);
        const auto camera = open_dataset(recordings() / name, {.camera = feature});
        CHECK(camera->image_size() == ImageSize{shape.at(0), shape.at(1)});
      } else if (dtype == "string") {
        texts.insert(feature);
      } else {
        REQUIRE(groups.contains(feature));
        CHECK(groups.at(feature).shape == shape);
        for (const auto& column : groups.at(feature).columns)
          CHECK(dataset->column_type(column) == type_named(dtype));
        groups.erase(feature);
      }
    }
    CHECK(groups.empty());  // no others
    const auto found = dataset->cameras(), words = dataset->text_columns();
    CHECK(std::set<std::string>(found.begin(), found.end()) == cameras);
    CHECK(std::set<std::string>(words.begin(), words.end()) == texts);
  }
}

TEST_CASE("stable-worldmodel recordings have its columns, no others, and episodes in its places") {
  for (const auto& [name, golden] : recorded_sets("episode_offsets")) {
    INFO(name);
    const auto dataset = opened_set(name);
    if (!dataset) continue;
    std::set<std::string> expected, found;
    for (const auto& column : golden.at("columns").get<std::vector<std::string>>())
      if (!is_known_omission(*dataset, golden, column)) expected.insert(column);
    for (const auto& group : dataset->groups()) found.insert(group.name);
    for (const auto& names : {dataset->cameras(), dataset->text_columns()})
      found.insert(names.begin(), names.end());
    CHECK(found == expected);
    const WindowIndex rows(*dataset, {.frames = 1, .stride = 1});
    const auto offsets = golden.at("episode_offsets").get<std::vector<int64_t>>();
    REQUIRE(std::ssize(offsets) == dataset->num_episodes());
    for (int64_t e = 0; e < dataset->num_episodes(); ++e)
      CHECK(rows[offsets[static_cast<std::size_t>(e)]] == Window{e, 0});
  }
}

// Which Parquet file holds an episode has no counterpart in Dataset: rows of another would have
// another `index`.
TEST_CASE("episodes of LeRobot data are the rows that LeRobot's index of them tells") {
  for (const auto& [name, golden] : recorded_sets("data_index")) {
    INFO(name);
    const auto dataset = opened_set(name);
    if (!dataset) continue;
    const auto& index = golden.at("data_index");  // [chunk, file, from, to]
    REQUIRE(std::ssize(index) == dataset->num_episodes());
    for (int64_t e = 0; e < dataset->num_episodes(); ++e) {
      INFO("episode " << e);
      const auto& told = index.at(static_cast<std::size_t>(e));
      const auto from = told.at(2).get<int64_t>(), to = told.at(3).get<int64_t>();
      CHECK(at::equal(dataset->read_all_rows({"index"}, e).flatten(),
                      at::arange(from, to, at::kDouble)));
    }
  }
}

// The place of a film has none either: frames are compared with those in the film that is told.
TEST_CASE("frames of LeRobot data lie in the films, and at the times, that its index tells") {
  for (const auto& [name, golden] : recorded_sets("video_index"))
    for (const auto& [camera, index] : golden.at("video_index").items()) {
      INFO(name << " " << camera);
      if (!opened_set(name, {.camera = camera})) continue;
      const auto dataset = open_dataset(recordings() / name, {.camera = camera});
      std::map<std::string, VideoReader> films;
      REQUIRE(std::ssize(index) == dataset->num_episodes());
      for (int64_t e = 0; e < dataset->num_episodes(); ++e) {
        INFO("episode " << e);
        const auto& told = index.at(static_cast<std::size_t>(e));  // [chunk, file, from, to], s
        const auto file =
            fmt::format("chunk-{:03}/file-{:03}.mp4", told.at(0).get<int>(), told.at(1).get<int>());
        const auto path = (recordings() / name / "videos" / camera / file).string();
        auto& film = films.try_emplace(path, path).first->second;
        const auto from = told.at(2).get<double>();
        const int64_t length = dataset->length(e);
        CHECK((told.at(3).get<double>() - from) * dataset->fps() ==
              Approx(static_cast<double>(length)));
        for (const int64_t row : std::set<int64_t>{0, length / 2, length - 1}) {
          const double time = from + static_cast<double>(row) / dataset->fps();
          CHECK(at::equal(dataset->read_frames(e, {row})[0], film.frame_at(time, 1e-4)));
        }
      }
    }
}

TEST_CASE("chosen episodes of LeRobot data are numbered, and end, as LeRobot's own choice") {
  for (const auto& [name, golden] : recorded_sets("episode_subset")) {
    const auto dataset = opened_set(name);
    if (!dataset) continue;
    const auto& subset = golden.at("episode_subset");
    const WindowIndex rows(*dataset, {.frames = 1, .stride = 1},
                           subset.at("episodes").get<std::vector<int64_t>>());
    CHECK(rows.size() == subset.at("len").get<int64_t>());
    for (const auto& item : subset.at("items")) {
      const auto episode = item.at("episode_index").get<int64_t>();
      const auto row = item.at("frame_index").get<int64_t>();
      INFO(name << " episode " << episode << " row " << row);
      CHECK(rows[item.at("relative_index").get<int64_t>()] == Window{episode, row});
      CHECK(dataset->read_rows({"index"}, episode, row, 1).item<double>() ==
            item.at("index").get<double>());
      const double step = 1 / dataset->fps();
      const auto around = rows_around(*dataset, episode, row, {-step, 0, step});
      std::vector<Tensor> actions;
      for (std::size_t i = 0; i < around.rows.size(); ++i) {
        actions.push_back(
            dataset->read_rows(dataset->action_columns(), episode, around.rows[i], 1));
        CHECK(around.outside[i] == (item.at("action_is_pad").at(i) == 1));
      }
      CHECK(same_values(at::cat(actions), golden_numbers(item.at("action"))));
      if (!exact_pictures()) continue;
      for (const auto& [camera, hash] : item.at("frame_sha256").items()) {
        const auto seen = open_dataset(recordings() / name, {.camera = camera});
        CHECK(picture_hash(seen->read_frames(episode, {row})[0]) == hash.get<std::string>());
      }
    }
  }
}

// Of all frames, or of every fifth.
void check_pixels(const Dataset& dataset, const Json& expected, double tolerance) {
  const auto which = expected.value("frames", "all");
  const bool all = which == "all";
  REQUIRE((all || which == "every 5th global index"));
  Tensor sum = at::zeros({3}, at::kDouble), squares = at::zeros({3}, at::kDouble);
  Tensor least = at::full({3}, 255, at::kDouble), most = at::zeros({3}, at::kDouble);
  int64_t pixels = 0, before = 0;
  for (int64_t e = 0; e < dataset.num_episodes(); ++e) {
    std::vector<int64_t> rows;
    for (int64_t t = 0; t < dataset.length(e); ++t)
      if (all || (before + t) % 5 == 0) rows.push_back(t);
    before += dataset.length(e);
    if (rows.empty()) continue;
    const Tensor values = dataset.read_frames(e, rows).view({-1, 3}).to(at::kDouble);
    sum += values.sum(0);
    squares += values.square().sum(0);
    least = at::minimum(least, values.amin(0));
    most = at::maximum(most, values.amax(0));
    pixels += values.size(0);
  }
  const Tensor mean = sum / pixels, std = (squares / pixels - mean.square()).sqrt();
  const auto off = [&](const Tensor& ours, const char* key) {
    return (ours - golden_numbers(expected.at(key))).abs().max().item<double>();
  };
  CHECK(off(mean, "mean") <= tolerance);
  CHECK(off(std, "std") <= tolerance);
  const double levels = exact_pictures() ? 0 : 4;
  CHECK(off(least, "min") <= levels);
  CHECK(off(most, "max") <= levels);
}

TEST_CASE("pixels have the statistics of the references, over all frames of a set") {
  const double tolerance = loader_goldens().at("tolerance").at("pixel_stats");
  int compared = 0;
  for (const auto& [name, golden] : recorded_sets("stats")) {
    const auto dataset = opened_set(name);
    if (!dataset) continue;
    for (const auto& camera : dataset->cameras()) {
      INFO(name << " " << camera);
      const auto& expected = golden.at("stats").at(camera);
      check_pixels(*open_dataset(recordings() / name, {.camera = camera}), expected, tolerance);
      ++compared;
    }
  }
  CHECK(compared >= 4);
}

}  // namespace
}  // namespace foresight::data::recorded_sets_test
