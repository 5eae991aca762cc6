// SPDX-License-Identifier: Apache-2.0
// foresight eval and train without recordings: problems drawn from the environment that a model was
// trained for, judged by its own rule.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "catch.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/eval/planning_protocol.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/train/event_writer.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::environment_test {

namespace {

std::string untrained_rooms(const std::filesystem::path& folder) {
  const models::EbJepa model(models::EbJepaOptions::small(), /*seed=*/3);
  auto config = models::eb_jepa_bundle_config(model);
  auto planner = AgentOptions::eb_jepa();
  planner.sampling.samples = 8;
  planner.sampling.elites = 4;
  planner.sampling.iterations = 2;
  planner.control.horizon = 3;
  config.planner = write_options(planner);
  models::write_eb_jepa(folder / "bundle", model, config);
  return " --bundle " + (folder / "bundle").string();
}

}  // namespace

TEST_CASE("eval judges a model in its environment by that environment's rule, without recordings") {
  const TemporaryFolder folder;
  const auto given = "eval" + untrained_rooms(folder.path()) + " --env eb_two_rooms";
  const auto evaluated = foresight_command(given + " --instances 2 --protocol random/5 --seed 7");
  INFO(evaluated.output);
  REQUIRE(evaluated.code == 0);
  const auto result = io::read_json(folder / "eval.json");
  CHECK_FALSE(result.contains("world_model"));  // nothing was recorded to measure it on
  REQUIRE(result["protocols"].size() == 1);
  const auto& entry = result["protocols"][0];
  const auto& planner = entry["planner"];
  CHECK(planner["trials"] == 2);
  CHECK(planner["solved_when"] == "near_at_end");
  CHECK(planner["success_distance"] == 4.5);
  CHECK(planner["frames"] == "rendered");
  CHECK(planner["fallbacks"] == 0);
  CHECK(entry["plans_end_with_episode"] == true);
  CHECK(entry["baselines"].size() == 2);  // still and random: nobody heads straight for a layout
  envs::EbTwoRooms rooms;
  const auto problems = eval::sample_environment_protocol(rooms, 5, 2, /*seed=*/7);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto& instance = planner["instances"][i];
    CHECK(instance["start_state"] == nlohmann::json(problems.instances[i].start_state));
    CHECK(instance["steps"] == 5);  // to the end: reaching the goal is not enough
    CHECK(instance["success"] == (instance["final_distance"].get<double>() < 4.5));
  }

  // The environment's own steps, and its options.
  const auto fixed = foresight_command(given +
                                       " --instances 1 --no-baselines --env-options "
                                       "'{\"allowed_positions\": 4, \"success_distance\": 200, "
                                       "\"geometry\": {\"wall\": \"fixed\"}}'");
  INFO(fixed.output);
  REQUIRE(fixed.code == 0);
  const auto again = io::read_json(folder / "eval.json")["protocols"][0]["planner"];
  CHECK(again["protocol"] == "random/4");
  CHECK(again["successes"] == 1);  // the whole picture is near enough
  CHECK(again["instances"][0]["start_state"][2] == envs::EbTwoRoomsGeometry().fixed_wall_x);

  // A robot's settings are a robot's control loop.
  const auto robot = foresight_command(given +
                                       " --instances 1 --no-baselines --protocol random/3 "
                                       "--control.warm_start true");
  INFO(robot.output);
  REQUIRE(robot.code == 0);
  CHECK(io::read_json(folder / "eval.json")["protocols"][0]["plans_end_with_episode"] == false);
}

TEST_CASE("train eb_jepa measures success in the rooms that it learns in") {
  const TemporaryFolder folder;
  untrained_rooms(folder.path());  // whose planner is a small one, and stays
  const auto run = folder / "run";
  const auto given = "train eb_jepa --continue " + (folder / "bundle").string() + " --out " +
                     run.string() +
                     " --steps 2 --task.batch 4 --training.success_every 1"
                     " --training.keep highest_success --walks.geometry.wall fixed";
  const auto trained =
      foresight_command(given + " --success-instances 2 --success-protocol random/5");
  INFO(trained.output);
  REQUIRE(trained.code == 0);
  CHECK_THAT(trained.output, Catch::Contains("planning problems solved: "));
  const auto told = io::read_json(run / "config.json")["success"];
  CHECK(told["environment"] == "eb_two_rooms");
  CHECK(told["protocol"] == "random/5");
  int64_t measured = 0;
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name == "eb_jepa/validation/success") ++measured;
  CHECK(measured == 2);

  const auto help = foresight_command("train eb_jepa --help");
  CHECK_THAT(help.output, Catch::Contains("random/200"));
  const auto elsewhere = foresight_command(given + " --success-env two_room");
  CHECK(elsewhere.code != 0);
  CHECK_THAT(elsewhere.output, Catch::Contains("--success-env"));
}

TEST_CASE("eval without recordings names what needs them") {
  const TemporaryFolder folder;
  const auto given = "eval" + untrained_rooms(folder.path());
  const auto refused = [&](const std::string& flags) {
    const auto result = foresight_command(given + flags);
    CHECK(result.code != 0);
    return result.output;
  };
  CHECK_THAT(refused(" --env none"), Catch::Contains("give --data"));
  CHECK_THAT(refused(" --env eb_two_rooms --protocol 25/50"),
             Catch::Contains("25/50") && Catch::Contains("give --data"));
  CHECK_THAT(refused(" --env eb_two_rooms --open-loop 3"), Catch::Contains("--open-loop"));
  CHECK_THAT(refused(" --env eb_two_rooms --states x"), Catch::Contains("--states"));
  CHECK_THAT(refused(" --env eb_two_rooms --env-options wall"),
             Catch::Contains("expected a JSON object"));
  CHECK_THAT(refused(" --env eb_two_rooms --env-options '{\"walls\": 1}'"),
             Catch::Contains("walls"));
  CHECK_THAT(refused(" --env two_room --instances 1"), Catch::Contains("pixels"));
  CHECK_FALSE(std::filesystem::exists(folder / "eval.json"));
}

}  // namespace foresight::environment_test
