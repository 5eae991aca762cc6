// SPDX-License-Identifier: Apache-2.0
// foresight import and export of encoders: V-JEPA 2 and image encoders, and their pictures.
#include <filesystem>

#include "foresight/io/bundle.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "run_command.hpp"
#include "same_tensors.hpp"
#include "temporary_folder.hpp"

namespace foresight::import_encoder_test {

namespace fs = std::filesystem;

TEST_CASE("a V-JEPA 2 comes from a Hugging Face folder and goes back bit by bit") {
  const TemporaryFolder folder;
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vjepa2";
  const auto bundle = (folder / "bundle").string(), file = (folder / "back.safetensors").string();
  const auto imported = foresight_command("import vjepa2 " + source.string() + " --out " + bundle);
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  const auto read = models::read_vjepa2(io::read_bundle(bundle));
  check_same(nn::state_dict(*read),
             nn::state_dict(*models::load_hf_vjepa2(io::read_hf_folder(source))));
  REQUIRE(foresight_command("export " + bundle + " --out " + file).code == 0);
  check_same(io::SafeTensors::open(file).tensors(),
             io::SafeTensors::open(source / "model.safetensors").tensors());
  CHECK(foresight_command("export " + bundle + " --layout newer --out " + file).code == 2);
  const auto command = "import vjepa2 " + source.string() + " --out " + bundle;
  REQUIRE(foresight_command(command + " --image_mean 0.5,0.4,0.3 --image_std 1,2,3").code == 0);
  CHECK(models::read_vjepa2(io::read_bundle(bundle))->options().image.std ==
        std::vector<double>{1, 2, 3});
  CHECK(foresight_command(command + " --image_std 1,0,3").code == 2);
}

TEST_CASE("a network of our own is not exported under names whose code computes something else") {
  const TemporaryFolder folder;
  const models::VJepa2 clips(models::VJepa2Options::tiny(), 1);  // interleaved positions
  models::write_vjepa2(folder / "clips", clips, models::vjepa2_bundle_config(clips));
  const models::VJepa2 pictures(train::ijepa_tiny(), 1);
  models::write_vjepa2(folder / "pictures", pictures, models::vjepa2_bundle_config(pictures));
  const auto file = (folder / "out.safetensors").string();
  const auto exported = [&](const char* bundle, const std::string& flags) {
    return foresight_command("export " + (folder / bundle).string() + " --out " + file + flags);
  };
  for (const std::string flags : {"", " --layout original", " --layout transformers"}) {
    const auto refused = exported("clips", flags);
    CHECK(refused.code == 1);
    CHECK_THAT(refused.output, Catch::Contains("rotary"));
  }
  CHECK_FALSE(fs::exists(file));
  REQUIRE(exported("pictures", " --layout transformers").code == 0);
  CHECK(io::SafeTensors::open(file).has("encoder.layer.0.attention.attention.query.weight"));
  CHECK_FALSE(io::SafeTensors::open(file).has("predictor.proj.weight"));
  REQUIRE(exported("pictures", "").code == 0);
  CHECK(io::SafeTensors::open(file).has("predictor.mask_token"));
}

TEST_CASE("an original checkpoint goes back in the type of its weights, not of its optimiser") {
  const TemporaryFolder folder;
  auto options = models::VJepa2Options::tiny();
  options.encoder.rope = options.predictor.rope = nn::RopeConvention::tiled;
  options.encoder.depth = options.predictor.depth = 1;
  const models::VJepa2 model(options, 1);
  io::NamedTensors checkpoint, expected;
  for (const auto& [name, tensor] : nn::state_dict(model)) {
    const auto dot = name.find('.');
    expected.emplace_back(name, tensor.to(at::kHalf));
    checkpoint.emplace_back(name.substr(0, dot) + ".module" + name.substr(dot),
                            tensor.to(at::kHalf));
  }
  checkpoint.emplace_back("opt.state.0.exp_avg", at::zeros({3}));
  checkpoint.emplace_back("target_encoder.module.norm.weight", at::zeros({3}));
  io::write_safetensors(folder / "own.safetensors", checkpoint);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto command = "import vjepa2 " + path("own.safetensors") + " --out " + path("bundle") +
                       " --encoder online --encoder_heads 4 --predictor_heads 2";
  const auto size = foresight_command(command);
  CHECK(size.code == 2);
  CHECK_THAT(size.output, Catch::Contains("--image_size"));
  const auto imported = foresight_command(command + " --image_size 64");
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  REQUIRE(
      foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
      0);
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(), expected);
}

TEST_CASE("an image encoder comes from a Hugging Face folder and goes back bit by bit") {
  const fs::path checkpoints = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints";
  int folders = 0;
  for (const auto* name : {"vit", "ijepa", "dinov2", "dinov2_with_registers"}) {
    INFO(name);
    const auto source = checkpoints / name;
    if (!fs::exists(source)) continue;
    ++folders;
    const TemporaryFolder folder;
    const auto bundle = (folder / "bundle").string(), file = (folder / "back.safetensors").string();
    const auto command = "import vit " + source.string() + " --out " + bundle;
    // Without preprocessor_config.json the statistics must be given.
    if (!fs::exists(source / "preprocessor_config.json"))
      CHECK_THAT(foresight_command(command).output, Catch::Contains("--image.mean"));
    const auto imported =
        foresight_command(command + " --image.mean 0.5,0.4,0.3 --image.std 0.1,0.2,0.3");
    INFO(imported.output);
    REQUIRE(imported.code == 0);
    const auto read = models::read_vit(io::read_bundle(bundle));
    CHECK(read.image.mean == std::vector<double>{0.5, 0.4, 0.3});
    REQUIRE(foresight_command("export " + bundle + " --out " + file).code == 0);
    check_same(io::SafeTensors::open(file).tensors(),
               io::SafeTensors::open(source / "model.safetensors").tensors());
  }
  CHECK(folders > 0);
}

TEST_CASE("half-width weights of an encoder that computes in float32 go back as they came") {
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/dinov2_with_registers";
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    const TemporaryFolder folder;
    fs::create_directory(folder / "hf");
    fs::copy_file(source / "config.json", folder / "hf" / "config.json");
    auto tensors = io::SafeTensors::open(source / "model.safetensors").tensors();
    for (auto& [name, tensor] : tensors) tensor = tensor.to(type);
    io::write_safetensors(folder / "hf" / "model.safetensors", tensors);
    const auto bundle = (folder / "bundle").string(), file = (folder / "back.safetensors").string();
    REQUIRE(foresight_command("import vit " + (folder / "hf").string() + " --out " + bundle +
                              " --image.mean 0.5,0.4,0.3 --image.std 0.1,0.2,0.3")
                .code == 0);
    CHECK(models::read_vit(io::read_bundle(bundle)).encoder->parameters()[0].scalar_type() ==
          at::kFloat);
    REQUIRE(foresight_command("export " + bundle + " --out " + file).code == 0);
    check_same(io::SafeTensors::open(file).tensors(), tensors);
  }
}

TEST_CASE("weights of several types in a Hugging Face folder go back as they came") {
  const fs::path checkpoints = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints";
  for (const auto& [family, name] :
       {std::pair{"vit", "vit"}, std::pair{"vit", "dinov2_with_registers"},
        std::pair{"vjepa2", "vjepa2"}})
    for (const auto type : {at::kBFloat16, at::kHalf, at::kFloat8_e4m3fn, at::kDouble}) {
      INFO(name << " " << c10::toString(type));
      const TemporaryFolder folder;
      fs::create_directory(folder / "hf");
      fs::copy_file(checkpoints / name / "config.json", folder / "hf" / "config.json");
      const auto tensors = mixed_types(
          io::SafeTensors::open(checkpoints / name / "model.safetensors").tensors(), type);
      io::write_safetensors(folder / "hf" / "model.safetensors", tensors);
      const auto bundle = (folder / "bundle").string(),
                 file = (folder / "back.safetensors").string();
      const std::string statistics = "0.5,0.4,0.3",
                        flag = family == std::string("vit") ? " --image." : " --image_";
      const auto imported = foresight_command("import " + std::string(family) + " " +
                                              (folder / "hf").string() + " --out " + bundle + flag +
                                              "mean " + statistics + flag + "std " + statistics);
      INFO(imported.output);
      REQUIRE(imported.code == 0);
      REQUIRE(foresight_command("export " + bundle + " --out " + file).code == 0);
      check_same(io::SafeTensors::open(file).tensors(), tensors);
    }
}

TEST_CASE("picture statistics are taken from a folder's preprocessor_config.json") {
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/dinov2_with_registers";
  const TemporaryFolder folder;
  fs::create_directory(folder / "hf");
  for (const auto* name : {"config.json", "model.safetensors"})
    fs::copy_file(source / name, folder / "hf" / name);
  io::write_json(folder / "hf" / "preprocessor_config.json",
                 {{"image_mean", {0.1, 0.2, 0.3}},
                  {"image_std", {0.4, 0.5, 0.6}},
                  {"crop_size", {{"height", 28}, {"width", 28}}}});
  const auto command =
      "import vit " + (folder / "hf").string() + " --out " + (folder / "bundle").string();
  REQUIRE(foresight_command(command).code == 0);
  const auto read = models::read_vit(io::read_bundle(folder / "bundle"));
  CHECK(read.image.std == std::vector<double>{0.4, 0.5, 0.6});
  CHECK(read.image.size == 28);
  for (const auto& [edge, words] : {std::pair{int64_t{1} << 40, "number of pixels up to 65536"},
                                    std::pair{int64_t{1} << 15, "image.size = 32768 makes"}}) {
    io::write_json(
        folder / "hf" / "preprocessor_config.json",
        {{"image_mean", {0.1, 0.2, 0.3}}, {"image_std", {0.4, 0.5, 0.6}}, {"crop_size", edge}});
    CHECK_THAT(foresight_command(command).output, Catch::Contains(words));
  }
  io::write_json(folder / "hf" / "preprocessor_config.json", {{"image_mean", {0.1, "x", 0.3}}});
  CHECK_THAT(foresight_command(command).output, Catch::Contains("no list of three numbers"));
  // As DINOv2's: scaled to a larger edge, then cropped; a flag overrules.
  io::write_json(folder / "hf" / "preprocessor_config.json", {{"image_mean", {0.1, 0.2, 0.3}},
                                                              {"image_std", {0.4, 0.5, 0.6}},
                                                              {"size", {{"shortest_edge", 32}}},
                                                              {"resample", 3},
                                                              {"crop_size", 28}});
  const auto image_of = [&](const char* bundle, const std::string& more) {
    REQUIRE(foresight_command("import vit " + (folder / "hf").string() + " --out " +
                              (folder / bundle).string() + more)
                .code == 0);
    return models::read_vit(io::read_bundle(folder / bundle)).image;
  };
  const auto dinov2 = image_of("as_told", "");
  CHECK(dinov2.resize_edge == 32);
  CHECK(dinov2.interpolation == models::Interpolation::bicubic);
  CHECK(image_of("other", " --image.resize_edge 0").resize_edge == 0);
  io::write_json(folder / "hf" / "preprocessor_config.json", {{"do_pad", true}});
  CHECK_THAT(foresight_command(command).output, Catch::Contains("do_pad"));
}

TEST_CASE("mask tokens that a V-JEPA 2's file claims and has no bytes of are not counted out") {
  const TemporaryFolder folder;
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vjepa2";
  fs::create_directory(folder / "hf");
  fs::copy_file(source / "config.json", folder / "hf" / "config.json");
  auto tensors = io::SafeTensors::open(source / "model.safetensors").tensors();
  for (auto& [name, tensor] : tensors)
    if (name == "predictor.embeddings.mask_tokens")
      tensor = at::zeros({1'000'000'000'000, 1, 1, 0});
  io::write_safetensors(folder / "hf" / "model.safetensors", tensors);
  const auto refused = foresight_command("import vjepa2 " + (folder / "hf").string() + " --out " +
                                         (folder / "bundle").string());
  CHECK(refused.code == 1);
  CHECK_THAT(refused.output, Catch::Contains("pred_num_mask_tokens") &&
                                 Catch::Contains("[1000000000000, 1, 1, 0]"));
}

TEST_CASE("pictures for an imported V-JEPA 2 are cut as its published evaluation cuts them") {
  const TemporaryFolder folder;
  const fs::path source = FORESIGHT_TEST_DATA "/goldens/hf/checkpoints/vjepa2";
  fs::create_directory(folder / "hf");
  for (const auto* name : {"config.json", "model.safetensors"})
    fs::copy_file(source / name, folder / "hf" / name);
  int count = 0;
  const auto image_of = [&](const std::string& more) {
    const auto bundle = folder / ("bundle" + std::to_string(count++));
    const auto imported = foresight_command("import vjepa2 " + (folder / "hf").string() +
                                            " --out " + bundle.string() + more);
    INFO(imported.output);
    REQUIRE(imported.code == 0);
    return models::read_vjepa2(io::read_bundle(bundle))->options().image;
  };
  const auto published = image_of("");
  CHECK(published.resize == models::ResizeRule::crop);
  CHECK(published.resize_edge == published.size * 256 / 224);
  const auto whole = image_of(" --image_resize stretch");
  CHECK(whole.resize == models::ResizeRule::stretch);
  CHECK(whole.resize_edge == 0);
  CHECK(image_of(" --image_resize_edge 400").resize_edge == 400);
  const auto side = published.size;
  io::write_json(folder / "hf" / "video_preprocessor_config.json",
                 {{"size", {{"shortest_edge", side + 7}}}, {"crop_size", side}});
  CHECK(image_of("").resize_edge == side + 7);
  CHECK(image_of("").mean == published.mean);
}

TEST_CASE("of two encoders in one file, one must be named") {
  const TemporaryFolder folder;
  const auto command =
      "import vjepa2 " FORESIGHT_TEST_DATA "/torch/groups.pt --out " + (folder / "bundle").string();
  const auto encoder = foresight_command(command + " --image_size 256");
  CHECK(encoder.code == 2);
  CHECK_THAT(encoder.output, Catch::Contains("--encoder target"));
}

}  // namespace foresight::import_encoder_test
