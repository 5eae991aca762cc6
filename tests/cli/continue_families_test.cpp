// SPDX-License-Identifier: Apache-2.0
// foresight train FAMILY with a grid of options, and with a bundle to go on from.
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::continue_families_test {
namespace {

CommandResult trained(const std::string& arguments) {
  return foresight_command("train " + arguments);
}

std::string rooms(const TemporaryFolder& folder, const char* name, int seed) {
  const auto path = (folder / name).string();
  const auto made = foresight_command("record --env two_room --episodes 4 --seed " +
                                      std::to_string(seed) + " --out " + path);
  INFO(made.output);
  REQUIRE(made.code == 0);
  return path;
}

}  // namespace

TEST_CASE("a family's options are swept, and its bundle is learned on from with a replay") {
  const TemporaryFolder folder;
  const auto old = rooms(folder, "old", 3), fresh = rooms(folder, "fresh", 9);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  std::ofstream(folder / "grid.json") << R"({"training.optimizer.lr": [1e-3, 1e-5]})";
  constexpr const char* kBrief =
      " --steps 3 --loader.batch 8 --validation_batches 1 --model.encoder.depth 1";
  const auto swept = trained("lejepa --data " + old + " --out " + path("sweep") + " --sweep " +
                             path("grid.json") + kBrief);
  INFO(swept.output);
  REQUIRE(swept.code == 0);
  const auto runs = io::read_json(folder / "sweep" / "sweep.json")["runs"];
  REQUIRE(runs.size() == 2);
  CHECK(runs[0]["validation_loss"].get<double>() <= runs[1]["validation_loss"].get<double>());
  const auto config = io::read_json(folder / "sweep" / "000" / "config.json");
  CHECK(config["learn"]["training"]["optimizer"]["lr"] == 1e-3);
  CHECK(config["family"] == "lejepa");
  std::ofstream(folder / "grid.json") << R"({"model.encoder.width": [50]})";
  CHECK_THAT(
      trained("lejepa --data " + old + " --out " + path("other") + " --sweep " + path("grid.json"))
          .output,
      Catch::Contains("grid.json: with"));

  // The model's sizes come from the bundle: nothing but the data needs to be said.
  const auto on = "lejepa --data " + fresh + " --out " + path("on") + " --continue " +
                  path("sweep/000/bundle") + " --replay " + old +
                  " --replay-share 0.25 --steps 3 --loader.batch 8 --validation_batches 1";
  const auto learned = trained(on);
  INFO(learned.output);
  REQUIRE(learned.code == 0);
  CHECK_THAT(learned.output, Catch::Contains("held-out loss on old recordings"));
  CHECK(io::read_json(folder / "on" / "continual.json")["forgetting"].is_number());
  const auto bundle = io::read_json(folder / "on" / "bundle" / "config.json");
  CHECK(bundle["options"]["encoder"]["depth"] == 1);
  CHECK(bundle["provenance"]["replay"]["share"] == 0.25);
  CHECK(bundle["provenance"]["continued_from"]["data"] == old);
  CHECK(trained(on + " --resume --config " + path("on/config.json")).code == 0);

  const auto refused = [&](const std::string& more, const char* words) {
    const auto result = trained("lejepa --data " + fresh + " --out " + path("no") + more);
    CHECK(result.code != 0);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(std::filesystem::exists(folder / "no"));
  };
  refused(" --replay " + old, "--continue");
  refused(" --continue " + path("on/bundle") + " --model.encoder.depth 2", "leave it out");
  refused(" --continue ''", "names no bundle");
  refused(" --continue " + path("on/bundle") + " --sweep " + path("grid.json"), "excludes");
  CHECK_THAT(
      trained("ijepa --data " + fresh + " --out " + path("no") + " --continue " + path("on/bundle"))
          .output,
      Catch::Contains("model family 'lejepa', expected 'vjepa2'"));
}

}  // namespace foresight::continue_families_test
