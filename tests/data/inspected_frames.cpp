// SPDX-License-Identifier: Apache-2.0
// Which frames an inspection looks at where it cannot look at all.
#include <map>
#include <set>

#include "catch.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/data/inspection.hpp"
#include "memory_dataset.hpp"

namespace foresight::data::inspected_frames_test {
namespace {

// Remembers the rows of every episode that were read; pictures of some episodes are black.
class Watched final : public ForwardedDataset {
 public:
  explicit Watched(std::vector<int64_t> lengths, std::set<int64_t> black = {})
      : ForwardedDataset(std::make_shared<MemoryDataset>(std::move(lengths))),
        black_(std::move(black)) {}
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    for (const int64_t index : indices) CHECK(rows_[episode].insert(index).second);  // once each
    Tensor frames = shown().read_frames(episode, indices);
    return black_.contains(episode) ? at::zeros_like(frames) : frames;
  }
  const std::map<int64_t, std::set<int64_t>>& rows() const { return rows_; }
  int64_t frames() const {
    int64_t all = 0;
    for (const auto& [episode, rows] : rows_) all += std::ssize(rows);
    return all;
  }

 private:
  std::set<int64_t> black_;
  mutable std::map<int64_t, std::set<int64_t>> rows_;
};

// Stretches of rows that follow each other, as first row and count.
std::vector<std::pair<int64_t, int64_t>> stretches(const std::set<int64_t>& rows) {
  std::vector<std::pair<int64_t, int64_t>> found;
  for (const int64_t row : rows) {
    if (found.empty() || found.back().first + found.back().second != row) found.push_back({row, 0});
    ++found.back().second;
  }
  return found;
}

std::vector<int64_t> one_long_and_many_short() {
  std::vector<int64_t> lengths(20, 20);
  lengths.front() = 300;
  return lengths;
}

TEST_CASE("a long first episode leaves frames of the others to look at: a frozen one is found") {
  for (const int64_t frames : {150, 2000}) {
    const Watched data(one_long_and_many_short(), {7});
    const auto found = inspect(data, {.frames = frames});
    INFO(frames);
    const auto& seen = found.cameras.at(0);
    CHECK(seen.frames_seen == data.frames());
    CHECK(seen.episodes_seen == 20);
    CHECK(data.frames() == std::min<int64_t>(frames, 680));
    REQUIRE(seen.frozen.size() == 1);
    CHECK(seen.frozen[0].episode == 7);
    REQUIRE(found.warnings.size() == 1);
    CHECK_THAT(found.warnings[0], Catch::Contains("equal frames of episode(s) 7"));
  }
}

TEST_CASE("of long episodes many are looked at, at their beginnings, middles and ends") {
  const Watched data(std::vector<int64_t>(200, 1200));
  const auto seen = inspect(data).cameras.at(0);
  CHECK(data.frames() <= InspectionOptions{}.frames);
  CHECK(data.frames() > InspectionOptions{}.frames * 9 / 10);
  REQUIRE(seen.episodes_seen >= 16);
  CHECK(seen.episodes_seen == std::ssize(data.rows()));
  CHECK(data.rows().begin()->first == 0);
  CHECK(data.rows().rbegin()->first == 199);
  int64_t before = 0, beginnings = 0, middles = 0, ends = 0;
  for (const auto& [episode, rows] : data.rows()) {
    CHECK(episode - before <= 200 / 16);  // evenly spread
    before = episode;
    const auto parts = stretches(rows);
    REQUIRE(parts.size() == 1);
    CHECK(parts[0].second > 50);
    const int64_t first = parts[0].first, last = 1200 - parts[0].second;
    ++(first == 0 ? beginnings : first == last ? ends : middles);
  }
  CHECK(beginnings > 4);
  CHECK(middles > 4);
  CHECK(ends > 4);
}

TEST_CASE("few long episodes are looked at in several places each") {
  for (const std::size_t episodes : {std::size_t{1}, std::size_t{3}}) {
    const Watched data(std::vector<int64_t>(episodes, 5000));
    inspect(data);
    REQUIRE(data.rows().size() == episodes);
    CHECK(data.frames() > 1900);
    CHECK(data.frames() <= 2000);
    for (const auto& [episode, rows] : data.rows()) {
      CHECK(stretches(rows).size() >= 10);
      CHECK(*rows.begin() == 0);
      CHECK(*rows.rbegin() == 4999);
    }
  }
}

TEST_CASE("a few frames are looked at in stretches in which a frozen camera shows") {
  const Watched data(std::vector<int64_t>(100, 50), {0, 99});
  const auto seen = inspect(data, {.frames = 60}).cameras.at(0);
  CHECK(seen.frames_seen == 60);
  CHECK(seen.episodes_seen == 12);
  CHECK(seen.frozen.size() == 2);
  const Watched none({8, 8});
  CHECK(inspect(none, {.frames = 0}).cameras.at(0).frames_seen == 0);
  CHECK(none.rows().empty());
  CHECK(inspect(none, {.frames = 3}).cameras.at(0).frames_seen == 3);
}

}  // namespace
}  // namespace foresight::data::inspected_frames_test
