// SPDX-License-Identifier: Apache-2.0
// Statistics of numbers that not every row knows (NaN), as they are written for LeRobot: those of
// the known values, however these lie in episodes and sessions.
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../../src/data/tables/parquet_file.hpp"
#include "captured_log.hpp"
#include "continued_lerobot.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/inspection.hpp"
#include "foresight/io/json_file.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::known_statistics_test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const double kNone = std::nan("");

// Of one column: what its known values give.
struct Known {
  double min = 0, max = 0, mean = 0, std = 0;
  int64_t count = 0;
};

Known known_in(const Tensor& column) {
  std::vector<double> values;
  for (int64_t t = 0; t < column.size(0); ++t)
    if (const auto value = column[t].item<double>(); !std::isnan(value)) values.push_back(value);
  if (values.empty()) return {};
  Known known{.min = values.front(), .max = values.front(), .count = std::ssize(values)};
  const auto count = static_cast<double>(known.count);
  for (const double value : values) {
    known.min = std::min(known.min, value);
    known.max = std::max(known.max, value);
    known.mean += value / count;
  }
  for (const double value : values) known.std += std::pow(value - known.mean, 2) / count;
  known.std = std::sqrt(known.std);
  return known;
}

void check_statistics(const Json& stats, const Tensor& rows) {
  for (int64_t c = 0; c < rows.size(1); ++c) {
    INFO("column " << c << " of " << stats.dump());
    const auto known = known_in(rows.select(1, c));
    const auto place = static_cast<std::size_t>(c);
    CHECK(stats.at("min").at(place) == known.min);
    CHECK(stats.at("max").at(place) == known.max);
    CHECK(stats.at("mean").at(place).get<double>() == Approx(known.mean).margin(1e-12));
    CHECK(stats.at("std").at(place).get<double>() == Approx(known.std).margin(1e-12));
    if (stats.contains("known_count")) CHECK(stats.at("known_count").at(place) == known.count);
  }
  CHECK(stats.at("count") == Json::array({rows.size(0)}));  // one number, as LeRobot demands
  CHECK(stats.contains("known_count") == at::isnan(rows).any().item<bool>());
}

RecordingOptions rows_of_three() {
  RecordingOptions options;
  options.video.fps = 5;
  options.cameras = {"front"};
  options.storage = FrameStorage::pictures;
  options.features = {{"action", {"a", "b", "c"}, at::kDouble}, {"speed", {"speed"}, at::kDouble}};
  return options;
}

void record(const fs::path& set, const std::vector<Tensor>& episodes) {
  const auto writer = open_episode_writer(set, TargetFormat::lerobot, rows_of_three());
  for (const auto& rows : episodes) {
    for (int64_t t = 0; t < rows.size(0); ++t)
      writer->append({.frames = {{"front", at::full({8, 8, 3}, 20 * t, at::kByte)}},
                      .values = {{"action", rows[t]}, {"speed", rows[t].narrow(0, 1, 1).abs()}}});
    writer->finish_episode("push");
  }
  writer->finish();
}

Tensor table(const std::vector<std::vector<double>>& rows) {
  std::vector<Tensor> all;
  for (const auto& row : rows) all.push_back(at::tensor(row, at::kDouble));
  return at::stack(all);
}

TEST_CASE("statistics of numbers that some rows do not know are those of the rows that do") {
  if (writable_formats().size() < 2) FORESIGHT_SKIP("this build has no Parquet");
  // `a` is known in part, in an episode not at all, `b` everywhere, `c` nowhere in the first two.
  const std::vector<Tensor> first = {
      table({{5, 1, kNone}, {kNone, 2, kNone}, {7, 3, kNone}, {kNone, -4, kNone}}),
      table({{kNone, 5, kNone}, {kNone, 6, kNone}})};
  const std::vector<Tensor> second = {table({{kNone, 7, 3}, {9, 8, 4}, {12, 9, kNone}})};
  const TemporaryFolder folder;
  const auto set = folder / "set";
  const auto file = set / "meta" / "stats.json";
  record(set, first);
  auto rows = at::cat(first);
  check_statistics(io::read_json(file).at("action"), rows);
  CHECK(io::read_json(file)["action"]["known_count"] == Json{2, 6, 0});
  CHECK_FALSE(io::read_json(file)["speed"].contains("known_count"));
  CHECK_FALSE(io::read_json(file)["timestamp"].contains("known_count"));
  record(set, second);  // another day
  rows = at::cat({rows, second.front()});
  check_statistics(io::read_json(file).at("action"), rows);
  check_statistics(io::read_json(file).at("speed"), rows.narrow(1, 1, 1).abs());

  // Every episode's own: a column without a value has none there, not a limit of 0.
  const ParquetFile episodes(set / "meta" / "episodes" / "chunk-000" / "file-000.parquet");
  for (const auto* name : {"min", "max", "mean", "std", "q50"}) {
    INFO(name);
    const auto own = episodes.numbers(std::string("stats/action/") + name, 3);
    CHECK(std::isnan(own[1][0].item<double>()));
    CHECK(std::isnan(own[0][2].item<double>()));
    CHECK_FALSE(std::isnan(own[0][0].item<double>()));
  }
  CHECK(episodes.numbers("stats/action/min", 3)[0][0].item<double>() == 5);
  CHECK(at::equal(episodes.numbers("stats/action/count", 1).flatten(),
                  at::tensor({4, 2}, at::kLong)));

  const auto data = open_dataset(set);
  const auto stored = data->stored_statistics().at("action");
  CHECK(stored.count == 9);
  CHECK(stored.min == std::vector<double>{5, -4, 3});
  CHECK(stored.max == std::vector<double>{12, 9, 4});
  for (const auto& warning : inspect(*data, {.frames = 0}).warnings)
    CHECK(warning.find("stats.json") == std::string::npos);

  auto spoiled = io::read_json(file);
  spoiled["action"]["known_count"] = {2, 10, 0};
  io::write_json(file, spoiled);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { data->stored_statistics(); }, file.string(), "'action'",
      "known_count"));
}

TEST_CASE("of a matrix in lerobot's statistics each place along its last size has its known ones") {
  const TemporaryFolder folder;
  const auto path = folder / "set";
  if (!copy_lerobot_matrices(path)) return;
  add_matrix_episode(path, /*unknown_row=*/2);
  add_matrix_episode(path);
  const auto data = open_dataset(path);
  std::vector<std::string> columns;
  for (const auto& group : data->groups())
    if (group.name == "grid") columns = group.columns;
  std::vector<Tensor> grids;
  for (int64_t e = 0; e < data->num_episodes(); ++e)
    grids.push_back(data->read_all_rows(columns, e));
  const auto places = at::cat(grids).reshape({-1, 2});
  const auto stats = io::read_json(path / "meta" / "stats.json").at("grid");
  for (int64_t c = 0; c < 2; ++c) {
    const auto known = known_in(places.select(1, c));
    const auto place = static_cast<std::size_t>(c);
    CHECK(stats.at("min").at(place) == known.min);
    CHECK(stats.at("mean").at(place).get<double>() == Approx(known.mean));
    CHECK(stats.at("std").at(place).get<double>() == Approx(known.std));
    // In rows, of which each has three numbers here.
    CHECK(stats.at("known_count").at(place).get<double>() ==
          Approx(static_cast<double>(known.count) / 3));
  }
  CHECK(stats.at("count") == Json::array({20}));
}

TEST_CASE("statistics that overflow are refused, not written as other numbers") {
  if (writable_formats().size() < 2) return;
  const TemporaryFolder folder;
  auto options = kept_rows();
  options.unfinished = Unfinished::lost;
  const auto writer = open_episode_writer(folder / "set", TargetFormat::lerobot, options);
  for (int64_t t = 0; t < 2; ++t) {
    auto row = kept_row(0, t);
    row.values["grid"] = at::full({2, 2}, 1e308, at::kDouble);
    writer->append(row);
  }
  CHECK(
      fails_with(ErrorCategory::non_finite, [&] { writer->finish_episode("push"); }, "grid/mean"));
}

TEST_CASE("a conversion counts the rows without an action and says so") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(2, 4);
  for (int64_t e = 0; e < 2; ++e) {
    std::ofstream table(films.path() / ("episode_000" + std::to_string(e) + ".csv"));
    table << "action_0,action_1\n1,2\n" << (e == 0 ? "nan,3" : "4,3") << "\n3,5\nnan,nan\n";
  }
  for (const auto format : writable_formats())
    for (const std::string last : {"applied", "artefact"}) {
      INFO(enum_name(format) << ", " << last);
      io::write_json(films.path() / "dataset.json", {{"fps", 10}, {"last_action", last}});
      const TemporaryFolder folder;
      const CapturedLog log;
      const auto done = convert_dataset(films.path(), folder / "set", {.format = format});
      const bool told = format == TargetFormat::folder && last == "artefact";  // of the last rows
      CHECK(done.rows_without_action == (told ? 1 : 3));
      CHECK(log.says((told ? "1 row(s)" : "3 row(s)") + std::string(" have no action")));
    }
}

}  // namespace
}  // namespace foresight::data::known_statistics_test
