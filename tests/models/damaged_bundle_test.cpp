// SPDX-License-Identifier: Apache-2.0
// Bundles whose tensors are no longer what was written: named where they are copied. Shared ones
// are read as they are used, and not before.
#include <fstream>

#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/io/checksum.hpp"
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

// Another value at the end of the last tensor, as a bad sector or a hole in a copy leaves it.
void damage(const std::filesystem::path& bundle) {
  std::fstream file(bundle / io::kBundleTensorsFile,
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-2, std::ios::end);
  const auto byte = file.get();
  file.seekp(-2, std::ios::end);
  file.put(static_cast<char>(byte ^ 0x10));
}

template <class Read>
void check_damage_is_found(const std::filesystem::path& bundle, const Read& read, bool shares) {
  CHECK_NOTHROW(read(Placement::copy));
  damage(bundle);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { read(Placement::copy); },
      "model.safetensors: is damaged or was not copied whole", "checksum"));
  if (shares) CHECK_NOTHROW(read(Placement::share));
}

}  // namespace

TEST_CASE("a damaged bundle is named where it is copied") {
  const TemporaryFolder folder;
  const auto small = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  write_jepa(folder / "jepa", *small, jepa_bundle_config(*small));
  const auto large = dino_wm_under_test(tiny_dino_wm_options(nn::ActionConditioning::adaln, 2, 0));
  write_dino_wm(folder / "dino_wm", *large, dino_wm_bundle_config(*large));
  for (const auto* family : {"jepa", "dino_wm"}) {
    INFO(family);
    check_damage_is_found(
        folder / family, [&](Placement placement) { read_world_model(folder / family, placement); },
        family == std::string("dino_wm"));
  }
  const ImageEncoderModel pictures{
      large->options().image,
      std::make_shared<nn::Vit>(large->options().encoder, large->options().encoder_image_size)};
  write_vit(folder / "vit", pictures, vit_bundle_config(pictures));
  check_damage_is_found(
      folder / "vit",
      [&](Placement placement) { read_vit(io::read_bundle(folder / "vit"), placement); }, true);
  const VJepa2 clips(VJepa2Options::tiny(), 1);
  write_vjepa2(folder / "clips", clips, vjepa2_bundle_config(clips));
  check_damage_is_found(
      folder / "clips",
      [&](Placement placement) { read_vjepa2(io::read_bundle(folder / "clips"), placement); },
      true);
}

TEST_CASE("a bundle of a version without checksums is read as it is") {
  const TemporaryFolder folder;
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  write_jepa(folder / "jepa", *model, jepa_bundle_config(*model));
  io::write_safetensors(folder / "jepa" / io::kBundleTensorsFile, nn::state_dict(*model),
                        {{"format", "pt"}});
  damage(folder / "jepa");
  CHECK_FALSE(io::told_checksum(io::read_bundle(folder / "jepa").tensors).has_value());
  CHECK_NOTHROW(read_jepa(folder / "jepa"));
}

}  // namespace foresight::models::damaged_bundle_test
