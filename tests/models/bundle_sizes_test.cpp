// SPDX-License-Identifier: Apache-2.0
// Sizes that a bundle's config.json names and its weights do not have are refused by name before
// anything of these sizes is made: most of them no machine could hold.
#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
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

  template <class... Words>
  bool refused(ErrorCategory category, const char* option, const nlohmann::json& value,
               const Words&... words) const {
    const TemporaryFolder folder;
    auto changed = config;
    changed.options.at(nlohmann::json::json_pointer(option)) = value;
    io::write_bundle(folder / "bundle", changed, tensors);
    const auto bundle = io::read_bundle(folder / "bundle");
    return fails_with(category, [&] { read(bundle); }, words...);
  }
};

Spoiled dino_wm(nn::ActionConditioning conditioning) {
  const auto model = dino_wm_under_test(tiny_dino_wm_options(conditioning, 2, 3));
  return {dino_wm_bundle_config(*model), nn::state_dict(*model),
          [](const io::Bundle& bundle) { read_dino_wm(bundle); }};
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

}  // namespace foresight::models::bundle_sizes_test
