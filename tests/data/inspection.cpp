// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/inspection.hpp"

#include <filesystem>
#include <fstream>

#include "catch.hpp"
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
  CHECK(found.frames_seen == 12);
  REQUIRE(found.frozen.size() == 1);
  CHECK(found.frozen[0].first == 3);
  CHECK(found.frozen[0].length == 7);
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
  CHECK(found.repeated_frames == 6);
  CHECK(found.frozen.empty());
  REQUIRE(found.missing.size() == 1);
  CHECK(found.missing[0].column == "range");
  CHECK(found.missing[0].rows == 3);
  REQUIRE(found.warnings.size() == 2);
  CHECK(found.warnings[0].find("range") != std::string::npos);
  CHECK(found.warnings[1].find("50 %") != std::string::npos);
  CHECK_FALSE(found.good());
}

TEST_CASE("an inspection of a sound recording has nothing to say") {
  const auto dataset = open_dataset(recordings() / "tworoom" / "native224");
  InspectionOptions options;
  options.saturated = 1;  // the expert of these recordings clips its noise
  const Inspection found = inspect(*dataset, options);
  CHECK(found.warnings == std::vector<std::string>{});
  CHECK(found.good());
  CHECK(found.frames_seen == dataset->total_rows());
}

TEST_CASE("an inspection reports frames that do not decode and goes on") {
  MemoryDataset dataset({6, 7});
  dataset.break_frame(0, 3);
  const Inspection found = inspect(dataset);
  REQUIRE(found.unreadable.size() == 1);
  CHECK(found.unreadable[0].find("frame 3 is damaged") != std::string::npos);
  CHECK(found.frames_seen == 7);  // of the other episode
  CHECK_FALSE(found.good());
  CHECK_FALSE(found.timed);
}

}  // namespace
}  // namespace foresight::data::inspection_test
