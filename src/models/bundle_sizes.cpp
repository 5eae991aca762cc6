// SPDX-License-Identifier: Apache-2.0
#include "bundle_sizes.hpp"

#include <limits>
#include <string>

#include "checkpoint_sizes.hpp"
#include "dino_wm_sizes.hpp"
#include "foresight/core/error.hpp"
#include "jepa_sizes.hpp"

namespace foresight::models {
namespace {

// Of a product that is too large to be told: no tensor's size, with a few added neither.
constexpr int64_t kTooMany = std::numeric_limits<int64_t>::min() / 2;

int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kTooMany : product;
}

// One part of a bundle's network: the tensors below `part`. `options`: how messages open the names
// of its options; `reason`: where sizes are from.
class Part {
 public:
  Part(const io::NamedTensors& tensors, std::string_view part, std::string_view source,
       std::string_view options = "options.", std::string_view reason = kFromConfig,
       SizeFaults* faults = nullptr)
      : tensors_(tensors),
        part_(part),
        source_(source),
        options_(options),
        reason_(reason),
        faults_(faults) {}

  void expect(std::string_view name, const std::vector<int64_t>& shape) const {
    expect_tensor(tensors_, part_ + std::string(name), shape, source_, reason_, faults_);
  }
  // A matrix that others bound: compared where all that does not fit is told.
  void expect_too(std::string_view name, const std::vector<int64_t>& shape) const {
    if (faults_) expect(name, shape);
  }

  // `list` ("blocks.") opens the names of as many tensors' groups as `option` says. Where faults
  // are collected and the tensors are so many, the groups that lack are told by their tensors.
  void expect_count(std::string_view list, int64_t count, std::string_view option) const {
    if (faults_ && count <= static_cast<int64_t>(tensors_.size())) return;
    const auto found = count_below(tensors_, part_ + std::string(list));
    require(found == count, ErrorCategory::bad_file,
            source_ + ": " + options_ + std::string(option) + " = " + std::to_string(count) +
                ", but the tensors '" + part_ + std::string(list) + "*' are those of " +
                std::to_string(found));
  }

  // Linear layers one after the other, the first of which reads `width` values: `name` (of their
  // number) is the layer's, `widths` are what each gives.
  template <class Name>
  void expect_layers(const Name& name, int64_t width, const std::vector<int64_t>& widths) const {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      expect(name(i) + ".weight", {widths[i], width});
      width = widths[i];
    }
  }

  void expect_projection(int64_t input, int64_t hidden, int64_t output) const {
    expect_layers([](std::size_t i) { return "net." + std::to_string(3 * i); }, input,
                  {hidden, output});
  }

  // An nn::Mlp below `mlp`.
  void expect_mlp(const std::string& mlp, int64_t input, std::vector<int64_t> widths,
                  int64_t output) const {
    widths.push_back(output);
    expect_layers([&](std::size_t i) { return mlp + "layers." + std::to_string(i); }, input,
                  widths);
  }

  // Transformer blocks modulated by conditions.
  void expect_adaln(std::string_view list, int64_t width, int64_t attention, int64_t mlp_width,
                    int64_t depth, bool projected = false) const {
    for (int64_t i = 0; i < depth; ++i) {
      const auto layer = std::string(list) + std::to_string(i) + ".";
      expect_frame_block(layer + "attn.", layer + "mlp.", width, attention, mlp_width, projected);
      expect(layer + "adaLN_modulation.1.weight", {times(6, width), width});
    }
  }

  // Attention over frames below `attn`, of `attention` queries, keys and values in all, and the
  // feed-forward part below `mlp`. `projected`: whether what the heads give goes through a layer.
  void expect_frame_block(const std::string& attn, const std::string& mlp, int64_t width,
                          int64_t attention, int64_t mlp_width, bool projected) const {
    expect(attn + "to_qkv.weight", {attention, width});
    if (projected) expect_too(attn + "to_out.0.weight", {width, attention / 3});
    expect(mlp + "net.1.weight", {mlp_width, width});
    expect_too(mlp + "net.4.weight", {width, mlp_width});
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
                  reason_);
  }

 private:
  const io::NamedTensors& tensors_;
  std::string part_, source_, options_;
  std::string_view reason_;
  SizeFaults* faults_;
};

int64_t places(const nn::TokenGrid& grid) {
  return times(times(grid.frames, grid.rows), grid.columns);
}

void expect_patch_predictor(const Part& predictor, const nn::PatchPredictorOptions& o,
                            const nn::PatchPredictorSizes& sizes) {
  const bool adaln = o.conditioning == nn::ActionConditioning::adaln;
  const bool token = o.conditioning == nn::ActionConditioning::token;
  const auto width =
      sizes.channels + (o.conditioning == nn::ActionConditioning::feature ? sizes.condition : 0);
  predictor.expect("pos_embedding",
                   {1, times(sizes.frames, sizes.tokens + (token ? 1 : 0)), width});
  if (adaln && sizes.condition != width)
    predictor.expect("transformer.cond_proj.weight", {width, sizes.condition});
  constexpr std::string_view kLayers = "transformer.layers.";
  predictor.expect_count(kLayers, o.depth, "predictor.depth");
  const auto attention = times(3, times(o.heads, o.head_width));
  const bool projected = o.heads != 1 || o.head_width != width;
  if (adaln)
    return predictor.expect_adaln(kLayers, width, attention, o.mlp_width, o.depth, projected);
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto layer = std::string(kLayers) + std::to_string(i) + ".";
    predictor.expect_frame_block(layer + "0.", layer + "1.", width, attention, o.mlp_width,
                                 projected);
  }
}

void expect_cnn(const Part& encoder, const nn::CnnOptions& o, int64_t image_size) {
  int64_t in = 3, side = image_size;
  for (std::size_t i = 0; i < o.channels.size(); ++i) {
    encoder.expect("conv." + std::to_string(i) + ".weight", {o.channels[i], in, 4, 4});
    in = o.channels[i];
    side /= 2;
  }
  encoder.expect("head.weight", {o.width, times(in, times(side, side))});
}

void expect_impala(const Part& encoder, const nn::ImpalaOptions& o, int64_t image_size,
                   int64_t channels) {
  int64_t in = channels, side = image_size;
  for (std::size_t i = 0; i < o.channels.size(); ++i) {
    const auto stack = "stack_blocks." + std::to_string(i) + ".";
    const auto out = o.channels[i];
    encoder.expect(stack + "initial_conv.weight", {out, in, 3, 3});
    encoder.expect_count(stack + "blocks.", o.blocks, "blocks");
    for (int64_t b = 0; b < o.blocks; ++b)
      for (const auto* conv : {".conv1.weight", ".conv2.weight"})
        encoder.expect(stack + "blocks." + std::to_string(b) + conv, {out, out, 3, 3});
    in = out;
    side = (side - 1) / 2 + 1;
  }
  encoder.expect("mlp.weight", {o.width, times(in, times(side, side))});
}

void expect_adaln_predictor(const Part& predictor, const nn::AdaLnPredictorOptions& o,
                            const nn::PredictorSizes& sizes) {
  constexpr std::string_view kLayers = "transformer.layers.";
  predictor.expect_count(kLayers, o.depth, "depth");
  predictor.expect_adaln(kLayers, o.width, times(3, times(o.heads, o.head_width)), o.mlp_width,
                         o.depth);
  predictor.expect("pos_embedding", {1, sizes.frames, sizes.latent});
  const auto adapter = [&](const char* name, int64_t in, int64_t out) {
    if (in != out) predictor.expect(name, {out, in});
  };
  adapter("transformer.input_proj.weight", sizes.latent, o.width);
  adapter("transformer.cond_proj.weight", sizes.condition, o.width);
  adapter("transformer.output_proj.weight", o.width, sizes.output);
}

}  // namespace

void expect_sizes(const io::NamedTensors& tensors, std::string_view part, const nn::VitOptions& o,
                  int64_t image_size, std::string_view source, std::string_view options,
                  std::string_view reason, SizeFaults* faults) {
  const Part encoder(tensors, part, source, options, reason, faults);
  encoder.expect("embeddings.patch_embeddings.projection.weight", {o.width, 3, o.patch, o.patch});
  const auto grid = image_size / o.patch;
  encoder.expect("embeddings.position_embeddings",
                 {1, times(grid, grid) + (o.class_token ? 1 : 0), o.width});
  if (o.registers > 0) encoder.expect("embeddings.register_tokens", {1, o.registers, o.width});
  encoder.expect_count("encoder.layer.", o.depth, "depth");
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto layer = "encoder.layer." + std::to_string(i) + ".";
    encoder.expect(layer + "attention.attention.query.weight", {o.width, o.width});
    encoder.expect(layer + "intermediate.dense.weight",
                   {times(o.gated ? 2 : 1, o.mlp_width), o.width});
    for (const auto* map : {"attention.attention.key.weight", "attention.attention.value.weight",
                            "attention.output.dense.weight"})
      encoder.expect_too(layer + map, {o.width, o.width});
    encoder.expect_too(layer + "output.dense.weight", {o.width, o.mlp_width});
  }
  if (o.pooler) encoder.expect_too("pooler.dense.weight", {o.width, o.width});
}

void expect_sizes(const io::NamedTensors& tensors, const nn::VideoVitOptions& o,
                  std::string_view source) {
  const Part encoder(tensors, "encoder.", source);
  if (o.is_picture())
    encoder.expect("patch_embed.proj.weight", {o.width, o.channels, o.patch, o.patch});
  else
    encoder.expect("patch_embed.proj.weight", {o.width, o.channels, o.tubelet, o.patch, o.patch});
  encoder.expect_blocks_of(o, "blocks.", "pos_embed", places(o.grid()));
}

void expect_sizes(const io::NamedTensors& tensors, const DinoWmOptions& o,
                  std::string_view source) {
  expect_sizes(tensors, "encoder.", o.encoder, o.encoder_image_size, source);
  expect_trained_sizes(tensors, o, source);
}

void expect_trained_sizes(const io::NamedTensors& tensors, const DinoWmOptions& o,
                          std::string_view source, std::string_view options,
                          std::string_view reason, SizeFaults* faults) {
  const Part model(tensors, "", source, options, reason, faults);
  model.expect("action_encoder.patch_embed.weight", {o.action_width, o.action.width(), 1});
  if (o.proprio.dim > 0)
    model.expect("proprio_encoder.patch_embed.weight", {o.proprio.width, o.proprio.dim, 1});
  expect_patch_predictor(Part(tensors, "predictor.", source, options, reason, faults), o.predictor,
                         predictor_sizes(o));
}

void expect_sizes(const io::NamedTensors& tensors, const VJepa2Options& o,
                  std::string_view source) {
  expect_sizes(tensors, o.encoder, source);
  const Part predictor(tensors, "predictor.", source);
  predictor.expect("predictor_embed.weight", {o.predictor.width, o.encoder.width});
  predictor.expect_count("mask_tokens.", o.predictor.mask_tokens, "predictor.mask_tokens");
  predictor.expect_blocks_of(o.predictor, "predictor_blocks.", "predictor_pos_embed",
                             places(o.encoder.grid()));
}

void expect_sizes(const io::NamedTensors& tensors, const VJepa2AcOptions& o,
                  std::string_view source) {
  expect_sizes(tensors, o.encoder, source);
  const Part predictor(tensors, "predictor.", source);
  predictor.expect("predictor_embed.weight", {o.predictor.width, o.encoder.width});
  predictor.expect_blocks_of(o.predictor, "predictor_blocks.", {}, 0);
}

void expect_sizes(const io::NamedTensors& tensors, const JepaOptions& o, std::string_view source) {
  const bool vit = o.encoder == EncoderKind::vit;
  if (vit)
    expect_sizes(tensors, "encoder.", o.vit, o.image.size, source, "options.vit.");
  else
    expect_cnn(Part(tensors, "encoder.", source), o.cnn, o.image.size);
  const auto head = [&](const char* part, int64_t input, int64_t hidden, int64_t output) {
    if (hidden > 0) Part(tensors, part, source).expect_projection(input, hidden, output);
  };
  head("projector.", vit ? o.vit.width : o.cnn.width, o.projector.hidden, o.latent);
  const auto action = o.action.width();
  if (const auto& a = o.action_encoder; a.width > 0) {
    const Part encoder(tensors, "action_encoder.", source);
    const auto hidden = times(a.expansion, a.width);
    encoder.expect("patch_embed.weight", {a.narrow, action, 1});
    encoder.expect("embed.0.weight", {hidden, a.narrow});
    encoder.expect("embed.2.weight", {a.width, hidden});
  }
  const auto sizes = predictor_sizes(o);
  if (o.predictor == PredictorKind::adaln)
    expect_adaln_predictor(Part(tensors, "predictor.", source, "options.adaln."), o.adaln, sizes);
  else
    Part(tensors, "predictor.", source)
        .expect_mlp("mlp.", times(sizes.frames, sizes.latent + sizes.condition), o.mlp.hidden,
                    sizes.output);
  head("pred_proj.", sizes.output, o.pred_proj.hidden, o.latent);
  head("idm.", times(2, o.latent), o.inverse_dynamics_hidden, action);
}

void expect_sizes(const io::NamedTensors& tensors, const EbJepaOptions& o, std::string_view source,
                  std::string_view reason, SizeFaults* faults) {
  const auto latent = o.latent(), action = o.action.width();
  expect_impala(Part(tensors, "encoder.", source, "options.encoder.", reason, faults), o.encoder,
                o.image_size, o.channels());
  const Part model(tensors, "", source, {}, reason, faults);
  model.expect("predictor.rnn.weight_ih_l0", {times(3, latent), action});
  model.expect("predictor.rnn.weight_hh_l0", {times(3, latent), latent});
  const auto layer = [](std::string name, std::size_t apart) {
    return [=](std::size_t i) { return name + std::to_string(apart * i); };
  };
  model.expect_layers(layer("regularizer.projector.net.", 3), latent, o.projector);
  const auto hidden = o.inverse_dynamics_hidden;
  if (hidden == 0) return;
  const bool direct = o.regulariser.inverse_dynamics_view == losses::LatentView::direct;
  const auto read = direct || o.projector.empty() ? latent : o.projector.back();
  model.expect_layers(layer("regularizer.idm_loss_fn.idm.model.", 2), times(2, read),
                      {hidden, hidden, action});
}

void expect_sizes(const io::NamedTensors& tensors, const LeJepaOptions& o,
                  std::string_view source) {
  expect_sizes(tensors, "encoder.", o.encoder, o.image.size, source);
  Part(tensors, "projector.", source)
      .expect_projection(o.encoder.width, o.projector.hidden, o.projection);
}

void expect_sizes(const io::NamedTensors& tensors, const ValueCriticOptions& o,
                  std::string_view source) {
  Part(tensors, "mlp.", source)
      .expect_mlp("", times(o.input == CriticInput::pair ? 2 : 3, o.latent), o.mlp.hidden, 1);
}

void expect_sizes(const io::NamedTensors& tensors, const PositionProbeOptions& o,
                  std::string_view source) {
  Part(tensors, "mlp.", source)
      .expect_layers([](std::size_t i) { return std::to_string(2 * i); }, o.latent,
                     {o.hidden, static_cast<int64_t>(o.mean.size())});
}

void expect_sizes(const io::NamedTensors& tensors, int64_t width, const AttentiveProbeOptions& o,
                  std::string_view source) {
  const auto hidden = o.pooler.mlp_width > 0 ? o.pooler.mlp_width : times(4, width);
  const Part pooler(tensors, "pooler.", source, "pooler.");
  pooler.expect("query_tokens", {1, 1, width});
  pooler.expect_count("blocks.", o.pooler.self_attention, "self_attention");
  pooler.expect("cross_attention_block.xattn.q.weight", {width, width});
  pooler.expect("cross_attention_block.mlp.fc1.weight", {hidden, width});
  expect_blocks(tensors, "pooler.blocks.", o.pooler.self_attention, width, hidden, source,
                kFromConfig);
  Part(tensors, "", source).expect("linear.weight", {o.outputs, width});
}

}  // namespace foresight::models
