// SPDX-License-Identifier: Apache-2.0
// foresight train vjepa2 --continue: how long clips are and what of the schedule --steps changes;
// and what is refused of the texts that options are given as.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "damaged_bundle.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/viz/image.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::continued_clips_test {
namespace {

namespace fs = std::filesystem;

// Long enough for a clip of the cool-down, at every second frame.
std::string long_films(const TemporaryFolder& folder) {
  constexpr int64_t kRows = 130, kSide = 64;
  fs::create_directories(folder / "films");
  for (const int64_t speed : {1, 2, 3}) {
    data::VideoWriter writer(folder / "films" / (std::to_string(speed) + ".mp4"),
                             {.fps = 10, .key_interval = 4, .preset = "ultrafast"});
    auto frames = at::full({kRows, kSide, kSide, 3}, 40, at::kByte);
    for (int64_t r = 0; r < kRows; ++r)
      frames[r].narrow(0, 20, 12).narrow(1, (speed * r) % (kSide - 12), 12).fill_(220);
    writer.write(frames);
    writer.close();
  }
  return (folder / "films").string();
}

nlohmann::json done(const std::string& arguments, const fs::path& run) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return io::read_json(run / "config.json")["learn"];
}

constexpr const char* kFew = " --loader.batch 2 --validation_batches 1";

}  // namespace

TEST_CASE("the cool-down goes on from a main phase with longer clips, as do clips asked for") {
  const TemporaryFolder folder;
  const auto data = long_films(folder);
  const auto path = [&](const std::string& name) { return (folder / name).string(); };
  const auto into = [&](const std::string& name, int steps = 2) {
    return "train vjepa2 --data " + data + kFew + " --steps " + std::to_string(steps) + " --out " +
           path(name);
  };
  const auto on = " --continue " + path("main/bundle");
  // Digits may be missing beside the point, and what --help shows of an empty list is one.
  const auto main = done(into("main") +
                             " --model.encoder.depth 1 --training.optimizer.lr .001"
                             " --training.freeze none",
                         folder / "main");
  CHECK(main["windows"]["frames"] == 8);
  CHECK(main["training"]["optimizer"]["lr"] == 1e-3);
  CHECK(main["training"]["freeze"].empty());

  const auto cool = done(into("cool", 20) + on + " --preset cool_down", folder / "cool");
  CHECK(cool["windows"]["frames"] == 64);
  CHECK(cool["model"]["encoder"]["frames"] == 64);
  CHECK(cool["model"]["encoder"]["depth"] == 1);
  CHECK(cool["windows"]["stride"] == main["windows"]["stride"]);
  const auto bundle = io::read_json(folder / "cool" / "bundle" / "config.json");
  CHECK(bundle["options"]["encoder"]["frames"] == 64);
  // The phase has no warm-up, of which 20 steps are as little a part; the main phase's is 1 of 20.
  CHECK(cool["training"]["schedule"]["warmup"] == 0);
  CHECK(cool["training"]["schedule"]["kind"] == "wsd");
  // A finished run goes on to nothing, with the clips that it had.
  done(into("cool", 20) + on + " --resume --config " + path("cool/config.json"), folder / "cool");

  CHECK(done(into("plain") + on, folder / "plain")["windows"]["frames"] == 8);
  const auto asked = done(into("asked") + on + " --windows.frames 16", folder / "asked");
  CHECK(asked["model"]["encoder"]["frames"] == 16);

  // Its report shows the lines that repeat it.
  REQUIRE(foresight_command("report --run " + path("cool/")).code == 0);
  std::ifstream page(folder / "cool" / "report.html");
  const std::string text(std::istreambuf_iterator<char>(page), {});
  CHECK_THAT(text, Catch::Contains("Training run cool<") &&
                       Catch::Contains("--continue " + path("main/bundle")) &&
                       Catch::Contains("--out " + path("cool-again")));

  // It says nothing of a bundle that is damaged, though it measures none of this family.
  damage_bundle(folder / "cool" / "bundle");
  const auto damaged = foresight_command("report --run " + path("cool/"));
  CHECK(damaged.code != 0);
  CHECK_THAT(damaged.output, Catch::Contains("is damaged or was not copied whole"));
}

TEST_CASE("published clips have at most 4 frames a second unless a stride is given or kept") {
  const TemporaryFolder folder;
  const auto data = long_films(folder);
  const auto path = [&](const std::string& name) { return (folder / name).string(); };
  const std::string little =
      " --steps 1 --training.precision fp32 --model.image.size 32 --model.encoder.image_height 32"
      " --model.encoder.image_width 32 --model.encoder.patch 8 --model.encoder.width 24"
      " --model.encoder.depth 1 --model.encoder.heads 2 --model.encoder.mlp_width 48"
      " --model.predictor.width 24 --model.predictor.depth 1 --model.predictor.heads 2"
      " --model.predictor.mlp_width 48";
  const auto large = [&](const std::string& name, const std::string& more = "") {
    return "train vjepa2 --preset large --data " + data + kFew + little + " --out " + path(name) +
           more;
  };
  const auto first = foresight_command(large("main"));
  INFO(first.output);
  REQUIRE(first.code == 0);
  CHECK_THAT(first.output, Catch::Contains("windows.stride 3: of 10 rows a second"));
  auto config = io::read_json(folder / "main" / "config.json");
  CHECK(config["learn"]["windows"]["stride"] == 3);
  const auto bundle = io::read_json(folder / "main" / "bundle" / "config.json");
  CHECK(bundle["provenance"]["stride"] == 3);
  CHECK(done(large("main", " --resume"), folder / "main")["windows"]["stride"] == 3);

  // A run of an earlier version, whose clips had every row, goes on with what it has.
  config["learn"]["windows"]["stride"] = 1;
  io::write_json(folder / "main" / "config.json", config);
  CHECK(done(large("main", " --resume"), folder / "main")["windows"]["stride"] == 1);
  // One that has no checkpoint goes on with nothing.
  for (const auto* trained : {"checkpoints", "bundle"}) fs::remove_all(folder / "main" / trained);
  CHECK(done(large("main", " --resume"), folder / "main")["windows"]["stride"] == 3);

  const auto given = done(large("given", " --windows.stride 2"), folder / "given");
  CHECK(given["windows"]["stride"] == 2);
  std::ofstream(folder / "windows.json") << R"({"windows": {"stride": 2}})";
  CHECK(done(large("file", " --config " + path("windows.json")), folder / "file")["windows"] ==
        given["windows"]);

  // A sweep's combinations too; what it began with is kept.
  std::ofstream(folder / "grid.json") << R"({"seed": [3]})";
  const auto sweep = large("sweep", " --sweep " + path("grid.json"));
  CHECK(done(sweep, folder / "sweep" / "000")["windows"]["stride"] == 3);
  auto record = io::read_json(folder / "sweep" / "sweep.json");
  record["base"]["windows"]["stride"] = 1;
  io::write_json(folder / "sweep" / "sweep.json", record);
  const auto again = foresight_command(sweep);
  CHECK_THAT(again.output, Catch::Contains("windows.stride 1: as what is in"));
  CHECK(again.code == 0);

  // Pictures of a bundle, not its clips' distance: nobody told how an imported one was trained.
  const auto on = "train vjepa2 --preset cool_down --windows.frames 16 --data " + data + kFew +
                  " --steps 1 --training.precision fp32 --continue ";
  CHECK(done(on + path("given/bundle") + " --out " + path("kept"), folder / "kept")["windows"] ==
        given["windows"]);
  auto imported = io::read_json(folder / "given" / "bundle" / "config.json");
  imported["provenance"].erase("stride");
  io::write_json(folder / "given" / "bundle" / "config.json", imported);
  const auto derived =
      done(on + path("given/bundle") + " --out " + path("derived"), folder / "derived");
  CHECK(derived["windows"]["stride"] == 3);

  // Photographs in a folder tell no rate.
  fs::create_directories(folder / "photos" / "episode_0");
  for (int number = 10; number < 40; ++number) {
    const auto bytes = viz::encode_png(at::full({64, 64, 3}, number, at::kByte));
    io::write_text(folder / "photos" / "episode_0" / fmt::format("frame_{}.png", number),
                   std::string(bytes.begin(), bytes.end()));
  }
  const auto untold = foresight_command("train vjepa2 --preset large --data " + path("photos") +
                                        kFew + little + " --validation 0 --out " + path("untold"));
  INFO(untold.output);
  CHECK(untold.code == 0);
  CHECK_THAT(untold.output, Catch::Contains("tells no rate: windows.stride = 1"));
}

TEST_CASE("option texts that mean nothing are refused by name before anything is written") {
  const TemporaryFolder folder;
  const auto data = long_films(folder);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto refused = [&](const std::string& more, const char* words) {
    const auto result =
        foresight_command("train lejepa --data " + data + " --out " + path("run") + more);
    INFO(more << "\n" << result.output);
    CHECK(result.code == 2);
    CHECK_THAT(result.output, Catch::Contains(words) && !Catch::Contains("unexpected"));
    CHECK_FALSE(fs::exists(folder / "run"));
  };
  refused(" --training.optimizer.lr 1.5.2", "'1.5.2' is not a number");
  refused(" --training.optimizer.lr inf", "'inf' is not a number");
  refused(" --training.steps 1.", "'1.' is not an integer");
  refused(" --training.keep lowest_loss --validation 0", "validation = 0 must be > 0");
  refused(" --replay-share 0.3", "--replay-share");
  std::ofstream(folder / "grid.json") << R"({"training": [3], "training.steps": [2]})";
  refused(" --sweep " + path("grid.json"), "training.steps");
  std::ofstream(folder / "grid.json") << R"({"seed": [3], "seed.more": [2]})";
  refused(" --sweep " + path("grid.json"), "seed.more");
  done("train lejepa --data " + data + " --out " + path("first") + kFew +
           " --steps 2 --model.encoder.depth 1",
       folder / "first");
  std::ofstream(folder / "model.json") << R"({"model": {"encoder": {"depth": 2}}})";
  refused(" --continue " + path("first/bundle") + " --config " + path("model.json"),
          "'model' comes from the bundle of --continue");
  refused(" --continue " + path("first/bundle") + " --replay-share 0.3", "--replay");
}

}  // namespace foresight::continued_clips_test
