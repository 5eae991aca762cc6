// SPDX-License-Identifier: Apache-2.0
// Data sets that the Python package lerobot 0.4.4 wrote, gone on with: of a matrix its statistics
// take all but the last size together (recordings/layouts/lerobot_matrix: grid [3, 2], pair
// [1, 2]).
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "continued_lerobot.hpp"
#include "../../src/data/tables/parquet_file.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "opened_recording.hpp"

namespace foresight::data::continued_lerobot_test {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kEpisodes = 3, kRows = 5;

// One JSON list of statistics against [rows, 2].
void check_statistics(const nlohmann::json& stats, const Tensor& values) {
  const auto told = [&](const char* name) { return stats.at(name).get<std::vector<double>>(); };
  REQUIRE(values.size(1) == 2);
  const auto mean = values.mean(0), spread = (values - mean).square().mean(0).sqrt();
  for (std::size_t i = 0; i < 2; ++i) {
    const auto column = values.select(1, static_cast<int64_t>(i));
    CHECK(told("min").at(i) == column.min().item<double>());
    CHECK(told("max").at(i) == column.max().item<double>());
    CHECK(told("mean").at(i) == Approx(mean[static_cast<int64_t>(i)].item<double>()));
    CHECK(told("std").at(i) == Approx(spread[static_cast<int64_t>(i)].item<double>()));
    CHECK(told("q50").at(i) > told("q10").at(i));
  }
  for (const auto& [name, numbers] : stats.items())
    CHECK(numbers.size() == (name == "count" ? 1 : 2));
  CHECK(stats.at("count") == nlohmann::json::array({kEpisodes * kRows}));
}

}  // namespace

TEST_CASE("a data set of lerobot with matrices is gone on with, its statistics too") {
  const TemporaryFolder folder;
  const auto path = folder / "set";
  if (!copy_lerobot_matrices(path)) return;
  CHECK(add_matrix_episode(path) == 2);

  const auto data = open_dataset(path);
  REQUIRE(data->num_episodes() == kEpisodes);
  std::vector<Tensor> grids, pairs;
  for (int64_t e = 0; e < kEpisodes; ++e) {
    REQUIRE(data->length(e) == kRows);
    const auto columns = [&](const char* name) {
      for (const auto& group : data->groups())
        if (group.name == name) return group.columns;
      return std::vector<std::string>();
    };
    grids.push_back(data->read_all_rows(columns("grid"), e).to(at::kDouble));
    pairs.push_back(data->read_all_rows(columns("pair"), e).to(at::kDouble));
    for (int64_t t = 0; t < kRows; ++t)
      for (int64_t i = 0; i < 6; ++i)
        CHECK(grids.back()[t][i].item<double>() == matrix_value(e, t, i));
  }
  const auto stats = io::read_json(path / "meta" / "stats.json");
  check_statistics(stats.at("grid"), at::cat(grids).reshape({-1, 2}));
  check_statistics(stats.at("pair"), at::cat(pairs));
  CHECK(stats.at("pair").at("min")[0].is_number_integer());
  // As in the files of lerobot, which reads them all as one table.
  const ParquetFile added(path / "meta" / "episodes" / "chunk-000" / "file-001.parquet");
  const auto mean = grids.back().reshape({-1, 2}).mean(0);
  CHECK(at::allclose(added.numbers("stats/grid/mean", 2)[0], mean));
  CHECK(added.numbers("stats/grid/count", 1).item<int64_t>() == kRows);

  CHECK(add_matrix_episode(path) == 3);  // and on
  CHECK(io::read_json(path / "meta" / "stats.json")["grid"]["mean"].size() == 2);
}

TEST_CASE("statistics that cannot be of a feature's rows are refused before anything is recorded") {
  const TemporaryFolder folder;
  const auto path = folder / "set";
  if (!copy_lerobot_matrices(path)) return;
  const auto file = path / "meta" / "stats.json";
  auto stats = io::read_json(file);
  for (auto& [name, numbers] : stats["grid"].items())
    if (name != "count") numbers = {1, 1, 1};
  io::write_json(file, stats);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { add_matrix_episode(path); }, file.string(), "'grid'",
      "shape [3]", "shape [3, 2]"));
  CHECK(open_dataset(path)->num_episodes() == 2);
}

}  // namespace foresight::data::continued_lerobot_test
