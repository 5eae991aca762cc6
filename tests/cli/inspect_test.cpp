// SPDX-License-Identifier: Apache-2.0
// foresight inspect on bundles of every kind: world models other than Jepa, and models that are
// none.

#include "damaged_bundle.hpp"
#include "foresight/control/safety_monitor.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/files.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "run_command.hpp"
#include "temporary_folder.hpp"

namespace foresight::inspect_test {
namespace {

using Catch::Contains;

// What the command says of the bundle that `write` makes.
template <class Write>
CommandResult inspected(Write&& write) {
  const TemporaryFolder folder;
  write(folder / "bundle");
  return foresight_command("inspect " + (folder / "bundle").string());
}

models::EbJepa small_eb_jepa() {
  models::EbJepaOptions options;
  options.image_size = 13;
  options.encoder.channels = {3, 4};
  options.encoder.blocks = 1;
  options.encoder.width = 6;
  options.inverse_dynamics_hidden = 5;
  options.projector = {8, 7};
  options.predicted_steps = 3;
  return models::EbJepa(options, 3);
}

}  // namespace

TEST_CASE("inspect describes a world model of another family, its surprise and its provenance") {
  const auto model = small_eb_jepa();
  auto config = models::eb_jepa_bundle_config(model);
  config.provenance = {{"data", "rooms/"}, {"steps", 70}};
  config.planner = {{"horizon", 31}};
  SurpriseCalibration calibration;
  calibration.transitions = 90;
  calibration.median = 0.375;
  calibration.spread = 0.0625;
  calibration.levels = {0.5, 0.9};
  calibration.quantiles = {0.375, 0.75};
  calibration.scale = std::vector<double>(6, 0.1);
  config.heads[kSurpriseHead] = write_options(calibration);
  const auto done =
      inspected([&](const auto& path) { models::write_eb_jepa(path, model, config); });
  INFO(done.output);
  CHECK(done.code == 0);
  const auto& spec = model.spec();
  CHECK_THAT(done.output,
             Contains("family 'eb_jepa'") &&
                 Contains(std::to_string(nn::parameter_count(model)) + " parameters\n") &&
                 Contains("latent: " + std::to_string(spec.tokens) + " tokens x 6 channels") &&
                 Contains("median 0.375, spread 0.0625 over 90 held-out transitions") &&
                 Contains("observes '" + spec.observation.front().name + "' [") &&
                 Contains("\"steps\": 70") && Contains("\"horizon\": 31"));
  CHECK_THAT(done.output, !Contains("cost-to-go"));
}

TEST_CASE("inspect describes a bundle that holds no world model") {
  const models::VJepa2 encoder(models::VJepa2Options::tiny(), 4);
  const auto done = inspected([&](const auto& path) {
    models::write_vjepa2(path, encoder, models::vjepa2_bundle_config(encoder));
  });
  INFO(done.output);
  CHECK(done.code == 0);
  CHECK_THAT(done.output,
             Contains("bundle of family 'vjepa2'") && Contains(" tensors, history of"));
  CHECK_THAT(done.output, !Contains("latent:"));
}

TEST_CASE("inspect and export read all of a bundle and name a damaged one") {
  const TemporaryFolder folder;
  const auto bundle = folder / "bundle";
  const models::VJepa2 encoder(models::VJepa2Options::tiny(), 4);
  models::write_vjepa2(bundle, encoder, models::vjepa2_bundle_config(encoder));
  const auto checksum = io::told_checksum(io::read_bundle(bundle).tensors);
  const auto sound = foresight_command("inspect " + bundle.string());
  CHECK(sound.code == 0);
  CHECK_THAT(sound.output, Contains("checksum: " + checksum.value() + ", and the tensors have it"));
  damage_bundle(bundle);
  for (const auto& command :
       {"inspect " + bundle.string(),
        "export " + bundle.string() + " --out " + (folder / "out.safetensors").string()}) {
    INFO(command);
    const auto done = foresight_command(command);
    CHECK(done.code != 0);
    CHECK_THAT(done.output, Contains("model.safetensors: is damaged or was not copied whole"));
  }
  CHECK_FALSE(std::filesystem::exists(folder / "out.safetensors"));
}

TEST_CASE("inspect names what is wrong with a bundle") {
  const auto model = small_eb_jepa();
  auto done = inspected([&](const auto& path) {
    auto config = models::eb_jepa_bundle_config(model);
    config.heads[kSurpriseHead] = {{"transitions", "many"}};
    models::write_eb_jepa(path, model, config);
  });
  INFO(done.output);
  CHECK(done.code != 0);
  CHECK_THAT(done.output, Contains("heads.surprise") && Contains("transitions"));

  done = inspected([&](const auto& path) {
    models::write_eb_jepa(path, model, models::eb_jepa_bundle_config(model));
    std::filesystem::resize_file(path / io::kBundleTensorsFile, 100);
  });
  INFO(done.output);
  CHECK(done.code != 0);
  CHECK_THAT(done.output, Contains(io::kBundleTensorsFile));
}

}  // namespace foresight::inspect_test
