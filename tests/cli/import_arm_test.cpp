// SPDX-License-Identifier: Apache-2.0
// foresight import vjepa2_ac, and what original checkpoints of V-JEPA 2 and I-JEPA leave open.
#include <filesystem>

#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "recordings_folder.hpp"
#include "same_tensors.hpp"
#include "vjepa2_import.hpp"

namespace foresight::import_arm_test {

namespace fs = std::filesystem;

namespace {

const std::string kPicture =
    (test::recordings() / "tworoom" / "folder" / "episode_0001.mp4:0").string();

}  // namespace

TEST_CASE("an imported V-JEPA 2-AC plans as published") {
  const VJepa2Import import("vjepa2_ac");
  const auto model = small_arm();
  auto checkpoint = wrapped(nn::state_dict(*model));
  checkpoint.emplace_back("opt.state.0.exp_avg", at::zeros({3}));
  import.write(checkpoint);
  import.refused("", 2, "--image_size");
  const auto bundle = import.done(" --image_size 32");
  check_same(nn::state_dict(*models::read_vjepa2_ac(bundle)), nn::state_dict(*model));

  const auto options = Agent::load(import.path("bundle")).options;
  CHECK(options.sampling.bound == BoundKind::box);
  CHECK(options.sampling.samples == 400);
  CHECK(options.sampling.elites == 10);
  CHECK(options.sampling.initial_std ==
        std::vector<double>{0.075, 0.075, 0.075, 0, 0, 0, 1});  // rotation is not searched
  CHECK(options.objective.distance.distance == Distance::l1);
  CHECK(options.objective.distance.reduction == Reduction::mean);
  CHECK(options.control.horizon == 2);
  CHECK(options.control.replan_steps == 1);
  CHECK_FALSE(options.control.warm_start);
  CHECK(options.control.candidate_bytes > 0);

  const auto plan = foresight_command("plan --bundle " + import.path("bundle") + " --start " +
                                      kPicture + " --goal " + kPicture +
                                      " --start-values proprio=0.1,0.2,0.3,0,0,0,0.5"
                                      " --sampling.samples 20");
  INFO(plan.output);
  REQUIRE(plan.code == 0);
  const auto actions = nlohmann::json::parse(plan.output).at("actions");
  REQUIRE(actions.size() == 2);
  for (const auto& action : actions)
    for (const int turn : {3, 4, 5}) CHECK(action.at(turn) == 0.0);

  REQUIRE(foresight_command("export " + import.path("bundle") + " --out " +
                            import.path("back.safetensors"))
              .code == 0);
  check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(),
             nn::state_dict(*model));
}

TEST_CASE("what a V-JEPA 2-AC's file does not tell comes from flags, and is kept") {
  const VJepa2Import import("vjepa2_ac");
  auto tensors = nn::state_dict(*small_arm());
  import.write(tensors);
  const auto bundle = import.done(
      " --image_size 32 --window 6 --history 2 --extrinsics true --normalise_latents false");
  const auto options = models::read_vjepa2_ac(bundle)->options();
  CHECK(options.window == 6);
  CHECK(options.history == 2);
  CHECK(options.predictor.extrinsics);
  CHECK_FALSE(options.normalise_latents);
  fs::remove_all(import.path("bundle"));
  import.refused(" --image_size 32 --window 2 --history 3", 2, "window");

  for (auto& [name, tensor] : tensors)
    if (name == "predictor.extrinsics_encoder.bias") tensor = at::full_like(tensor, 0.1);
  import.write(tensors);
  import.refused(" --image_size 32", 2, "--extrinsics");
  CHECK_FALSE(models::read_vjepa2_ac(import.done(" --image_size 32 --extrinsics false"))
                  ->options()
                  .predictor.extrinsics);
}

TEST_CASE("added positions of clips are read, asked for, or left out aloud") {
  const VJepa2Import import("vjepa2");
  const auto model = small_clips(nn::PositionKind::sincos);
  import.write(nn::state_dict(*model));
  import.refused(" --image_size 32", 2, "--positions");
  const auto read = models::read_vjepa2(import.done(" --image_size 32 --positions sincos"));
  CHECK(read->options().encoder.positions == nn::PositionKind::sincos);
  CHECK(read->options().encoder.frames == 8);
  check_same(nn::state_dict(*read), nn::state_dict(*model));
  fs::remove_all(import.path("bundle"));
  import.refused(" --image_size 48 --positions sincos", 1, "'encoder.pos_embed' has 16 places");

  const auto turned = import.run(" --image_size 32 --positions rope");
  CHECK(turned.code == 0);
  CHECK_THAT(turned.output, Catch::Contains("'pos_embed' is left out"));
  CHECK(models::read_vjepa2(io::read_bundle(import.path("bundle")))->options().encoder.positions ==
        nn::PositionKind::rope);

  // A table that was never filled is not used, but tells the size of the pictures.
  auto rotary = nn::state_dict(*small_clips(nn::PositionKind::rope));
  rotary.emplace_back("encoder.pos_embed", at::zeros({1, 64 / 2 * 4, 48}));
  import.write(rotary);
  const std::string doubt = "has 128 places, of 64 frames of 64 pixels it would have 512";
  const auto fitting = import.run(" --image_size 32");
  CHECK(fitting.code == 0);
  CHECK_THAT(fitting.output, !Catch::Contains("--image_size"));
  const auto other = import.run(" --image_size 64");
  CHECK(other.code == 0);
  CHECK_THAT(other.output, Catch::Contains(doubt));
}

TEST_CASE("what an import of an original V-JEPA 2 leaves out is said") {
  const VJepa2Import import("vjepa2");
  auto checkpoint = nn::state_dict(*small_clips(nn::PositionKind::rope));
  for (const auto* name : {"ema_predictor.a", "ema_predictor.b", "extra_head.w"})
    checkpoint.emplace_back(name, at::zeros({3}));
  import.write(wrapped(checkpoint));
  CHECK_THAT(import.run(" --image_size 32").output,
             Catch::Contains("left out: 2 tensors of 'ema_predictor.'") &&
                 Catch::Contains("left out: 1 tensors of 'extra_head.'") &&
                 !Catch::Contains("tensors of 'encoder.'"));
}

TEST_CASE("sizes of pictures that no clip has are refused by their flag or setting") {
  const VJepa2Import import("vjepa2");
  import.write(nn::state_dict(*small_clips(nn::PositionKind::rope)));
  import.refused(" --image_size -5", 2, "--image_size");
  import.refused(" --image_size 40", 2, "image_size = 40 is no multiple of the patch");
  import.refused(" --image_size 100000000", 2, "image_size = 100000000 makes");
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vjepa2";
  fs::create_directory(import.path("hf"));
  fs::copy_file(source / "model.safetensors", import.path("hf/model.safetensors"));
  auto config = io::read_json(source / "config.json");
  config["crop_size"] = 1 << 24;
  io::write_json(import.path("hf/config.json"), config);
  const auto folder =
      foresight_command("import vjepa2 " + import.path("hf") + " --out " + import.path("bundle"));
  CHECK(folder.code == 2);
  CHECK_THAT(folder.output, Catch::Contains("crop_size = 16777216 makes"));
  CHECK_FALSE(fs::exists(import.path("bundle")));
}

TEST_CASE("a file without an encoder's part or a predictor is told what is needed") {
  const VJepa2Import import("vjepa2");
  const auto tensors = nn::state_dict(*small_clips(nn::PositionKind::rope));
  const std::string encoder = "encoder.";
  io::NamedTensors bare, alone;
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with(encoder)) continue;
    bare.emplace_back(name.substr(encoder.size()), tensor);
    alone.emplace_back(name, tensor);
  }
  import.write(bare);
  import.refused(" --image_size 32", 1, "and a 'predictor'");
  import.refused(" --image_size 32", 1, "found: blocks, norm, patch_embed");
  import.write(alone);
  import.refused(" --image_size 32", 1, "found: encoder");
}

TEST_CASE("the second encoder of a V-JEPA 2-AC is compared, and asked for where it differs") {
  const VJepa2Import import("vjepa2_ac");
  const auto own = nn::state_dict(*small_arm());
  const auto write = [&](double change) {
    auto checkpoint = own;
    for (const auto& [name, tensor] : own)
      if (name.starts_with("encoder.")) checkpoint.emplace_back("target_" + name, tensor + change);
    import.write(wrapped(checkpoint));
  };
  write(0);
  const auto equal = import.run(" --image_size 32");
  CHECK(equal.code == 0);
  CHECK_THAT(equal.output, Catch::Contains("encoder: online (equal to target)"));
  fs::remove_all(import.path("bundle"));
  write(0.5);
  import.refused(" --image_size 32", 2, "--encoder target");
  const auto bundle = import.done(" --image_size 32 --encoder target");
  CHECK(bundle.config.provenance.at("encoder") == "target");
  for (const auto& [name, tensor] : nn::state_dict(*models::read_vjepa2_ac(bundle)))
    for (const auto& [key, first] : own)
      if (key == name) CHECK(at::equal(tensor, name.starts_with("encoder.") ? first + 0.5 : first));
}

TEST_CASE("of two encoders in one file neither is a guess, wherever wrappers stand") {
  const VJepa2Import import("vjepa2");
  io::NamedTensors checkpoint;
  for (const auto& [name, tensor] : nn::state_dict(*small_clips(nn::PositionKind::rope))) {
    checkpoint.emplace_back("module." + name, tensor);
    if (name.starts_with("encoder."))
      checkpoint.emplace_back("module.target_" + name, tensor + 0.5);
  }
  import.write(checkpoint);
  import.refused(" --image_size 32", 2, "--encoder target");
  import.done(" --image_size 32 --encoder target");
}

TEST_CASE("a config.json beside a file tells nothing about it, unless it is transformers' own") {
  const VJepa2Import import("vjepa2");
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vjepa2";
  import.write(nn::state_dict(*small_clips(nn::PositionKind::rope)));
  fs::copy_file(source / "config.json", import.path("config.json"));
  CHECK(import.done(" --image_size 32").config.provenance.at("source_layout") == "original");

  fs::copy_file(source / "model.safetensors", import.path("model.safetensors"));
  const auto imported = foresight_command("import vjepa2 " + import.path("model.safetensors") +
                                          " --out " + import.path("bundle"));
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  CHECK(io::read_bundle(import.path("bundle")).config.provenance.at("source_layout") ==
        "transformers");
}

TEST_CASE("pictures that are cropped come from the published edge, unless another is given") {
  const VJepa2Import import("vjepa2_ac");
  import.write(nn::state_dict(*small_arm()));
  const auto image = [&](const std::string& flags) {
    return models::read_vjepa2_ac(import.done(" --image_size 32" + flags))->options().image;
  };
  CHECK(image("").resize == models::ResizeRule::stretch);
  CHECK(image(" --image_resize crop").resize_edge == 32 * 256 / 224);
  CHECK(image(" --image_resize crop --image_resize_edge 40").resize_edge == 40);
}

TEST_CASE("I-JEPA comes from its own checkpoint; clips and folders are shown where to go") {
  const VJepa2Import import("ijepa");
  const models::VJepa2 model(train::ijepa_tiny(), 1);
  auto own = nn::state_dict(model);
  for (auto& [name, tensor] : own)
    if (name == "predictor.mask_tokens.0") name = "predictor.mask_token";
  import.write(own);
  const auto heads = model.options().encoder.heads;
  const auto imported =
      foresight_command("import ijepa " + import.path("own.safetensors") + " --out " +
                        import.path("bundle") + " --encoder_heads " + std::to_string(heads) +
                        " --predictor_heads " + std::to_string(model.options().predictor.heads));
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  const auto read = models::read_vjepa2(io::read_bundle(import.path("bundle")));
  check_same(nn::state_dict(*read), nn::state_dict(model));
  CHECK(read->options().encoder.heads == heads);
  REQUIRE(foresight_command("export " + import.path("bundle") + " --out " +
                            import.path("back.safetensors"))
              .code == 0);
  check_same(io::SafeTensors::open(import.path("back.safetensors")).tensors(), own);

  fs::remove_all(import.path("bundle"));
  import.write(nn::state_dict(*small_clips(nn::PositionKind::rope)));
  import.refused(" --image_size 32", 1, "import vjepa2");
  const auto folder =
      foresight_command("import ijepa " FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vit --out " +
                        import.path("bundle"));
  CHECK(folder.code == 1);
  CHECK_THAT(folder.output, Catch::Contains("import vit"));
}

}  // namespace foresight::import_arm_test
