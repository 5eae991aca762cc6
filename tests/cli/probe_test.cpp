// SPDX-License-Identifier: Apache-2.0
// Attentive probes from the command line: a published classifier comes in, is shown and goes back;
// a probe is trained on labelled clips.
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <filesystem>

#include "catch.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/hf_folder.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "run_command.hpp"
#include "same_tensors.hpp"
#include "temporary_folder.hpp"

namespace foresight::probe_test {
namespace {

namespace fs = std::filesystem;

models::VJepa2Options exportable_network() {
  auto options = models::VJepa2Options::tiny();
  options.encoder.rope = options.predictor.rope = nn::RopeConvention::tiled;
  options.encoder.depth = options.predictor.depth = 1;
  return options;
}

models::AttentiveProbeOptions exportable_probe(int64_t classes) {
  models::AttentiveProbeOptions options;
  options.outputs = classes;
  options.pooler = {.self_attention = 1, .heads = 4, .norm_epsilon = 1e-6};
  return options;
}

std::string succeeded(const std::string& arguments) {
  const auto result = foresight_command(arguments);
  INFO("foresight " << arguments << "\n" << result.output);
  REQUIRE(result.code == 0);
  return result.output;
}

// Reddish (class 0) or bluish (class 1) episodes, in which a square moves up and down.
std::string labelled_clips(const TemporaryFolder& folder) {
  constexpr int64_t kRows = 20, kSide = 64;
  data::FolderWriterOptions options;
  options.video.fps = 10;
  options.actions = {"push"};
  options.states = {"kind", "height"};
  data::FolderWriter writer(folder / "clips", options);
  for (int64_t e = 0; e < 8; ++e) {
    auto frames = at::full({kRows, kSide, kSide, 3}, 40, at::kByte);
    frames.select(3, e % 2 == 0 ? 0 : 2).fill_(200);
    auto table = at::zeros({kRows, 3}, at::kDouble);
    for (int64_t r = 0; r < kRows; ++r) {
      const auto y = (3 * r + 7 * e) % (kSide - 16);
      frames[r].narrow(0, y, 16).narrow(1, 24, 16).fill_(220);
      table[r][1] = static_cast<double>(e % 2);
      table[r][2] = static_cast<double>(y);
    }
    writer.write_episode(frames, table);
  }
  return (folder / "clips").string();
}

}  // namespace

TEST_CASE("a classifier comes from a Hugging Face folder with its names and goes back bit by bit") {
  const TemporaryFolder folder;
  const models::VJepa2 network(exportable_network(), 1);
  auto options = exportable_probe(7);
  options.names = {"push", "pull", "lift", "drop", "turn", "open", "close"};
  const models::AttentiveProbe probe(network.options().encoder.width, options, 2);
  models::write_hf_vjepa2(folder / "hf", network, &probe);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto shown = succeeded("import vjepa2 " + path("hf") + " --out " + path("bundle"));
  CHECK_THAT(shown, Catch::Contains("probe: 7 classes (push, pull, lift, drop, turn, 2 more)"));
  CHECK_THAT(succeeded("inspect " + path("bundle")),
             Catch::Contains("probe: 7 classes (push,") && Catch::Contains("family 'vjepa2'"));
  const auto read = models::read_attentive_probe(io::read_bundle(folder / "bundle"));
  REQUIRE(read != nullptr);
  CHECK(read->options().names == options.names);
  check_same(nn::state_dict(*read), nn::state_dict(probe));
  succeeded("export " + path("bundle") + " --out " + path("back.safetensors"));
  const auto back = io::SafeTensors::open(folder / "back.safetensors");
  CHECK(back.has("vjepa2.encoder.layernorm.weight"));
  check_same(back.tensors(), io::read_hf_folder(folder / "hf").tensors());

  const auto again = foresight_command("import vjepa2 " + path("hf") + " --out " + path("other") +
                                       " --probe " + path("back.safetensors"));
  CHECK(again.code == 2);
  CHECK_THAT(again.output, Catch::Contains("has a classifier already"));
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("an original probe comes beside its encoder, with names from a file, and goes back") {
  const TemporaryFolder folder;
  const models::VJepa2 network(exportable_network(), 1);
  auto options = exportable_probe(3);
  options.pooler.norm_epsilon = 1e-5;  // V-JEPA 2's own
  const auto width = network.options().encoder.width;
  const models::AttentiveProbe probe(width, options, 2), other(width, options, 3);
  io::NamedTensors encoder, probes, expected;
  for (const auto& [name, tensor] : nn::state_dict(network)) {
    const auto dot = name.find('.');
    encoder.emplace_back(name.substr(0, dot) + ".module.backbone" + name.substr(dot), tensor);
    expected.emplace_back(name, tensor);
  }
  for (const auto& [name, tensor] : nn::state_dict(other))
    probes.emplace_back("classifiers.0.module." + name, tensor);
  for (const auto& [name, tensor] : mixed_types(nn::state_dict(probe), at::kDouble)) {
    probes.emplace_back("classifiers.1.module." + name, tensor);
    expected.emplace_back(name, tensor);
  }
  io::write_safetensors(folder / "encoder.safetensors", encoder);
  io::write_safetensors(folder / "probes.safetensors", probes);
  io::write_json(folder / "labels.json", {{"0", "up"}, {"1", "down"}, {"2", "still"}});
  io::write_json(folder / "few.json", {"up", "down"});
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto command = "import vjepa2 " + path("encoder.safetensors") + " --image_size 64" +
                       " --encoder_heads 4 --predictor_heads 2 --out " + path("bundle");
  const auto beside = command + " --probe " + path("probes.safetensors");
  const auto refused = [&](const std::string& arguments, const char* words) {
    const auto result = foresight_command(arguments);
    INFO(arguments << "\n" << result.output);
    CHECK(result.code != 0);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(folder / "bundle"));
  };
  refused(beside + " --probe_heads 4", "--probe_index");
  refused(beside + " --probe_heads 5 --probe_index 1", "heads = 5");
  refused(beside + " --probe_heads 4 --probe_index 1 --labels " + path("few.json"),
          "names 2 classes");
  refused(command + " --probe_index 1", "belong to --probe");
  refused(command + " --labels " + path("labels.json"), "--probe");
  const models::AttentiveProbe narrow(24, options, 3);
  io::write_safetensors(folder / "narrow.safetensors", nn::state_dict(narrow));
  refused(command + " --probe_heads 4 --probe " + path("narrow.safetensors"), "width 24");

  succeeded(beside + " --probe_heads 4 --probe_index 1 --labels " + path("labels.json"));
  CHECK_THAT(succeeded("inspect " + path("bundle")),
             Catch::Contains("probe: 3 classes (up, down, still), 2 block(s) of 4 heads"));
  succeeded("export " + path("bundle") + " --out " + path("back.safetensors"));
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(), expected);
  // The class of transformers has the encoder's epsilon, which is said; the names are all there.
  CHECK_THAT(succeeded("export " + path("bundle") + " --layout transformers --out " +
                       path("hf.safetensors")),
             Catch::Contains("1e-06"));
  CHECK(io::SafeTensors::open(folder / "hf.safetensors")
            .has("pooler.self_attention_layers.0.self_attn.q_proj.weight"));
}

TEST_CASE(
    "an original probe and an encoder of transformers go back as one classifier, bit by bit") {
  const TemporaryFolder folder;
  const models::VJepa2 network(exportable_network(), 1);
  const models::AttentiveProbe probe(network.options().encoder.width, exportable_probe(3), 2);
  models::write_hf_vjepa2(folder / "hf", network);
  const auto encoder = mixed_types(io::read_hf_folder(folder / "hf").tensors(), at::kDouble);
  io::write_safetensors(folder / "hf" / "model.safetensors", encoder);
  const auto own = mixed_types(nn::state_dict(probe), at::kDouble);
  io::write_safetensors(folder / "probe.safetensors", own);
  const auto path = [&](const char* name) { return (folder / name).string(); };
  succeeded("import vjepa2 " + path("hf") + " --out " + path("bundle") + " --probe_heads 4" +
            " --probe " + path("probe.safetensors"));
  succeeded("export " + path("bundle") + " --out " + path("back.safetensors"));
  auto expected = models::vjepa2_to_hf(own);
  for (const auto& [name, tensor] : encoder) expected.emplace_back("vjepa2." + name, tensor);
  check_same(io::SafeTensors::open(folder / "back.safetensors").tensors(), expected);
}

TEST_CASE("a probe is trained on labelled clips, goes on from its bundle, and is exported") {
  const TemporaryFolder folder;
  const auto clips = labelled_clips(folder);
  const models::VJepa2 network(exportable_network(), 1);
  models::write_vjepa2(folder / "encoder", network, models::vjepa2_bundle_config(network));
  const auto path = [&](const char* name) { return (folder / name).string(); };
  const auto command = "train vjepa2_probe --data " + clips + " --backbone " + path("encoder") +
                       " --loader.batch 8 --validation 0.25 --windows.stride 1" +
                       " --pooler.self_attention 0 --pooler.heads 4 --training.optimizer.lr 3e-3";
  const auto told = succeeded(command + " --states kind --target.classes 2 --labels red,blue" +
                              " --steps 60 --out " + path("kinds"));
  CHECK_THAT(told, Catch::Contains("held-out clips are classed rightly"));
  const auto bundle = io::read_bundle(folder / "kinds" / "bundle");
  CHECK(bundle.config.provenance["held_out"]["accuracy"].get<double>() > 0.9);
  CHECK_THAT(succeeded("inspect " + path("kinds/bundle")),
             Catch::Contains("probe: 2 classes (red, blue)"));
  succeeded("export " + path("kinds/bundle") + " --out " + path("own.safetensors"));
  CHECK(io::SafeTensors::open(folder / "own.safetensors").has("pooler.query_tokens"));

  const auto films = " " + clips + "/episode_0002.mp4 " + clips + "/episode_0003.mp4";
  const auto read = nlohmann::json::parse(
      succeeded("classify " + path("kinds/bundle") + films + " --clips 3"));
  REQUIRE(read.size() == 2);
  CHECK(read[0]["step"] == 1);  // the bundle's
  CHECK(read[0]["classes"][0]["name"] == "red");
  CHECK(read[1]["classes"][0]["name"] == "blue");
  double total = 0;
  for (const auto& each : read[1]["classes"]) total += each["probability"].get<double>();
  CHECK(total == Approx(1));
  // One clip from the beginning is what the library says of these frames.
  const auto first = nlohmann::json::parse(
      succeeded("classify " + path("kinds/bundle") + films + " --clips 1 --step 9 --top 1"));
  const auto model = models::read_vjepa2(bundle);
  data::VideoReader film(clips + "/episode_0003.mp4");
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < model->options().encoder.frames; ++i)
    rows.push_back(std::min<int64_t>(9 * i, film.num_frames() - 1));
  at::NoGradGuard no_grad;
  const auto said = models::read_attentive_probe(bundle)->predict(
      model->encode(model->preprocess(film.frames(rows).unsqueeze(0))));
  REQUIRE(first[1]["classes"].size() == 1);
  CHECK(first[1]["classes"][0]["probability"].get<double>() ==
        Approx(said.max().item<double>()).epsilon(1e-5));
  const auto without = foresight_command("classify " + path("encoder") + films);
  CHECK(without.code == 1);
  CHECK_THAT(without.output, Catch::Contains("holds no attentive probe"));
  CHECK(foresight_command("classify " + path("kinds/bundle") + films + " --step 0").code == 2);

  const auto again = succeeded("train vjepa2_probe --data " + clips + " --states kind --continue " +
                               path("kinds/bundle") + " --windows.stride 1 --validation 0.25" +
                               " --loader.batch 8 --steps 0 --out " + path("again"));
  CHECK_THAT(again, Catch::Contains("held-out clips are classed rightly"));
  // Names may hold commas, in a JSON list.
  const auto named = command + " --states kind --target.classes 2 --steps 0 --out " + path("named");
  succeeded(named + R"( --labels '["red, or nearly","blue"]')");
  CHECK(
      models::read_attentive_probe(io::read_bundle(folder / "named" / "bundle"))->options().names ==
      std::vector<std::string>{"red, or nearly", "blue"});
  const auto judgement = [](const std::string& output) {
    const auto words = output.find("held-out clips: height r2");
    REQUIRE(words != std::string::npos);
    return output.substr(words, output.find('\n', words) - words);
  };
  const auto heights = judgement(succeeded(
      command + " --states height --target.columns 1 --steps 4 --out " + path("heights")));
  const auto height =
      nlohmann::json::parse(succeeded("classify " + path("heights/bundle") + films));
  CHECK(height[0]["values"][0]["name"] == "height");
  // What was left out is the bundle's: which column is read, and which clips are held out.
  const auto judge = "train vjepa2_probe --data " + clips + " --continue " +
                     path("heights/bundle") + " --windows.stride 1 --loader.batch 8 --steps 0";
  CHECK(judgement(succeeded(judge + " --out " + path("judged"))) == heights);
  const auto other = foresight_command(judge + " --states kind --out " + path("other"));
  CHECK(other.code != 0);
  CHECK_THAT(other.output, Catch::Contains("state columns kind would be read") &&
                               Catch::Contains("was trained on height"));

  const auto refused = [&](const std::string& more, const char* words) {
    const auto result = foresight_command(command + more + " --steps 4 --out " + path("no"));
    INFO(more << "\n" << result.output);
    CHECK(result.code != 0);
    CHECK_THAT(result.output, Catch::Contains(words));
    CHECK_FALSE(fs::exists(folder / "no"));
  };
  refused(" --states kind", "target.classes");
  refused(" --states colour --target.classes 2", "colour");
  refused(" --states height --target.classes 2", "class number");
  refused(R"( --states kind --target.classes 2 --labels '["red, blue]')",
          "--labels: '[\"red, blue]' is no JSON list");
}

}  // namespace foresight::probe_test
