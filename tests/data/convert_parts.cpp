// SPDX-License-Identifier: Apache-2.0
// Conversion of some episodes of a recording: those that are asked for, those that can be read.
#include <fstream>
#include <set>

#include "../../src/data/episode_selection.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "killed_recorder.hpp"

namespace foresight::data::convert_parts_test {
namespace {

namespace fs = std::filesystem;

// The grey level of an episode of FilmFolder, which is 20 times its number.
int64_t level_of(const Dataset& dataset, int64_t episode) {
  const double mean = dataset.read_frames(episode, {0}).to(at::kDouble).mean().item<double>();
  return std::lround((mean - 15) / 20);
}

TEST_CASE("numbers and ranges name episodes") {
  const auto all = [](const std::string& text) { return selected_episodes(text, 8, "episodes"); };
  using Numbers = std::vector<int64_t>;
  CHECK(all("") == Numbers{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(all("5,0-2") == Numbers{0, 1, 2, 5});
  CHECK(all("6-,6,1") == Numbers{1, 6, 7});
  CHECK(all("7-7") == Numbers{7});
  for (const char* wrong : {"a", "1,", ",1", "1,,2", "3-1", "-3", "1-2-3", "1 2", "1.5", "--"}) {
    INFO(wrong);
    CHECK_FALSE(selects_episodes(wrong));
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { all(wrong); }, "episodes = ", wrong));
    CHECK_FALSE(ConvertOptions{.episodes = wrong}.validate().empty());
  }
  for (const char* beyond : {"8", "2-8", "8-", "0,99999999999"})
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { all(beyond); }, "does not exist, accepted: 0..7"));
  CHECK(episode_ranges({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
  CHECK(episode_ranges({}).empty());
  CHECK(all(episode_ranges({1, 3, 4})) == Numbers{1, 3, 4});
}

TEST_CASE("a conversion writes the episodes that are asked for, in their order") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(6, 5);
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const TemporaryFolder folder;
    int64_t calls = 0;
    const auto done =
        convert_dataset(films.path(), folder / "set", {.format = format, .episodes = "4-,1"},
                        [&](int64_t step, int64_t all) {
                          CHECK(step == ++calls);
                          CHECK(all == 3);
                        });
    CHECK(calls == 3);
    CHECK(done.episodes == 3);
    CHECK(done.rows == 15);
    CHECK(done.left_out.empty());
    const auto copy = open_dataset(folder / "set");
    REQUIRE(copy->num_episodes() == 3);
    CHECK(level_of(*copy, 0) == 1);
    CHECK(level_of(*copy, 1) == 4);
    CHECK(level_of(*copy, 2) == 5);
    CHECK(fails_with(
        ErrorCategory::invalid_option,
        [&] { convert_dataset(films.path(), folder / "other", {.episodes = "6"}); },
        "ConvertOptions.episodes", "0..5"));
    CHECK_FALSE(fs::exists(folder / "other"));
  }
}

TEST_CASE("a conversion leaves out what cannot be read where that is allowed, and names it") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(5, 60);
  films.spoil(1);  // decodes in part: seen in the middle of the conversion
  {
    const TemporaryFolder folder;
    CHECK(fails_with(
        ErrorCategory::bad_file,
        [&] { convert_dataset(films.path(), folder / "set", {.format = TargetFormat::folder}); },
        films.film(1).string(), "--reading.unreadable skip"));
    CHECK(fs::is_empty(folder.path()));
  }
  films.remove(3);  // seen when the recording is opened
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const TemporaryFolder folder;
    ConvertOptions options{.format = format};
    CHECK_THROWS_AS(convert_dataset(films.path(), folder / "set", options), Error);
    CHECK_FALSE(fs::exists(folder / "set"));
    options.reading.unreadable = Unreadable::skip;
    const auto done = convert_dataset(films.path(), folder / "set", options);
    CHECK(done.episodes == 3);
    CHECK(done.rows == 180);
    REQUIRE(done.left_out.size() == 2);
    CHECK(done.left_out[0].episode == 1);
    CHECK(done.left_out[0].reason.find(films.film(1).string()) != std::string::npos);
    CHECK(done.left_out[1].episode == 3);
    CHECK(done.left_out[1].name.find("episode_0003") != std::string::npos);
    const auto copy = open_dataset(folder / "set");
    REQUIRE(copy->num_episodes() == 3);
    for (int64_t e = 0; e < 3; ++e) {
      CHECK(level_of(*copy, e) == 2 * e);
      CHECK(copy->length(e) == 60);
      CHECK(copy->read_frames(e, {0, 59}).size(0) == 2);
    }
    options.reading.unreadable = Unreadable::fail;
    options.episodes = "0,2,4";
    CHECK(convert_dataset(films.path(), folder / "chosen", options).episodes == 3);
    options.episodes = "0,3";
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { convert_dataset(films.path(), folder / "none", options); },
        "episode 3 (episode_0003", "--reading.unreadable skip"));
    options.reading.unreadable = Unreadable::skip;
    options.episodes = "1,3";
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { convert_dataset(films.path(), folder / "none", options); },
        "no episode can be written", films.film(1).string()));
    CHECK_FALSE(fs::exists(folder / "none"));
    CHECK_FALSE(fs::exists(folder / "none.converting"));
  }
}

TEST_CASE("a conversion leaves out an episode with a state that has no value") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(3, 4);
  for (int64_t e = 0; e < 3; ++e) {
    std::ofstream table(films.path() / ("episode_000" + std::to_string(e) + ".csv"));
    table << "action_0,state_0\n";
    for (int64_t t = 0; t < 4; ++t) table << t << ',' << (e == 1 && t == 2 ? "nan" : "1") << '\n';
  }
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const TemporaryFolder folder;
    ConvertOptions options{.format = format};
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { convert_dataset(films.path(), folder / "set", options); },
        "state_0"));
    options.episodes = "0-1";
    CHECK(fails_with(
        ErrorCategory::non_finite, [&] { convert_dataset(films.path(), folder / "set", options); },
        "episode 1 (episode_0001", "row 2: column 'state_0'", "--reading.unreadable skip"));
    options.episodes = {};
    options.reading.unreadable = Unreadable::skip;
    const auto done = convert_dataset(films.path(), folder / "set", options);
    CHECK(done.episodes == 2);
    REQUIRE(done.left_out.size() == 1);
    CHECK(done.left_out[0].episode == 1);
    CHECK(done.left_out[0].reason == "row 2: column 'state_0' is not a finite number");
    const auto copy = open_dataset(folder / "set");
    REQUIRE(copy->num_episodes() == 2);
    CHECK(level_of(*copy, 1) == 2);  // though two rows of the episode before it were written
  }
}

TEST_CASE("a conversion leaves another one of the same target alone") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(1, 4);
  const TemporaryFolder folder;
  const auto at_work =
      open_episode_writer(folder / "set.converting", TargetFormat::folder, kept_rows());
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { convert_dataset(films.path(), folder / "set", {.format = TargetFormat::folder}); },
      (folder / "set.converting").string()));
  CHECK(fs::exists(folder / "set.converting"));
}

TEST_CASE("a second conversion to a target is refused, and the first one finishes") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(2, 4);
  for (const auto format : writable_formats()) {
    INFO(enum_name(format));
    const TemporaryFolder folder;
    const auto second = [&](int64_t, int64_t) {
      CHECK(fails_with(
          ErrorCategory::invalid_argument,
          [&] { convert_dataset(films.path(), folder / "set", {.format = format}); },
          (folder / "set.converting").string(), "another conversion is at work"));
    };
    CHECK(convert_dataset(films.path(), folder / "set", {.format = format}, second).episodes == 2);
    CHECK(level_of(*open_dataset(folder / "set"), 1) == 1);
    const auto entries = fs::directory_iterator(folder.path());
    CHECK(std::distance(begin(entries), end(entries)) == 1);
  }
}

}  // namespace
}  // namespace foresight::data::convert_parts_test
