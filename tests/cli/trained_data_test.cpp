// SPDX-License-Identifier: Apache-2.0
// The recordings and the camera that a run was trained on: kept by --resume, the default of eval,
// told by report, and part of what a sweep is.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::cli_trained_data_test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBrief = " --steps 6 --loader.batch 16 --critic_training.steps 0";

// Episodes that two cameras have seen, one as the other.
std::string filmed(const TemporaryFolder& folder, int episodes) {
  const auto path = folder / "recordings";
  const auto made =
      foresight_command("record --env two_room --episodes " + std::to_string(episodes) +
                        " --seed 3 --out " + path.string());
  INFO(made.output);
  REQUIRE(made.code == 0);
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.path().extension() == ".mp4" && entry.path().stem().extension() != ".wrist")
      fs::copy_file(entry.path(), path / (entry.path().stem().string() + ".wrist.mp4"),
                    fs::copy_options::skip_existing);
  return path.string();
}

}  // namespace

TEST_CASE("resume, eval and report use the camera that was trained on") {
  const TemporaryFolder folder;
  const auto data = filmed(folder, 6), run = (folder / "run").string();
  const auto train = "train --data " + data + " --out " + run + kBrief;
  const auto first = foresight_command(train + " --camera wrist");
  INFO(first.output);
  REQUIRE(first.code == 0);
  CHECK(io::read_json(folder / "run" / "config.json")["camera"] == "wrist");
  const auto go_on = train + " --resume --config " + run + "/config.json";
  CHECK(foresight_command(go_on).code == 0);
  const auto other = foresight_command(go_on + " --camera pixels");
  CHECK(other.code == 2);
  CHECK_THAT(other.output, Catch::Contains("camera: \"pixels\" here, \"wrist\" then"));

  const auto measured =
      foresight_command("eval --env none --open-loop 2 --bundle " + run + "/bundle --data " + data +
                        "/ --out " + (folder / "eval.json").string());
  INFO(measured.output);
  REQUIRE(measured.code == 0);
  CHECK_THAT(measured.output, !Catch::Contains("as far as can be told"));  // spelled differently
  CHECK(io::read_json(folder / "eval.json")["camera"] == "wrist");

  const auto reported = foresight_command("report --run " + run);
  INFO(reported.output);
  REQUIRE(reported.code == 0);
  const auto page = io::read_text(folder / "run" / "report.html");
  CHECK_THAT(page, Catch::Contains("--data " + data + " --camera wrist --out"));
  CHECK_THAT(page, !Catch::Contains("(px)"));
  CHECK_THAT(page, Catch::Contains("before its weight"));

  // Two more episodes: the run goes on with its own, and no one can say what of all was held out.
  filmed(folder, 2);
  const auto grown = foresight_command(go_on);
  CHECK(grown.code == 0);
  CHECK_THAT(grown.output, Catch::Contains("has 8 episodes by now: the first 6"));
  CHECK_THAT(foresight_command("eval --env none --open-loop 2 --bundle " + run + "/bundle --data " +
                               data + " --out " + (folder / "eval.json").string())
                 .output,
             Catch::Contains("as far as can be told"));
}

TEST_CASE("action columns keep the order of the training, which is told") {
  const TemporaryFolder folder;
  const auto data = filmed(folder, 6), run = (folder / "run").string();
  REQUIRE(foresight_command("train --data " + data + " --out " + run + kBrief).code == 0);
  const auto measure = "eval --env none --open-loop 2 --bundle " + run + "/bundle --data " + data +
                       " --out " + (folder / "eval.json").string();
  CHECK_THAT(foresight_command(measure).output, !Catch::Contains("order of the training"));
  const auto file = folder / "run" / "bundle" / "config.json";
  auto config = io::read_json(file);
  auto& columns = config["provenance"]["action_columns"];
  REQUIRE(columns.size() == 2);
  columns = {columns[1], columns[0]};
  io::write_json(file, config);
  const auto measured = foresight_command(measure);
  INFO(measured.output);
  CHECK(measured.code == 0);
  CHECK_THAT(measured.output, Catch::Contains("order of the training is kept"));
}

TEST_CASE("a sweep does not take results of other recordings or another measure for its own") {
  const TemporaryFolder folder;
  const auto data = filmed(folder, 6), out = (folder / "sweep").string();
  const auto grid = (folder / "grid.json").string();
  std::ofstream(grid) << R"({"seed": [1]})";
  const auto command = "train --data " + data + " --out " + out + " --sweep " + grid + kBrief;
  REQUIRE(foresight_command(command).code == 0);
  CHECK(foresight_command(command).code == 0);
  const auto seen = foresight_command(command + " --camera wrist");
  CHECK(seen.code == 1);
  CHECK_THAT(seen.output, Catch::Contains("camera: \"wrist\" here, \"pixels\" then"));
  const auto solved = foresight_command(command + " --success-protocol 5/10");
  CHECK(solved.code == 1);
  CHECK_THAT(solved.output, Catch::Contains("5/10"));
  // A sweep of an earlier version told nothing of them.
  auto record = io::read_json(folder / "sweep" / "sweep.json");
  record.erase("recordings");
  record.erase("success");
  io::write_json(folder / "sweep" / "sweep.json", record);
  CHECK(foresight_command(command + " --camera wrist").code == 0);
}

TEST_CASE("foresight train learns from a recorded split and holds out another") {
  const TemporaryFolder folder;
  const auto train = "train ijepa --data " FORESIGHT_TEST_DATA
                     "/recordings/layouts/robomimic_split --loader.batch 2 --validation_batches 1 "
                     "--steps 2 --out " +
                     (folder / "run").string();
  const auto other = foresight_command(train + " --split train --validation_split test");
  if (other.output.find("has no HDF5") != std::string::npos) FORESIGHT_SKIP(other.output);
  CHECK(other.code == 2);
  CHECK_THAT(other.output, Catch::Contains("validation_split = 'test'"));
  CHECK_THAT(other.output, Catch::Contains("it has: lost, train, valid"));
  const auto done = foresight_command(train + " --split train --validation_split valid");
  INFO(done.output);
  REQUIRE(done.code == 0);
  const auto config = io::read_json(folder / "run" / "bundle" / "config.json");
  CHECK(config["provenance"]["validation_episodes"] == nlohmann::json{1});
}

}  // namespace foresight::cli_trained_data_test
