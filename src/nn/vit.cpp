// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/vit.hpp"

#include <cmath>
#include <optional>

#include "attention.hpp"
#include "foresight/nn/frozen.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/packed_linear.hpp"
#include "foresight/nn/recompute.hpp"
#include "foresight/nn/unfilled_linear.hpp"

namespace foresight::nn {

std::vector<std::string> VitOptions::validate() const {
  Rules rules("VitOptions");
  const auto positive = [&](int64_t value, std::string_view name) {
    rules.check(value >= 1, name, static_cast<double>(value), "must be >= 1");
  };
  positive(patch, "patch");
  positive(width, "width");
  positive(depth, "depth");
  positive(heads, "heads");
  positive(mlp_width, "mlp_width");
  if (heads >= 1)
    rules.check(width % heads == 0, "width", static_cast<double>(width),
                "must be a multiple of heads = " + std::to_string(heads));
  rules.check(std::isfinite(norm_epsilon) && norm_epsilon > 0, "norm_epsilon", norm_epsilon,
              "must be positive");
  rules.check(registers >= 0, "registers", static_cast<double>(registers), "must be >= 0");
  rules.check(registers == 0 || class_token, "registers", static_cast<double>(registers),
              "needs class_token = true: registers stand behind it");
  return rules.problems();
}

namespace {

torch::nn::LayerNorm norm_of(torch::nn::Module& root, const char* path, const VitOptions& o) {
  return place(root, path,
               torch::nn::LayerNorm(torch::nn::LayerNormOptions({o.width}).eps(o.norm_epsilon)));
}

}  // namespace

// x += scale1 * attention(LN x); x += scale2 * feed_forward(LN x).
class VitLayer : public torch::nn::Module {
 public:
  explicit VitLayer(const VitOptions& o)
      : heads_(o.heads), gated_(o.gated), activation_(o.activation) {
    const auto linear = [&](const char* path, int64_t in, int64_t out, bool bias) {
      return place(*this, path, unfilled_linear(torch::nn::LinearOptions(in, out).bias(bias)));
    };
    query_ = linear("attention.attention.query", o.width, o.width, o.qkv_bias);
    key_ = linear("attention.attention.key", o.width, o.width, o.qkv_bias);
    value_ = linear("attention.attention.value", o.width, o.width, o.qkv_bias);
    out_ = linear("attention.output.dense", o.width, o.width, true);
    mlp_in_ = linear("intermediate.dense", o.width, (o.gated ? 2 : 1) * o.mlp_width, true);
    mlp_out_ = linear("output.dense", o.mlp_width, o.width, true);
    before_ = norm_of(*this, "layernorm_before", o);
    after_ = norm_of(*this, "layernorm_after", o);
    if (!o.layer_scale) return;
    const auto scale = [&](const char* name) {
      return scope(*this, name).register_parameter("lambda1", at::ones({o.width}));
    };
    scale1_ = scale("layer_scale1");
    scale2_ = scale("layer_scale2");
  }

  /// [N,n,D] -> [N,n,D], or [N,1,D] when only the first token is wanted.
  Tensor forward(const Tensor& x, int64_t wanted) const {
    const auto* packed = packed_ && packed_computes(packed_->frozen, packed_->format, Mode::infer,
                                                    "packed ViT layer")
                             ? packed_.get()
                             : nullptr;
    const auto u = through(before_, x);
    const auto o = attended(u, wanted, packed).transpose(1, 2).flatten(2);
    const auto branch = packed ? packed->out.apply(o) : through(out_, o);
    const auto y = add(x.narrow(1, 0, wanted), branch, scale1_);
    return add(y, feed_forward(through(after_, y), packed), scale2_);
  }

  void use_packed(const Packing& packing) {
    if (packing.format == PackedFormat::float32 && !can_pack_float32(parameters())) return;
    const auto joined = [](const Tensor& a, const Tensor& b) {
      return a.defined() ? at::cat({a, b}) : Tensor();
    };
    Packed layers{{query_->weight, query_->bias, packing},
                  {joined(key_->weight, value_->weight), joined(key_->bias, value_->bias), packing},
                  {out_->weight, out_->bias, packing},
                  {},
                  Frozen(parameters()),
                  packing.format};
    if (!gated_ && activation_ == Activation::gelu)
      layers.feed_forward.emplace(mlp_in_->weight, mlp_in_->bias, mlp_out_->weight, mlp_out_->bias,
                                  packing);
    packed_ = std::make_shared<Packed>(std::move(layers));
  }
  void drop_packed() { packed_ = nullptr; }

 private:
  struct Packed {
    PackedLinear query, keys_and_values, out;
    std::optional<PackedFeedForward> feed_forward;
    Frozen frozen;
    PackedFormat format;
  };

  static Tensor add(const Tensor& x, const Tensor& branch, const Tensor& scale) {
    return scale.defined() ? at::addcmul(x, branch, scale) : x + branch;
  }

  // [N,heads,wanted,w].
  Tensor attended(const Tensor& u, int64_t wanted, const Packed* packed) const {
    const auto asking = u.narrow(1, 0, wanted);
    if (!packed)
      return dot_product_attention(split(through(query_, asking)), split(through(key_, u)),
                                   split(through(value_, u)));
    const auto known = packed->keys_and_values.apply(u).chunk(2, -1);
    return dot_product_attention(split(packed->query.apply(asking)), split(known[0]),
                                 split(known[1]));
  }

  Tensor feed_forward(const Tensor& u, const Packed* packed) const {
    if (packed && packed->feed_forward) return packed->feed_forward->apply(u);
    auto hidden = through(mlp_in_, u);
    if (!gated_) return through(mlp_out_, activate_temporary(std::move(hidden), activation_));
    const auto halves = hidden.chunk(2, -1);
    return through(mlp_out_, at::silu(halves[0]) * halves[1]);
  }

  Tensor split(const Tensor& x) const { return x.unflatten(-1, {heads_, -1}).transpose(1, 2); }

  int64_t heads_;
  bool gated_;
  Activation activation_;
  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, out_{nullptr};
  torch::nn::Linear mlp_in_{nullptr}, mlp_out_{nullptr};
  torch::nn::LayerNorm before_{nullptr}, after_{nullptr};
  Tensor scale1_, scale2_;
  std::shared_ptr<const Packed> packed_;
};

namespace {

Tensor through_layer(const std::shared_ptr<VitLayer>& layer, const Tensor& x, int64_t wanted) {
  return recomputed(
      [layer, wanted](const Tensor& u, const Tensor&) { return layer->forward(u, wanted); }, x);
}

}  // namespace

Vit::Vit(const VitOptions& options, int64_t image_size, int64_t channels)
    : options_(options), image_size_(image_size) {
  auto problems = options.validate();
  if (image_size < options.patch)
    problems.push_back("VitOptions.patch = " + std::to_string(options.patch) +
                       " must be <= the image size = " + std::to_string(image_size));
  throw_if_any(problems);
  const int64_t grid = image_size / options.patch;
  auto& embeddings = scope(*this, "embeddings");
  const auto tokens = [&](const char* name, int64_t count) {
    return embeddings.register_parameter(name, at::zeros({1, count, options.width}));
  };
  if (options.class_token) class_token_ = tokens("cls_token", 1);
  positions_ = tokens("position_embeddings", grid * grid + (options.class_token ? 1 : 0));
  if (options.registers > 0) registers_ = tokens("register_tokens", options.registers);
  if (options.mask_token) mask_token_ = tokens("mask_token", 1);
  patches_ = place(*this, "embeddings.patch_embeddings",
                   std::make_shared<PatchEmbedding>(channels, options.patch, options.width));
  for (int64_t i = 0; i < options.depth; ++i)
    layers_.push_back(
        place(*this, "encoder.layer." + std::to_string(i), std::make_shared<VitLayer>(options)));
  norm_ = norm_of(*this, "layernorm", options);
  if (options.pooler)
    pooler_ = place(*this, "pooler.dense", torch::nn::Linear(options.width, options.width));
}

void Vit::use_packed(const Packing& packing) {
  for (const auto& layer : layers_) layer->use_packed(packing);
}

void Vit::drop_packed() {
  for (const auto& layer : layers_) layer->drop_packed();
}

void Vit::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  for (const auto& parameter : named_parameters()) {
    const auto& name = parameter.key();
    if (name.ends_with("bias"))
      init_constant(parameter.value(), 0.0);
    else if (name.find("layernorm") != std::string::npos || name.ends_with("lambda1"))
      init_constant(parameter.value(), 1.0);
    else
      init_normal(parameter.value(), kStd, noise);
  }
}

// The table belongs to a square grid: a picture with as many patches but another shape is resampled
// as well, as the published networks do.
Tensor Vit::positions(int64_t height, int64_t width) const {
  const int64_t rows = height / options_.patch, columns = width / options_.patch;
  const int64_t grid = image_size_ / options_.patch;
  const int64_t first = options_.class_token ? 1 : 0;
  if (height == width && rows * columns == grid * grid) return positions_;
  auto table =
      positions_.slice(1, first).view({1, grid, grid, options_.width}).permute({0, 3, 1, 2});
  if (options_.positions != PositionResize::bicubic) table = table.to(at::kFloat);
  constexpr bool kAlignCorners = false;
  Tensor resampled;
  if (options_.positions == PositionResize::bicubic_antialiased) {
    resampled = at::_upsample_bicubic2d_aa(table, {rows, columns}, kAlignCorners);
  } else if (options_.positions == PositionResize::bicubic_offset) {
    constexpr double kOffset = 0.1;  // DINOv2's guard against rounding down, part of its features
    const auto factor = [&](int64_t n) {
      return (static_cast<double>(n) + kOffset) / static_cast<double>(grid);
    };
    resampled = at::upsample_bicubic2d(table, {rows, columns}, kAlignCorners, factor(rows),
                                       factor(columns));
  } else {
    resampled = at::upsample_bicubic2d(table, {rows, columns}, kAlignCorners);
  }
  resampled = resampled.flatten(2).transpose(1, 2).to(positions_.scalar_type());
  return first == 0 ? resampled : at::cat({positions_.slice(1, 0, 1), resampled}, 1);
}

Tensor Vit::embed(const Tensor& images, const Tensor& masked) const {
  auto x = patches_->forward(images);
  if (masked.defined()) {
    require(mask_token_.defined(), ErrorCategory::unsupported,
            "this network has no mask token (VitOptions.mask_token = false)");
    check_shape("masked", masked, {x.size(0), x.size(1)}, "[N,n]");
    x = at::where(masked.unsqueeze(-1), mask_token_, x);
  }
  const auto for_all = [&](const Tensor& tokens) { return tokens.expand({x.size(0), -1, -1}); };
  const auto table = positions(images.size(2), images.size(3));
  if (!options_.class_token) return x + table;
  if (!registers_.defined()) return at::cat({for_all(class_token_), x}, 1) + table;
  return at::cat(
      {for_all(class_token_ + table.slice(1, 0, 1)), for_all(registers_), x + table.slice(1, 1)},
      1);
}

Tensor Vit::encode(const Tensor& images, Mode) const {
  if (!options_.class_token) return tokens(images).mean(1);
  auto x = embed(images);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    x = through_layer(layers_[i], x, i + 1 == layers_.size() ? 1 : x.size(1));
  return through(norm_, x.select(1, 0));
}

Tensor Vit::tokens(const Tensor& images, const Tensor& masked) const {
  auto x = embed(images, masked);
  for (const auto& layer : layers_) x = through_layer(layer, x, x.size(1));
  return through(norm_, x);
}

Tensor Vit::patch_tokens(const Tensor& images) const { return tokens(images).slice(1, prefix()); }

std::vector<Tensor> Vit::hidden_states(const Tensor& images) const {
  std::vector<Tensor> states{embed(images)};
  for (const auto& layer : layers_)
    states.push_back(layer->forward(states.back(), states.back().size(1)));
  return states;
}

Tensor Vit::pool(const Tensor& tokens) const {
  require(!pooler_.is_empty(), ErrorCategory::unsupported,
          "this network has no pooler (VitOptions.pooler = false)");
  check_shape("tokens", tokens, {kAny, kAny, options_.width}, "[N,n,D]");
  return at::tanh(through(pooler_, tokens.select(1, 0)));
}

}  // namespace foresight::nn
