// SPDX-License-Identifier: Apache-2.0
// foresight report: of recordings of a user's own world, and what its page says of budgets and of
// how to repeat the run.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "catch.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "report_parts.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::report_command_test {
namespace {

namespace fs = std::filesystem;

std::string done(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return result.output;
}

// A square that moves by what is pushed. Its states, three or two numbers, are no places of a
// picture of the built-in rooms.
void record_own_world(const fs::path& path, int64_t states) {
  constexpr int64_t kRows = 30, kSide = 32;
  data::FolderWriterOptions options;
  options.video.fps = 10;
  options.actions = {"push", "lift"};
  for (int64_t i = 0; i < states; ++i) options.states.push_back("joint_" + std::to_string(i));
  data::FolderWriter writer(path, options);
  for (int64_t e = 0; e < 10; ++e) {
    auto frames = at::full({kRows, kSide, kSide, 3}, 40, at::kByte);
    auto table = at::zeros({kRows, 2 + states}, at::kDouble);
    int64_t place = 2 * e;
    for (int64_t r = 0; r < kRows; ++r) {
      frames[r].narrow(0, 12, 6).narrow(1, place, 6).fill_(220);
      const int64_t push = (r + e) % 3 - 1;
      table[r][0] = push;
      table[r][1] = (r * e) % 2;
      for (int64_t i = 0; i < states; ++i) table[r][2 + i] = -50.0 + static_cast<double>(place + i);
      place = std::clamp<int64_t>(place + 2 * push, 0, kSide - 6);
    }
    writer.write_episode(frames, table);
  }
}

constexpr const char* kBrief =
    " --steps 4 --loader.batch 16 --critic_training.steps 4 --windows.stride 2";

// The text of a page without its entities.
std::string shown(const std::string& html) {
  std::string text;
  for (std::size_t i = 0; i < html.size();) {
    static const std::pair<const char*, char> kEntities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#39;", '\''}};
    bool found = false;
    for (const auto& [entity, character] : kEntities)
      if (!found && html.compare(i, std::string(entity).size(), entity) == 0) {
        text += character;
        i += std::string(entity).size();
        found = true;
      }
    if (!found) text += html[i++];
  }
  return text;
}

// The command line that begins with `words`, without "foresight ".
std::string command_line(const fs::path& page, const std::string& words) {
  const auto html = io::read_text(page);
  const auto begin = html.find(words);
  REQUIRE(begin != std::string::npos);
  return shown(html.substr(begin, html.find_first_of("<\n", begin) - begin))
      .substr(std::string("foresight ").size());
}

}  // namespace

TEST_CASE("a run on recordings of one's own world is reported, without a film of another") {
  for (const int64_t states : {3, 2}) {
    INFO(states << " states");
    const TemporaryFolder folder;
    record_own_world(folder / "own world", states);
    const auto run = (folder / "run").string();
    done("train --data '" + (folder / "own world").string() + "' --out " + run + kBrief);
    CHECK_THAT(done("report --run " + run + "/"),
               Catch::Contains("no film: the recordings do not say which environment they are of"));
    CHECK(fs::exists(folder / "run" / "report.html"));
    CHECK_FALSE(fs::exists(folder / "run" / "episode.mp4"));
    CHECK_THAT(io::read_text(folder / "run" / "report.html"),
               Catch::Contains("probe of joint_0") && Catch::Contains("Training run run<"));
    if (states == 2) continue;  // as many as the built-in rooms have
    CHECK_THAT(done("report --run " + run + " --env two_room"),
               Catch::Contains("3 state and 2 action columns, environment 'two_room' has 2 and 2"));

    // The lines on the page repeat the run, blanks in paths and all.
    const auto again = command_line(folder / "run" / "report.html", "foresight train --data");
    done(again);
    CHECK(io::read_json(folder / "run-again" / "config.json")["learn"] ==
          io::read_json(folder / "run" / "config.json")["learn"]);
    const auto measured = command_line(folder / "run" / "report.html", "foresight eval --bundle");
    CHECK_THAT(measured, Catch::Contains("--data '") && Catch::Contains("--env none"));
    done(measured);
    fs::remove(folder / "run" / "eval.json");

    // A program's own measure of success has no flags, whatever it is called.
    auto config = io::read_json(folder / "run" / "config.json");
    config["processes"] = {2, 1};
    for (const auto* setting :
         {R"({"robot": "arm1"})", R"({"protocol": "25/50"})",
          R"({"protocol": "a", "environment": "b", "instances": "many", "seed": 1})"}) {
      config["success"] = nlohmann::json::parse(setting);
      io::write_json(folder / "run" / "config.json", config);
      done("report --run " + run);
      CHECK_THAT(command_line(folder / "run" / "report.html", "foresight train --data"),
                 !Catch::Contains("--success"));
    }
    CHECK_THAT(io::read_text(folder / "run" / "report.html"), Catch::Contains("2, then 1"));
    config["success"] = {
        {"protocol", "5/9"}, {"environment", "two_room"}, {"instances", 3}, {"seed", 4}};
    io::write_json(folder / "run" / "config.json", config);
    done("report --run " + run);
    CHECK_THAT(command_line(folder / "run" / "report.html", "foresight train --data"),
               Catch::Contains("--success-protocol 5/9 --success-env two_room "
                               "--success-instances 3 --success-seed 4"));
  }
}

TEST_CASE("a training leaves a page, and one that has not finished is reported as far as it came") {
  const TemporaryFolder folder;
  record_own_world(folder / "data", 2);
  const auto run = (folder / "run").string();
  const auto train = "train --data " + (folder / "data").string() + kBrief +
                     " --training.log_every 1 --out " + run;
  CHECK_THAT(done(train), Catch::Contains("report: " + run + "/report.html"));
  const auto page = [&] { return shown(io::read_text(folder / "run" / "report.html")); };
  CHECK_THAT(page(), Catch::Contains("`foresight report --run " + run + "` writes it again") &&
                         Catch::Contains("jepa: loss") && Catch::Contains("parameters") &&
                         !Catch::Contains("no bundle yet"));
  // Sections of what a training tells, and a line on what else there can be.
  CHECK_THAT(page(), !Catch::Contains("<h2>Success") && !Catch::Contains("<h2>Learning on") &&
                         Catch::Contains("`foresight report --run " + run +
                                         "` can also show latent space, linear probes"));

  // As a training at work leaves it, or one that was killed or diverged.
  fs::remove_all(folder / "run" / "bundle");
  CHECK_THAT(done("report --run " + run), Catch::Contains("there is no bundle yet"));
  CHECK_THAT(page(), Catch::Contains("Training has not finished: there is no bundle yet") &&
                         Catch::Contains("logged up to step ") && Catch::Contains("jepa: loss") &&
                         Catch::Contains("\"log_every\": 1"));
  fs::remove(folder / "run" / "metrics.jsonl");
  done("report --run " + run);
  CHECK_THAT(page(), Catch::Contains("Nothing has been logged."));

  // A page that cannot be written costs nothing else.
  fs::remove_all(folder / "run");
  fs::create_directories(folder / "run" / "report.html" / "in the way");
  CHECK_THAT(done(train + " --resume"),
             Catch::Contains("report.html was not written: ") && !Catch::Contains("report: ") &&
                 Catch::Contains(run + " holds no run to go on with: a new one begins"));
  CHECK(fs::exists(folder / "run" / "bundle"));
}

TEST_CASE("a page of measures is kept while the run is what it shows, and no longer") {
  const TemporaryFolder folder;
  record_own_world(folder / "data", 2);
  const auto run = (folder / "run").string(), other = (folder / "other").string();
  const auto train = "train --data " + (folder / "data").string() + kBrief +
                     " --training.log_every 1 --critic_training.log_every 1 --out ";
  done(train + run);
  done(train + other + " --seed 1");
  const auto page = [&] { return io::read_text(folder / "run" / "report.html"); };
  const auto measured = [&] { return page().find("effective rank") != std::string::npos; };
  const auto write_anew = [&] { done(train + run + " --resume"); };
  CHECK_FALSE(measured());
  done("report --run " + run);
  CHECK(measured());
  CHECK_THAT(shown(page()), Catch::Contains("can also show plans, where the recordings") &&
                                Catch::Contains("; success and timings"));
  write_anew();  // has nothing to train
  CHECK(measured());

  // Of a bundle that was there when the run was interrupted, and is not what it ended with.
  const auto bundle = folder / "run" / "bundle";
  fs::rename(bundle, folder / "bundle");
  fs::copy(folder / "other" / "bundle", bundle);
  done("report --run " + run);
  CHECK(measured());
  write_anew();
  CHECK_FALSE(measured());
  CHECK_THAT(page(), Catch::Contains("Written at the end of the training"));

  // Of the run before its last steps.
  const auto metrics = io::read_text(folder / "run" / "metrics.jsonl");
  const auto half = metrics.find('\n', metrics.size() / 2) + 1;
  io::write_text(folder / "run" / "metrics.jsonl", metrics.substr(0, half));
  done("report --run " + run);
  CHECK(measured());
  io::write_text(folder / "run" / "metrics.jsonl", metrics);
  write_anew();
  CHECK_FALSE(measured());
}

TEST_CASE("a page without a mark is replaced where it is a training's, else kept and told of") {
  const TemporaryFolder folder;
  record_own_world(folder / "data", 2);
  const auto run = (folder / "run").string();
  const auto train = "train --data " + (folder / "data").string() + kBrief + " --out " + run;
  done(train);
  const auto path = folder / "run" / "report.html";
  const std::string measures = "<html>effective rank</html>";
  io::write_text(path, measures);
  CHECK_THAT(done(train + " --resume"),
             Catch::Contains("report.html is of an earlier version and is kept; `foresight report "
                             "--run " +
                             run + "` makes it anew"));
  CHECK(io::read_text(path) == measures);
  for (const auto* words : {"Written at the end of the training", "Training has not finished"}) {
    io::write_text(path, measures + words);
    CHECK_THAT(done(train + " --resume"), !Catch::Contains("earlier version"));
    CHECK_THAT(io::read_text(path), Catch::Contains("can also show"));
  }
}

TEST_CASE("a page promises what the run can keep alone") {
  const TemporaryFolder folder;
  const auto run = folder.path().string();
  const auto further = [&](const io::BundleConfig& bundle) {
    return cli::what_else({}, run, "my data", bundle);
  };
  io::BundleConfig pictures;
  pictures.family = "jepa";
  pictures.observation = {{std::string(kPixels), {kAny, kAny, 3}, at::kByte}};
  pictures.action.dim = 2;
  CHECK_THAT(further(pictures),
             Catch::Contains("collapse and imagination, as it measures; plans, where the "
                             "recordings are of a built-in environment (or --env); success") &&
                 Catch::Contains("`foresight eval --bundle " + run + "/bundle --env two_room`"));
  viz::RunReport without_plans;  // as of `report --env none`
  without_plans.collapse.spectrum = {1.0};
  CHECK_THAT(cli::what_else(without_plans, run, "my data", pictures),
             Catch::Contains("can also show plans, where") && !Catch::Contains("latent space"));
  pictures.action.dim = 3;  // no built-in environment takes them
  CHECK_THAT(further(pictures), Catch::Contains("latent space") && !Catch::Contains("success") &&
                                    !Catch::Contains("plans"));

  const auto rooms =
      models::eb_jepa_bundle_config(models::EbJepa(models::EbJepaOptions::small(), 3));
  CHECK_THAT(further(rooms), Catch::Contains("`foresight eval --bundle " + run +
                                             "/bundle --env eb_two_rooms` measures") &&
                                 !Catch::Contains("plans"));
  auto proprio = pictures;
  proprio.family = "dino_wm";
  proprio.action.dim = 2;
  proprio.observation.push_back({std::string(kProprio), {2}, at::kFloat});
  CHECK_THAT(further(proprio), Catch::Contains("/bundle --data 'my data' --env two_room`"));
  auto arm = proprio;
  arm.family = "vjepa2_ac";
  arm.action.dim = 7;
  CHECK(further(arm).empty());

  // What an evaluation has measured already, of a model without an environment too.
  io::write_json(folder / "eval.json", {{"protocols", {{{"planner", {}}}}}});
  for (const auto& bundle : {rooms, arm})
    CHECK_THAT(further(bundle), Catch::Contains("can also show success and timings, which "
                                                "eval.json there holds") &&
                                    !Catch::Contains("foresight eval"));
  io::write_json(folder / "eval.json", {{"protocols", nlohmann::json::array()}});  // --env none
  CHECK_THAT(further(rooms), Catch::Contains("foresight eval"));
}

TEST_CASE("an episode is planned and shown where no film can be written, too") {
  const TemporaryFolder folder;
  const auto data = (folder / "data").string(), run = (folder / "run").string();
  done("record --env two_room --episodes 8 --seed 3 --out " + data);
  done("train --data " + data + " --out " + run + kBrief);
  at::NoGradGuard no_grad;
  auto agent = Agent::load(folder / "run" / "bundle");
  agent.options.sampling.samples = 16;
  agent.options.sampling.elites = 4;
  agent.options.sampling.iterations = 2;
  const eval::LinearProbe probe{at::zeros({agent.model().spec().channels, 2}, at::kDouble),
                                at::zeros({2}, at::kDouble),
                                {"x", "y"}};
  const auto env = envs::make_env("two_room");
  viz::RunReport report;
  cli::add_planned_episode(report, agent, probe,
                           std::make_shared<const data::FrameCache>(data::open_dataset(data)), {},
                           *env, {});
  CHECK_FALSE(report.frames.empty());
  CHECK_FALSE(report.costs.empty());
  REQUIRE(report.headline.size() == 1);
  CHECK(report.headline.front().name == "planned episode: steps to the goal");

  // What the command says of it, and of an episode that is not wanted.
  const auto page = [&] { return shown(io::read_text(folder / "run" / "report.html")); };
  const auto* film = data::has_video_encoder() ? "film:   " : "no film: this build writes no films";
  CHECK_THAT(done("report --run " + run), Catch::Contains(film));
  CHECK_THAT(page(), Catch::Contains("<h2>Plans"));
  CHECK_THAT(done("report --run " + run + " --env none"), Catch::Contains("no film: --env none"));
  CHECK_THAT(page(), !Catch::Contains("<h2>Plans") &&
                         Catch::Contains("can also show plans, where the recordings are of a "
                                         "built-in environment (or --env)"));
}

TEST_CASE("the page says how sure success is of every budget, or that it is not known") {
  const TemporaryFolder folder;
  const auto data = (folder / "data").string(), run = (folder / "run").string();
  done("record --env two_room --episodes 8 --seed 3 --out " + data);
  done("train --data " + data + " --out " + run + kBrief);
  // Its names sort otherwise than its problems are hard.
  const auto output =
      done("eval --bundle " + run + "/bundle/ --data " + data +
           " --protocol 5/6,10/8 --instances 2 --no-baselines --open-loop 2 --trade-off");
  CHECK_THAT(output, Catch::Contains(run + "/eval.json"));  // never into the bundle
  CHECK_FALSE(fs::exists(folder / "run" / "bundle" / "eval.json"));
  auto result = io::read_json(folder / "run" / "eval.json");
  for (const auto& row : result["trade_off"])
    CHECK(row["success"]["10/8"]["interval"][1].get<double>() < 1.01);
  done("report --run " + run);
  const auto page = io::read_text(folder / "run" / "report.html");
  CHECK_THAT(page, Catch::Contains("CEM, 10/8") && !Catch::Contains("CEM, 5/6") &&
                       Catch::Contains("Band: 95 % Wilson interval."));
  const auto line = command_line(folder / "run" / "report.html", "foresight eval --bundle");
  CHECK_THAT(line, Catch::Contains("--protocol 5/6,10/8 --instances 2 --seed 42 --no-baselines "
                                   "--trade-off"));

  for (auto& row : result["trade_off"])  // as earlier versions wrote it
    for (auto& success : row["success"]) success.erase("interval");
  io::write_json(folder / "run" / "eval.json", result);
  done("report --run " + run);
  const auto older = io::read_text(folder / "run" / "report.html");
  CHECK_THAT(older, Catch::Contains("CEM, 10/8") && !Catch::Contains("0.0 to 100.0 %") &&
                        !Catch::Contains("Band: "));
}

TEST_CASE("the page's eval line makes the same evaluation, of other recordings and planners too") {
  const TemporaryFolder folder;
  const auto data = (folder / "data").string(), run = (folder / "run").string(),
             held = (folder / "held").string();
  done("record --env two_room --episodes 8 --seed 3 --out " + data);
  done("record --env two_room --episodes 6 --seed 4 --out " + held);
  done("train --data " + data + " --out " + run + kBrief);
  done("eval --bundle " + run + "/bundle --data " + held +
       " --protocol 5/6 --instances 2 --no-baselines --open-loop 3 --precision float32"
       " --sampling.samples 64 --sampling.iterations 2");
  const auto first = io::read_json(folder / "run" / "eval.json");
  REQUIRE(first["agent"]["sampling"]["samples"] == 64);
  done("report --run " + run);
  const auto line = command_line(folder / "run" / "report.html", "foresight eval --bundle");
  INFO(line);
  done(line);
  const auto again = io::read_json(folder / "run" / "eval.json");
  for (const auto* part : {"data", "precision", "agent", "open_loop_blocks", "world_model"})
    CHECK(again[part] == first[part]);
  CHECK(again["protocols"][0]["planner"]["successes"] ==
        first["protocols"][0]["planner"]["successes"]);

  // Converted recordings say, too, which environment the film is made in.
  const auto copy = (folder / "copy").string();
  done("convert " + data + " " + copy + " --format folder");
  fs::remove(folder / "run" / "episode.mp4");
  CHECK_THAT(done("report --run " + run + " --data " + copy),
             Catch::Contains("film:") && !Catch::Contains("no film"));
  CHECK(fs::exists(folder / "run" / "episode.mp4"));
  CHECK_THAT(command_line(folder / "run" / "report.html", "foresight eval --bundle"),
             Catch::Contains("--data " + copy));
}

}  // namespace foresight::report_command_test
