// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/inspection.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "catch.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/data/png.hpp"
#include "memory_dataset.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::inspection_test {
namespace {

namespace fs = std::filesystem;

TEST_CASE(
    "an inspection finds frozen frames, clipped and missing actions, and jumps of the clock") {
  TemporaryFolder folder;
  std::ofstream table(folder / "episode_0000.csv");
  table << "timestamp,action_0,action_1,state_0\n";
  fs::create_directories(folder / "episode_0000");
  const fs::path images = fs::path(FORESIGHT_TEST_DATA) / "images";
  for (int t = 0; t < 12; ++t) {
    // Rows 3..9 show one picture; the clock loses a frame before row 6; row 4 has no action.
    const char* picture = t >= 3 && t < 10 ? "grey.png" : t % 2 == 0 ? "rgb.png" : "grey.png";
    const std::string number = (t < 10 ? "0" : "") + std::to_string(t);
    fs::copy_file(images / picture, folder / "episode_0000" / (number + ".png"));
    table << 0.1 * (t < 6 ? t : t + 1) << ","
          << (t == 4       ? "nan"
              : t % 3 == 0 ? "0.5"
                           : "1")
          << "," << 0.01 * t * t << "," << t << "\n";
  }
  table.close();
  const auto dataset = open_dataset(folder.path(), {.fps = 10});
  const Inspection found = inspect(*dataset);
  CHECK(found.lengths == std::vector<int64_t>{12});
  CHECK(found.missing_actions == 1);
  CHECK(found.timed);
  CHECK(found.irregular_steps == 1);
  REQUIRE(found.cameras.size() == 1);
  CHECK(found.cameras[0].frames_seen == 12);
  const auto& frozen = found.cameras[0].frozen;
  REQUIRE(frozen.size() == 1);
  CHECK(frozen[0].first == 3);
  CHECK(frozen[0].length == 7);
  CHECK(found.saturation[0].share == Approx(1.0));       // it is one limit or the other
  CHECK(found.saturation[1].share == Approx(2.0 / 11));  // the smallest and the largest, once each
  CHECK_FALSE(found.good());
  CHECK(found.warnings.size() == 4);
  const Tensor sheet = contact_sheet(*dataset, 6, 4);
  CHECK(sheet.sizes() == at::IntArrayRef({9, 4 * 13 + 3, 3}));
  CHECK(at::equal(sheet.narrow(1, 0, 13), dataset->read_frames(0, {0})[0]));
}

TEST_CASE("an inspection finds frames shown twice and columns with gaps") {
  TemporaryFolder folder;
  std::ofstream table(folder / "episode_0000.csv");
  table << "action_0,range\n";
  fs::create_directories(folder / "episode_0000");
  const fs::path images = fs::path(FORESIGHT_TEST_DATA) / "images";
  for (int t = 0; t < 12; ++t) {  // a camera at half the rate of the rows
    const char* picture = t / 2 % 2 == 0 ? "rgb.png" : "grey.png";
    const std::string number = (t < 10 ? "0" : "") + std::to_string(t);
    fs::copy_file(images / picture, folder / "episode_0000" / (number + ".png"));
    table << 0.1 * t << "," << (t % 4 == 0 ? "" : "2") << "\n";
  }
  table.close();
  const Inspection found = inspect(*open_dataset(folder.path(), {.fps = 10}));
  CHECK(found.cameras.at(0).repeated_frames == 6);
  CHECK(found.cameras.at(0).frozen.empty());
  REQUIRE(found.missing.size() == 1);
  CHECK(found.missing[0].column == "range");
  CHECK(found.missing[0].rows == 3);
  REQUIRE(found.warnings.size() == 2);
  CHECK(found.warnings[0].find("range") != std::string::npos);
  CHECK(found.warnings[1].find("50 %") != std::string::npos);
  CHECK_FALSE(found.good());
}

TEST_CASE("an inspection passes on three remarks of the reader and counts the others") {
  TemporaryFolder folder;
  const fs::path picture = fs::path(FORESIGHT_TEST_DATA) / "images" / "rgb.png";
  for (int e = 0; e < 5; ++e) {  // a picture more than rows
    const fs::path episode = folder / ("episode_" + std::to_string(e));
    fs::create_directories(episode);
    for (const char* name : {"0.png", "1.png", "2.png"}) fs::copy_file(picture, episode / name);
    std::ofstream(episode.string() + ".csv") << "action_0\n0\n1\n";
  }
  const auto dataset = open_dataset(folder.path(), {.fps = 10, .tail_mismatch = 1});
  REQUIRE(dataset->remarks().size() == 5);
  const auto warnings = inspect(*dataset).warnings;
  REQUIRE(warnings.size() >= 4);
  CHECK(warnings[2] == dataset->remarks()[2]);
  CHECK(warnings[3] == "2 more remark(s) of the reader, see the log");
}

TEST_CASE("an inspection of a sound recording has nothing to say") {
  const auto dataset = open_dataset(recordings() / "tworoom" / "native224");
  InspectionOptions options;
  options.saturated = 1;  // the expert of these recordings clips its noise
  const Inspection found = inspect(*dataset, options);
  CHECK(found.warnings == std::vector<std::string>{});
  CHECK(found.good());
  CHECK(found.cameras.at(0).frames_seen == dataset->total_rows());
}

TEST_CASE("an inspection says what would break training, apart from what deserves a look") {
  const auto inspected = [](const std::string& table, int rows) {
    TemporaryFolder folder;
    std::ofstream(folder / "episode_0000.csv") << table;
    fs::create_directories(folder / "episode_0000");
    for (int t = 0; t < rows; ++t)
      fs::copy_file(
          fs::path(FORESIGHT_TEST_DATA) / "images" / (t % 2 == 0 ? "rgb.png" : "grey.png"),
          folder / "episode_0000" / (std::to_string(t) + ".png"));
    return inspect(*open_dataset(folder.path(), {.fps = 10}), {.saturated = 1});
  };
  const auto has = [](const std::vector<std::string>& texts, const std::string& words) {
    return std::any_of(texts.begin(), texts.end(), [&](const std::string& text) {
      return text.find(words) != std::string::npos;
    });
  };
  const auto one_row = inspected("action_0,state_0\n1,2\n", 1);
  CHECK(has(one_row.faults, "every episode has one row"));
  CHECK_FALSE(one_row.usable());
  CHECK(has(inspected("action_0\n1\n1\n1\n", 3).faults, "no action ever changes"));
  CHECK(has(inspected("action_0,action_1\n1,\n,2\n3,4\n", 3).faults, "every row lacks an action"));
  const auto valueless = inspected("action_0,action_1\n1,\n2,nan\n3,4\n", 3);
  CHECK(has(valueless.faults, "'action_1' has no value"));
  CHECK(valueless.actions.columns == std::vector<std::string>{"action_0"});
  const auto sound = inspected("action_0\n1\n2\n3\n", 3);
  CHECK(sound.faults.empty());
  CHECK(sound.good());
  // Rows that the reader leaves out, as it was allowed to, are passed on.
  TemporaryFolder folder;
  std::ofstream(folder / "episode_0000.csv") << "action_0\n1\n2\n3\n4\n";
  fs::create_directories(folder / "episode_0000");
  for (int t = 0; t < 3; ++t)
    fs::copy_file(fs::path(FORESIGHT_TEST_DATA) / "images" / (t % 2 == 0 ? "rgb.png" : "grey.png"),
                  folder / "episode_0000" / (std::to_string(t) + ".png"));
  const auto dropped = inspect(*open_dataset(folder.path(), {.fps = 10, .tail_mismatch = 1}));
  CHECK(has(dropped.warnings, "left out"));
  CHECK(dropped.usable());
}

TEST_CASE("an inspection finds actions that are infinite") {
  class Infinite final : public Dataset {
   public:
    const std::string& name() const override { return inner_.name(); }
    int64_t num_episodes() const override { return inner_.num_episodes(); }
    int64_t length(int64_t episode) const override { return inner_.length(episode); }
    std::string episode_name(int64_t episode) const override {
      return inner_.episode_name(episode);
    }
    ImageSize image_size() const override { return inner_.image_size(); }
    double fps() const override { return inner_.fps(); }
    const std::vector<std::string>& columns() const override { return inner_.columns(); }
    const std::vector<std::string>& action_columns() const override {
      return inner_.action_columns();
    }
    const std::vector<std::string>& state_columns() const override {
      return inner_.state_columns();
    }
    LastAction last_action() const override { return inner_.last_action(); }
    Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                     int64_t count) const override {
      Tensor rows = inner_.read_rows(columns, episode, first, count);
      if (episode == 1 && first <= 2 && first + count > 2 && columns.front() == "up")
        rows[2 - first][0] = std::numeric_limits<double>::infinity();
      return rows;
    }
    Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
      return inner_.read_frames(episode, indices);
    }

   private:
    MemoryDataset inner_{{6, 7}};
  };
  const Inspection found = inspect(Infinite());
  CHECK(found.infinite_actions == 1);
  REQUIRE(found.faults.size() == 1);
  CHECK(found.faults[0].find("infinite") != std::string::npos);
}

TEST_CASE("an inspection warns of video whose frames are not equally spaced in time") {
  TemporaryFolder folder;
  fs::copy_file(clip("cup_vfr_bframes.mp4"), folder / "episode_0000.mp4");
  std::ofstream table(folder / "episode_0000.csv");
  table << "action_0\n";
  for (int t = 0; t < 23; ++t) table << t << "\n";
  table.close();
  const Inspection found = inspect(*open_dataset(folder.path()));
  REQUIRE(found.warnings.size() == 1);
  CHECK(found.warnings[0].find("not equally spaced in time") != std::string::npos);
  CHECK(found.usable());
}

TEST_CASE("an inspection reports frames that do not decode and goes on") {
  MemoryDataset dataset({6, 7});
  dataset.break_frame(0, 3);
  const Inspection found = inspect(dataset);
  REQUIRE(found.unreadable.size() == 1);
  CHECK(found.unreadable[0].find("frame 3 is damaged") != std::string::npos);
  CHECK(found.unreadable[0].starts_with("episode 0 (e0): "));
  CHECK(found.cameras.at(0).frames_seen == 7);  // of the other episode
  CHECK_FALSE(found.good());
  CHECK_FALSE(found.timed);
}

// The same recording as another camera shows it: still in one episode, lost in another.
class OtherCamera final : public ForwardedDataset {
 public:
  OtherCamera()
      : ForwardedDataset(std::make_shared<MemoryDataset>(std::vector<int64_t>{6, 7, 6})) {}
  std::string camera() const override { return "wrist"; }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    if (episode == 2) throw Error(ErrorCategory::bad_file, "wrist.mp4: is gone");
    Tensor frames = shown().read_frames(episode, indices);
    return episode == 1 ? at::zeros_like(frames) : frames;
  }
};

TEST_CASE("an inspection looks at every camera, and names the one that is frozen or unreadable") {
  const MemoryDataset dataset({6, 7, 6});
  const auto found = inspect(dataset, {}, {std::make_shared<OtherCamera>()});
  REQUIRE(found.cameras.size() == 2);
  CHECK(found.cameras[0].camera == "pixels");
  CHECK(found.cameras[0].frames_seen == 19);
  CHECK(found.cameras[0].frozen.empty());
  CHECK(found.cameras[1].camera == "wrist");
  CHECK(found.cameras[1].frames_seen == 13);
  REQUIRE(found.cameras[1].frozen.size() == 1);
  CHECK(found.cameras[1].frozen[0].episode == 1);
  CHECK(found.unreadable ==
        std::vector<std::string>{"camera 'wrist': episode 2 (e2): wrist.mp4: is gone"});
  REQUIRE_FALSE(found.warnings.empty());
  CHECK_THAT(found.warnings.back(),
             Catch::Contains("camera 'wrist': 1 stretch(es) of equal frames of episode(s) 1, "));
  CHECK_FALSE(found.usable());
}

TEST_CASE("a contact sheet shows a dark cross where a frame cannot be read") {
  MemoryDataset dataset({6, 6});
  dataset.break_frame(1, 5);
  const Tensor sheet = contact_sheet(dataset, 2, 2);
  REQUIRE(sheet.sizes() == at::IntArrayRef({2 * 3 - 1, 2 * 4 - 1, 3}));
  const auto tile = [&](int64_t line, int64_t column) {
    return sheet.narrow(0, line * 3, 2).narrow(1, column * 4, 3);
  };
  for (const int64_t line : {0, 1})
    for (const int64_t column : {0, 1})
      if (line + column < 2)
        CHECK(at::equal(tile(line, column), dataset.read_frames(line, {5 * column})[0]));
  const Tensor crossed = tile(1, 1);
  CHECK(crossed[0][0][0].item<int>() == 64);
  CHECK(crossed[1][2][2].item<int>() == 64);
  CHECK(crossed[1][1][1].item<int>() == 128);  // beside the lines
}

// Rows of which some states are missing or infinite, and so is another column.
class OddValues final : public ForwardedDataset {
 public:
  OddValues() : ForwardedDataset(std::make_shared<MemoryDataset>(std::vector<int64_t>{6, 5})) {}
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& state_columns() const override { return states_; }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    Tensor rows = at::empty({count, std::ssize(columns)}, at::kDouble);
    for (std::size_t c = 0; c < columns.size(); ++c) {
      auto column = rows.select(1, static_cast<int64_t>(c));
      const bool own = columns[c] == "never" || columns[c] == "range";
      column.copy_(own ? at::arange(first, first + count, at::kDouble)
                       : shown().read_rows({columns[c]}, episode, first, count).select(1, 0));
      if (columns[c] == "never") column.fill_(std::numeric_limits<double>::quiet_NaN());
      for (int64_t r = 0; r < count; ++r) {
        if (columns[c] == "range" && first + r == 2)
          column[r] = std::numeric_limits<double>::infinity();
        if (columns[c] == "place" && first + r == 3)
          column[r] = episode == 0 ? std::numeric_limits<double>::quiet_NaN()
                                   : -std::numeric_limits<double>::infinity();
      }
    }
    return rows;
  }

 private:
  std::vector<std::string> columns_ = {"up", "down", "place", "never", "range"},
                           states_ = {"place", "never"};
};

TEST_CASE("an inspection gives its verdict on states without a value, and on infinite ones") {
  const auto found = inspect(OddValues());
  CHECK(found.faults ==
        std::vector<std::string>{"state 'never' has no value at all",
                                 "state 'place' has no value in 1 row(s) of episode(s) 0",
                                 "state 'place' is infinite in 1 row(s) of episode(s) 1"});
  CHECK(found.states.columns == std::vector<std::string>{"place"});
  CHECK(found.states.missing[0] == 1);
  REQUIRE(found.infinite.size() == 2);
  CHECK(found.infinite[1].column == "range");
  const bool warned = std::any_of(found.warnings.begin(), found.warnings.end(), [](auto& one) {
    return one == "column 'range' is infinite in 2 row(s) of episode(s) 0-1";
  });
  CHECK(warned);
}

// A column of its own beside the others, of which a row may be damaged, and how often it was read.
class AnotherColumn final : public ForwardedDataset {
 public:
  AnotherColumn(std::string name, int64_t damaged)
      : ForwardedDataset(std::make_shared<MemoryDataset>(std::vector<int64_t>{6, 5})),
        columns_{"up", "down", "place", std::move(name)},
        damaged_(damaged) {}
  const std::vector<std::string>& columns() const override { return columns_; }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    if (columns != std::vector<std::string>{columns_.back()})
      return shown().read_rows(columns, episode, first, count);
    ++reads;
    if (episode == 1 && first <= damaged_ && damaged_ < first + count)
      throw Error(ErrorCategory::bad_file, "row 3 of episode 1 is damaged");
    return at::tensor({1.0, NAN}, at::kDouble).repeat({count, 1}).narrow(1, 0, 1);  // of a table
  }
  mutable int64_t reads = 0;

 private:
  std::vector<std::string> columns_;
  int64_t damaged_;
};

TEST_CASE("an inspection reads a column once, and tells of one that is damaged in any row") {
  const AnotherColumn whole("reward", -1), damaged("reward", 3);
  const auto sound = inspect(whole);
  CHECK(sound.unread.empty());
  CHECK(sound.missing.empty());
  CHECK(whole.reads == whole.num_episodes());
  const auto found = inspect(damaged);
  CHECK(found.unread ==
        std::map<std::string, std::string>{{"reward", "row 3 of episode 1 is damaged"}});
  CHECK(found.usable());
  CHECK(std::count(found.warnings.begin(), found.warnings.end(),
                   "numbers cannot be read: row 3 of episode 1 is damaged") == 1);
}

TEST_CASE("states without a value are refused, or kept for an inspection") {
  TemporaryFolder folder;
  const fs::path images = fs::path(FORESIGHT_TEST_DATA) / "images";
  fs::create_directories(folder / "episode_0000");
  for (const char* file : {"0.png", "1.png", "2.png"})
    fs::copy_file(images / "rgb.png", folder / "episode_0000" / file);
  std::ofstream(folder / "episode_0000.csv") << "action_0,state_0\n1,1\n2,nan\n3,3\n";
  CHECK_THROWS_AS(open_dataset(folder.path(), {.fps = 10}), Error);
  const auto data = open_dataset(folder.path(), {.fps = 10, .missing_states = NanPolicy::accept});
  const auto found = inspect(*data);
  CHECK(found.faults ==
        std::vector<std::string>{"state 'state_0' has no value in 1 row(s) of episode(s) 0"});
  // The same of a format whose columns lie in arrays: its tables are checked when they are read.
  const auto source = recordings() / "tworoom" / "swm" / "tworoom_nan_gzip.h5";
  DatasetOptions checked;
  checked.states = {"action"};  // NaN in the last row of an episode
  try {
    const auto refused = open_dataset(source, checked);
    CHECK_THROWS_AS(refused->read_all_rows({"action_0"}, 0), Error);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
  checked.missing_states = NanPolicy::accept;
  CHECK(inspect(*open_dataset(source, checked)).states.missing[0] > 0);
}

TEST_CASE("an infinite state in a table is refused on opening, and judged where it is accepted") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "episode_0");
  for (const char* name : {"0.png", "1.png", "2.png"})
    std::ofstream(folder / "episode_0" / name, std::ios::binary)
        << encode_png(at::zeros({8, 8, 3}, at::kByte));
  std::ofstream(folder / "episode_0.csv") << "action_0,state_x\n0,1\n1,-inf\n0,2\n";
  try {
    open_dataset(folder.path(), {.fps = 10});
    FAIL("an infinite state was not refused");
  } catch (const Error& error) {
    CHECK(error.category() == ErrorCategory::bad_file);
    const std::string message = error.what();
    CHECK(message.find("episode_0.csv:3: state column 'state_x' is infinite") != std::string::npos);
  }
  const auto found =
      inspect(*open_dataset(folder.path(), {.fps = 10, .missing_states = NanPolicy::accept}));
  CHECK(found.faults ==
        std::vector<std::string>{"state 'state_x' is infinite in 1 row(s) of episode(s) 0"});
}

}  // namespace
}  // namespace foresight::data::inspection_test
