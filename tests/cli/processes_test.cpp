// SPDX-License-Identifier: Apache-2.0
// foresight train, started once a process as a launcher does it.
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "catch.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/train/process_group.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::processes_test {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::map<int64_t, double> loss_curve(const std::filesystem::path& run) {
  std::map<int64_t, double> curve;
  for (const auto& row : train::read_metrics(run / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name == "jepa/train/loss") curve[row.step] = value;
  return curve;
}

}  // namespace

TEST_CASE("foresight train in two processes of a shell loop makes the bundle of one") {
  if (!train::is_built_in(train::Transport::gloo)) return;
  const TemporaryFolder folder;
  const auto place = folder.path().string();
  const auto recorded = foresight_command("record --episodes 6 --seed 3 --out " + place + "/data");
  INFO(recorded.output);
  REQUIRE(recorded.code == 0);
  const auto arguments =
      " train --data " + place +
      "/data --steps 4 --training.log_every 1 --loader.batch 16 --critic_training.steps 2"
      " --process-timeout 60 --out " +
      place;
  const auto alone = foresight_command(arguments + "/one");
  INFO(alone.output);
  REQUIRE(alone.code == 0);

  const auto port = std::to_string(20000 + ::getpid() % 20000);
  const auto loop = "cd " + place + "; for r in 0 1; do RANK=$r WORLD_SIZE=2 MASTER_PORT=" + port +
                    " " + FORESIGHT_BINARY_DIR + "/bin/foresight" + arguments +
                    "/two > $r.log 2>&1 || touch failed & done; wait; test ! -e failed";
  const auto code = std::system(loop.c_str());
  INFO(text_of(folder / "0.log") << text_of(folder / "1.log"));
  REQUIRE(code == 0);
  CHECK(std::filesystem::exists(folder / "two" / "bundle" / "model.safetensors"));
  CHECK_THAT(text_of(folder / "0.log"),
             Catch::Contains("2 processes share every batch") && Catch::Contains("bundle: "));
  CHECK_THAT(text_of(folder / "1.log"), !Catch::Contains("bundle: "));  // one speaks for all
  const auto expected = loss_curve(folder / "one"), curve = loss_curve(folder / "two");
  REQUIRE(expected.size() == 4);
  REQUIRE(curve.size() == 4);
  for (const auto& [step, loss] : expected) CHECK(curve.at(step) == Approx(loss).epsilon(5e-3));

  const auto broken = "RANK=2 WORLD_SIZE=2 " FORESIGHT_BINARY_DIR "/bin/foresight" + arguments +
                      "/three > " + place + "/three.log 2>&1";
  CHECK(std::system(broken.c_str()) != 0);
  CHECK_THAT(text_of(folder / "three.log"), Catch::Contains("rank (RANK) = 2"));
}

}  // namespace foresight::processes_test
