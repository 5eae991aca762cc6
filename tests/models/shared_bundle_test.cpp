// SPDX-License-Identifier: Apache-2.0
// World models on large encoders leave their weights in the bundle's mapped file where they are
// asked to, and the file never changes.
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <string>

#include "anonymous_memory.hpp"
#include "catch.hpp"
#include "dino_wm_under_test.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"
#include "temporary_folder.hpp"
#include "vjepa2_ac_under_test.hpp"

namespace foresight::models::shared_bundle_test {
namespace {

using io::Placement;

using ByName = std::map<std::string, Tensor>;

// What `expected` holds, bit by bit.
void check_same(const io::NamedTensors& found, const ByName& expected) {
  REQUIRE(found.size() == expected.size());
  for (const auto& [name, tensor] : found) {
    INFO(name);
    CHECK(at::equal(tensor, expected.at(name)));
  }
}

// Encoders of `blocks` blocks of this width; the rest is small.
void write_families(const TemporaryFolder& folder, int64_t width, int64_t heads, int64_t blocks,
                    at::ScalarType type = at::kFloat) {
  auto dino_wm = tiny_dino_wm_options(nn::ActionConditioning::feature, 2, 0);
  auto& images = dino_wm.encoder;
  images.width = width;
  images.heads = heads;
  images.depth = blocks;
  images.mlp_width = 4 * width;
  auto arm = tiny_arm_options(2, 4);
  auto& clips = arm.encoder;
  clips.width = width;
  clips.heads = heads;
  clips.depth = blocks;
  clips.mlp_width = 4 * width;
  DinoWm first(dino_wm, 3);
  first.to(type);
  write_dino_wm(folder / "dino_wm", first, dino_wm_bundle_config(first));
  VJepa2Ac second(arm, 3);
  second.to(type);
  write_vjepa2_ac(folder / "vjepa2_ac", second, vjepa2_ac_bundle_config(second));
}

constexpr std::array kFamilies{"dino_wm", "vjepa2_ac"};

}  // namespace

TEST_CASE("a world model that shares its bundle's file may be changed, the file stays") {
  at::NoGradGuard no_grad;
  const TemporaryFolder folder;
  write_families(folder, 24, 2, 1);
  for (const auto* family : kFamilies) {
    INFO(family);
    ByName saved;
    for (const auto& [name, tensor] : io::read_bundle(folder / family).model_tensors())
      saved.emplace(name, tensor.clone());
    const auto check_file = [&] {
      check_same(io::read_bundle(folder / family).model_tensors(), saved);
      check_same(nn::state_dict(*read_world_model(folder / family).module), saved);
    };
    const auto loaded = [&] {
      const auto bundle = io::read_bundle(folder / family);
      auto model = read_world_model(bundle, Placement::share);
      for (const auto& [name, tensor] : nn::state_dict(*model.module)) {
        INFO(name);
        CHECK(tensor.const_data_ptr() == bundle.tensors.at(name).const_data_ptr());
      }
      return model;
    }();
    check_same(nn::state_dict(*loaded.module), saved);
    for (const auto& parameter : loaded.module->parameters()) parameter.detach().add_(1);
    for (const auto& [name, tensor] : nn::state_dict(*loaded.module))
      CHECK(at::allclose(tensor, saved.at(name) + 1));
    check_file();
    for (const auto& parameter : loaded.module->parameters()) parameter.detach().zero_();
    const auto half = in_precision(loaded, InferencePrecision::bfloat16);
    for (const auto& parameter : half.module->parameters())
      CHECK(parameter.scalar_type() == at::kBFloat16);
    check_file();
  }
}

TEST_CASE("what is trained of a model on a frozen encoder is its own, the encoder stays mapped") {
  const TemporaryFolder folder;
  write_families(folder, 24, 2, 1);
  for (const auto* family : kFamilies) {
    INFO(family);
    const auto bundle = io::read_bundle(folder / family);
    const auto model = read_world_model(bundle, Placement::share_frozen);
    int shared = 0, own = 0;
    for (const auto& item : model.module->named_parameters()) {
      INFO(item.key());
      const bool frozen = item.key().starts_with("encoder.");
      CHECK(item.value().requires_grad() == !frozen);
      const bool mapped =
          item.value().const_data_ptr() == bundle.tensors.at(item.key()).const_data_ptr();
      CHECK(mapped == frozen);
      ++(mapped ? shared : own);
    }
    CHECK(shared > 0);
    CHECK(own > 0);
  }
}

TEST_CASE("a small model is copied wherever it is to be placed") {
  const TemporaryFolder folder;
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 2));
  write_jepa(folder / "jepa", *model, jepa_bundle_config(*model));
  const auto bundle = io::read_bundle(folder / "jepa");
  const auto loaded = read_world_model(bundle, Placement::share);
  for (const auto& [name, tensor] : nn::state_dict(*loaded.module))
    CHECK(tensor.const_data_ptr() != bundle.tensors.at(name).const_data_ptr());
}

TEST_CASE("a DINO-WM's backbone stays in the file that it comes from") {
  const TemporaryFolder folder;
  const auto source = dino_wm_under_test(tiny_dino_wm_options(nn::ActionConditioning::adaln, 2, 0));
  io::write_safetensors(folder / "backbone.safetensors", nn::state_dict(source->encoder()));
  const auto file = io::SafeTensors::open(folder / "backbone.safetensors");
  DinoWm model(source->options(), std::nullopt);
  load_dino_wm_backbone(model, file.tensors(), "backbone", Placement::share);
  for (const auto& [name, tensor] : nn::state_dict(model.encoder()))
    CHECK(tensor.const_data_ptr() == file.at(name).const_data_ptr());
}

TEST_CASE("a world model that shares its bundle's file takes no memory of the process") {
  if (anonymous_memory() < 0) {
    WARN("/proc/self/status tells no RssAnon here");
    return;
  }
  const TemporaryFolder folder;
  write_families(folder, 512, 8, 6);
  for (const auto* family : kFamilies) {
    INFO(family);
    double mib = 0;
    for (const auto& [name, tensor] : io::read_bundle(folder / family).model_tensors())
      mib += static_cast<double>(tensor.nbytes()) / (1 << 20);
    REQUIRE(mib > 64);
    const auto memory_taken = [&](Placement placement) {
      const auto before = anonymous_memory();
      const auto loaded = read_world_model(folder / family, placement);
      double sum = 0;  // all weights are read
      for (const auto& parameter : loaded.module->parameters())
        sum += parameter.detach().sum().item<double>();
      CHECK(std::isfinite(sum));
      return anonymous_memory() - before;
    };
    CHECK(memory_taken(Placement::share) < 0.25 * mib);
    CHECK(memory_taken(Placement::share_frozen) < 0.25 * mib);
    CHECK(memory_taken(Placement::copy) > 0.75 * mib);
  }
}

TEST_CASE("a model that was saved in bfloat16 is in memory once as it is read, or not at all") {
  const auto reset = [] {
    anonymous_memory();  // what is free goes back to the system
    std::ofstream peak("/proc/self/clear_refs");
    return static_cast<bool>(peak << 5 << std::flush);
  };
  if (status_line("VmHWM:") < 0 || !reset()) {
    WARN("/proc/self tells no peak of memory here");
    return;
  }
  const TemporaryFolder folder;
  write_families(folder, 512, 8, 10, at::kBFloat16);
  for (const auto* family : kFamilies) {
    INFO(family);
    double mib = 0;
    for (const auto& [name, tensor] : io::read_bundle(folder / family).model_tensors())
      mib += static_cast<double>(tensor.nbytes()) / (1 << 20);
    REQUIRE(mib > 48);
    const auto peak_taken = [&](Placement placement,
                                io::ChecksumRule checksum = io::ChecksumRule::compare) {
      reset();
      const auto before = status_line("VmHWM:");
      auto bundle = io::read_bundle(folder / family);
      bundle.checksum = checksum;
      const auto loaded = read_world_model(bundle, placement);
      CHECK(loaded.module->parameters().front().scalar_type() == at::kBFloat16);
      return status_line("VmHWM:") - before;
    };
    CHECK(peak_taken(Placement::share, io::ChecksumRule::skip) < 0.25 * mib);
    CHECK(peak_taken(Placement::share) < 1.25 * mib);  // pages of the file, read for the checksum
    CHECK(peak_taken(Placement::copy) < 2.5 * mib);    // its own, and pages of the file
  }
}

}  // namespace foresight::models::shared_bundle_test
