// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/statistics.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "memory_dataset.hpp"
#include "recordings.hpp"

namespace foresight::data::statistics_test {
namespace {

TEST_CASE("statistics leave out rows without a value and count them") {
  const MemoryDataset dataset({4, 3});  // "up" is 0 1 2 nan, 0 1 nan
  const Statistics s = column_statistics(dataset, {"up", "place"}, LastRow::include);
  CHECK(s.count == std::vector<int64_t>{5, 7});
  CHECK(s.missing == std::vector<int64_t>{2, 0});
  CHECK(s.mean[0] == Approx(0.8));
  CHECK(s.std[0] == Approx(std::sqrt(0.56)));  // (0 1 2 0 1): mean of squares 1.2, minus 0.64
  CHECK(s.min[0] == 0);
  CHECK(s.max[0] == 2);
  CHECK(s.max[1] == 1002);
}

TEST_CASE("a missing value leaves its whole row out where that is asked for") {
  const MemoryDataset dataset({4, 3});  // "up" is 0 1 2 nan, 0 1 nan
  const auto of = [&](const std::vector<std::string>& columns, const Dataset& data) {
    return column_statistics(data, columns, LastRow::include, {}, Missing::row);
  };
  const Statistics s = of({"up", "place"}, dataset);
  CHECK(s.count == std::vector<int64_t>{5, 5});
  CHECK(s.missing == std::vector<int64_t>{2, 2});
  CHECK(s.mean[1] == Approx((0 + 1 + 2 + 1000 + 1001) / 5.0));
  CHECK(s.max[1] == 1001);
  CHECK(of({"place"}, dataset).count[0] == 7);
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { of({"place", "up"}, MemoryDataset({1})); },
      "no row has a value in every column of 'place', 'up'"));
}

TEST_CASE("statistics of chosen episodes see only those, and may leave out last rows") {
  const MemoryDataset dataset({4, 3});
  const Statistics s = column_statistics(dataset, {"place"}, LastRow::exclude, {1});
  CHECK(s.count[0] == 2);
  CHECK(s.mean[0] == 1000.5);
  CHECK(s.std[0] == 0.5);
  const MemoryDataset single({1});
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { column_statistics(single, {"up"}, LastRow::exclude); },
      "'up'"));
}

TEST_CASE("large offsets do not spoil the spread") {
  const MemoryDataset dataset(std::vector<int64_t>(2000, 2));  // place = 1000 e, 1000 e + 1
  const Statistics s = column_statistics(dataset, {"place"}, LastRow::include, {1999});
  CHECK(s.std[0] == Approx(0.5).epsilon(1e-12));
}

TEST_CASE("the action space leaves the last action of every episode out") {
  const auto dataset = open_dataset(recordings() / "tworoom" / "folder");
  const ActionSpace space = action_space(*dataset, 5);
  CHECK(space.dim == 2);
  CHECK(space.block == 5);
  // The same sums written out in float64, with the two-pass formula.
  double sum = 0, squares = 0, count = 0;
  std::vector<double> values;
  for (int64_t e = 0; e < dataset->num_episodes(); ++e) {
    const Tensor rows = dataset->read_all_rows({"action_1"}, e);
    for (int64_t r = 0; r + 1 < rows.size(0); ++r) values.push_back(rows[r][0].item<double>());
  }
  for (double v : values) sum += v, ++count;
  for (double v : values) squares += (v - sum / count) * (v - sum / count);
  CHECK(count == 14227 - 240);
  CHECK(space.mean[1] == Approx(sum / count).epsilon(1e-12));
  CHECK(space.std[1] == Approx(std::sqrt(squares / count)).epsilon(1e-12));
  CHECK_FALSE(space.bounded());
}

TEST_CASE("a constant action column gets a standard deviation of one") {
  const MemoryDataset dataset({2, 2});  // without the last rows: 0 and 0
  const ActionSpace space = action_space(dataset, 1);
  CHECK(space.std == std::vector<double>{1, 1});
  CHECK(space.mean == std::vector<double>{0, 0});
}

}  // namespace
}  // namespace foresight::data::statistics_test
