// SPDX-License-Identifier: Apache-2.0
#include "bundle_sizes.hpp"

#include <limits>
#include <string>

#include "checkpoint_sizes.hpp"
#include "dino_wm_sizes.hpp"
#include "foresight/core/error.hpp"

namespace foresight::models {
namespace {

// Of a product that is too large to be told: no tensor's size, with a few added neither.
constexpr int64_t kTooMany = std::numeric_limits<int64_t>::min() / 2;

int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kTooMany : product;
}

// One part of a bundle's network: the tensors below `part`.
class Part {
 public:
  Part(const io::NamedTensors& tensors, std::string_view part, std::string_view source)
      : tensors_(tensors), part_(part), source_(source) {}

  void expect(std::string_view name, const std::vector<int64_t>& shape) const {
    expect_tensor(tensors_, part_ + std::string(name), shape, source_, kReason);
  }

  // `list` ("blocks.") opens the names of as many tensors' groups as `option` says.
  void expect_count(std::string_view list, int64_t count, std::string_view option) const {
    const auto found = count_below(tensors_, part_ + std::string(list));
    require(found == count, ErrorCategory::bad_file,
            source_ + ": options." + std::string(option) + " = " + std::to_string(count) +
                ", but the tensors '" + part_ + std::string(list) + "*' are those of " +
                std::to_string(found));
  }

  // Of VideoBlocks, and of the table of added positions if there is one.
  template <class Options>
  void expect_blocks_of(const Options& o, std::string_view blocks, std::string_view positions,
                        int64_t places) const {
    if (!positions.empty() && (o.positions == nn::PositionKind::sincos ||
                               o.positions == nn::PositionKind::sincos_uniform))
      expect(positions, {1, places, o.width});
    expect_count(blocks, o.depth, part_ + "depth");
    expect_blocks(tensors_, part_ + std::string(blocks), o.depth, o.width, o.mlp_width, source_,
                  kReason);
  }

 private:
  static constexpr std::string_view kReason = " as config.json says";

  const io::NamedTensors& tensors_;
  std::string part_, source_;
};

int64_t places(const nn::TokenGrid& grid) {
  return times(times(grid.frames, grid.rows), grid.columns);
}

void expect_video_vit(const io::NamedTensors& tensors, const nn::VideoVitOptions& o,
                      std::string_view source) {
  const Part encoder(tensors, "encoder.", source);
  if (o.is_picture())
    encoder.expect("patch_embed.proj.weight", {o.width, o.channels, o.patch, o.patch});
  else
    encoder.expect("patch_embed.proj.weight", {o.width, o.channels, o.tubelet, o.patch, o.patch});
  encoder.expect_blocks_of(o, "blocks.", "pos_embed", places(o.grid()));
}

void expect_patch_predictor(const io::NamedTensors& tensors, const nn::PatchPredictorOptions& o,
                            const nn::PatchPredictorSizes& sizes, std::string_view source) {
  const Part predictor(tensors, "predictor.", source);
  const bool adaln = o.conditioning == nn::ActionConditioning::adaln;
  const bool token = o.conditioning == nn::ActionConditioning::token;
  const auto width =
      sizes.channels + (o.conditioning == nn::ActionConditioning::feature ? sizes.condition : 0);
  predictor.expect("pos_embedding",
                   {1, times(sizes.frames, sizes.tokens + (token ? 1 : 0)), width});
  if (adaln && sizes.condition != width)
    predictor.expect("transformer.cond_proj.weight", {width, sizes.condition});
  predictor.expect_count("transformer.layers.", o.depth, "predictor.depth");
  const auto attention = times(3, times(o.heads, o.head_width));
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto layer = "transformer.layers." + std::to_string(i) + ".";
    predictor.expect(layer + (adaln ? "attn.to_qkv.weight" : "0.to_qkv.weight"),
                     {attention, width});
    predictor.expect(layer + (adaln ? "mlp.net.1.weight" : "1.net.1.weight"), {o.mlp_width, width});
    if (adaln) predictor.expect(layer + "adaLN_modulation.1.weight", {times(6, width), width});
  }
}

}  // namespace

void expect_sizes(const io::NamedTensors& tensors, std::string_view part, const nn::VitOptions& o,
                  int64_t image_size, std::string_view source) {
  const Part encoder(tensors, part, source);
  encoder.expect("embeddings.patch_embeddings.projection.weight", {o.width, 3, o.patch, o.patch});
  const auto grid = image_size / o.patch;
  encoder.expect("embeddings.position_embeddings",
                 {1, times(grid, grid) + (o.class_token ? 1 : 0), o.width});
  if (o.registers > 0) encoder.expect("embeddings.register_tokens", {1, o.registers, o.width});
  encoder.expect_count("encoder.layer.", o.depth, "encoder.depth");
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto layer = "encoder.layer." + std::to_string(i) + ".";
    encoder.expect(layer + "attention.attention.query.weight", {o.width, o.width});
    encoder.expect(layer + "intermediate.dense.weight",
                   {times(o.gated ? 2 : 1, o.mlp_width), o.width});
  }
}

void expect_sizes(const io::NamedTensors& tensors, const DinoWmOptions& o,
                  std::string_view source) {
  expect_sizes(tensors, "encoder.", o.encoder, o.encoder_image_size, source);
  const Part model(tensors, "", source);
  model.expect("action_encoder.patch_embed.weight", {o.action_width, o.action.width(), 1});
  if (o.proprio.dim > 0)
    model.expect("proprio_encoder.patch_embed.weight", {o.proprio.width, o.proprio.dim, 1});
  expect_patch_predictor(tensors, o.predictor, predictor_sizes(o), source);
}

void expect_sizes(const io::NamedTensors& tensors, const VJepa2Options& o,
                  std::string_view source) {
  expect_video_vit(tensors, o.encoder, source);
  const Part predictor(tensors, "predictor.", source);
  predictor.expect("predictor_embed.weight", {o.predictor.width, o.encoder.width});
  predictor.expect_count("mask_tokens.", o.predictor.mask_tokens, "predictor.mask_tokens");
  predictor.expect_blocks_of(o.predictor, "predictor_blocks.", "predictor_pos_embed",
                             places(o.encoder.grid()));
}

void expect_sizes(const io::NamedTensors& tensors, const VJepa2AcOptions& o,
                  std::string_view source) {
  expect_video_vit(tensors, o.encoder, source);
  const Part predictor(tensors, "predictor.", source);
  predictor.expect("predictor_embed.weight", {o.predictor.width, o.encoder.width});
  predictor.expect_blocks_of(o.predictor, "predictor_blocks.", {}, 0);
}

}  // namespace foresight::models
