// SPDX-License-Identifier: Apache-2.0
// Sizes that a bundle's config.json names and its weights do not have are refused by name before
// anything of these sizes is made: most of them no machine could hold.
#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"
#include "temporary_folder.hpp"
#include "vjepa2_ac_under_test.hpp"

namespace foresight::models::bundle_sizes_test {
namespace {

using enum ErrorCategory;

constexpr int64_t kHuge = int64_t{1} << 40;

// A bundle on which a reader is tried with one option changed.
struct Spoiled {
  io::BundleConfig config;
  io::NamedTensors tensors;
  void (*read)(const io::Bundle& bundle);
  const char* head = nullptr;  // whose option it is; none: the model's

  template <class... Words>
  bool refused(ErrorCategory category, const char* option, const nlohmann::json& value,
               const Words&... words) const {
    const TemporaryFolder folder;
    auto changed = config;
    auto& options = head ? changed.heads.at(head) : changed.options;
    options.at(nlohmann::json::json_pointer(option)) = value;
    return fails_with(category, [&] { read_from(folder, changed); }, words...);
  }

  void read_from(const TemporaryFolder& folder, const io::BundleConfig& changed) const {
    io::write_bundle(folder / "bundle", changed, tensors);
    read(io::read_bundle(folder / "bundle"));
  }
};

Spoiled dino_wm(nn::ActionConditioning conditioning) {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, 2, 3));
  return {dino_wm_bundle_config(*model), nn::state_dict(*model),
          [](const io::Bundle& bundle) { read_dino_wm(bundle); }};
}

Spoiled jepa(EncoderKind encoder, PredictorKind predictor) {
  auto options = tiny_jepa_options(encoder, predictor, 2);
  options.inverse_dynamics_hidden = 7;
  const Jepa model(options, 1);
  return {jepa_bundle_config(model), nn::state_dict(model),
          [](const io::Bundle& bundle) { read_jepa(bundle); }};
}

}  // namespace

TEST_CASE("a DINO-WM's bundle that names other sizes than its weights have is refused") {
  for (const auto conditioning : {nn::ActionConditioning::feature, nn::ActionConditioning::adaln}) {
    INFO(enum_name(conditioning));
    const auto bundle = dino_wm(conditioning);
    CHECK(bundle.refused(bad_file, "/encoder/width", kHuge, "'encoder.", "[6, 3, 8, 8]",
                         "as config.json says"));
    CHECK(bundle.refused(bad_file, "/encoder/mlp_width", kHuge, "intermediate.dense.weight"));
    CHECK(bundle.refused(bad_file, "/encoder/depth", 1000, "model.safetensors",
                         "options.encoder.depth = 1000", "those of 1"));
    CHECK(bundle.refused(bad_file, "/encoder/registers", kHuge, "register_tokens"));
    CHECK(bundle.refused(bad_file, "/encoder_image_size", kHuge, "position_embeddings"));
    CHECK(bundle.refused(bad_file, "/action_width", kHuge, "action_encoder"));
    CHECK(bundle.refused(bad_file, "/proprio/width", kHuge, "proprio_encoder"));
    CHECK(bundle.refused(bad_file, "/proprio/repeat", kHuge, "predictor.pos_embedding"));
    CHECK(bundle.refused(bad_file, "/predictor/depth", 1000, "options.predictor.depth = 1000",
                         "those of 2"));
    CHECK(bundle.refused(bad_file, "/predictor/head_width", kHuge, "to_qkv.weight"));
    CHECK(bundle.refused(bad_file, "/predictor/mlp_width", kHuge, "net.1.weight"));
    CHECK(bundle.refused(invalid_option, "/encoder/patch", 0, "patch = 0"));
  }
}

TEST_CASE("a V-JEPA 2-AC's bundle that names other sizes than its weights have is refused") {
  const VJepa2Ac model(tiny_arm_options(2, 4), 1);
  const Spoiled bundle{vjepa2_ac_bundle_config(model), nn::state_dict(model),
                       [](const io::Bundle& read) { read_vjepa2_ac(read); }};
  CHECK(bundle.refused(bad_file, "/encoder/width", kHuge, "patch_embed.proj.weight",
                       "as config.json says"));
  CHECK(bundle.refused(bad_file, "/encoder/mlp_width", kHuge, "encoder.blocks.0.mlp.fc1.weight"));
  CHECK(bundle.refused(bad_file, "/encoder/depth", 1000, "options.encoder.depth = 1000"));
  CHECK(bundle.refused(bad_file, "/predictor/width", kHuge, "predictor_embed.weight"));
  CHECK(bundle.refused(bad_file, "/predictor/mlp_width", kHuge, "predictor_blocks.0.mlp.fc1"));
  CHECK(bundle.refused(bad_file, "/predictor/depth", 1000, "options.predictor.depth = 1000"));
  CHECK(bundle.refused(invalid_option, "/encoder/patch", 0, "patch = 0"));
  CHECK(bundle.refused(invalid_option, "/encoder/tubelet", 0, "tubelet = 0"));
}

TEST_CASE("an encoder's bundle that names other sizes than its weights have is refused") {
  const VJepa2 clips(VJepa2Options::tiny(), 1);
  const Spoiled video{vjepa2_bundle_config(clips), nn::state_dict(clips),
                      [](const io::Bundle& read) { read_vjepa2(read); }};
  CHECK(video.refused(bad_file, "/encoder/mlp_width", kHuge, "encoder.blocks.0.mlp.fc1.weight"));
  CHECK(video.refused(bad_file, "/predictor/mask_tokens", 1000, "predictor.mask_tokens = 1000"));
  CHECK(video.refused(bad_file, "/predictor/depth", 1000, "options.predictor.depth = 1000"));
  const auto world = dino_wm_under_test(tiny_dino_wm_options(nn::ActionConditioning::adaln, 2, 0));
  const ImageEncoderModel pictures{
      world->options().image,
      std::make_shared<nn::Vit>(world->options().encoder, world->options().encoder_image_size)};
  const Spoiled image{vit_bundle_config(pictures), nn::state_dict(world->encoder()),
                      [](const io::Bundle& read) { read_vit(read); }};
  CHECK(image.refused(bad_file, "/encoder/mlp_width", kHuge, "intermediate.dense.weight"));
  CHECK(image.refused(bad_file, "/encoder/depth", 1000, "options.encoder.depth = 1000"));
}

TEST_CASE("a Jepa's bundle that names other sizes than its weights have is refused") {
  const auto large = jepa(EncoderKind::vit, PredictorKind::adaln);
  CHECK(large.refused(bad_file, "/vit/width", kHuge, "projection.weight", "[12, 3, 8, 8]",
                      std::to_string(kHuge), "as config.json says"));
  CHECK(large.refused(bad_file, "/vit/mlp_width", kHuge, "intermediate.dense.weight"));
  CHECK(large.refused(bad_file, "/vit/depth", 1000, "options.vit.depth = 1000", "those of 2"));
  CHECK(large.refused(bad_file, "/image/size", kHuge, "position_embeddings"));
  CHECK(large.refused(bad_file, "/adaln/depth", 1000, "options.adaln.depth = 1000", "those of 2"));
  CHECK(large.refused(bad_file, "/adaln/width", kHuge, "to_qkv.weight", "[24, 8]"));
  CHECK(large.refused(bad_file, "/adaln/heads", kHuge, "to_qkv.weight"));
  CHECK(large.refused(bad_file, "/adaln/head_width", 40, "to_qkv.weight", "[24, 8]", "[240, 8]"));
  CHECK(large.refused(bad_file, "/adaln/mlp_width", kHuge, "mlp.net.1.weight"));
  CHECK(large.refused(bad_file, "/action_encoder/width", kHuge, "embed.0.weight"));
  CHECK(large.refused(bad_file, "/action_encoder/narrow", kHuge, "patch_embed.weight"));
  CHECK(large.refused(bad_file, "/action_encoder/expansion", kHuge, "embed.0.weight"));

  const auto small = jepa(EncoderKind::cnn, PredictorKind::mlp);
  CHECK(small.refused(bad_file, "/cnn/channels/1", kHuge, "encoder.conv.1.weight"));
  CHECK(small.refused(bad_file, "/cnn/width", kHuge, "encoder.head.weight"));
  CHECK(small.refused(bad_file, "/image/size", kHuge, "encoder.head.weight"));
  CHECK(small.refused(bad_file, "/mlp/hidden/0", kHuge, "predictor.mlp.layers.0.weight"));
  for (const auto& bundle : {large, small}) {
    CHECK(bundle.refused(bad_file, "/latent", kHuge, "projector.net.3.weight", "[6, 14]"));
    CHECK(bundle.refused(bad_file, "/projector/hidden", kHuge, "'projector.net.0.weight'"));
    CHECK(bundle.refused(bad_file, "/pred_proj/hidden", kHuge, "pred_proj.net.0.weight"));
    CHECK(bundle.refused(bad_file, "/inverse_dynamics_hidden", kHuge, "idm.net.0.weight"));
    const TemporaryFolder folder;
    auto changed = bundle.config;
    changed.history = kHuge;
    CHECK(fails_with(
        bad_file, [&] { bundle.read_from(folder, changed); }, "'predictor.", "expected ["));
  }
}

TEST_CASE("an EB-JEPA's bundle that names other sizes than its weights have is refused") {
  auto options = EbJepaOptions::small();
  options.projector = {12, 10};
  const EbJepa model(options, 1);
  const Spoiled bundle{eb_jepa_bundle_config(model), nn::state_dict(model),
                       [](const io::Bundle& read) { read_eb_jepa(read); }};
  CHECK(bundle.refused(bad_file, "/encoder/channels/1", kHuge, "stack_blocks.1.initial_conv",
                       "[16, 8, 3, 3]", "as config.json says"));
  CHECK(bundle.refused(bad_file, "/encoder/blocks", 1000, "options.encoder.blocks = 1000",
                       "those of 1"));
  CHECK(bundle.refused(bad_file, "/encoder/width", kHuge, "encoder.mlp.weight"));
  CHECK(bundle.refused(bad_file, "/image_size", kHuge, "encoder.mlp.weight"));
  CHECK(bundle.refused(bad_file, "/projector/1", kHuge, "projector.net.3.weight", "[10, 12]"));
  CHECK(bundle.refused(bad_file, "/inverse_dynamics_hidden", kHuge, "idm.model.0.weight"));
}

TEST_CASE("a LeJEPA's bundle that names other sizes than its weights have is refused") {
  const LeJepa model(LeJepaOptions::tiny());
  const Spoiled bundle{lejepa_bundle_config(model), nn::state_dict(model),
                       [](const io::Bundle& read) { read_lejepa(read); }};
  CHECK(bundle.refused(bad_file, "/encoder/depth", 1000, "options.encoder.depth = 1000"));
  CHECK(bundle.refused(bad_file, "/encoder/mlp_width", kHuge, "intermediate.dense.weight"));
  CHECK(bundle.refused(bad_file, "/projector/hidden", kHuge, "projector.net.0.weight"));
  CHECK(bundle.refused(bad_file, "/projection", kHuge, "projector.net.3.weight", "[16, 128]"));
}

TEST_CASE("a head of other sizes than its weights have is refused") {
  const Jepa world(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1), 1);
  const EbJepa rooms(EbJepaOptions::small(), 1);
  const VJepa2 clips(VJepa2Options::tiny(), 1);
  const auto width = clips.options().encoder.width;
  const ValueCritic critic({.latent = 6, .mlp = {.hidden = {9, 8}}});
  const PositionProbe position({.latent = 128, .hidden = 11});
  const AttentiveProbe classes(width, {.outputs = 3, .pooler = {.self_attention = 1, .heads = 2}});
  const auto with_head = [](io::BundleConfig config, const torch::nn::Module& model,
                            const char* name, const auto& head, auto read) {
    config.heads[name] = write_options(head.options());
    auto tensors = nn::state_dict(model);
    for (auto& item : io::with_head_prefix(name, nn::state_dict(head)))
      tensors.push_back(std::move(item));
    return Spoiled{std::move(config), std::move(tensors), read, name};
  };
  const auto steps = with_head(jepa_bundle_config(world), world, kValueCriticHead, critic,
                               [](const io::Bundle& read) { read_value_critic(read); });
  CHECK(steps.refused(bad_file, "/mlp/hidden/1", kHuge, "heads.value_critic", "mlp.layers.1.weight",
                      "[8, 9]", "as config.json says"));
  CHECK(steps.refused(bad_file, "/latent", kHuge, "mlp.layers.0.weight", "[9, 12]"));
  CHECK(steps.refused(invalid_option, "/latent", 0, "latent"));
  const auto places = with_head(eb_jepa_bundle_config(rooms), rooms, kPositionProbeHead, position,
                                [](const io::Bundle& read) { read_position_probe(read); });
  CHECK(places.refused(bad_file, "/hidden", kHuge, "heads.position_probe", "mlp.0.weight"));
  CHECK(places.refused(bad_file, "/latent", 1280, "mlp.0.weight", "[11, 128]", "[11, 1280]"));
  const auto probe = with_head(vjepa2_bundle_config(clips), clips, kAttentiveProbeHead, classes,
                               [](const io::Bundle& read) { read_attentive_probe(read); });
  CHECK(probe.refused(bad_file, "/outputs", 1000000, "heads.attentive_probe", "linear.weight",
                      "[1000000, "));
  CHECK(probe.refused(bad_file, "/pooler/self_attention", 1000,
                      "heads.attentive_probe: pooler.self_attention = 1000", "those of 1"));
  CHECK(probe.refused(bad_file, "/pooler/mlp_width", kHuge, "mlp.fc1.weight"));
}

TEST_CASE("a backbone of other sizes than its weights have is refused") {
  const LeJepa pictures(LeJepaOptions::tiny());
  const Spoiled image{lejepa_bundle_config(pictures), nn::state_dict(pictures),
                      [](const io::Bundle& read) { image_backbone(read); }};
  CHECK(image.refused(bad_file, "/encoder/mlp_width", kHuge, "intermediate.dense.weight"));
  CHECK(image.refused(bad_file, "/encoder/depth", 1000, "options.encoder.depth = 1000"));
  const VJepa2 clips(VJepa2Options::tiny(), 1);
  const Spoiled video{vjepa2_bundle_config(clips), nn::state_dict(clips),
                      [](const io::Bundle& read) { video_backbone(read); }};
  CHECK(video.refused(bad_file, "/encoder/mlp_width", kHuge, "encoder.blocks.0.mlp.fc1.weight"));
  CHECK(video.refused(bad_file, "/encoder/depth", 1000, "options.encoder.depth = 1000"));
}

}  // namespace foresight::models::bundle_sizes_test
