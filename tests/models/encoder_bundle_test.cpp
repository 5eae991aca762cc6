// SPDX-License-Identifier: Apache-2.0
// Encoders without dynamics keep their weights and options in bundles, and others build on them.
#include <fstream>
#include <map>

#include "anonymous_memory.hpp"
#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/hf_vjepa2.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "temporary_folder.hpp"

namespace foresight::models::encoder_bundle_test {
namespace {

void check_same_bits(const io::NamedTensors& found, const io::NamedTensors& expected) {
  const std::map<std::string, Tensor> by_name(found.begin(), found.end());
  REQUIRE(by_name.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(by_name.contains(name));
    CHECK(by_name.at(name).scalar_type() == tensor.scalar_type());
    CHECK(at::equal(by_name.at(name), tensor));
  }
}

LeJepaOptions unusual_lejepa() {
  auto options = LeJepaOptions::tiny();
  options.image.mean = {0.1, 0.2, 0.3};
  options.projection = 5;
  options.regularisation = 0.03;
  options.sigreg.projections = 17;
  return options;
}

}  // namespace

TEST_CASE("a LeJEPA comes back from its bundle bit by bit, options and statistics included") {
  const TemporaryFolder folder;
  LeJepa model(unusual_lejepa(), 3);
  // Statistics of the projector's norm that are not those of a new one.
  PhiloxNoise noise(1);
  model.project(noise.normal({32, model.options().encoder.width}), nn::Mode::train);
  for (const auto type : {at::kFloat, at::kDouble}) {
    model.to(type);
    write_lejepa(folder / "bundle", model, lejepa_bundle_config(model));
    const auto read = read_lejepa(io::read_bundle(folder / "bundle"));
    CHECK_FALSE(read->is_training());
    CHECK(write_options(read->options()) == write_options(model.options()));
    check_same_bits(nn::state_dict(*read), nn::state_dict(model));
  }
  const auto bundle = io::read_bundle(folder / "bundle");
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { read_world_model(bundle); }, "'lejepa'"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { read_vit(bundle); }, "expected 'vit'"));
  CHECK_THROWS_AS(
      write_lejepa(folder / "other", model, vjepa2_bundle_config(VJepa2(VJepa2Options::tiny()))),
      Error);
}

TEST_CASE("an encoder that shares its bundle's file keeps its weights whatever becomes of it") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  auto options = VJepa2Options::tiny();
  options.encoder.depth = options.predictor.depth = 1;
  const VJepa2 first(options, 1), second(options, 2);
  write_vjepa2(folder / "bundle", first, vjepa2_bundle_config(first));
  const auto shared = [&] {
    const auto bundle = io::read_bundle(folder / "bundle");
    auto model = read_vjepa2(bundle, io::Placement::share);
    for (const auto& [name, tensor] : nn::state_dict(*model)) {
      INFO(name);
      CHECK(tensor.const_data_ptr() == bundle.tensors.at(name).const_data_ptr());
    }
    return model;
  }();
  check_same_bits(nn::state_dict(*shared), nn::state_dict(first));
  // What is written into the weights does not reach the file.
  shared->parameters().front().add_(1);
  check_same_bits(nn::state_dict(*read_vjepa2(io::read_bundle(folder / "bundle"))),
                  nn::state_dict(first));
  shared->parameters().front().sub_(1);
  // The old file stays for those that have it mapped.
  write_vjepa2(folder / "bundle", second, vjepa2_bundle_config(second));
  check_same_bits(nn::state_dict(*read_vjepa2(io::read_bundle(folder / "bundle"))),
                  nn::state_dict(second));
  const auto before = nn::state_dict(first), after = nn::state_dict(*shared);
  for (std::size_t i = 0; i < before.size(); ++i)
    CHECK(at::allclose(after[i].second, before[i].second, 0, 1e-6));
}

TEST_CASE("an encoder that shares its bundle's file takes no memory of the process") {
  if (anonymous_memory() < 0) {
    WARN("/proc/self/status tells no RssAnon here");
    return;
  }
  const TemporaryFolder folder;
  auto options = VJepa2Options::tiny();
  options.encoder.width = 512;
  options.encoder.heads = 8;
  options.encoder.mlp_width = 2048;
  options.encoder.depth = 6;
  double mib = 0;
  {
    const VJepa2 large(options, std::nullopt);
    for (auto& parameter : large.parameters()) parameter.detach().fill_(0.5);
    for (const auto& [name, tensor] : nn::state_dict(large))
      mib += static_cast<double>(tensor.nbytes()) / (1 << 20);
    write_vjepa2(folder / "bundle", large, vjepa2_bundle_config(large));
  }
  REQUIRE(mib > 64);
  const auto memory_taken = [&](io::Placement placement) {
    const auto before = anonymous_memory();
    const auto model = read_vjepa2(io::read_bundle(folder / "bundle"), placement);
    for (const auto& parameter : model->parameters())
      CHECK(parameter.detach().eq(0.5).all().item<bool>());
    return anonymous_memory() - before;
  };
  CHECK(memory_taken(io::Placement::share) < 0.25 * mib);
  CHECK(memory_taken(io::Placement::copy) > 0.75 * mib);
}

TEST_CASE("queries, keys and values of a Hugging Face folder are joined in memory once") {
  const auto reset = [] {
    std::ofstream peak("/proc/self/clear_refs");
    return static_cast<bool>(peak << 5 << std::flush);
  };
  if (anonymous_memory() < 0 || !reset()) {
    WARN("/proc/self tells no memory here");
    return;
  }
  const TemporaryFolder folder;
  auto options = VJepa2Options::tiny();
  auto& encoder = options.encoder;
  encoder.width = encoder.mlp_width = 1024;
  encoder.heads = 16;
  encoder.depth = 4;
  encoder.rope = options.predictor.rope = nn::RopeConvention::tiled;
  const auto joined = static_cast<double>(3 * encoder.depth * encoder.width * encoder.width) * 4 /
                      (1 << 20);  // MiB, half of all
  {
    const VJepa2 large(options, std::nullopt);
    for (auto& parameter : large.parameters()) parameter.detach().fill_(0.5);
    write_hf_vjepa2(folder / "hf", large);
  }
  struct Taken {
    double peak, anonymous;
  };
  const auto taken = [&](const auto& load) {
    const auto anonymous = anonymous_memory();
    reset();
    const auto before = status_line("VmHWM:");
    const auto kept = load(io::read_hf_folder(folder / "hf"));
    return Taken{status_line("VmHWM:") - before, anonymous_memory() - anonymous};
  };
  const auto described = taken([](const auto& hf) { return describe_hf_vjepa2(hf); });
  CHECK(described.peak < 0.25 * joined);  // no numbers are read
  // As an import reads it, and writes it under the same names.
  const auto shared = taken([](const auto& hf) {
    auto model = load_hf_vjepa2(hf, io::Placement::share);
    CHECK(load_hf_vjepa2_probe(hf, io::Placement::share) == nullptr);
    for (const auto& [name, tensor] : nn::state_dict(*model))
      if (name.ends_with(".attn.qkv.weight")) CHECK(tensor.eq(0.5).all().template item<bool>());
    return std::pair{model, vjepa2_to_hf(nn::state_dict(*model))};
  });
  CHECK(shared.anonymous > 0.9 * joined);
  CHECK(shared.anonymous < 1.25 * joined);
  CHECK(shared.peak < 2.75 * joined);  // these, and their pages of the file
  const auto copied = taken([](const auto& hf) { return load_hf_vjepa2(hf); });
  CHECK(copied.anonymous > 1.9 * joined);
  CHECK(copied.peak < 4.5 * joined);  // the network, and the file's pages
}

TEST_CASE("an image encoder comes back from its bundle with its pictures' statistics") {
  const TemporaryFolder folder;
  const nn::VitOptions options{.patch = 8,
                               .width = 24,
                               .depth = 2,
                               .heads = 2,
                               .mlp_width = 48,
                               .registers = 2,
                               .layer_scale = true};
  ImageEncoderModel model{{.size = 32, .mean = {0.5, 0.5, 0.5}, .resize = ResizeRule::crop},
                          std::make_shared<nn::Vit>(options, 40)};
  PhiloxNoise noise(2);
  model.encoder->initialise(noise);
  write_vit(folder / "bundle", model, vit_bundle_config(model));
  const auto read = read_vit(io::read_bundle(folder / "bundle"));
  CHECK(write_options(read.image) == write_options(model.image));
  CHECK(read.encoder->image_size() == 40);
  check_same_bits(nn::state_dict(*read.encoder), nn::state_dict(*model.encoder));
}

TEST_CASE("another model builds on the encoder of a bundle, of whatever family") {
  const TemporaryFolder folder;
  const LeJepa lejepa(unusual_lejepa(), 3);
  write_lejepa(folder / "lejepa", lejepa, lejepa_bundle_config(lejepa));
  const auto backbone = image_backbone(io::read_bundle(folder / "lejepa"));
  CHECK(backbone.image.mean == std::vector<double>{0.1, 0.2, 0.3});
  auto options = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0);
  options.image = backbone.image;
  options.encoder = backbone.encoder;
  options.encoder_image_size = backbone.encoder_image_size;
  DinoWm world(options, 9);
  load_backbone(world, backbone.tensors, "lejepa");
  check_same_bits(nn::state_dict(world.encoder()), nn::state_dict(lejepa.encoder()));
  load_backbone(world, backbone.tensors, "lejepa", io::Placement::share);
  const std::map<std::string, Tensor> mapped(backbone.tensors.begin(), backbone.tensors.end());
  for (const auto& [name, tensor] : nn::state_dict(world.encoder()))
    CHECK(tensor.const_data_ptr() == mapped.at(name).const_data_ptr());

  write_dino_wm(folder / "dino_wm", world, dino_wm_bundle_config(world));
  const auto again = image_backbone(io::read_bundle(folder / "dino_wm"));
  check_same_bits(again.tensors, nn::state_dict(lejepa.encoder()));

  const VJepa2 clips(VJepa2Options::tiny(), 4);
  write_vjepa2(folder / "vjepa2", clips, vjepa2_bundle_config(clips));
  const auto video = video_backbone(io::read_bundle(folder / "vjepa2"));
  check_same_bits(video.tensors, nn::state_dict(clips.encoder()));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { image_backbone(io::read_bundle(folder / "vjepa2")); },
      "vit, lejepa, dino_wm"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { video_backbone(io::read_bundle(folder / "lejepa")); },
      "vjepa2, vjepa2_ac"));
  auto incomplete = backbone.tensors;
  incomplete.pop_back();
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { load_backbone(world, incomplete, "half"); }, "half",
      backbone.tensors.back().first));
}

}  // namespace foresight::models::encoder_bundle_test
