// SPDX-License-Identifier: Apache-2.0
// foresight import and export of world models, from a checkpoint that torch.save wrote.
#include <filesystem>

#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/io/torch_checkpoint.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/eb_jepa_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "models/dino_wm_under_test.hpp"
#include "run_command.hpp"
#include "same_tensors.hpp"
#include "temporary_folder.hpp"

namespace foresight::import_test {

namespace fs = std::filesystem;

namespace {

const std::string kCheckpoint = FORESIGHT_TEST_DATA "/torch/lewm_newkeys.ckpt";
const std::string kHeads = " --ignore sigreg. --encoder_heads 2 --predictor_heads 4";
const std::string kStatistics = " --action.block 2 --action.mean 0.1,0.2 --action.std 0.5,0.25";

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

TEST_CASE("a LeWM is imported whatever wrapped it or its parts") {
  const auto plain = io::TorchCheckpoint::open(kCheckpoint).tensors("state_dict.model.");
  const auto imported = [&](const std::string& model, const std::string& encoder, bool loss) {
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder / name).string(); };
    io::NamedTensors wrapped;
    for (const auto& [name, tensor] : plain) {
      const bool inside = name.starts_with("encoder.");
      wrapped.emplace_back(model + (inside ? "encoder." + encoder + name.substr(8) : name), tensor);
    }
    if (loss) wrapped.emplace_back("sigreg.t", at::zeros({3}));
    io::write_safetensors(path("w.safetensors"), wrapped);
    const auto result = foresight_command(
        "import lewm " + path("w.safetensors") + " --out " + path("bundle") + kStatistics +
        " --encoder_heads 2" + " --predictor_heads 4" + (loss ? " --ignore sigreg." : ""));
    INFO(result.output);
    REQUIRE(result.code == 0);
    REQUIRE(
        foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
        0);
    check_same(io::SafeTensors::open(path("back.safetensors")).tensors(), plain);
  };
  imported("model._orig_mod.", "", false);
  imported("", "_orig_mod.", false);
  imported("module.model.", "", true);
  imported("model.", "module._orig_mod.", true);
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

TEST_CASE("a LeWM that is imported with fewer positions than it has says so") {
  const TemporaryFolder folder;
  const auto command = "import lewm " + kCheckpoint + " --out " + (folder / "bundle").string() +
                       kHeads + kStatistics;
  CHECK_THAT(foresight_command(command).output, !Catch::Contains("positions the bundle keeps"));
  const auto shorter = foresight_command(command + " --history 1");
  CHECK(shorter.code == 0);
  CHECK_THAT(shorter.output, Catch::Contains("positions the bundle keeps the first 1"));
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
  CHECK(read->options().encoder.inner_norm == nn::NormKind::none);
  REQUIRE(
      foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
      0);
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(), plain);

  // A norm without weights, which no tensor tells.
  REQUIRE(foresight_command(command + " --image_size 13 --encoder.inner_norm layer").code == 0);
  CHECK(models::read_eb_jepa(io::read_bundle(folder / "bundle"))->options().encoder.inner_norm ==
        nn::NormKind::layer);

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

TEST_CASE("an EB-JEPA of several types goes back bit by bit") {
  models::EbJepaOptions options;
  options.image_size = 13;
  options.encoder.channels = {3, 4};
  options.encoder.width = 6;
  options.inverse_dynamics_hidden = 5;
  const auto plain = models::eb_jepa_tensors(models::EbJepa(options, 3));
  for (const auto type : {at::kBFloat16, at::kFloat8_e4m3fn, at::kDouble}) {
    INFO(c10::toString(type));
    const TemporaryFolder folder;
    const auto path = [&](const char* name) { return (folder / name).string(); };
    const auto given = mixed_types(plain, type);
    io::NamedTensors compiled;
    for (const auto& [name, tensor] : given) compiled.emplace_back("_orig_mod." + name, tensor);
    io::write_safetensors(path("own.safetensors"), compiled);
    REQUIRE(foresight_command("import eb_jepa " + path("own.safetensors") + " --image_size 13" +
                              " --out " + path("bundle"))
                .code == 0);
    REQUIRE(
        foresight_command("export " + path("bundle") + " --out " + path("back.safetensors")).code ==
        0);
    check_same(io::SafeTensors::open(path("back.safetensors")).tensors(), given);
  }
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

TEST_CASE("inspect lists what a checkpoint holds") {
  const auto groups = foresight_command("inspect " FORESIGHT_TEST_DATA "/torch/groups.pt");
  CHECK(groups.code == 0);
  CHECK_THAT(groups.output, Catch::Contains("encoder, target_encoder") &&
                                Catch::Contains("norm.weight") && Catch::Contains("[4]"));
}

}  // namespace foresight::import_test
