// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/vit.hpp"

#include <cmath>

#include "foresight/nn/init.hpp"

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
  return rules.problems();
}

// x += attention(LN x); x += feed_forward(LN x).
class VitLayer : public torch::nn::Module {
 public:
  explicit VitLayer(const VitOptions& o) : heads_(o.heads) {
    const auto linear = [&](const char* path, int64_t in, int64_t out) {
      return place(*this, path, torch::nn::Linear(in, out));
    };
    const auto norm = [&](const char* path) {
      return place(
          *this, path,
          torch::nn::LayerNorm(torch::nn::LayerNormOptions({o.width}).eps(o.norm_epsilon)));
    };
    query_ = linear("attention.attention.query", o.width, o.width);
    key_ = linear("attention.attention.key", o.width, o.width);
    value_ = linear("attention.attention.value", o.width, o.width);
    out_ = linear("attention.output.dense", o.width, o.width);
    mlp_in_ = linear("intermediate.dense", o.width, o.mlp_width);
    mlp_out_ = linear("output.dense", o.mlp_width, o.width);
    before_ = norm("layernorm_before");
    after_ = norm("layernorm_after");
  }

  /// [N,n,D] -> [N,n,D], or [N,1,D] when only the first token is wanted.
  Tensor forward(const Tensor& x, int64_t wanted) const {
    const auto u = through(before_, x);
    const auto o =
        at::scaled_dot_product_attention(split(through(query_, u.narrow(1, 0, wanted))),
                                         split(through(key_, u)), split(through(value_, u)));
    auto y = x.narrow(1, 0, wanted) + through(out_, o.transpose(1, 2).flatten(2));
    return y + through(mlp_out_, at::gelu(through(mlp_in_, through(after_, y))));
  }

 private:
  Tensor split(const Tensor& x) const {
    return x.view({x.size(0), x.size(1), heads_, -1}).transpose(1, 2);
  }

  int64_t heads_;
  torch::nn::Linear query_{nullptr}, key_{nullptr}, value_{nullptr}, out_{nullptr};
  torch::nn::Linear mlp_in_{nullptr}, mlp_out_{nullptr};
  torch::nn::LayerNorm before_{nullptr}, after_{nullptr};
};

Vit::Vit(const VitOptions& options, int64_t image_size, int64_t channels)
    : options_(options), image_size_(image_size) {
  auto problems = options.validate();
  if (image_size < options.patch)
    problems.push_back("VitOptions.patch = " + std::to_string(options.patch) +
                       " must be <= the image size = " + std::to_string(image_size));
  throw_if_any(problems);
  const int64_t grid = image_size / options.patch;
  auto& embeddings = scope(*this, "embeddings");
  class_token_ = embeddings.register_parameter("cls_token", at::zeros({1, 1, options.width}));
  positions_ = embeddings.register_parameter("position_embeddings",
                                             at::zeros({1, grid * grid + 1, options.width}));
  patches_ = place(*this, "embeddings.patch_embeddings",
                   std::make_shared<PatchEmbedding>(channels, options.patch, options.width));
  for (int64_t i = 0; i < options.depth; ++i)
    layers_.push_back(
        place(*this, "encoder.layer." + std::to_string(i), std::make_shared<VitLayer>(options)));
  norm_ = place(
      *this, "layernorm",
      torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width}).eps(options.norm_epsilon)));
}

void Vit::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  for (const auto& parameter : named_parameters()) {
    const auto& name = parameter.key();
    if (name.ends_with("bias"))
      init_constant(parameter.value(), 0.0);
    else if (name.find("layernorm") != std::string::npos)
      init_constant(parameter.value(), 1.0);
    else
      init_normal(parameter.value(), kStd, noise);
  }
}

// The table belongs to a square grid: a picture with as many patches but another shape is resampled
// as well (bicubic, A = -0.75, no antialias), as ViTModel does with interpolate_pos_encoding.
Tensor Vit::positions(int64_t height, int64_t width) const {
  const int64_t rows = height / options_.patch, columns = width / options_.patch;
  if (height == width && rows * columns + 1 == positions_.size(1)) return positions_;
  const int64_t grid = image_size_ / options_.patch;
  const auto table =
      positions_.slice(1, 1).view({1, grid, grid, options_.width}).permute({0, 3, 1, 2});
  const auto resampled = at::upsample_bicubic2d(table, {rows, columns}, /*align_corners=*/false);
  return at::cat({positions_.slice(1, 0, 1), resampled.flatten(2).transpose(1, 2)}, 1);
}

Tensor Vit::embed(const Tensor& images) const {
  const auto patches = patches_->forward(images);
  const auto first = class_token_.expand({images.size(0), 1, options_.width});
  return at::cat({first, patches}, 1) + positions(images.size(2), images.size(3));
}

Tensor Vit::encode(const Tensor& images, Mode) const {
  auto x = embed(images);
  for (std::size_t i = 0; i < layers_.size(); ++i)
    x = layers_[i]->forward(x, i + 1 == layers_.size() ? 1 : x.size(1));
  return through(norm_, x.select(1, 0));
}

Tensor Vit::tokens(const Tensor& images) const {
  auto x = embed(images);
  for (const auto& layer : layers_) x = layer->forward(x, x.size(1));
  return through(norm_, x);
}

std::vector<Tensor> Vit::hidden_states(const Tensor& images) const {
  std::vector<Tensor> states{embed(images)};
  for (const auto& layer : layers_)
    states.push_back(layer->forward(states.back(), states.back().size(1)));
  return states;
}

}  // namespace foresight::nn
