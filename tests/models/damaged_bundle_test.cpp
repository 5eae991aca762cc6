// SPDX-License-Identifier: Apache-2.0
// Bundles whose tensors are no longer what was written: named where a network is read, copied or
// mapped, unless they are asked not to be compared.

#include "catch.hpp"
#include "damaged_bundle.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"
#include "temporary_folder.hpp"

namespace foresight::models::damaged_bundle_test {
namespace {

using io::Placement;

template <class Read>
void check_damage_is_found(const std::filesystem::path& path, const Read& read) {
  CHECK_NOTHROW(read(io::read_bundle(path), Placement::copy));
  damage_bundle(path);
  for (const auto placement : {Placement::copy, Placement::share, Placement::share_frozen}) {
    auto bundle = io::read_bundle(path);
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { read(bundle, placement); },
        "model.safetensors: is damaged or was not copied whole", "checksum"));
    bundle.checksum = io::ChecksumRule::skip;
    CHECK_NOTHROW(read(bundle, placement));
  }
}

}  // namespace

TEST_CASE("a damaged bundle is named wherever its weights are placed, unless that is skipped") {
  const TemporaryFolder folder;
  const auto small = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  write_jepa(folder / "jepa", *small, jepa_bundle_config(*small));
  const auto large = dino_wm_under_test(tiny_dino_wm_options(nn::ActionConditioning::adaln, 2, 0));
  write_dino_wm(folder / "dino_wm", *large, dino_wm_bundle_config(*large));
  for (const auto* family : {"jepa", "dino_wm"}) {
    INFO(family);
    check_damage_is_found(folder / family, [](const io::Bundle& bundle, Placement placement) {
      read_world_model(bundle, placement);
    });
  }
  const ImageEncoderModel pictures{
      large->options().image,
      std::make_shared<nn::Vit>(large->options().encoder, large->options().encoder_image_size)};
  write_vit(folder / "vit", pictures, vit_bundle_config(pictures));
  check_damage_is_found(folder / "vit", [](const io::Bundle& bundle, Placement placement) {
    read_vit(bundle, placement);
  });
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { image_backbone(io::read_bundle(folder / "vit")); },
      "is damaged"));
  const VJepa2 clips(VJepa2Options::tiny(), 1);
  write_vjepa2(folder / "clips", clips, vjepa2_bundle_config(clips));
  check_damage_is_found(folder / "clips", [](const io::Bundle& bundle, Placement placement) {
    read_vjepa2(bundle, placement);
  });
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { video_backbone(io::read_bundle(folder / "clips")); },
      "is damaged"));
}

TEST_CASE("an opened bundle is compared once: weights that share it may be changed") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  VJepa2 clips(VJepa2Options::tiny(), 1);
  write_vjepa2(folder / "clips", clips, vjepa2_bundle_config(clips));
  const auto bundle = io::read_bundle(folder / "clips");
  const auto first = read_vjepa2(bundle, Placement::share);
  for (const auto& parameter : first->parameters()) parameter.detach().add_(1);
  const auto second = read_vjepa2(io::Bundle(bundle), Placement::share);
  CHECK(second->parameters().front().const_data_ptr() ==
        first->parameters().front().const_data_ptr());
  CHECK_NOTHROW(io::require_checksum(bundle.tensors));
}

TEST_CASE("a bundle of a version without checksums is read as it is") {
  const TemporaryFolder folder;
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  write_jepa(folder / "jepa", *model, jepa_bundle_config(*model));
  io::write_safetensors(folder / "jepa" / io::kBundleTensorsFile, nn::state_dict(*model),
                        {{"format", "pt"}});
  damage_bundle(folder / "jepa");
  CHECK_FALSE(io::told_checksum(io::read_bundle(folder / "jepa").tensors).has_value());
  CHECK_NOTHROW(read_jepa(folder / "jepa"));
}

}  // namespace foresight::models::damaged_bundle_test
