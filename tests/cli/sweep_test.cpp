// SPDX-License-Identifier: Apache-2.0
// What a sweep makes of the results of its runs, whatever is trained: which of them rank it, and
// how it goes on.
#include "sweep.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "../../src/train/run_config.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::cli::sweep_test {
namespace {

namespace fs = std::filesystem;
using train::LearnResult;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

LearnResult result(double loss, double critic_loss = kNone, double success = kNone) {
  LearnResult made;
  made.outcome = train::Outcome::finished;
  made.world_model.step = 10;
  made.world_model.kept_validation_loss = loss;
  made.world_model.kept_success = success;
  if (std::isnan(critic_loss)) return made;
  made.critic.step = 10;
  made.critic.kept_validation_loss = critic_loss;
  return made;
}

// A sweep whose runs bring these results, one after the other.
struct Swept {
  nlohmann::json record;
  std::string text;

  Swept(const nlohmann::json& grid, const std::vector<LearnResult>& results,
        LossTarget target = LossTarget::latents) {
    const TemporaryFolder folder;
    const auto points = sweep_points(grid, "grid.json");
    REQUIRE(points.size() == results.size());
    REQUIRE(train_points(points, grid, nlohmann::json::object(), nlohmann::json::object(),
                         folder.path(), target, [&](std::size_t point, const fs::path& run) {
                           fs::create_directories(run);
                           return results[point];
                         }));
    record = io::read_json(folder / "sweep.json");
    text = io::read_text(folder / "sweep.txt");
  }

  std::vector<std::string> order() const {
    std::vector<std::string> folders;
    for (const auto& run : record["runs"]) folders.push_back(run["folder"]);
    return folders;
  }
};

using Order = std::vector<std::string>;

}  // namespace

TEST_CASE(
    "a sweep over cost-to-go and others ranks world models, and among the runs of one its own") {
  // The cost-to-go's rate varies more slowly: of the runs of one world model, 0 and 2, 1 and 3.
  const nlohmann::json grid = {{"critic_training.optimizer.lr", {1e-3, 1e-4}},
                               {"training.optimizer.lr", {1e-3, 1e-4}}};
  // On a GPU the losses of one world model are not quite the same.
  const Swept both(grid,
                   {result(0.5, 3), result(0.3000001, 9), result(0.5000001, 2), result(0.3, 10)});
  CHECK(both.record["ranked_by"] == "validation_loss");
  CHECK(both.record["then_by"] == "critic_validation_loss");
  CHECK(both.order() == Order{"001", "003", "002", "000"});
  CHECK_THAT(both.text, Catch::Contains("ranked by validation loss, and of one world model by the "
                                        "cost-to-go's validation loss"));

  auto diverged = result(0.1, 1);
  diverged.outcome = train::Outcome::diverged;
  const Swept one_lost(grid, {diverged, result(0.3, 9), result(0.5, 2), result(0.3, kNone)});
  CHECK(one_lost.order() == Order{"001", "003", "002", "000"});

  // Where the cost-to-go's target varies, its losses do not compare.
  const Swept targets({{"critic_task.expectile", {0.1, 0.5}}, {"training.optimizer.lr", {1, 2}}},
                      {result(0.5, 3), result(0.3, 9), result(0.5, 2), result(0.3, 8)});
  CHECK(targets.record["ranked_by"] == "validation_loss");
  CHECK(targets.record["then_by"].is_null());
  CHECK(targets.order() == Order{"001", "003", "000", "002"});
  CHECK_THAT(targets.text, Catch::Contains("of one world model not at all: critic_task.expectile"));

  // Nor world models whose loss is another one, whatever the cost-to-go is.
  const Swept losses({{"critic_training.optimizer.lr", {1e-3, 1e-4}}, {"model.loss.cov", {1, 2}}},
                     {result(0.5, 3), result(0.3, 9), result(0.5, 2), result(0.3, 8)});
  CHECK(losses.record["ranked_by"].is_null());
  CHECK(losses.order() == Order{"000", "001", "002", "003"});
}

TEST_CASE("success ranks where every run that finished has it of the weights that it kept") {
  const nlohmann::json grid = {{"training.optimizer.lr", {1, 2, 3}}};
  const Swept all(grid,
                  {result(0.1, kNone, 0.2), result(0.2, kNone, 0.9), result(0.3, kNone, 0.9)});
  CHECK(all.record["ranked_by"] == "success");
  CHECK(all.order() == Order{"001", "002", "000"});
  CHECK_THAT(all.text, Catch::Contains("ranked by planning success"));

  auto diverged = result(kNone);
  diverged.outcome = train::Outcome::diverged;
  const Swept one_lost(grid, {diverged, result(0.2, kNone, 0.1), result(0.3, kNone, 0.9)});
  CHECK(one_lost.record["ranked_by"] == "success");
  CHECK(one_lost.order() == Order{"002", "001", "000"});

  const Swept some(grid, {result(0.3, kNone, 0.9), result(0.2), result(0.1, kNone, 0.2)});
  CHECK(some.record["ranked_by"] == "validation_loss");
  CHECK(some.order() == Order{"002", "001", "000"});
  CHECK_THAT(some.text, Catch::Contains("success was not measured of the weights that every run"));

  // Measured of a cost-to-go, but not of the weights that it kept: the world model's is another's.
  auto kept_unmeasured = result(0.1, 2, 0.5);
  kept_unmeasured.critic.success = 0.7;
  const Swept unmeasured(grid, {kept_unmeasured, result(0.2, 2, 0.5), result(0.3, 2, 0.6)});
  CHECK(unmeasured.record["runs"][0]["success"].is_null());
  CHECK(unmeasured.record["ranked_by"] == "validation_loss");
}

TEST_CASE("success that was measured before the cost-to-go ranks no options of the cost-to-go") {
  const nlohmann::json rates = {{"critic_training.optimizer.lr", {1e-9, 1e-3}}};
  const std::vector<LearnResult> early = {result(0.5, 3, 0.5), result(0.5, 2, 0.5)};
  const Swept before(rates, early);
  CHECK(before.record["runs"][0]["success_before_critic"] == true);
  CHECK(before.record["ranked_by"] == "critic_validation_loss");
  CHECK(before.order() == Order{"001", "000"});
  CHECK_THAT(before.text, Catch::Contains("as success was measured before the cost-to-go"));
  const Swept target({{"critic_task.expectile", {0.1, 0.5}}}, early);
  CHECK(target.record["ranked_by"].is_null());
  CHECK_THAT(target.text, Catch::Contains("; and success was measured before the cost-to-go"));
  const Swept unsolved({{"critic_task.expectile", {0.1, 0.5}}}, {result(0.5, 3), result(0.5, 2)});
  CHECK_THAT(unsolved.text, Catch::Contains("compares (critic_training.success_every)"));

  // Measured with it, or of runs that have none.
  auto late = early;
  for (std::size_t i = 0; i < late.size(); ++i)
    late[i].critic.success = late[i].critic.kept_success = i == 0 ? 0.9 : 0.1;
  const Swept after(rates, late);
  CHECK(after.record["runs"][0]["success_before_critic"] == false);
  CHECK(after.record["ranked_by"] == "success");
  CHECK(after.order() == Order{"000", "001"});
  const Swept one_without({{"critic_training.steps", {0, 10}}}, {result(0.5, kNone, 0.2), late[0]});
  CHECK(one_without.record["ranked_by"] == "success");
  CHECK(one_without.order() == Order{"001", "000"});
  // Of several world models it is told apart, whatever their losses are; of one the cost-to-go's
  // loss ranks.
  const std::vector<LearnResult> four = {result(0.5, 3, 0.5), result(0.3, 9, 0.7),
                                         result(0.5, 2, 0.5), result(0.3, 8, 0.7)};
  const Swept both({{"critic_training.optimizer.lr", {1, 2}}, {"model.loss.cov", {1, 2}}}, four);
  CHECK(both.record["ranked_by"] == "success");
  CHECK(both.record["then_by"] == "critic_validation_loss");
  CHECK(both.order() == Order{"003", "001", "002", "000"});
  const Swept targets({{"critic_task.expectile", {0.1, 0.5}}, {"model.loss.cov", {1, 2}}}, four);
  CHECK(targets.record["ranked_by"] == "success");
  CHECK(targets.record["then_by"].is_null());
  CHECK(targets.order() == Order{"001", "003", "000", "002"});
  // Options of the world model alone: that of the world model compares.
  const Swept others({{"training.optimizer.lr", {1, 2}}}, {result(1, 3, 0.5), result(2, 2, 0.7)});
  CHECK(others.record["ranked_by"] == "success");
}

TEST_CASE("runs of which none was validated are not ranked, and the table says why") {
  const Swept none({{"training.optimizer.lr", {1, 2}}}, {result(kNone), result(kNone)});
  CHECK(none.record["ranked_by"].is_null());
  CHECK_THAT(none.text, Catch::Contains("not ranked: no run has validation loss"));
  const Swept one({{"training.optimizer.lr", {1, 2}}}, {result(kNone), result(2)});
  CHECK(one.order() == Order{"001", "000"});
}

TEST_CASE("a sweep over seeds holds out one seed's episodes, unless an earlier version began it") {
  const TemporaryFolder folder;
  const auto grid = folder / "grid.json", out = folder / "sweep";
  std::ofstream(grid) << R"({"seed": [7, 8]})";
  train::LearnOptions base;
  base.seed = 3;
  std::map<std::string, int64_t> split;
  const auto swept = [&] {
    split.clear();
    return run_sweep(grid, out, base, nlohmann::json::object(),
                     [&](const train::LearnOptions& options, const fs::path& run) {
                       fs::create_directories(run);
                       split[run.filename()] = options.split_seed;
                       return result(0.5);
                     });
  };
  using Split = std::map<std::string, int64_t>;
  REQUIRE(swept());
  CHECK(split == Split{{"000", 3}, {"001", 3}});
  CHECK(io::read_json(out / "sweep.json")["base"]["split_seed"] == 3);
  fs::remove_all(out / "001");
  REQUIRE(swept());
  CHECK(split == Split{{"001", 3}});

  // An earlier version did not know the option: each run held out by its own seed.
  auto record = io::read_json(out / "sweep.json");
  record["base"].erase("split_seed");
  io::write_json(out / "sweep.json", record);
  fs::remove_all(out / "001");
  REQUIRE(swept());
  CHECK(split == Split{{"001", -1}});
  CHECK(io::read_json(out / "sweep.json")["base"]["split_seed"] == -1);
  fs::remove_all(out / "000");
  REQUIRE(swept());
  CHECK(split == Split{{"000", -1}});

  fs::remove_all(out);
  base.split_seed = 5;  // as asked for
  REQUIRE(swept());
  CHECK(split == Split{{"000", 5}, {"001", 5}});
}

TEST_CASE("a sweep's folder that cannot be made is named before anything is trained") {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "a file";
  const nlohmann::json grid = {{"seed", {1, 2}}}, nothing = nlohmann::json::object();
  CHECK(fails_with(
      ErrorCategory::io_failure,
      [&] {
        train_points(sweep_points(grid, "grid.json"), grid, nothing, nothing,
                     folder / "file" / "sweep", LossTarget::latents,
                     [](std::size_t, const fs::path&) { return result(1); });
      },
      "cannot create " + (folder / "file" / "sweep").string()));
}

TEST_CASE("a sweep ends where another is at work in a run, and goes on after an interruption") {
  const TemporaryFolder folder;
  const nlohmann::json grid = {{"seed", {1, 2}}}, nothing = nlohmann::json::object();
  const nlohmann::json config = {{"learn", nothing}};
  int trained = 0;
  auto outcome = train::Outcome::finished;
  const auto swept = [&] {
    return train_points(sweep_points(grid, "grid.json"), grid, nothing, nothing, folder.path(),
                        LossTarget::latents, [&](std::size_t point, const fs::path& run) {
                          const auto lock = train::open_run(config, {run, /*resume=*/true}, {});
                          ++trained;
                          auto made = result(0.5);
                          if (point == 1) made.outcome = outcome;
                          return made;
                        });
  };
  {
    const auto other = train::open_run(config, {folder / "000", false}, {});
    CHECK(fails_with(ErrorCategory::invalid_argument, swept, "another training is at work here"));
    CHECK(trained == 0);  // nor was the next combination begun
  }
  outcome = train::Outcome::interrupted;
  CHECK_FALSE(swept());
  CHECK(io::read_json(folder / "sweep.json")["runs"].size() == 1);
  outcome = train::Outcome::finished;
  CHECK(swept());
  CHECK(trained == 3);
  CHECK(io::read_json(folder / "sweep.json")["runs"].size() == 2);
}

}  // namespace foresight::cli::sweep_test
