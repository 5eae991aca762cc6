// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/windows.hpp"

#include <algorithm>
#include <numeric>
#include <set>

#include "error_message.hpp"
#include "memory_dataset.hpp"
#include "recorded_sets.hpp"

namespace foresight::data::windows_test {
namespace {

TEST_CASE("windows are numbered by episode, then start, and end where the episode ends") {
  // T = 3, k = 2 needs 5 rows: episodes of 4, 5, 7 rows have 0, 1, 3 windows.
  const WindowIndex windows({4, 5, 7}, {.frames = 3, .stride = 2});
  REQUIRE(windows.size() == 4);
  CHECK(windows[0] == Window{1, 0});
  CHECK(windows[1] == Window{2, 0});
  CHECK(windows[3] == Window{2, 2});
  CHECK(windows.frame_rows({2, 2}) == std::vector<int64_t>{2, 4, 6});
  CHECK(windows.options().actions() == 4);
}

TEST_CASE("no window crosses an episode, whatever the shape") {
  const std::vector<int64_t> lengths = {1, 2, 3, 10, 1, 7, 30};
  for (const int64_t frames : {1, 2, 4, 9})
    for (const int64_t stride : {1, 2, 5})
      for (const WindowSpan span : {WindowSpan::frames, WindowSpan::blocks}) {
        const WindowIndex windows(lengths, {.frames = frames, .stride = stride, .span = span});
        const int64_t need =
            span == WindowSpan::frames ? (frames - 1) * stride + 1 : frames * stride;
        int64_t expected = 0;
        for (int64_t length : lengths) expected += std::max<int64_t>(0, length - need + 1);
        REQUIRE(windows.size() == expected);
        std::set<std::pair<int64_t, int64_t>> seen;
        for (int64_t i = 0; i < windows.size(); ++i) {
          const Window window = windows[i];
          const auto rows = windows.frame_rows(window);
          CHECK(rows.front() >= 0);
          CHECK(rows.back() < lengths[static_cast<std::size_t>(window.episode)]);
          // Every action used lies before the last frame, so never in the episode's last row.
          CHECK(window.start + windows.options().actions() == rows.back());
          CHECK(seen.insert({window.episode, window.start}).second);
        }
      }
}

TEST_CASE("counting whole blocks gives the numbers of the reference loaders") {
  for (const auto& [name, golden] : recorded_sets("columns")) {  // all but LeRobot's
    INFO(name);
    const auto lengths = golden.at("episode_lengths").get<std::vector<int64_t>>();
    for (const auto& count : golden.value("num_windows", nlohmann::json::array())) {
      const WindowIndex windows(lengths, {.frames = count.at("num_steps"),
                                          .stride = count.at("frameskip"),
                                          .span = WindowSpan::blocks});
      CHECK(windows.size() == count.at("len").get<int64_t>());
    }
    for (const auto& window : golden.at("windows")) {
      const WindowIndex windows(lengths, {.frames = window.at("num_steps"),
                                          .stride = window.at("frameskip"),
                                          .span = WindowSpan::blocks});
      const Window found = windows[window.at("index").get<int64_t>()];
      CHECK(found ==
            Window{window.at("episode").get<int64_t>(), window.at("start").get<int64_t>()});
      if (window.contains("frame_indices"))
        CHECK(windows.frame_rows(found) == window.at("frame_indices").get<std::vector<int64_t>>());
    }
  }
}

TEST_CASE("only the chosen episodes are used, in the order given") {
  const WindowIndex windows({3, 3, 3}, {.frames = 2, .stride = 1}, {2, 0});
  REQUIRE(windows.size() == 4);
  CHECK(windows[0] == Window{2, 0});
  CHECK(windows[2] == Window{0, 0});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { WindowIndex({3}, {}, {1}); }, "episode 1", "0..0"));
}

TEST_CASE("an episode list without room for a window gives none, and asking for one is an error") {
  const WindowIndex windows({3, 2}, {.frames = 4, .stride = 5});
  CHECK(windows.size() == 0);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { windows[0]; }, "window 0", "there are 0"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { WindowIndex({3}, {.frames = 0}); }, "frames"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { WindowIndex({3}, {.stride = -2}); }, "stride"));
}

TEST_CASE("rows around a row are clamped to its episode, and say so") {
  const MemoryDataset dataset({5, 30});  // at 10 a second
  const auto around = rows_around(dataset, 0, 1, {-0.2, -0.1, 0.0, 0.3, 0.4});
  CHECK(around.rows == std::vector<int64_t>{0, 0, 1, 4, 4});
  CHECK(around.outside == std::vector<bool>{true, false, false, false, true});
  const auto row_at = [&](double seconds, double tolerance_s) {
    return rows_around(dataset, 1, 20, {seconds}, tolerance_s).rows.front();
  };
  CHECK(row_at(0.10004, 1e-4) == 21);
  CHECK(row_at(0.1002, 1e-3) == 21);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { row_at(0.1002, 1e-4); }, "no multiple"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { row_at(1e300, 1e-4); }, "no multiple"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { rows_around(dataset, 0, 5, {}); }, "rows 0..4"));
}

TEST_CASE("a split puts every episode on one side, the same for the same seed") {
  const EpisodeSplit split = split_episodes(240, 0.1, 7);
  CHECK(split.validation.size() == 24);
  CHECK(split.train.size() == 216);
  std::vector<int64_t> all = split.train;
  all.insert(all.end(), split.validation.begin(), split.validation.end());
  std::sort(all.begin(), all.end());
  std::vector<int64_t> expected(240);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all == expected);
  CHECK(split_episodes(240, 0.1, 7).validation == split.validation);
  CHECK(split_episodes(240, 0.1, 8).validation != split.validation);
  CHECK(std::is_sorted(split.train.begin(), split.train.end()));
}

TEST_CASE("neither side of a split is empty unless it is asked to be") {
  CHECK(split_episodes(2, 0.01, 0).validation.size() == 1);
  CHECK(split_episodes(2, 0.99, 0).train.size() == 1);
  CHECK(split_episodes(10, 0, 0).validation.empty());
  CHECK(split_episodes(10, 1, 0).train.empty());
  CHECK(split_episodes(1, 0.1, 0).train.size() == 1);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { split_episodes(4, 1.5, 0); }, "1.5"));
}

}  // namespace
}  // namespace foresight::data::windows_test
