// SPDX-License-Identifier: Apache-2.0
// The command as a user meets it: a process, its output and its exit code.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "catch.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/event_writer.hpp"
#include "run_command.hpp"

namespace foresight::command_test {

namespace fs = std::filesystem;

namespace {

// One folder with a small recording and a short run, made once for all tests of this program.
const fs::path& workshop() {
  static const struct Workshop {
    Workshop() : path(fs::temp_directory_path() / ("foresight_cli_" + std::to_string(getpid()))) {
      fs::remove_all(path);
      fs::create_directories(path);
      const auto data = (path / "data").string();
      const auto recorded =
          foresight_command("record --env two_room --episodes 14 --seed 3 --out " + data);
      INFO(recorded.output);
      REQUIRE(recorded.code == 0);
      const auto trained =
          foresight_command("train --data " + data + " --out " + (path / "run").string() +
                            " --steps 30 --loader.batch 32 --critic_training.steps 60"
                            " --training.checkpoint_every 10 --seed 5");
      INFO(trained.output);
      REQUIRE(trained.code == 0);
    }
    ~Workshop() { fs::remove_all(path); }
    fs::path path;
  } only;
  return only.path;
}

std::string made(const char* name) { return (workshop() / name).string(); }

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Runs a command in one thread and sends it `signal` as soon as `file` is there.
CommandResult signalled_command(const std::string& arguments, const fs::path& file, int signal) {
  const auto log = made("signalled.log");
  const auto command =
      "exec " + std::string(FORESIGHT_BINARY_DIR) + "/bin/foresight " + arguments + " >" + log;
  const auto child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    setenv("OMP_NUM_THREADS", "1", 1);
    execl("/bin/sh", "sh", "-c", (command + " 2>&1").c_str(), nullptr);
    _exit(127);
  }
  for (int i = 0; i < 6000 && !fs::exists(file); ++i) usleep(5000);
  kill(child, signal);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  return {WEXITSTATUS(status), read(log)};
}

}  // namespace

TEST_CASE("record makes a data set that opens, and adds to one that exists") {
  const auto dataset = data::open_dataset(made("data"));
  CHECK(dataset->num_episodes() == 14);
  CHECK(dataset->action_columns() == std::vector<std::string>{"action_0", "action_1"});
  CHECK(dataset->last_action() == data::LastAction::artefact);
  const auto inspected = foresight_command("inspect " + made("data"));
  CHECK(inspected.code == 0);
  CHECK_THAT(inspected.output, Catch::Contains("14 episodes") && Catch::Contains("action_1"));
}

TEST_CASE("train leaves a run folder with everything that the guide promises") {
  const auto run = workshop() / "run";
  CHECK(io::read_json(run / "config.json")["learn"]["training"]["steps"] == 30);
  bool jepa = false, critic = false;
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars) {
      jepa = jepa || (name == "jepa/validation/loss" && row.step == 30);
      critic = critic || (name == "critic/train/expectile" && row.step > 30);
    }
  CHECK(jepa);
  CHECK(critic);
  CHECK(fs::exists(run / "checkpoints" / "jepa"));
  const auto inspected = foresight_command("inspect " + made("run/bundle"));
  CHECK(inspected.code == 0);
  CHECK_THAT(inspected.output, Catch::Contains("cost-to-go") && Catch::Contains("validation_loss"));
}

TEST_CASE("eval, plan and report work on what train left") {
  const auto evaluated =
      foresight_command("eval --bundle " + made("run/bundle") + " --data " + made("data") +
                        " --protocol 10/12,random/12 --instances 4 --open-loop 3");
  INFO(evaluated.output);
  REQUIRE(evaluated.code == 0);
  const auto result = io::read_json(workshop() / "run" / "eval.json");
  CHECK(result["protocols"][0]["planner"]["trials"] == 4);
  CHECK(result["protocols"][0]["baselines"].size() == 4);
  CHECK(result["protocols"][1]["planner"]["frames"] == "rendered");
  CHECK(result["protocols"][1]["baselines"].size() == 3);  // nothing was recorded to replay
  CHECK(result["world_model"]["open_loop"]["model_mse"].size() == 3);
  CHECK(result["precision"] == "as saved");

  const auto planned = foresight_command("plan --bundle " + made("run/bundle") + " --start " +
                                         made("data/episode_0001.mp4") + ":0 --goal " +
                                         made("data/episode_0001.mp4") +
                                         ":3 --sampling.samples 40 --precision float32");
  INFO(planned.output);
  REQUIRE(planned.code == 0);
  const auto plan = nlohmann::json::parse(planned.output);
  CHECK(plan["status"] == "ok");
  CHECK(plan["precision"] == "float32");
  CHECK(plan["terms"].contains("cost_to_go"));
  CHECK(plan["actions"].size() == 15);  // three blocks of five raw actions
  for (const auto& action : plan["actions"])
    for (const double value : action) CHECK(std::abs(value) <= 1.0 + 1e-6);

  // The same from pictures.
  data::VideoReader film(made("data/episode_0001.mp4"));
  for (const int64_t row : {0, 3})
    io::write_text(workshop() / fmt::format("row_{}.png", row), data::encode_png(film.frame(row)));
  const auto from_pictures = foresight_command(fmt::format(
      "plan --bundle {} --start {} --goal {} --sampling.samples 40 --precision float32",
      made("run/bundle"), made("row_0.png"), made("row_3.png")));
  INFO(from_pictures.output);
  REQUIRE(from_pictures.code == 0);
  CHECK(nlohmann::json::parse(from_pictures.output)["actions"] == plan["actions"]);

  const auto reported = foresight_command("report --run " + made("run"));
  INFO(reported.output);
  REQUIRE(reported.code == 0);
  const auto page = read(workshop() / "run" / "report.html");
  CHECK_THAT(page, Catch::Contains("<svg") && Catch::Contains("replay, 10/12"));
  CHECK(fs::file_size(workshop() / "run" / "episode.mp4") > 1000);
}

TEST_CASE("a run that was interrupted by a signal continues and matches the uninterrupted one") {
  const auto arguments = " --data " + made("data") + " --out " + made("again") +
                         " --steps 30 --loader.batch 32 --critic_training.steps 60"
                         " --training.checkpoint_every 10 --seed 5 --threads 1";
  // Ctrl-C as soon as the first checkpoint is there.
  const auto stopped =
      signalled_command("train" + arguments,
                        workshop() / "again/checkpoints/jepa/step_0000000010.safetensors", SIGINT);
  INFO(stopped.output);
  CHECK(stopped.code == 128 + SIGINT);
  CHECK_THAT(stopped.output, Catch::Contains("interrupted ") &&
                                 Catch::Contains("go on with the same command and --resume "
                                                 "--config " +
                                                 made("again") + "/config.json"));
  const auto resumed = foresight_command("train --resume" + arguments);
  INFO(resumed.output);
  REQUIRE(resumed.code == 0);

  const auto fresh = foresight_command("train --data " + made("data") + " --out " + made("whole") +
                                       " --steps 30 --loader.batch 32 --critic_training.steps 60"
                                       " --training.checkpoint_every 10 --seed 5 --threads 1");
  REQUIRE(fresh.code == 0);
  CHECK(read(workshop() / "again" / "bundle" / "model.safetensors") ==
        read(workshop() / "whole" / "bundle" / "model.safetensors"));
}

TEST_CASE("every training that a signal ends exits with 128 + its number") {
  const auto grid = made("grid.json");
  std::ofstream(grid) << R"({"seed": [1, 2]})";
  const auto sweep = "train lejepa --data " + made("data") + " --out " + made("sweep") +
                     " --sweep " + grid + " --steps 100000 --loader.batch 4 --threads 1";
  const auto stopped = signalled_command(sweep, workshop() / "sweep/000/metrics.jsonl", SIGTERM);
  INFO(stopped.output);
  CHECK(stopped.code == 128 + SIGTERM);
  CHECK_THAT(stopped.output, Catch::Contains("interrupted; the same command goes on"));
  const auto family = "train eb_jepa --out " + made("rooms") + " --threads 1";
  const auto ended = signalled_command(family, workshop() / "rooms/metrics.jsonl", SIGINT);
  INFO(ended.output);
  CHECK(ended.code == 128 + SIGINT);
  CHECK_THAT(ended.output, Catch::Contains("--resume --config " + made("rooms") + "/config.json"));
}

TEST_CASE("Ctrl-C ends a measurement of success before its next plan") {
  const auto run = workshop() / "measured";
  // Minutes, were it not ended. The candidate is written just before.
  const auto stopped = signalled_command(
      "train --data " + made("data") + " --out " + run.string() +
          " --steps 1 --loader.batch 16 --critic_training.steps 0 --threads 1"
          " --training.success_every 1 --success-protocol random/400 --success-instances 40",
      run / "candidate/config.json", SIGINT);
  INFO(stopped.output);
  CHECK(stopped.code == 128 + SIGINT);
  CHECK_THAT(stopped.output, Catch::Contains("interrupted after step 1;"));
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars) CHECK(name != "jepa/validation/success");
}

TEST_CASE("wrong usage exits with 2 and says what was meant") {
  const auto unknown = foresight_command("train --data x --out y --stepz 3");
  CHECK(unknown.code == 2);
  CHECK_THAT(unknown.output, Catch::Contains("--steps"));
  CHECK(foresight_command("").code == 2);
  const auto command = foresight_command("trian --data x");
  CHECK(command.code == 2);
  CHECK_THAT(command.output, Catch::Contains("did you mean 'train'"));
  // An option of other commands is not what was meant.
  const auto others = foresight_command("report --out x");
  CHECK(others.code == 2);
  CHECK_THAT(others.output, Catch::Contains("--run is required") && !Catch::Contains("--out'?"));
  const auto behind = foresight_command("report --run " + made("run") + " --out x");
  CHECK(behind.code == 2);
  CHECK_THAT(behind.output, Catch::Contains("--out") && !Catch::Contains("--out'?"));
  const auto text = foresight_command("train --data " + made("data") + " --out " + made("z") +
                                      " --training.steps many");
  CHECK(text.code == 2);
  CHECK_THAT(text.output, Catch::Contains("'many' is not an integer"));
  const auto rule = foresight_command("train --data " + made("data") + " --out " + made("z") +
                                      " --loader.batch 0");
  CHECK(rule.code == 2);
  CHECK_THAT(rule.output, Catch::Contains("batch = 0"));
  std::ofstream(workshop() / "bad.json") << R"({"trainig": {}})";
  const auto key = foresight_command("train --data " + made("data") + " --out " + made("z") +
                                     " --config " + made("bad.json"));
  CHECK(key.code == 2);
  CHECK_THAT(key.output, Catch::Contains("did you mean 'training'"));
  CHECK_FALSE(fs::exists(workshop() / "z"));
}

TEST_CASE("options that data or other options decide are refused with what decides them") {
  const auto refused = [](const std::string& arguments, const std::string& by) {
    const auto run = foresight_command(arguments + " --data " + made("data") + " --out " +
                                       made("decided"));
    INFO(run.output);
    CHECK(run.code == 2);
    CHECK_THAT(run.output, Catch::Contains(by) && !Catch::Contains("did you mean"));
  };
  const std::string seed = "loader.seed cannot be chosen: --seed decides it";
  const std::string block = "model.action.block cannot be chosen: --windows.stride decides it";
  refused("train --loader.seed 1", "--" + seed);
  refused("train --model.action.block=2", "--" + block);
  refused("train --critic.latent 8", "--model.latent decides it");
  refused("train dino_wm --model.action.mean 0,0", "measured over the episodes");
  refused("train lejepa --loader.states true", "what is trained decides");
  // Runs of a sweep over them would be the same.
  const auto grid = made("decided.json");
  std::ofstream(grid) << R"({"loader.seed": [1, 2]})";
  refused("train --sweep " + grid, grid + ": " + seed);
  refused("train lejepa --sweep " + grid, grid + ": " + seed);
  std::ofstream(grid) << R"({"model.action": [{"block": 2}]})";
  refused("train dino_wm --sweep " + grid, grid + ": " + block);
  CHECK_FALSE(fs::exists(workshop() / "decided"));
}

TEST_CASE("failures exit with 1 and name the file") {
  const auto missing = foresight_command("train --data " + made("nothing") + " --out " + made("z"));
  CHECK(missing.code == 1);
  CHECK_THAT(missing.output, Catch::Contains("nothing"));
  const auto again = foresight_command("train --data " + made("data") + " --out " + made("run"));
  CHECK(again.code == 1);
  CHECK_THAT(again.output, Catch::Contains("holds a run already"));
  const auto other = foresight_command("train --resume --data " + made("data") + " --out " +
                                       made("run") + " --steps 31");
  CHECK(other.code == 2);
  CHECK_THAT(other.output, Catch::Contains("training.steps"));
  const auto bundle =
      foresight_command("eval --bundle " + made("data") + " --data " + made("data"));
  CHECK(bundle.code == 1);
}

TEST_CASE("help shows every option with its default") {
  const auto help = foresight_command("train --help");
  CHECK(help.code == 0);
  CHECK_THAT(help.output, Catch::Contains("--training.optimizer.lr") && Catch::Contains("0.001") &&
                              Catch::Contains("--critic_task.expectile"));
  // Names that are accepted, and no option that the data or another option decides.
  CHECK_THAT(help.output, Catch::Contains("--process-transport ENUM:{automatic,gloo,nccl}=") &&
                              Catch::Contains("{keep,recompute}=keep") &&
                              Catch::Contains("--model.action.low LIST=none") &&
                              !Catch::Contains("--model.action.dim") &&
                              !Catch::Contains("--loader.seed") &&
                              !Catch::Contains("--critic.latent"));
  // Where a bundle says otherwise, what is shown is no default.
  const auto plan = foresight_command("eval --help").output;
  CHECK_THAT(plan, Catch::Contains("{gaussian,coloured,knots,action_rates,categorical}") &&
                       Catch::Contains("unless the bundle says others") &&
                       !Catch::Contains("--no-baselines{false}"));
  CHECK(foresight_command("--version").code == 0);
}

TEST_CASE("help says of reading recordings what the command does") {
  const std::string trained = "unless a run or bundle was trained with others";
  for (const auto* command : {"train", "train lejepa", "eval", "plan", "report"})
    CHECK_THAT(foresight_command(std::string(command) + " --help").output,
               Catch::Contains(trained));
  for (const auto* command : {"inspect", "import lewm"})
    CHECK_THAT(foresight_command(std::string(command) + " --help").output,
               Catch::Contains("--reading.fps") && !Catch::Contains("a run or bundle"));
  CHECK_THAT(foresight_command("inspect --help").output,
             Catch::Contains("--reading.missing_states {reject,accept}=accept"));
  // Environments whose pictures a video can hold.
  CHECK_THAT(foresight_command("record --help").output, !Catch::Contains("eb_two_rooms"));
}

}  // namespace foresight::command_test
