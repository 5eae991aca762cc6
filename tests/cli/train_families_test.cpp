// SPDX-License-Identifier: Apache-2.0
// foresight train FAMILY, as a user meets it: every family by its own recipe, from recordings to a
// bundle that the other sub-commands take.
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::train_families_test {
namespace {

namespace fs = std::filesystem;

// Runs a command that must succeed; its output.
std::string done(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return result.output;
}

std::string rooms(const TemporaryFolder& folder) {
  const auto path = (folder / "rooms").string();
  done("record --env two_room --episodes 6 --seed 3 --out " + path);
  return path;
}

// A square that moves where the gripper is: pictures, one action, and a pose.
std::string gripper(const TemporaryFolder& folder) {
  constexpr int64_t kRows = 24, kSide = 64;
  data::FolderWriterOptions options;
  options.video.fps = 10;
  options.actions = {"push"};
  for (const auto* name : {"x", "y", "z", "rx", "ry", "rz", "opening"})
    options.states.emplace_back(name);
  const auto path = folder / "gripper";
  data::FolderWriter writer(path, options);
  for (int64_t e = 0; e < 4; ++e) {
    auto frames = at::full({kRows, kSide, kSide, 3}, 40, at::kByte);
    auto table = at::zeros({kRows, 8}, at::kDouble);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto place = (3 * r + 7 * e) % (kSide - 8);
      frames[r].narrow(0, 20, 8).narrow(1, place, 8).fill_(220);
      table[r][0] = 0.1 * static_cast<double>(r % 3);
      table[r][1] = static_cast<double>(place) / kSide;
    }
    writer.write_episode(frames, table);
  }
  return path.string();
}

std::map<std::string, Tensor> tensors_of(const fs::path& bundle) {
  const auto tensors = io::read_bundle(bundle).tensors.tensors();
  return {tensors.begin(), tensors.end()};
}

void check_equal(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, tensor] : a) {
    INFO(name);
    REQUIRE(b.contains(name));
    CHECK(at::equal(tensor, b.at(name)));
  }
}

constexpr const char* kFewFrames = " --loader.batch 8 --validation_batches 1";

}  // namespace

TEST_CASE("an image encoder is learned from recordings, then a world model on it that plans") {
  const TemporaryFolder folder;
  const auto data = rooms(folder);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  done("train lejepa --data " + data + " --out " + path("encoder") + " --steps 6" + kFewFrames +
       " --task.probe.columns 2");
  const auto encoder = models::read_lejepa(io::read_bundle(folder / "encoder" / "bundle"));
  CHECK(encoder->options().image.size == 32);
  const auto metrics = io::read_text(folder / "encoder" / "metrics.jsonl");
  CHECK_THAT(metrics, Catch::Contains("lejepa/validation/probe_error") &&
                          Catch::Contains("lejepa/train/sigreg"));
  CHECK_THAT(done("inspect " + path("encoder/bundle")), Catch::Contains("family 'lejepa'"));
  done("export " + path("encoder/bundle") + " --layout transformers --out " +
       path("vit.safetensors"));
  CHECK(io::SafeTensors::open(folder / "vit.safetensors").has("embeddings.cls_token"));
  CHECK_THAT(done("report --run " + path("encoder")), Catch::Contains("losses alone"));

  const auto trained = "train dino_wm --data " + data + " --backbone " + path("encoder/bundle") +
                       " --steps 6 --training.checkpoint_every 3" + kFewFrames;
  done(trained + " --out " + path("world"));
  const auto world = tensors_of(folder / "world" / "bundle");
  for (const auto& [name, tensor] : nn::state_dict(encoder->encoder())) {
    INFO(name);
    CHECK(at::equal(world.at("encoder." + name), tensor));  // frozen
  }
  const auto config = io::read_json(folder / "world" / "bundle" / "config.json");
  CHECK(config["provenance"]["backbone"]["family"] == "lejepa");
  CHECK(config["options"]["image"]["mean"] == nlohmann::json(encoder->options().image.mean));
  CHECK(config["action"]["mean"].size() == 2);

  // Stopped after the first checkpoint: it ends with the same weights, features cached or not.
  done(trained + " --out " + path("stopped") + " --features.budget_mb 0");
  fs::remove_all(folder / "stopped" / "bundle");
  fs::remove(folder / "stopped" / "checkpoints" / "dino_wm" / "step_00000006.safetensors");
  const auto resume = "train dino_wm --data " + data + " --out " + path("stopped") +
                      " --resume --config " + path("stopped/config.json");
  done(resume);
  check_equal(tensors_of(folder / "stopped" / "bundle"), world);
  const auto changed = foresight_command(resume + " --model.history 2");
  CHECK(changed.code == 2);
  CHECK_THAT(changed.output, Catch::Contains("model.history: 2 here, 3 in the run"));

  done("eval --bundle " + path("world/bundle") + " --data " + data +
       " --protocol 5/5 --instances 1 --no-baselines --open-loop 2 --sampling.samples 4"
       " --sampling.elites 2 --sampling.iterations 1 --control.horizon 2");
  CHECK_THAT(done("inspect " + path("world/bundle")), Catch::Contains("latent: 16 tokens"));
}

TEST_CASE("V-JEPA 2 learns from clips, and V-JEPA 2-AC on it from poses") {
  const TemporaryFolder folder;
  const auto data = gripper(folder);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto clips = "train vjepa2 --data " + data +
                     " --steps 2 --loader.batch 2"
                     " --validation_batches 1 --model.encoder.depth 1"
                     " --model.encoder.rope tiled --model.predictor.rope tiled --out ";
  done(clips + path("target"));
  const auto target = io::read_json(folder / "target" / "bundle" / "config.json");
  CHECK(target["provenance"]["encoder"] == "target");
  done(clips + path("online") + " --encoder online");
  const auto slow = tensors_of(folder / "target" / "bundle"),
             fast = tensors_of(folder / "online" / "bundle");
  for (const auto& [name, tensor] : fast) {
    INFO(name);
    // The same training; but the kept encoder is the one that was asked for.
    const bool differs = !at::equal(tensor, slow.at(name));
    if (name == "encoder.norm.bias") CHECK(differs);
    if (name.starts_with("predictor.")) CHECK_FALSE(differs);
  }
  done("export " + path("target/bundle") + " --layout transformers --out " +
       path("hf.safetensors"));

  done("train vjepa2_ac --data " + data + " --backbone " + path("target/bundle") + " --out " +
       path("arm") + " --steps 2 --loader.batch 4 --validation_batches 1");
  const auto arm = tensors_of(folder / "arm" / "bundle");
  for (const auto& [name, tensor] : slow)
    if (name.starts_with("encoder.")) CHECK(at::equal(arm.at(name), tensor));
  CHECK_THAT(done("inspect " + path("arm/bundle")),
             Catch::Contains("latent: 64 tokens") && Catch::Contains("'proprio'"));
  done("report --run " + path("arm"));

  // The published clips have at most 4 frames a second, here of 10 rows.
  const auto told = done("train vjepa2_ac --data " + data + " --backbone " + path("target/bundle") +
                         " --preset vjepa2_ac --out " + path("slow") +
                         " --steps 1 --loader.batch 2 --validation_batches 1"
                         " --training.precision fp32 --model.predictor.width 48"
                         " --model.predictor.depth 1 --model.predictor.heads 2"
                         " --model.predictor.mlp_width 96");
  CHECK_THAT(told, Catch::Contains("windows.stride 3: of 10 rows a second"));
  CHECK(io::read_json(folder / "slow" / "config.json")["learn"]["windows"]["stride"] == 3);
  CHECK(io::read_json(folder / "slow" / "bundle" / "config.json")["provenance"]["stride"] == 3);
  CHECK(io::read_json(folder / "arm" / "config.json")["learn"]["windows"]["stride"] == 1);
}

TEST_CASE("I-JEPA and EB-JEPA train from the command line") {
  const TemporaryFolder folder;
  const auto path = [&](const char* name) { return (folder / name).string(); };
  done("train ijepa --data " + gripper(folder) + " --out " + path("pictures") +
       " --steps 2 --loader.batch 4 --validation_batches 1 --model.encoder.depth 1");
  const auto pictures = io::read_bundle(folder / "pictures" / "bundle").config;
  CHECK(pictures.family == "vjepa2");
  CHECK(pictures.options["encoder"]["frames"] == 1);
  CHECK(pictures.provenance["encoder"] == "target");

  // With a probe that watches; stopped after the first step, it ends with the same weights.
  const auto watched = "train ijepa --data " + path("gripper") +
                       " --steps 2 --loader.batch 4 --validation_batches 1"
                       " --model.encoder.depth 1 --task.probe.columns 2"
                       " --training.checkpoint_every 1 --out ";
  done(watched + path("watched"));
  CHECK_THAT(io::read_text(folder / "watched" / "metrics.jsonl"),
             Catch::Contains("ijepa/validation/probe_error"));
  check_equal(tensors_of(folder / "watched" / "bundle"),
              tensors_of(folder / "pictures" / "bundle"));
  fs::remove_all(folder / "watched" / "bundle");
  fs::remove(folder / "watched" / "checkpoints" / "ijepa" / "step_00000002.safetensors");
  done(watched + path("watched") + " --resume");
  check_equal(tensors_of(folder / "watched" / "bundle"),
              tensors_of(folder / "pictures" / "bundle"));

  done("train eb_jepa --out " + path("rooms") +
       " --steps 2 --task.batch 4 --task.validation_clips 4");
  CHECK(io::read_bundle(folder / "rooms" / "bundle").config.planner.contains("sampling"));
  CHECK_THAT(done("inspect " + path("rooms/bundle")), Catch::Contains("family 'eb_jepa'"));
}

TEST_CASE("a run that an earlier version began goes on without what presets turn on today") {
  const TemporaryFolder folder;
  const auto path = [&](const char* name) { return (folder / name).string(); };
  // As if options had not been known when the run began, and it had stopped after one step.
  const auto aged = [&](const char* run, const char* family, const std::string& option) {
    auto config = io::read_json(folder / run / "config.json");
    const nlohmann::json::json_pointer place("/learn" + option);
    REQUIRE(config.contains(place));
    config[place.parent_pointer()].erase(place.back());
    io::write_json(folder / run / "config.json", config);
    fs::remove_all(folder / run / "bundle");
    fs::remove(folder / run / "checkpoints" / family / "step_00000002.safetensors");
  };
  const auto going_on = [&](const char* run) {
    return " --out " + path(run) + " --resume --config " + path(run) + "/config.json";
  };

  const std::string rooms = "train eb_jepa --preset two_rooms";
  done(rooms + " --out " + path("rooms") +
       " --steps 2 --task.batch 2 --task.validation_clips 2 --training.checkpoint_every 1"
       " --task.probe_hidden 0 --walks.window 3 --model.predicted_steps 2");
  const auto whole = tensors_of(folder / "rooms" / "bundle");
  aged("rooms", "eb_jepa", "/task/probe_hidden");
  CHECK_THAT(done(rooms + going_on("rooms")), Catch::Contains("does not know task.probe_hidden"));
  check_equal(tensors_of(folder / "rooms" / "bundle"), whole);

  const auto data = gripper(folder);
  done("train vjepa2 --data " + data + " --out " + path("clips") +
       " --steps 1 --loader.batch 2 --validation_batches 1 --model.encoder.depth 1");
  const auto arm = "train vjepa2_ac --data " + data + " --backbone " + path("clips/bundle");
  done(arm + " --out " + path("arm") +
       " --steps 2 --loader.batch 4 --validation_batches 1 --training.checkpoint_every 1"
       " --model.image.max_aspect 0");
  aged("arm", "vjepa2_ac", "/model/image/max_aspect");
  done(arm + going_on("arm"));
  const auto bundle = io::read_json(folder / "arm" / "bundle" / "config.json");
  CHECK(bundle["options"]["image"]["max_aspect"] == 0.0);
}

TEST_CASE("what does not fit a family is named, and no run folder is left") {
  const TemporaryFolder folder;
  const auto data = gripper(folder), out = " --out " + (folder / "run").string();
  const auto refused = [&](const std::string& arguments, const char* words) {
    const auto result = foresight_command("train " + arguments);
    INFO(arguments << "\n" << result.output);
    CHECK(result.code != 0);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(folder / "run"));
  };
  const auto given = " --data " + data + out;
  refused("dino_wm" + given, "bundle of an image encoder");
  refused("vjepa2_ac" + given, "bundle of a video encoder");
  refused("lejepa" + given + " --training.success_every 5", "no dynamics");
  refused("vjepa2" + given + " --model.image.size 128", "encoder's native size [64, 64]");
  refused("ijepa" + given + " --model.image.resize shorter_edge", "must be stretch or crop");
  refused("vjepa2" + given + " --windows.frames 4", "must be model.encoder.frames = 8");
  refused("vjepa2" + given + " --training.keep lowest_loss", "must be online");
  refused("lejepa" + given + " --task.probe.columns 9", "7 state columns");
  refused("ijepa" + given + " --task.probe.columns 9", "7 state columns");
  refused("lejepa" + given + " --preset enormous", "preset");
  io::write_text(folder / "weights.pth", "PK");
  const auto weights = (folder / "weights.pth").string();
  refused("dino_wm" + given + " --backbone " + weights, "foresight import vit");
  refused("vjepa2_ac" + given + " --backbone " + weights, "vjepa2_ac in place of vit");
  refused("vjepa2" + given + " --continue " + weights, "weights.pth: is a file, expected a bundle");
  std::ofstream(folder / "config.json") << R"({"family": "ijepa", "learn": {}})";
  const auto run_of_another = " --config " + (folder / "config.json").string();
  refused("lejepa" + given + run_of_another, "config.json is of a run of `foresight train ijepa`");
  refused(given + run_of_another, "are not those of `foresight train`");
  refused("lejepa" + out, "--data is required");
  refused("--seed 3 lejepa" + given, "behind the family's name");
  refused("lejepaa" + given, "did you mean 'lejepa'");
  refused(out, "--data is required");

  const auto bundle = (folder / "encoder").string();
  const models::LeJepa encoder(models::LeJepaOptions::tiny(), 1);
  models::write_lejepa(bundle, encoder, models::lejepa_bundle_config(encoder));
  refused("vjepa2_ac" + given + " --backbone " + bundle, "no video encoder");
  refused("dino_wm" + given + " --backbone " + bundle + " --model.image.size 64",
          "model.image comes from the backbone");
  refused("dino_wm" + given + " --backbone " + bundle + " --model.proprio.dim 3",
          "7 state columns");
}

}  // namespace foresight::train_families_test
