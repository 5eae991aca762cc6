// SPDX-License-Identifier: Apache-2.0
// foresight train with a grid of options, with a bundle to go on from, and with an eye on planning
// success.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "catch.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/event_writer.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::cli_train_test {
namespace {

constexpr const char* kBrief = " --steps 12 --loader.batch 16 --critic_training.steps 8";

std::string recorded(const TemporaryFolder& folder, const char* name, int seed) {
  const auto path = (folder / name).string();
  const auto made = foresight_command("record --env two_room --episodes 6 --seed " +
                                      std::to_string(seed) + " --out " + path);
  INFO(made.output);
  REQUIRE(made.code == 0);
  return path;
}

}  // namespace

TEST_CASE("a sweep trains every combination once, goes on where it stopped, and ranks them") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3), out = (folder / "sweep").string();
  const auto grid = (folder / "grid.json").string();
  std::ofstream(grid) << R"({"training.optimizer.lr": [1e-3, 1e-9], "seed": [1, 2]})";
  const auto command = "train --data " + data + " --out " + out + " --sweep " + grid + kBrief;
  const auto swept = foresight_command(command);
  INFO(swept.output);
  REQUIRE(swept.code == 0);
  const auto record = io::read_json(folder / "sweep" / "sweep.json");
  REQUIRE(record["runs"].size() == 4);
  double last = 0;
  std::set<std::string> seen;
  for (const auto& run : record["runs"]) {
    CHECK(run["outcome"] == "finished");
    CHECK(run["validation_loss"].get<double>() >= last);
    last = run["validation_loss"];
    seen.insert(run["values"].dump());
    // Each run was trained with its own values.
    const auto options =
        io::read_json(folder / "sweep" / run["folder"].get<std::string>() / "config.json")["learn"];
    CHECK(options["seed"] == run["values"]["seed"]);
    // All hold out the episodes of the command's own seed.
    CHECK(options["split_seed"] == 0);
    const auto bundle = io::read_json(folder / "sweep" / run["folder"].get<std::string>() /
                                      "bundle" / "config.json");
    CHECK(bundle["provenance"]["validation_episodes"] ==
          io::read_json(folder / "sweep" / "000" / "bundle" /
                        "config.json")["provenance"]["validation_episodes"]);
    CHECK(options["training"]["optimizer"]["lr"] == run["values"]["training.optimizer.lr"]);
  }
  CHECK(seen.size() == 4);
  CHECK(record["ranked_by"] == "validation_loss");
  const auto table = io::read_text(folder / "sweep" / "sweep.txt");
  CHECK_THAT(table, Catch::Contains("lr") && Catch::Contains("seed") && Catch::Contains("1e-09"));

  // Killed before the last run: only that one is trained again.
  std::filesystem::remove_all(folder / "sweep" / "003");
  const auto again = foresight_command(command);
  CHECK(again.code == 0);
  CHECK_THAT(again.output, Catch::Contains("sweep 4/4") && !Catch::Contains("sweep 3/4"));
  CHECK(io::read_json(folder / "sweep" / "sweep.json")["runs"].size() == 4);

  const auto options = foresight_command(command + " --training.precision bf16");
  CHECK(options.code == 1);
  CHECK_THAT(options.output, Catch::Contains("training.precision: \"bf16\" here, \"fp32\" then"));
  std::ofstream(grid) << R"({"seed": [1, 2]})";
  const auto other = foresight_command(command);
  CHECK(other.code == 1);
  CHECK_THAT(other.output, Catch::Contains("another grid"));
  std::ofstream(grid) << R"({"training.optimizer.lrr": [1]})";
  CHECK_THAT(foresight_command(command).output, Catch::Contains("did you mean 'lr'"));
  std::ofstream(grid) << R"({"seed": 3})";
  CHECK_THAT(foresight_command(command).output, Catch::Contains("a list of values"));
}

TEST_CASE("a sweep over the loss itself is not ranked by it, and no two columns have one name") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3), out = (folder / "sweep").string();
  const auto grid = (folder / "grid.json").string();
  std::ofstream(grid) << R"({"model.loss.cov": [50, 0.1], "training.steps": [4],
                             "critic_training.steps": [3]})";
  const auto command = "train --data " + data + " --out " + out + " --sweep " + grid + kBrief;
  const auto swept = foresight_command(command);
  INFO(swept.output);
  REQUIRE(swept.code == 0);
  const auto record = io::read_json(folder / "sweep" / "sweep.json");
  CHECK(record["ranked_by"].is_null());
  CHECK(record["runs"][0]["folder"] == "000");
  CHECK(record["runs"][0]["validation_loss"] > record["runs"][1]["validation_loss"]);
  const auto table = io::read_text(folder / "sweep" / "sweep.txt");
  CHECK_THAT(table, Catch::Contains("not ranked: model.loss.cov change(s) what the loss is"));
  CHECK_THAT(table, Catch::Contains("run  critic_training.steps  cov  training.steps  outcome"));
}

TEST_CASE("a sweep ranks by the weights that each run kept, and the cost-to-go by its own loss") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3), grid = (folder / "grid.json").string();
  const auto swept = [&](const char* name, const char* options, const std::string& more) {
    std::ofstream(grid) << options;
    const auto made =
        foresight_command("train --data " + data + " --out " + (folder / name).string() +
                          " --sweep " + grid + kBrief + more);
    INFO(made.output);
    REQUIRE(made.code == 0);
    return io::read_json(folder / name / "sweep.json");
  };
  // So large a rate that losses rise and fall.
  const auto kept = swept("kept", R"({"training.keep": ["last", "lowest_loss"]})",
                          " --training.validate_every 1 --training.optimizer.lr 0.01"
                          " --training.schedule.warmup 0");
  double last = 0, lowest = std::numeric_limits<double>::infinity();
  for (const auto& row : train::read_metrics(folder / "kept" / "000" / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name == "jepa/validation/loss") lowest = std::min(lowest, last = value);
  REQUIRE(lowest < last);
  CHECK(kept["runs"][0]["values"]["training.keep"] == "lowest_loss");
  CHECK(kept["runs"][0]["validation_loss"] == Approx(lowest));
  CHECK(kept["runs"][1]["validation_loss"] == Approx(last));
  // The command says the same of such a run.
  const auto run = (folder / "kept" / "001").string();
  const auto told = foresight_command("train --data " + data + " --out " + run +
                                      " --resume --config " + run + "/config.json");
  CHECK_THAT(told.output, Catch::Contains(fmt::format(", validation {:.4g}\n", lowest)) &&
                              Catch::Contains("weights kept: those of step ") &&
                              Catch::Contains(", whose validation and success these are"));

  const auto critic = swept("critic", R"({"critic_training.optimizer.lr": [1e-9, 1e-2]})", "");
  CHECK(critic["ranked_by"] == "critic_validation_loss");
  CHECK(critic["runs"][0]["folder"] == "001");
  CHECK(critic["runs"][0]["critic_validation_loss"] < critic["runs"][1]["critic_validation_loss"]);
  CHECK_THAT(io::read_text(folder / "critic" / "sweep.txt"), Catch::Contains("cost-to-go loss"));
  CHECK(swept("target", R"({"critic_task.expectile": [0.1, 0.5]})", "")["ranked_by"].is_null());
}

TEST_CASE("a combination that the data refuse is a row, and the sweep goes on") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3), grid = (folder / "grid.json").string();
  std::ofstream(grid) << R"({"windows.frames": [5, 400, 6]})";
  const auto command = "train --data " + data + " --sweep " + grid + kBrief + " --out " +
                       (folder / "sweep").string();
  for (int time = 0; time < 2; ++time) {
    const auto swept = foresight_command(command);
    INFO(swept.output);
    REQUIRE(swept.code == 0);
    CHECK_THAT(swept.output, Catch::Contains("refused: ") && Catch::Contains("400"));
    const auto runs = io::read_json(folder / "sweep" / "sweep.json")["runs"];
    REQUIRE(runs.size() == 3);
    CHECK(runs[0]["outcome"] == "finished");
    CHECK(runs[1]["outcome"] == "refused");
    CHECK_THAT(runs[1]["message"].get<std::string>(),
               Catch::Contains("WindowOptions.frames = 400"));
    CHECK(runs[1]["validation_loss"].is_null());
    CHECK(runs[2]["outcome"] == "finished");
  }
  std::ofstream(grid) << R"({"windows.frames": [400]})";
  const auto none = foresight_command(command + "2");
  CHECK(none.code == 1);
  CHECK_THAT(none.output, Catch::Contains("WindowOptions.frames = 400"));
}

TEST_CASE("losses are no ranking where each run has a target, or data, of its own") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3), grid = (folder / "grid.json").string();
  const auto ranked_by = [&](const std::string& family, const std::string& options) {
    std::ofstream(grid) << options;
    const auto out = folder / "sweep";
    std::filesystem::remove_all(out);
    const auto swept = foresight_command("train " + family + " --out " + out.string() +
                                         " --sweep " + grid + " --steps 0");
    INFO(swept.output);
    REQUIRE(swept.code == 0);
    return io::read_json(out / "sweep.json")["ranked_by"];
  };
  const auto ijepa = "ijepa --loader.batch 4 --data " + data;
  CHECK(ranked_by(ijepa, R"({"training.optimizer.lr": [1e-3, 1e-4]})").is_null());
  CHECK(ranked_by(ijepa, R"({"training.optimizer.lr": [1e-3]})") == "validation_loss");
  const std::string rooms = "eb_jepa --task.batch 4 --task.validation_clips 4";
  CHECK(ranked_by(rooms, R"({"walks.door_probability": [0.5, 0.2]})").is_null());
  CHECK(ranked_by(rooms, R"({"training.optimizer.lr": [1e-3, 1e-4]})") == "validation_loss");
}

TEST_CASE("LeWM and PLDM are trained by their published recipes, with sizes of one's own") {
  const TemporaryFolder folder;
  const auto data = recorded(folder, "data", 3);
  for (const std::string preset : {"lewm", "pldm"}) {
    const auto out = (folder / preset).string();
    const auto trained =
        foresight_command("train --data " + data + " --out " + out + " --preset " + preset +
                          " --steps 100 --loader.batch 2 --validation_batches 1"
                          " --model.image.size 28 --model.vit.depth 1 --model.adaln.depth 1" +
                          (preset == "pldm" ? " --training.precision fp32" : ""));
    INFO(trained.output);
    REQUIRE(trained.code == 0);
    const auto learn = io::read_json(folder / preset / "config.json")["learn"];
    CHECK(learn["training"]["optimizer"]["lr"] == 5e-5);
    CHECK(learn["training"]["precision"] == (preset == "lewm" ? "bf16" : "fp32"));  // as asked for
    CHECK(learn["training"]["schedule"]["warmup"] == 1);  // one per cent of --steps
    CHECK(learn["critic_training"]["steps"] == 0);
    CHECK(learn["model"]["loss"]["sigreg"] == (preset == "lewm" ? 0.09 : 0.0));
    CHECK(learn["model"]["loss"]["std"] == (preset == "lewm" ? 0.0 : 18.0));
    CHECK(learn["model"]["vit"]["width"] == 192);
    const auto bundle = io::read_json(folder / preset / "bundle" / "config.json");
    CHECK(bundle["family"] == "jepa");
    CHECK(bundle["history"] == 3);
  }
  CHECK_THAT(foresight_command("train --data " + data + " --out " + (folder / "no").string() +
                               " --preset lewn")
                 .output,
             Catch::Contains("lewm"));
}

TEST_CASE("train learns on from a bundle with replay, and watches planning success") {
  const TemporaryFolder folder;
  const auto old = recorded(folder, "old", 3), fresh = recorded(folder, "fresh", 9);
  const auto first = foresight_command(
      "train --data " + old + " --out " + (folder / "first").string() + kBrief +
      " --training.success_every 6 --training.keep highest_success --success-protocol 5/6"
      " --success-instances 3");
  INFO(first.output);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.output, Catch::Contains("planning problems solved"));
  // Told with the stage that it is of.
  CHECK(first.output.find("planning problems solved") < first.output.find("cost-to-go: "));
  const auto bundle = (folder / "first" / "bundle").string();
  const auto on =
      foresight_command("train --data " + fresh + " --out " + (folder / "on").string() + kBrief +
                        " --continue " + bundle + " --replay " + old + " --replay-share 0.25");
  INFO(on.output);
  REQUIRE(on.code == 0);
  CHECK_THAT(on.output, Catch::Contains("held-out loss on old recordings"));
  const auto report = io::read_json(folder / "on" / "continual.json");
  CHECK(report["old_data"]["loss"]["before"].is_number());
  CHECK(report["forgetting"].is_number());
  const auto config = io::read_json(folder / "on" / "bundle" / "config.json");
  CHECK(config["provenance"]["replay"]["share"] == 0.25);
  CHECK_THAT(io::read_text(folder / "on" / "report.html"),
             Catch::Contains("Forgotten of the old recordings") &&
                 Catch::Contains("<td>old</td><td>loss</td>") &&
                 Catch::Contains("<td>latents</td>"));
  const auto other =
      foresight_command("train --data " + fresh + " --out " + (folder / "no").string() + kBrief +
                        " --continue " + bundle + " --windows.stride 3");
  CHECK(other.code != 0);
  CHECK_THAT(other.output, Catch::Contains("windows.stride = 3 must be the action block"));
  const auto alone = foresight_command("train --data " + fresh + " --out " +
                                       (folder / "no").string() + " --replay " + old);
  CHECK(alone.code != 0);
  CHECK_THAT(alone.output, Catch::Contains("--continue"));
}

}  // namespace foresight::cli_train_test
