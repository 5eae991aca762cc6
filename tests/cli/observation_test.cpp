// SPDX-License-Identifier: Apache-2.0
// foresight eval and plan with models that see more than a picture: proprioception from the
// recordings' columns or the environment's state, or given by hand.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "catch.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::observation_test {
namespace {

std::string done(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return result.output;
}

std::string refused(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code != 0);
  return result.output;
}

constexpr const char* kFewCandidates =
    " --sampling.samples 4 --sampling.elites 2 --sampling.iterations 1 --control.horizon 2";

double cost_of_plan(const std::string& arguments) {
  return nlohmann::json::parse(done("plan " + arguments + kFewCandidates))["cost"].get<double>();
}

// A gripper's square, one action and a pose of seven numbers.
std::string gripper_recordings(const std::filesystem::path& path) {
  constexpr int64_t kRows = 24, kSide = 64;
  data::FolderWriterOptions options;
  options.video.fps = 10;
  options.actions = {"push"};
  options.states = {"x", "y", "z", "rx", "ry", "rz", "opening"};
  data::FolderWriter writer(path, options);
  for (int64_t e = 0; e < 3; ++e) {
    auto frames = at::full({kRows, kSide, kSide, 3}, 40, at::kByte);
    auto table = at::zeros({kRows, 8}, at::kDouble);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto place = (3 * r + 7 * e) % (kSide - 8);
      frames[r].narrow(0, 20, 8).narrow(1, place, 8).fill_(220);
      table[r][1] = static_cast<double>(place) / kSide;
    }
    writer.write_episode(frames, table);
  }
  return path.string();
}

}  // namespace

TEST_CASE("a DINO-WM with proprioception is evaluated and plans from recordings and by hand") {
  const TemporaryFolder folder;
  const auto data = (folder / "rooms").string(), bundle = (folder / "world/bundle").string();
  done("record --env two_room --episodes 4 --seed 3 --out " + data);
  const models::LeJepa encoder(models::LeJepaOptions::tiny(), 1);
  models::write_lejepa(folder / "encoder", encoder, models::lejepa_bundle_config(encoder));
  done("train dino_wm --data " + data + " --backbone " + (folder / "encoder").string() + " --out " +
       (folder / "world").string() +
       " --steps 3 --loader.batch 8 --validation_batches 1 --model.proprio.dim 2"
       " --training.success_every 3 --success-protocol 5/5 --success-instances 2");
  const auto config = io::read_json(folder / "world" / "bundle" / "config.json");
  CHECK(config["provenance"]["observed_columns"] == nlohmann::json({"state_0", "state_1"}));
  CHECK(config["planner"]["objective"]["proprio_distance"] == 1.0);

  done("eval --bundle " + bundle + " --data " + data +
       " --protocol 5/5,random/5 --instances 2 --no-baselines --open-loop 2" + kFewCandidates);
  const auto result = io::read_json(folder / "world" / "eval.json");
  CHECK(result["observed_columns"] == nlohmann::json({"state_0", "state_1"}));
  CHECK(result["protocols"].size() == 2);
  CHECK(result["protocols"][0]["planner"]["fallbacks"] == 0);
  CHECK(result["world_model"]["open_loop"]["windows"].get<int64_t>() > 0);

  const auto recorded = " --bundle " + bundle + " --data " + data;
  const std::string unweighed = " --objective.proprio_distance 0";
  const auto cost = cost_of_plan(recorded + " --start 0:0 --goal 0:6" + unweighed);
  const auto pictures = " --bundle " + bundle + " --start " + data + "/episode_0000.mp4:0 --goal " +
                        data + "/episode_0000.mp4:6";
  // The same picture and the same numbers, given by hand.
  const auto values = [&](int row, double shift, const char* flag = " --start-values proprio=") {
    std::ifstream file(folder / "rooms" / "episode_0000.csv");
    std::string line, header;
    std::getline(file, header);
    for (int i = 0; i <= row; ++i) std::getline(file, line);
    std::string given;
    std::istringstream names(header), cells(line);
    for (std::string name, cell; std::getline(names, name, ',') && std::getline(cells, cell, ',');)
      if (name == "state_0" || name == "state_1")
        given += (given.empty() ? "" : ",") + std::to_string(std::stod(cell) + shift);
    return flag + given;
  };
  CHECK(cost_of_plan(pictures + values(0, 0) + unweighed) == Approx(cost).epsilon(1e-3));
  CHECK(cost_of_plan(pictures + values(0, 90) + unweighed) != Approx(cost).epsilon(1e-4));

  // Unless it is told not to, a plan weighs the goal's proprioception as well.
  const auto both = cost_of_plan(recorded + " --start 0:0 --goal 0:6");
  const auto by_hand = [&](double shift) {
    return cost_of_plan(pictures + values(0, 0) + values(6, shift, " --goal-values proprio="));
  };
  CHECK(by_hand(0) == Approx(both).epsilon(1e-3));
  CHECK(by_hand(90) > both);
  CHECK_THAT(refused("plan" + pictures + values(0, 0)),
             Catch::Contains("--goal-values proprio=") &&
                 Catch::Contains("--objective.proprio_distance 0"));

  CHECK_THAT(refused("plan" + pictures),
             Catch::Contains("observes 'proprio'") && Catch::Contains("--start-values proprio="));
  CHECK_THAT(refused("plan" + pictures + " --start-values speed=1"), Catch::Contains("'proprio'"));
  CHECK_THAT(refused("plan" + pictures + values(0, 0) + " --start-values speed=1"),
             Catch::Contains("does not observe 'speed'"));
  CHECK_THAT(refused("plan" + recorded + " --start 0:0 --goal 7"), Catch::Contains("EPISODE:ROW"));
  CHECK_THAT(refused("plan" + recorded + " --start 9:0 --goal 0:6"), Catch::Contains("9"));
  CHECK_THAT(refused("plan" + recorded + " --start 0:0 --goal 0:6 --states state_0"),
             Catch::Contains("'proprio' of the model holds 2 numbers"));
  CHECK_THAT(refused("eval" + recorded + " --states state_0,distance --protocol 5/5"),
             Catch::Contains("does not tell 'distance'"));

  // What comes from the bundle cannot be chosen as well.
  const auto on = "train dino_wm --data " + data + " --continue " + bundle + " --out " +
                  (folder / "on").string() + " --steps 1 --loader.batch 8";
  CHECK_THAT(refused(on + " --windows.stride 3"), Catch::Contains("windows.stride = 3 must be"));
  CHECK_THAT(refused(on + " --image_size 16"), Catch::Contains("image_size = 16 comes from"));
  CHECK_FALSE(std::filesystem::exists(folder / "on"));
}

TEST_CASE("a V-JEPA 2-AC is measured on poses, and plans from a recorded row") {
  const TemporaryFolder folder;
  const auto data = gripper_recordings(folder / "gripper");
  auto options = models::VJepa2Options::tiny();
  options.encoder.depth = 1;
  const models::VJepa2 encoder(options, 1);
  models::write_vjepa2(folder / "clips", encoder, models::vjepa2_bundle_config(encoder));
  const auto bundle = (folder / "arm/bundle").string();
  done("train vjepa2_ac --data " + data + " --backbone " + (folder / "clips").string() + " --out " +
       (folder / "arm").string() +
       " --steps 2 --loader.batch 4 --validation_batches 1 --windows.stride 2");
  const auto given = " --bundle " + bundle + " --data " + data;
  CHECK_THAT(refused("eval" + given), Catch::Contains("takes 2 actions, the model gives 7") &&
                                          Catch::Contains("--env none"));
  CHECK_THAT(done("eval" + given + " --env none --open-loop 2"),
             Catch::Contains("open loop, error relative"));
  for (const std::string& flag : std::vector<std::string>{
           "--trade-off", "--problems " + data + "/episode_0000.csv", "--protocol 5/5",
           "--instances 2", "--seed 3", "--no-baselines", "--sampling.samples 40",
           "--control.horizon 2", "--config " + bundle + "/config.json"})
    CHECK_THAT(refused("eval" + given + " --env none " + flag),
               Catch::Contains(flag.substr(0, flag.find(' ')) + " needs an environment"));
  const auto result = io::read_json(folder / "arm" / "eval.json");
  CHECK(result["protocols"].empty());
  CHECK(result["observed_columns"].size() == 7);
  // 24 rows, two apart, one of context and two imagined: every window of the held-out episode.
  CHECK(result["world_model"]["open_loop"]["windows"] == 24 - 4);
  const auto plan =
      nlohmann::json::parse(done("plan" + given + " --start 0:0 --goal 0:8" + kFewCandidates));
  CHECK(plan["first_action"].size() == 7);
  CHECK_THAT(refused("plan --bundle " + bundle + " --start " + data +
                     "/episode_0000.mp4:0 --goal " + data + "/episode_0000.mp4:8"),
             Catch::Contains("observes 'proprio' [7]"));
}

}  // namespace foresight::observation_test
