// SPDX-License-Identifier: Apache-2.0
// foresight import and export, from a checkpoint that torch.save wrote.
#include <filesystem>
#include <map>

#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/torch_checkpoint.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "models/dino_wm_under_test.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::import_test {

namespace fs = std::filesystem;

namespace {

const std::string kCheckpoint = FORESIGHT_TEST_DATA "/torch/lewm_newkeys.ckpt";
const std::string kHeads = " --ignore sigreg. --encoder_heads 2 --predictor_heads 4";
const std::string kStatistics = " --action.block 2 --action.mean 0.1,0.2 --action.std 0.5,0.25";

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b);
}

void check_same(const io::NamedTensors& found, const io::NamedTensors& expected) {
  const std::map<std::string, Tensor> by_name(found.begin(), found.end());
  CHECK(by_name.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(by_name.contains(name));
    CHECK(same_bytes(by_name.at(name), tensor));
  }
}

}  // namespace

TEST_CASE("import makes a bundle of a training checkpoint, export gives its tensors back") {
  const TemporaryFolder folder;
  const auto bundle = (folder / "bundle").string(), file = (folder / "out.safetensors").string();
  const auto imported =
      foresight_command("import lewm " + kCheckpoint + " --out " + bundle + kHeads + kStatistics);
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  const auto config = io::read_bundle(bundle).config;
  CHECK(config.action.dim == 2);
  CHECK(config.action.mean == std::vector<double>{0.1, 0.2});
  CHECK(config.provenance.at("imported").at("file") == "lewm_newkeys.ckpt");
  CHECK(config.provenance.at("imported").at("ignored")[0] == "sigreg.");

  const auto exported = foresight_command("export " + bundle + " --out " + file);
  INFO(exported.output);
  REQUIRE(exported.code == 0);
  const auto original = io::TorchCheckpoint::open(kCheckpoint).tensors("state_dict.model.");
  const auto back = io::SafeTensors::open(file);
  check_same(back.tensors(), original);
  REQUIRE(foresight_command("export " + bundle + " --layout older --out " + file).code == 0);
  CHECK(
      io::SafeTensors::open(file).has("encoder.encoder.layer.0.attention.attention.query.weight"));
}

TEST_CASE("import says what is missing, and writes nothing then") {
  const TemporaryFolder folder;
  const auto command = "import lewm " + kCheckpoint + " --out " + (folder / "bundle").string();
  const auto statistics = foresight_command(command + kHeads + " --action.block 2");
  CHECK(statistics.code == 2);
  CHECK_THAT(statistics.output, Catch::Contains("action.mean"));
  const auto heads = foresight_command(command + kStatistics + " --ignore sigreg.");
  CHECK(heads.code == 2);
  CHECK_THAT(heads.output, Catch::Contains("encoder_heads"));
  const auto extra =
      foresight_command(command + kStatistics + " --encoder_heads 2 --predictor_heads 4");
  CHECK(extra.code == 1);
  CHECK_THAT(extra.output, Catch::Contains("'sigreg.t' is unexpected"));
  const auto hostile =
      foresight_command("import lewm " FORESIGHT_TEST_DATA "/torch/command.pt --out " +
                        (folder / "bundle").string() + kStatistics);
  CHECK(hostile.code == 1);
  CHECK_THAT(hostile.output, Catch::Contains("posix.system"));
  CHECK(foresight_command("import lewm x --outt y").code == 2);
  CHECK(foresight_command("import nothing x --out y").code == 2);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a DINO-WM is put together from its own weights and its backbone's") {
  const TemporaryFolder folder;
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0);
  options.action.mean = {0.0, 0.5};
  options.action.std = {1.0, 2.0};
  const auto model = dino_wm_under_test(options);
  io::write_safetensors(folder / "own.safetensors", models::dino_wm_tensors(*model));
  io::write_safetensors(folder / "backbone.safetensors", nn::state_dict(model->encoder()));
  io::write_json(folder / "options.json", write_options(options));
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto command = "import dino_wm " + path("own.safetensors") + " --backbone " +
                       path("backbone.safetensors") + " --out " + path("bundle");
  const auto imported = foresight_command(command + " --config " + path("options.json"));
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  const auto read = models::read_dino_wm(io::read_bundle(folder / "bundle"));
  check_same(nn::state_dict(*read), nn::state_dict(*model));
  CHECK(read->options().action.std == options.action.std);
  REQUIRE(
      foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
      0);
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(),
             models::dino_wm_tensors(*model));
  const auto unknown = foresight_command(command + " --proprio.dim 0");
  CHECK(unknown.code == 2);
  CHECK_THAT(unknown.output, Catch::Contains("--action.mean"));
}

TEST_CASE("a PreJEPA goes back under its own names, with masks and the backbone it came with") {
  const TemporaryFolder folder;
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 3);
  options.proprio.repeat = options.action_repeat = 1;
  options.encoder.mask_token = true;
  options.action.mean = {0.0, 0.5};
  options.action.std = {1.0, 2.0};
  const auto model = dino_wm_under_test(options);
  const auto own = models::dino_wm_tensors(*model, models::DinoWmLayout::prejepa);
  io::write_safetensors(folder / "backbone.safetensors", nn::state_dict(model->encoder()));
  io::write_json(folder / "options.json", write_options(options));
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto there_and_back = [&](const io::NamedTensors& given, const char* backbone,
                                  const std::string& layout) {
    io::write_safetensors(folder / "own.safetensors", given);
    const auto imported = foresight_command("import dino_wm " + path("own.safetensors") +
                                            " --backbone " + path(backbone) + " --config " +
                                            path("options.json") + " --out " + path("bundle"));
    INFO(imported.output);
    REQUIRE(imported.code == 0);
    REQUIRE(foresight_command("export " + path("bundle") + " --out " + path("back.safetensors") +
                              layout)
                .code == 0);
    return io::SafeTensors::open(folder / "back.safetensors").tensors();
  };
  check_same(there_and_back(own, "backbone.safetensors", ""), own);
  check_same(there_and_back(own, "backbone.safetensors", " --layout dino_wm"),
             models::dino_wm_tensors(*model));
  for (const auto& backbone :
       {nn::hf_vit_tensors(model->encoder()), nn::hf_vit_memory_tensors(model->encoder())}) {
    auto whole = own;
    for (const auto& [name, tensor] : backbone) whole.emplace_back("backbone." + name, tensor);
    check_same(there_and_back(whole, "own.safetensors", ""), whole);
  }
}

TEST_CASE("an EB-JEPA comes from a compiled model's weights and goes back under plain names") {
  const TemporaryFolder folder;
  models::EbJepaOptions options;
  options.image_size = 13;
  options.encoder.channels = {3, 4};
  options.encoder.width = 6;
  options.inverse_dynamics_hidden = 5;
  const models::EbJepa model(options, 3);
  const auto plain = models::eb_jepa_tensors(model);
  io::NamedTensors compiled;
  for (const auto& [name, tensor] : plain) compiled.emplace_back("_orig_mod." + name, tensor);
  io::write_safetensors(folder / "own.safetensors", compiled);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto command = "import eb_jepa " + path("own.safetensors") + " --out " + path("bundle");
  const auto imported =
      foresight_command(command + " --image_size 13 --action.low -2.45,-2.45 --action.high 2,2");
  INFO(imported.output);
  REQUIRE(imported.code == 0);
  const auto read = models::read_eb_jepa(io::read_bundle(folder / "bundle"));
  check_same(nn::state_dict(*read), nn::state_dict(model));
  CHECK(read->options().action.high == std::vector<double>{2, 2});
  REQUIRE(
      foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
      0);
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(), plain);

  const auto other = " --out " + path("other");
  const auto size = foresight_command("import eb_jepa " + path("own.safetensors") + other);
  CHECK(size.code == 1);
  CHECK_THAT(size.output, Catch::Contains("encoder.mlp.weight"));
  const auto actions = foresight_command("import eb_jepa " + path("own.safetensors") + other +
                                         " --image_size 13 --action.dim 3");
  CHECK(actions.code == 2);
  CHECK_THAT(actions.output, Catch::Contains("actions of width 2"));
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("an EB-JEPA's terms of training are asked for where no shape tells them, and kept") {
  const TemporaryFolder folder;
  models::EbJepaOptions options;
  options.image_size = 13;
  options.encoder.channels = {3};
  options.encoder.width = 6;
  options.inverse_dynamics_hidden = 5;
  options.projector = {8, 6};
  io::write_safetensors(folder / "own.safetensors",
                        models::eb_jepa_tensors(models::EbJepa(options, 3)));
  const auto imported = [&](const std::string& flags) {
    return foresight_command("import eb_jepa " + (folder / "own.safetensors").string() + " --out " +
                             (folder / "bundle").string() + " --image_size 13" + flags);
  };
  CHECK_THAT(imported(" --regulariser.temporal_view direct").output,
             Catch::Contains("--regulariser.inverse_dynamics_view"));
  const std::string head = " --regulariser.inverse_dynamics_view projected";
  const auto unsaid = imported(head);
  CHECK(unsaid.code == 2);
  CHECK_THAT(unsaid.output, Catch::Contains("--regulariser.temporal_view"));
  CHECK_FALSE(fs::exists(folder / "bundle"));

  const auto said = imported(head +
                             " --regulariser.temporal_view projected_upstream"
                             " --regulariser.frames first --regulariser.std 4 --predicted_steps 3");
  INFO(said.output);
  REQUIRE(said.code == 0);
  const auto read = models::read_eb_jepa(io::read_bundle(folder / "bundle"))->options();
  CHECK(read.regulariser.temporal_view == losses::LatentView::projected_upstream);
  CHECK(read.regulariser.inverse_dynamics_view == losses::LatentView::projected);
  CHECK(read.regulariser.frames == losses::SampledFrames::first);
  CHECK(read.regulariser.std == 4);
  CHECK(read.regulariser.cov == losses::LatentRegulariserOptions().cov);
  CHECK(read.predicted_steps == 3);

  // A file says it as well; without the term nobody asks.
  fs::remove_all(folder / "bundle");
  io::write_json(folder / "terms.json", {{"regulariser", {{"temporal_view", "direct"}}}});
  CHECK(imported(head + " --config " + (folder / "terms.json").string()).code == 0);
  fs::remove_all(folder / "bundle");
  CHECK(imported(head + " --regulariser.temporal 0").code == 0);
}

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

TEST_CASE("inspect lists what a checkpoint holds") {
  const auto groups = foresight_command("inspect " FORESIGHT_TEST_DATA "/torch/groups.pt");
  CHECK(groups.code == 0);
  CHECK_THAT(groups.output, Catch::Contains("encoder, target_encoder") &&
                                Catch::Contains("norm.weight") && Catch::Contains("[4]"));
}

}  // namespace foresight::import_test
