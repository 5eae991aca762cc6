// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/adaln_predictor.hpp"

#include <cmath>

#include "foresight/nn/init.hpp"
#include "foresight/nn/recompute.hpp"

namespace foresight::nn {

std::vector<std::string> AdaLnPredictorOptions::validate() const {
  Rules rules("AdaLnPredictorOptions");
  const auto positive = [&](int64_t value, std::string_view name) {
    rules.check(value >= 1, name, static_cast<double>(value), "must be >= 1");
  };
  positive(depth, "depth");
  positive(width, "width");
  positive(heads, "heads");
  positive(head_width, "head_width");
  positive(mlp_width, "mlp_width");
  rules.check(dropout >= 0 && dropout < 1, "dropout", dropout, "must be in [0, 1)");
  return rules.problems();
}

AdaLnPredictor::AdaLnPredictor(const AdaLnPredictorOptions& options, const PredictorSizes& sizes)
    : LatentPredictor(sizes), options_(options) {
  require_valid(options);
  require(sizes.frames >= 1, ErrorCategory::invalid_option,
          "AdaLnPredictor: frames = " + std::to_string(sizes.frames) + " must be >= 1");
  const auto width = options.width;
  const auto adapter = [&](const char* path, int64_t in, int64_t out) {
    return in == out ? torch::nn::Linear{nullptr} : place(*this, path, torch::nn::Linear(in, out));
  };
  positions_ = register_parameter("pos_embedding", at::zeros({1, sizes.frames, sizes.latent}));
  norm_ =
      place(*this, "transformer.norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  input_ = adapter("transformer.input_proj", sizes.latent, width);
  condition_ = adapter("transformer.cond_proj", sizes.condition, width);
  output_ = adapter("transformer.output_proj", width, sizes.output);
  const AdaLnBlockSizes block{width, options.heads, options.head_width, options.mlp_width,
                              options.dropout};
  for (int64_t i = 0; i < options.depth; ++i)
    blocks_.push_back(place(*this, "transformer.layers." + std::to_string(i),
                            std::make_shared<AdaLnBlock>(block)));
}

void AdaLnPredictor::initialise(Noise& noise) {
  init_layers(*this, noise);
  for (const auto& block : blocks_) block->initialise(noise);
  init_normal(positions_, 1.0, noise);
}

// The modulations depend on the condition alone.
Tensor AdaLnPredictor::modulate(const Tensor& conditions, Mode mode) const {
  const auto condition = condition_ ? through(condition_, conditions) : conditions;
  const auto* packed = packed_modulation_.get();
  if (!packed || !packed_computes(packed->frozen, packed->format, mode, "packed modulation"))
    return modulations(blocks_, condition);
  return packed->linear.apply(at::silu(condition))
      .unflatten(-1, {static_cast<int64_t>(blocks_.size()), 6, -1});
}

void AdaLnPredictor::use_packed(const Packing& packing) {
  std::vector<Tensor> layers;
  for (const auto& block : blocks_) {
    block->use_packed(packing);
    layers.insert(layers.end(),
                  {block->modulation_layer()->weight, block->modulation_layer()->bias});
  }
  if (packing.format == PackedFormat::float32 && !can_pack_float32(layers)) return;
  const auto [weight, bias] = modulation_weights(blocks_);
  packed_modulation_ = std::make_shared<PackedModulation>(
      PackedModulation{PackedLinear(weight, bias, packing), Frozen(layers), packing.format});
}

void AdaLnPredictor::use_prepacked() {
  for (const auto& block : blocks_) block->use_prepacked();
}

void AdaLnPredictor::drop_packed() {
  for (const auto& block : blocks_) block->drop_packed();
  packed_modulation_ = nullptr;
}

Tensor AdaLnPredictor::embed(const Tensor& latents, int64_t first_position) const {
  const auto x = latents + positions_.narrow(1, first_position, latents.size(1));
  return input_ ? through(input_, x) : x;
}

Tensor AdaLnPredictor::finish(const Tensor& x) const {
  const auto y = through(norm_, x);
  return output_ ? through(output_, y) : y;
}

// Through all blocks; the last one computes only `outputs`.
Tensor AdaLnPredictor::run(Tensor x, const Tensor& modulation, const std::vector<KeyValues>* past,
                           std::vector<KeyValues>* present, Outputs outputs, Mode mode) const {
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const auto* before = past ? &(*past)[i] : nullptr;
    auto* after = present ? &(*present)[i] : nullptr;
    const auto wanted = i + 1 == blocks_.size() ? outputs : Outputs::all;
    const auto block = [block = blocks_[i], before, after, wanted, mode](const Tensor& u,
                                                                         const Tensor& c) {
      return block->forward(u, c, before, after, wanted, mode);
    };
    const auto condition = modulation.select(-3, static_cast<int64_t>(i));
    const bool alone =
        before == nullptr && after == nullptr;  // keys and values must not come twice
    x = alone ? recomputed(block, x, condition) : block(x, condition);
  }
  return x;
}

Tensor AdaLnPredictor::forward(const Tensor& latents, const Tensor& conditions, Mode mode) const {
  check_window(latents, conditions);
  return finish(
      run(embed(latents, 0), modulate(conditions, mode), nullptr, nullptr, Outputs::all, mode));
}

Tensor AdaLnPredictor::last(const Tensor& latents, const Tensor& conditions, Mode mode) const {
  check_window(latents, conditions);
  return finish(run(embed(latents, 0), modulate(conditions, mode), nullptr, nullptr, Outputs::last,
                    mode))
      .select(1, 0);
}

}  // namespace foresight::nn
