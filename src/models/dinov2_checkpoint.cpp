// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dinov2_checkpoint.hpp"

#include <algorithm>
#include <string>

#include "checkpoint_sizes.hpp"
#include "foresight/core/error.hpp"
#include "foresight/nn/dinov2.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"

namespace foresight::models {
namespace {

constexpr int64_t kHeadWidth = 64;
constexpr const char* kPatchWeights = "patch_embed.proj.weight";
constexpr const char* kScale = "blocks.0.ls1.gamma";  // which other networks lack
constexpr const char* kGate = "blocks.0.mlp.w12.weight";

bool has(const io::NamedTensors& tensors, std::string_view name) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [&](const auto& item) { return item.first == name; });
}

void expect_sizes(const nn::VitOptions& o, int64_t edge, const io::NamedTensors& checkpoint,
                  std::string_view source, SizeFaults& faults) {
  const auto expect = [&](const std::string& name, const std::vector<int64_t>& shape) {
    expect_tensor(checkpoint, name, shape, source, kFromOthers, &faults);
  };
  expect(kPatchWeights, {o.width, 3, o.patch, o.patch});
  expect("pos_embed", {1, edge * edge + 1, o.width});
  if (o.registers > 0) expect("register_tokens", {1, o.registers, o.width});
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto block = "blocks." + std::to_string(i) + ".";
    expect(block + "attn.qkv.weight", {3 * o.width, o.width});
    expect(block + "attn.proj.weight", {o.width, o.width});
    expect(block + (o.gated ? "mlp.w12.weight" : "mlp.fc1.weight"),
           {(o.gated ? 2 : 1) * o.mlp_width, o.width});
    expect(block + (o.gated ? "mlp.w3.weight" : "mlp.fc2.weight"), {o.width, o.mlp_width});
  }
}

nn::VitOptions describe(const io::NamedTensors& checkpoint, std::string_view source) {
  const std::string name(source);
  require(has(checkpoint, kPatchWeights) && has(checkpoint, kScale), ErrorCategory::unsupported,
          name + ": no '" + kPatchWeights + "' or no '" + kScale +
              "', which DINOv2's own files have; other encoders come from folders of transformers "
              "(config.json and model.safetensors)");
  const bool registers = has(checkpoint, "register_tokens");
  auto o = nn::dinov2(nn::DinoV2Size::small,
                      registers ? extent(checkpoint, "register_tokens", 3, 1, source) : 0);
  const auto channels = extent(checkpoint, kPatchWeights, 4, 1, source);
  require(channels == 3, ErrorCategory::unsupported,
          name + ": '" + kPatchWeights + "' takes pictures of " + std::to_string(channels) +
              " channels, expected 3");
  o.width = extent(checkpoint, kPatchWeights, 4, 0, source);
  o.patch = extent(checkpoint, kPatchWeights, 4, 3, source);
  require(o.width % kHeadWidth == 0, ErrorCategory::unsupported,
          name + ": width " + std::to_string(o.width) + " is not one of attention heads of " +
              std::to_string(kHeadWidth) + ", as DINOv2's are");
  o.heads = o.width / kHeadWidth;
  o.depth = count_below(checkpoint, "blocks.");
  o.gated = has(checkpoint, kGate);
  o.mlp_width = o.gated ? extent(checkpoint, kGate, 2, 0, source) / 2
                        : extent(checkpoint, "blocks.0.mlp.fc1.weight", 2, 0, source);
  o.mask_token = has(checkpoint, "mask_token");
  require_valid(o);
  return o;
}

}  // namespace

std::shared_ptr<nn::Vit> load_dinov2(const io::NamedTensors& checkpoint, std::string_view source,
                                     io::Placement placement) {
  const auto options = describe(checkpoint, source);
  const auto edge = square_edge(checkpoint, "pos_embed", 1, source);
  SizeFaults faults;
  expect_sizes(options, edge, checkpoint, source, faults);
  faults.throw_if_any(checkpoint, source,
                      [&] { return nn::dinov2_tensors(nn::Vit(options, edge * options.patch)); });
  auto vit = std::make_shared<nn::Vit>(options, edge * options.patch);
  nn::load_state_dict(*vit, nn::vit_tensors(checkpoint), source, placement);
  vit->eval();
  return vit;
}

ImageOptions dinov2_evaluation_pictures() {
  ImageOptions image;
  image.resize = ResizeRule::crop;
  image.resize_edge = 256;
  image.interpolation = Interpolation::bicubic;
  return image;
}

}  // namespace foresight::models
