// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 against the reference implementation: masks, poses, and the Hugging Face model.
#include <algorithm>
#include <fstream>
#include <map>

#include "cli/same_tensors.hpp"
#include "error_message.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/multiblock_masks.hpp"
#include "foresight/models/pose.hpp"
#include "key_map.hpp"
#include "temporary_folder.hpp"
#include "vjepa2_golden.hpp"

namespace foresight::vjepa2_parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

models::MultiblockMaskOptions mask_options(const nlohmann::json& generator) {
  models::MultiblockMaskOptions options;
  options.blocks = generator.at("npred");
  options.spatial_scale = generator.at("spatial_pred_mask_scale").get<std::vector<double>>();
  options.temporal_scale = generator.at("temporal_pred_mask_scale").get<std::vector<double>>();
  options.aspect = generator.at("aspect_ratio").get<std::vector<double>>();
  options.context_frames = generator.value("max_context_frames_ratio", 1.0);
  options.max_context = generator.value("max_keep", int64_t{0});
  if (generator.value("full_complement", false))
    options.complement = models::MaskComplement::targets;
  if (generator.value("pred_full_complement", false))
    options.complement = models::MaskComplement::context;
  if (generator.value("inv_block", false)) options.meaning = models::MaskBlocks::context;
  return options;
}

nn::TokenGrid mask_grid(const nlohmann::json& generator) {
  return {generator.at("num_frames").get<int64_t>() /
              generator.at("temporal_patch_size").get<int64_t>(),
          generator.at("crop_size")[0].get<int64_t>() /
              generator.at("spatial_patch_size")[0].get<int64_t>(),
          generator.at("crop_size")[1].get<int64_t>() /
              generator.at("spatial_patch_size")[1].get<int64_t>()};
}

}  // namespace

TEST_CASE("multi-block masks are the reference's for its draws", "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("masks are made on the CPU");
  for_each_golden("vjepa2/masks", [](Golden& golden) {
    for (const auto& config : golden.config().at("cases")) {
      const models::MultiblockMasks masks(mask_options(config.at("generator")),
                                          mask_grid(config.at("generator")));
      const int64_t blocks = config.at("generator").at("npred");
      for (std::size_t call = 0; call < config.at("batches").size(); ++call) {
        const auto name = config.at("name").get<std::string>() + ".call" + std::to_string(call);
        INFO(name);
        const auto uniforms = golden.input(name + ".size_uniforms");
        const auto offsets = golden.input(name + ".offsets").view({-1, blocks, 3});
        const auto size = masks.block_size(uniforms);
        const auto placed = masks.masks(size, offsets);
        golden.compare(name + ".context", placed.context);
        golden.compare(name + ".target", placed.targets);

        // The sampler makes the same of the same draws: uniforms in the middle of each integer.
        const auto grid = mask_grid(config.at("generator"));
        const auto choices = at::tensor({grid.rows - size.rows + 1, grid.columns - size.columns + 1,
                                         grid.frames - size.frames + 1},
                                        at::kDouble);
        RecordedNoise noise;
        noise.push(uniforms);
        for (const auto& clip : offsets.unbind(0))
          noise.push(((clip.to(at::kDouble) + 0.5) / choices).to(at::kFloat));
        const auto sampled = masks.sample(offsets.size(0), noise);
        CHECK(noise.remaining() == 0);
        CHECK(at::equal(sampled.context, placed.context));
        CHECK(at::equal(sampled.targets, placed.targets));
      }
    }
    CHECK(golden.uncompared("outputs").empty());
  });
}

TEST_CASE("poses are integrated and compared as the reference does", "[parity][device]") {
  for_each_golden("vjepa2/pose", [](Golden& golden) {
    for (const auto type : kTypes) {
      const std::string section = type == at::kDouble ? "outputs64/" : "outputs/";
      const auto input = [&](const char* key) { return golden.input(key).to(type); };
      const auto pose = input("pose"), next = models::integrate_pose(pose, input("action"));
      golden.compare(section + "new_pose", next);
      const auto matrix = [](const Tensor& p) {
        return models::euler_to_matrix(p.narrow(-1, 3, 3)).squeeze(1);
      };
      golden.compare(section + "pose_matrix", matrix(pose));
      golden.compare(section + "new_pose_matrix", matrix(next));
      golden.compare(section + "diff_action",
                     models::pose_difference(input("start"), input("end")));
      const auto trajectory = input("traj");
      golden.compare(section + "traj_actions",
                     models::pose_difference(trajectory.slice(0, 0, -1), trajectory.slice(0, 1)));
      golden.compare(section + "camera_frame_states",
                     models::in_camera_frame(trajectory, input("traj_extrinsics")));
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

namespace {

// The fixture as the folder that a user has.
io::HfFolder folder_of(const Golden& golden, const std::filesystem::path& path) {
  io::write_json(path / io::kHfConfigFile, golden.config().at("hf_config"));
  io::write_safetensors(path / io::kHfTensorsFile, golden_section(golden, "params"));
  return io::read_hf_folder(path);
}

// [B,T,3,h,w] as Hugging Face takes it -> [B,3,T,h,w], a short clip repeated to a tubelet.
Tensor clip_of(const Tensor& video, int64_t tubelet) {
  const auto whole = video.size(1) < tubelet ? video.repeat({1, tubelet, 1, 1, 1}) : video;
  return whole.transpose(1, 2);
}

// The logits of a classifier of videos.
void check_classification(Golden& golden, const models::VJepa2& model,
                          const models::AttentiveProbe& probe, const nlohmann::json& run,
                          at::ScalarType type) {
  const auto video = golden.input(run.at("tensors").at("pixel_values_videos").get<std::string>());
  const auto clip = clip_of(video.to(type), model.options().encoder.tubelet);
  // Reading by the query is a block like those before it.
  const auto blocks = probe.options().pooler.self_attention + 1;
  golden.compare_run(
      run.at("name").get<std::string>() + ".logits", probe.forward(model.encode(clip)),
      roundings_of_network(model.options().encoder.depth) + roundings_of_network(blocks));
}

void check_run(Golden& golden, const models::VJepa2& model, const nlohmann::json& run,
               at::ScalarType type) {
  constexpr int64_t kMaskToken = 1;  // the one that Hugging Face's predictor uses
  const auto name = run.at("name").get<std::string>() + ".";
  const auto& names = run.at("tensors");
  const auto clip =
      clip_of(golden.input(names.at("pixel_values_videos").get<std::string>()).to(type),
              model.options().encoder.tubelet);
  const auto tokens = model.encode(clip);
  REQUIRE(tokens.scalar_type() == type);
  const auto of_encoder = roundings_of_network(model.options().encoder.depth);
  golden.compare_run(name + "last_hidden_state", tokens, of_encoder);
  if (run.value("trace", false)) {
    const auto states = model.encoder().hidden_states(clip);
    for (std::size_t i = 0; i < states.size(); ++i)
      golden.compare_run(name + "hidden_states." + std::to_string(i), states[i],
                         roundings_of_network(static_cast<int64_t>(i)));
  }
  const auto ids = [&](const char* which) {
    if (names.contains(which)) return golden.input(names.at(which)[0].get<std::string>());
    return at::arange(tokens.size(1)).expand({tokens.size(0), tokens.size(1)}).contiguous();
  };
  const auto context = ids("context_mask"), targets = ids("target_mask");
  const auto visible = nn::gather_tokens(tokens, context);
  golden.compare_run(name + "masked_hidden_state", visible, of_encoder);
  if (run.value("options", nlohmann::json::object()).value("skip_predictor", false)) return;
  golden.compare_run(name + "predictor.target_hidden_state", nn::gather_tokens(tokens, targets),
                     of_encoder);
  golden.compare_run(name + "predictor.last_hidden_state",
                     model.predict_targets(visible, context, targets, kMaskToken),
                     of_encoder + roundings_of_network(model.options().predictor.depth));
}

}  // namespace

TEST_CASE("Hugging Face's V-JEPA 2 loads and gives its numbers", "[parity][device]") {
  for_each_golden("hf/hf_vjepa2", [](Golden& golden) {
    at::NoGradGuard no_grad;
    TemporaryFolder temporary;
    const auto folder = folder_of(golden, temporary.path());
    const auto model = models::load_hf_vjepa2(folder);
    const auto probe = models::load_hf_vjepa2_probe(folder);
    const bool classifies = golden.config().at("class") == "VJEPA2ForVideoClassification";
    REQUIRE((probe != nullptr) == classifies);
    for (const auto type : kNetworkTypes) {
      model->to(test_device(), type);
      if (probe) probe->to(test_device(), type);
      for (const auto& run : golden.config().at("runs")) {
        if (probe)
          check_classification(golden, *model, *probe, run, type);
        else
          check_run(golden, *model, run, type);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("a V-JEPA 2 folder is written back bit for bit") {
  const auto given = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vjepa2");
  const auto model = models::load_hf_vjepa2(given);
  TemporaryFolder temporary;
  models::write_hf_vjepa2(temporary.path() / "out", *model);
  const auto written = io::read_hf_folder(temporary.path() / "out");
  const auto before = given.tensors(), after = written.tensors();
  REQUIRE(before.size() == after.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    INFO(before[i].first);
    CHECK(after[i].first == before[i].first);
    CHECK(at::equal(after[i].second, before[i].second));
  }
  for (const auto& [key, value] : written.config.items()) {
    INFO(key);
    CHECK(given.config.at(key) == value);
  }
  CHECK(models::describe_hf_vjepa2(written).predictor.mask_tokens ==
        model->options().predictor.mask_tokens);

  // Pictures as the published evaluation cuts them, unless the folder's processor says otherwise.
  const auto side = model->options().encoder.image_height;
  CHECK(model->options().image.resize == models::ResizeRule::crop);
  CHECK(model->options().image.resize_edge == side * 256 / 224);
  const auto wide = at::zeros({1, 2, side, 3 * side, 3}, at::kByte);
  CHECK(model->preprocess(wide).sizes() == at::IntArrayRef({1, 3, 2, side, side}));
  io::write_json(written.path / "video_preprocessor_config.json",
                 {{"size", {{"shortest_edge", side + 3}}},
                  {"crop_size", {{"height", side}, {"width", side}}},
                  {"image_mean", {0.5, 0.5, 0.5}}});
  const auto told = models::load_hf_vjepa2(written)->options().image;
  CHECK(told.resize_edge == side + 3);
  CHECK(told.mean == std::vector<double>{0.5, 0.5, 0.5});
  CHECK(told.std == model->options().image.std);
}

TEST_CASE("V-JEPA 2's own names are those that its key map gives Hugging Face's") {
  const auto map = golden_json("hf/vjepa2_key_map.json");
  auto rules = map.at("encoder");
  for (auto rule : map.at("predictor")) {
    if (rule.at("op") != "as encoder") {
      rules.push_back(rule);
      continue;
    }
    for (auto copy : map.at("encoder")) {
      const std::string hf = copy.at("hf"), own = copy.at("vjepa2");
      if (hf.find("{i}") == std::string::npos) continue;
      copy["hf"] = with_replaced(hf, "encoder.layer", "predictor.layer");
      copy["vjepa2"] = with_replaced(own, "encoder: blocks", "predictor: predictor_blocks");
      rules.push_back(copy);
    }
  }
  for (auto& rule : rules)
    rule["vjepa2"] = with_replaced(rule.at("vjepa2").get<std::string>(), ": ", ".");

  const auto folder = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vjepa2");
  const auto given = folder.tensors();
  const auto original = KeyMap(given, "vjepa2").apply(rules);
  const auto model = models::load_hf_vjepa2(folder);
  const auto published = [&](models::VJepa2Layout layout) {
    return models::published_vjepa2(model->options(), nn::state_dict(*model), layout);
  };
  check_same(published(models::VJepa2Layout::original), original);
  check_same(published(models::VJepa2Layout::transformers), given);
  check_same(models::vjepa2_from_hf(given), original);
}

TEST_CASE("configurations of V-JEPA 2 as they are published are read") {
  const auto given = io::read_hf_folder(goldens_folder() / "hf/checkpoints/vjepa2");
  // Keys that the files of facebook/vjepa2-* have and transformers no longer writes.
  auto folder = given;
  folder.config.update({{"use_SiLU", false},
                        {"wide_SiLU", true},
                        {"hidden_dropout_prob", 0.0},
                        {"image_size", 32},
                        {"torch_dtype", "float32"},
                        {"transformers_version", "4.53.0.dev0"}});
  CHECK(nn::state_dict(*models::load_hf_vjepa2(folder)).size() ==
        nn::state_dict(*models::load_hf_vjepa2(given)).size());
  CHECK(models::describe_hf_vjepa2(folder).encoder.feed_forward == nn::FeedForward::gelu);
  folder.config["use_SiLU"] = true;
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { models::describe_hf_vjepa2(folder); },
      "use_SiLU = true is not supported"));
}

namespace {

// transformers' weights of an I-JEPA encoder under the names of its own code.
io::NamedTensors original_ijepa_names(const std::map<std::string, Tensor>& hf) {
  const std::map<std::string, std::string> names{
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"}, {"norm", "layernorm"}};
  const std::map<std::string, std::string> in_layer{{"norm1", "layernorm_before"},
                                                    {"norm2", "layernorm_after"},
                                                    {"attn.proj", "attention.output.dense"},
                                                    {"mlp.fc1", "intermediate.dense"},
                                                    {"mlp.fc2", "output.dense"}};
  io::NamedTensors original{{"pos_embed", hf.at("embeddings.position_embeddings")}};
  for (const std::string kind : {".weight", ".bias"}) {
    for (const auto& [own, theirs] : names) original.emplace_back(own + kind, hf.at(theirs + kind));
    for (int i = 0; hf.contains("encoder.layer." + std::to_string(i) + ".output.dense.bias"); ++i) {
      const auto block = "blocks." + std::to_string(i) + ".";
      const auto layer = "encoder.layer." + std::to_string(i) + ".";
      for (const auto& [own, theirs] : in_layer)
        original.emplace_back(block + own + kind, hf.at(layer + theirs + kind));
      std::vector<Tensor> rows;
      for (const auto* part : {"query", "key", "value"})
        rows.push_back(hf.at(layer + "attention.attention." + part + kind));
      original.emplace_back(block + "attn.qkv" + kind, at::cat(rows));
    }
  }
  return original;
}

}  // namespace

TEST_CASE("an original I-JEPA checkpoint loads and gives transformers' features",
          "[parity][device]") {
  for_each_golden("hf/hf_ijepa", [](Golden& golden) {
    at::NoGradGuard no_grad;
    const auto& config = golden.config().at("hf_config");
    // What I-JEPA's own code always has, so that its format cannot say otherwise.
    if (!config.value("qkv_bias", true) || config.value("hidden_act", "gelu") != "gelu") return;
    std::map<std::string, Tensor> hf;
    for (const auto& [name, tensor] : golden.section("params")) hf.emplace(name, tensor);
    hf.erase("embeddings.mask_token");  // transformers' own
    io::NamedTensors checkpoint;
    for (const auto& [name, tensor] : original_ijepa_names(hf)) {
      checkpoint.emplace_back("target_encoder.module." + name, tensor);
      checkpoint.emplace_back("encoder.module." + name, tensor + 0.5);
    }
    const int64_t width = config.at("hidden_size"), side = config.at("image_size"),
                  patch = config.at("patch_size"), heads = config.at("num_attention_heads");
    nn::MaskedVideoPredictorOptions small{.width = 16, .depth = 1, .heads = 2, .mlp_width = 24};
    small.mask_tokens = 1;
    small.positions = nn::PositionKind::sincos;
    nn::MaskedVideoPredictor predictor(small, width, {1, side / patch, side / patch});
    PhiloxNoise noise(1);
    predictor.initialise(noise);
    for (auto [name, tensor] : nn::state_dict(predictor)) {
      if (name == "mask_tokens.0") name = "mask_token";
      checkpoint.emplace_back("predictor.module." + name, tensor);
    }
    checkpoint.emplace_back("opt.state.0.exp_avg", at::zeros({3}));

    const auto original =
        models::describe_vjepa2(checkpoint, 0, golden.name(), {{heads, 2}, {}, {}});
    CHECK(original.encoder.norm_epsilon == 1e-6);  // its own code's, which its files do not name
    auto options = original;
    options.encoder.norm_epsilon = config.at("layer_norm_eps");
    CHECK(options.encoder.image_height == side);
    CHECK(options.encoder.is_picture());
    models::VJepa2 model(options, std::nullopt);
    model.eval();
    models::load_vjepa2(model, checkpoint, models::EncoderWeights::target, golden.name());
    const auto published = models::published_vjepa2(options, nn::state_dict(model),
                                                    models::VJepa2Layout::transformers);
    REQUIRE(published.size() == hf.size());
    for (const auto& [name, tensor] : published) {
      INFO(name);
      REQUIRE(hf.contains(name));
      CHECK(at::equal(tensor, hf.at(name).cpu()));
    }
    const auto back =
        models::published_vjepa2(original, nn::state_dict(model), models::VJepa2Layout::original);
    for (const auto& [name, tensor] : back) {
      const auto dot = name.find('.');
      const auto part = name.starts_with("encoder.") ? "target_encoder" : "predictor";
      const auto wanted = part + (".module" + name.substr(dot));
      const auto given = std::find_if(checkpoint.begin(), checkpoint.end(),
                                      [&](const auto& item) { return item.first == wanted; });
      INFO(name);
      REQUIRE(given != checkpoint.end());
      CHECK(at::equal(tensor, given->second.cpu()));
    }
    for (const auto type : kTypes) {
      model.to(test_device(), type);
      for (const auto& run : golden.config().at("runs")) {
        if (run.at("tensors").contains("bool_masked_pos")) continue;
        const auto images =
            golden.input(run.at("tensors").at("pixel_values").get<std::string>()).to(type);
        golden.compare((type == at::kDouble ? "outputs64/" : "outputs/") +
                           run.at("name").get<std::string>() + ".last_hidden_state",
                       model.encode(images));
      }
    }
  });
  // The published sizes: heads are the encoder's, also in the predictor.
  nn::VideoVitOptions huge{.width = 1280, .depth = 1, .mlp_width = 8, .patch = 14, .frames = 1};
  huge.image_height = huge.image_width = 28;
  huge.positions = nn::PositionKind::sincos;
  nn::MaskedVideoPredictorOptions own{.width = 384, .depth = 1, .heads = 16, .mlp_width = 8};
  own.positions = nn::PositionKind::sincos;
  own.mask_tokens = 1;
  models::VJepa2Options options;
  options.image.size = 28;
  options.encoder = huge;
  options.predictor = own;
  const auto tensors = nn::state_dict(models::VJepa2(options, std::nullopt));
  const auto read = models::describe_vjepa2(tensors, 0, "IN1K-vit.h.14.pth.tar");
  CHECK(read.encoder.heads == 16);
  CHECK(read.predictor.heads == 16);
}

}  // namespace foresight::vjepa2_parity_test
