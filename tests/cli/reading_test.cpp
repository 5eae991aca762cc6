// SPDX-License-Identifier: Apache-2.0
// How recordings were read when a model was trained holds for what is done with it: episodes that
// are skipped, and --reading.*.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::cli_reading_test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBrief = " --steps 4 --loader.batch 16 --critic_training.steps 0";

std::string recorded(const TemporaryFolder& folder) {
  const auto path = (folder / "recordings").string();
  const auto made = foresight_command("record --episodes 6 --size 32 --seed 3 --out " + path);
  INFO(made.output);
  REQUIRE(made.code == 0);
  return path;
}

std::string done(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return result.output;
}

}  // namespace

TEST_CASE("what skipped a film in training is evaluated, planned and reported without it") {
  const TemporaryFolder folder;
  const auto data = recorded(folder), run = (folder / "run").string();
  fs::remove(folder / "recordings" / "episode_0001.mp4");
  const auto train = "train --data " + data + " --out " + run + kBrief;
  CHECK(foresight_command(train).code != 0);
  done(train + " --loader.unreadable skip");

  const auto eval = "eval --bundle " + run + "/bundle --data " + data;
  const auto measured = done(eval +
                             " --open-loop 2 --protocol 5/10 --instances 20 --no-baselines "
                             "--sampling.samples 8 --sampling.elites 4 --sampling.iterations 1");
  CHECK_THAT(measured, Catch::Contains("left out: 1 of 6 episodes"));
  const auto result = io::read_json(folder / "run" / "eval.json");
  REQUIRE(result["unreadable_episodes"].size() == 1);
  CHECK_THAT(result["unreadable_episodes"].items().begin().value().get<std::string>(),
             Catch::Contains("episode_0001"));
  CHECK(result["reading"]["unreadable"] == "skip");
  const auto& problems = result["protocols"][0]["planner"]["instances"];
  REQUIRE(problems.size() == 20);
  for (const auto& problem : problems) CHECK(problem["episode"] != 1);
  auto lost = problems[0], kept = problems[0];
  lost["episode"] = 1;
  const auto from_file = [&](const nlohmann::json& instances) {
    const auto file = folder / "problems.json";
    const nlohmann::json mine = {{"goal_offset", 5}, {"eval_budget", 5}, {"instances", instances}};
    io::write_json(file, {{"protocols", {{"mine", mine}}}});
    return foresight_command(eval + " --no-baselines --sampling.samples 8 --sampling.elites 4 " +
                             "--sampling.iterations 1 --problems " + file.string());
  };
  const auto some = from_file({kept, lost, kept});
  INFO(some.output);
  REQUIRE(some.code == 0);
  CHECK_THAT(some.output, Catch::Contains("mine: left out: 1 of 3 problems"));
  const auto told = io::read_json(folder / "run" / "eval.json")["protocols"][0];
  CHECK(told["left_out_problems"] == 1);
  CHECK(told["planner"]["trials"] == 2);
  const auto none = from_file(nlohmann::json::array({lost}));
  CHECK(none.code != 0);
  CHECK_THAT(none.output, Catch::Contains("protocol 'mine': no episode of its 1 problems"));

  const auto refused = foresight_command(eval + " --env none --loader.unreadable fail");
  CHECK(refused.code != 0);
  CHECK_THAT(refused.output, Catch::Contains("episode_0001"));

  const auto planned = done("plan --bundle " + run + "/bundle --data " + data +
                            " --start 0:0 --goal 0:5 --sampling.iterations 1");
  CHECK_THAT(planned, Catch::Contains("\"unreadable_episodes\": 1"));

  CHECK_THAT(done("report --env none --run " + run), Catch::Contains("left out: 1 of 6 episodes"));
  const auto page = io::read_text(folder / "run" / "report.html");
  CHECK_THAT(page, Catch::Contains("episodes left out") && Catch::Contains("1 of 6"));

  // One that went bad after the training is left out as well.
  const auto film = folder / "recordings" / "episode_0002.mp4";
  fs::resize_file(film, fs::file_size(film) / 2);
  CHECK_THAT(done(eval + " --env none --open-loop 2"),
             Catch::Contains("left out: 2 of 6 episodes"));
}

TEST_CASE("a run keeps how its recordings were read, and what comes after reads them so") {
  const TemporaryFolder folder;
  const auto data = recorded(folder), run = (folder / "run").string();
  CHECK_THAT(done("inspect " + data + " --reading.video.height 16 --reading.video.width 16"),
             Catch::Contains("frames of 16x16"));
  const auto train = "train --data " + data + " --out " + run + kBrief;
  const std::string small = " --reading.video.height 16 --reading.video.width 16";
  CHECK_THAT(done(train + small), Catch::Contains("frames of 16x16"));
  const nlohmann::json told = {{"video", {{"height", 16}, {"width", 16}}}};
  CHECK(io::read_json(folder / "run" / "config.json")["reading"] == told);

  const auto go_on = train + " --resume --config " + run + "/config.json";
  CHECK_THAT(done(go_on), Catch::Contains("frames of 16x16"));
  const auto other = foresight_command(go_on + " --reading.tail_mismatch 1");
  CHECK(other.code == 2);
  CHECK_THAT(other.output, Catch::Contains("reading: ") && Catch::Contains("tail_mismatch"));

  const auto eval = "eval --env none --open-loop 2 --bundle " + run + "/bundle --data " + data;
  done(eval);
  CHECK(io::read_json(folder / "run" / "eval.json")["reading"] == told);
  done(eval + " --reading.video.width 20");
  CHECK(io::read_json(folder / "run" / "eval.json")["reading"]["video"]["width"] == 20);
  done("report --run " + run + " --env none");
  const auto page = io::read_text(folder / "run" / "report.html");
  CHECK_THAT(page, Catch::Contains("of 16x16 pixels"));
  CHECK_THAT(page, Catch::Contains("--reading.video.height 16 --reading.video.width 16"));

  const auto wrong = foresight_command("inspect " + data + " --reading.fps fast");
  CHECK(wrong.code == 2);
  CHECK_THAT(wrong.output, Catch::Contains("--reading.fps: 'fast' is not a number"));
}

}  // namespace foresight::cli_reading_test
