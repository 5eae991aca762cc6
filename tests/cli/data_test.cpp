// SPDX-License-Identifier: Apache-2.0
// Recorded data on the command line: what it holds, and in another format.
#include <filesystem>

#include "foresight/data/dataset.hpp"
#include "recordings_folder.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::data_command_test {

namespace fs = std::filesystem;

TEST_CASE("inspect describes recordings of other projects and writes a contact sheet") {
  TemporaryFolder folder;
  const auto sheet = folder / "sheet.png";
  const auto done =
      foresight_command("inspect " + (test::recordings() / "tworoom" / "swm" / "video").string() +
                        " --sheet " + sheet.string());
  INFO(done.output);
  REQUIRE(done.code == 0);
  for (const char* words : {"4 episodes, 98 frames of 64x64", "action_1", "cameras: pixels",
                            "at its limit", "verdict:"})
    CHECK(done.output.find(words) != std::string::npos);
  CHECK(fs::file_size(sheet) > 500);
}

TEST_CASE("inspect of nothing lists what was looked for") {
  TemporaryFolder folder;
  const auto done = foresight_command("inspect " + folder.path().string());
  CHECK(done.code == 1);
  CHECK(done.output.find("meta/info.json") != std::string::npos);
}

TEST_CASE("convert writes a folder that opens, and refuses to write over it") {
  TemporaryFolder folder;
  const auto source = test::recordings() / "tworoom" / "swm" / "folder";
  const auto line = "convert " + source.string() + " " + (folder / "copy").string() +
                    " --format folder --reading.fps 10";
  const auto done = foresight_command(line);
  INFO(done.output);
  REQUIRE(done.code == 0);
  CHECK(done.output.find("2 episodes") != std::string::npos);
  const auto copy = data::open_dataset(folder / "copy");
  const auto original = data::open_dataset(source);
  REQUIRE(copy->num_episodes() == original->num_episodes());
  for (int64_t e = 0; e < copy->num_episodes(); ++e)
    CHECK(at::equal(copy->read_all_rows(copy->action_columns(), e).to(at::kFloat),  // as recorded
                    original->read_all_rows(original->action_columns(), e).to(at::kFloat)));
  CHECK(foresight_command(line).code == 1);
}

TEST_CASE("every command that reads recordings names the cameras where the wanted one is missing") {
  TemporaryFolder folder;
  const auto set = (test::recordings() / "tworoom" / "native224").string();
  const auto run = (folder / "run").string();
  for (const auto& line :
       {"inspect " + set, "convert " + set + " " + run, "train --data " + set + " --out " + run,
        "eval --bundle " + run + " --data " + set}) {
    const auto done = foresight_command(line + " --camera wrist");
    INFO(line << ": " << done.output);
    CHECK(done.code == 1);
    CHECK(done.output.find("camera 'wrist' was not recorded. Cameras: pixels") !=
          std::string::npos);
  }
  CHECK_FALSE(fs::exists(folder / "run"));
}

TEST_CASE("record goes on in a folder without recording any of its episodes again") {
  TemporaryFolder folder;
  const auto set = (folder / "set").string();
  for (const char* seed : {"1", "1", "0"}) {
    const auto done = foresight_command("record --episodes 3 --size 16 --seed " +
                                        std::string(seed) + " --out " + set);
    INFO(done.output);
    REQUIRE(done.code == 0);
  }
  const auto data = data::open_dataset(set);
  REQUIRE(data->num_episodes() == 9);
  for (int64_t e = 0; e < 9; ++e)
    for (int64_t other = 0; other < e; ++other)
      CHECK_FALSE(at::equal(data->read_rows(data->state_columns(), e, 0, 1),
                            data->read_rows(data->state_columns(), other, 0, 1)));
}

}  // namespace foresight::data_command_test
