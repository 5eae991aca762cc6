// SPDX-License-Identifier: Apache-2.0
// Folders of videos and of images without any table: encoders learn from them, damaged files are
// named, and what needs actions or poses says so.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::pictures_alone_test {
namespace {

namespace fs = std::filesystem;

void write_film(const fs::path& path, int64_t height, int64_t width, int64_t speed) {
  constexpr int64_t kRows = 20;
  data::VideoWriter writer(path, {.fps = 10, .key_interval = 4, .preset = "ultrafast"});
  auto frames = at::full({kRows, height, width, 3}, 40, at::kByte);
  for (int64_t r = 0; r < kRows; ++r)
    frames[r].narrow(0, height / 3, 12).narrow(1, (speed * r) % (width - 12), 12).fill_(220);
  writer.write(frames);
  writer.close();
}

}  // namespace

TEST_CASE(
    "encoders learn from a folder of plain videos; damaged ones are named, and left out if asked") {
  const TemporaryFolder folder;
  const auto films = folder / "films";
  fs::create_directories(films / "more");
  write_film(films / "a.mp4", 64, 64, 2);
  write_film(films / "b.mp4", 64, 64, 3);
  write_film(films / "more" / "tall.mp4", 96, 72, 1);
  const auto given = " --data " + films.string();
  const auto train = [&](const std::string& family, const std::string& more) {
    return foresight_command("train " + family + given + " --out " + (folder / family).string() +
                             " --steps 2 --loader.batch 2 --validation_batches 1 "
                             "--model.encoder.depth 1" +
                             more);
  };
  for (const auto* family : {"vjepa2", "ijepa", "lejepa"}) {
    const auto result = train(family, " --augmentation.flip 0.5 --augmentation.flip_signs 1");
    INFO(family << "\n" << result.output);
    if (std::string(family) == "lejepa") {
      CHECK_THAT(result.output, Catch::Contains("task.views"));
      REQUIRE(train(family, "").code == 0);
    } else {
      REQUIRE(result.code == 0);
      CHECK_THAT(result.output, Catch::Contains("3 episodes, 60 frames of 64x64"));
    }
    CHECK(fs::exists(folder / family / "bundle" / "model.safetensors"));
  }
  CHECK_THAT(foresight_command("inspect " + films.string()).output,
             Catch::Contains("3 episodes, 60 frames of 64x64 at 10 per second") &&
                 Catch::Contains("sizes are scaled to cover") &&
                 Catch::Contains("verdict: readable"));

  const auto refused = [&](const std::string& arguments, const std::string& words) {
    const auto result = foresight_command(arguments + given + " --out " + (folder / "no").string());
    INFO(result.output);
    CHECK(result.code != 0);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(folder / "no"));
  };
  refused("train", "holds pictures and no actions");
  const models::VJepa2 encoder(models::VJepa2Options::tiny(), 1);
  models::write_vjepa2(folder / "clips", encoder, models::vjepa2_bundle_config(encoder));
  refused("train vjepa2_ac --backbone " + (folder / "clips").string(),
          "vjepa2_ac learns from 7 state columns");
  refused("train lejepa --states x", "no column 'x'");

  std::ofstream(films / "broken.mp4") << "no video at all";
  const auto stopped = train("vjepa2", " --resume");
  CHECK(stopped.code != 0);
  CHECK_THAT(stopped.output, Catch::Contains("broken.mp4") && Catch::Contains("unreadable"));
  fs::remove_all(folder / "vjepa2");
  const auto skipped = train("vjepa2", " --loader.unreadable skip");
  INFO(skipped.output);
  CHECK(skipped.code == 0);
  CHECK_THAT(skipped.output, Catch::Contains("broken.mp4") && Catch::Contains("3 episodes"));
  CHECK_THAT(foresight_command("inspect " + films.string()).output,
             Catch::Contains("broken.mp4") && Catch::Contains("3 episodes"));
}

}  // namespace foresight::pictures_alone_test
