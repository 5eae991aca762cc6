// SPDX-License-Identifier: Apache-2.0
// Vision transformer on image patches: pre-norm blocks, separate q, k, v, learned positions that
// are resampled for other image sizes. Its options cover ViT, DINO, I-JEPA and DINOv2
// (nn/dinov2.hpp) as published. State-dict keys are those of Hugging Face's ViTModel before
// transformers 5; nn/vit_layouts.hpp translates the other published layouts.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/encoder.hpp"
#include "foresight/nn/patch_embedding.hpp"

namespace foresight::nn {

/// How the position table is resampled for an image of another size: always bicubic (A = -0.75),
/// corners not aligned. Published networks differ here, and their features with it.
enum class PositionResize {
  bicubic,              ///< in the model's own type: ViT, I-JEPA
  bicubic_float,        ///< in float32: DINOv2 without registers in Hugging Face's transformers
  bicubic_antialiased,  ///< in float32, antialiased: DINOv2 with registers
  bicubic_offset,       ///< in float32, by the factor (n + 0.1)/M where M patches become n: DINOv2
                        ///< without registers in its own code (torch.hub), hence DINO-WM
};

/// Defaults are ViT-Tiny/14, the encoder of LeWM (arXiv 2603.19312).
struct FORESIGHT_API VitOptions {
  int64_t patch = 14;           ///< side of a square patch, pixels
  int64_t width = 192;          ///< token width; must be a multiple of heads
  int64_t depth = 12;           ///< transformer layers
  int64_t heads = 3;            ///< attention heads
  int64_t mlp_width = 768;      ///< hidden width of the feed-forward part
  double norm_epsilon = 1e-12;  ///< LayerNorm epsilon; part of the architecture (DINO: 1e-6)
  Activation activation = Activation::gelu;  ///< of the feed-forward part unless gated
  bool gated = false;        ///< SwiGLU feed-forward: first layer 2*mlp_width, silu(half) * half
  bool qkv_bias = true;      ///< query, key and value layers have a bias
  bool class_token = true;   ///< a token before the patches, with a position of its own
  int64_t registers = 0;     ///< tokens without position between class token and patches
  bool layer_scale = false;  ///< each branch is multiplied by a learned vector
  bool mask_token = false;   ///< a learned token can stand in for patches
  bool pooler = false;       ///< linear layer and tanh on the class token: Vit::pool()
  PositionResize positions = PositionResize::bicubic;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("patch", self.patch, "side of a square patch, pixels");
    visit("width", self.width, "token width; must be a multiple of heads");
    visit("depth", self.depth, "transformer layers");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
    visit("activation", self.activation, "of the feed-forward part unless gated");
    visit("gated", self.gated, "SwiGLU feed-forward");
    visit("qkv_bias", self.qkv_bias, "query, key and value layers have a bias");
    visit("class_token", self.class_token, "a token before the patches");
    visit("registers", self.registers, "tokens without position before the patches");
    visit("layer_scale", self.layer_scale, "each branch is multiplied by a learned vector");
    visit("mask_token", self.mask_token, "a learned token can stand in for patches");
    visit("pooler", self.pooler, "linear layer and tanh on the class token");
    visit("positions", self.positions, "how positions are resampled for other image sizes");
  }
  std::vector<std::string> validate() const;
};

class FORESIGHT_API VitLayer;

class FORESIGHT_API Vit : public ImageEncoder {
 public:
  /// `image_size`: native side of the square position table, pixels. Layers hold no numbers until
  /// initialise() or a file fills them (nn/unfilled_linear.hpp). Throws Error(invalid_option).
  Vit(const VitOptions& options, int64_t image_size, int64_t channels = 3);

  /// One vector per image, [N, width], after the last norm: the class token, of which alone the
  /// last layer computes query, output projection and feed-forward; without class token the mean of
  /// the patches.
  Tensor encode(const Tensor& images, Mode mode) const override;
  int64_t width() const override { return options_.width; }
  /// All linear layers but the patch embedding and the pooler; the feed-forward part only with
  /// GELU.
  void use_packed(const Packing& packing) override;
  void drop_packed() override;
  /// N(0, 0.02^2) weights, tokens and positions; zero biases; layer scales of 1 (the Hugging Face
  /// default).
  void initialise(Noise& noise) override;

  /// Class token, registers and patches, positions added: [N, prefix()+n, width]. `masked` (bool
  /// [N,n], may be undefined): the mask token takes the place of these patches.
  Tensor embed(const Tensor& images, const Tensor& masked = {}) const;
  /// All tokens after the last norm, [N, prefix()+n, width].
  Tensor tokens(const Tensor& images, const Tensor& masked = {}) const;
  /// tokens() of the patches alone, [N,n,width], row-major.
  Tensor patch_tokens(const Tensor& images) const;
  /// The residual stream: embed() and the output of every layer, before the last norm. depth+1
  /// tensors.
  std::vector<Tensor> hidden_states(const Tensor& images) const;
  /// tanh(linear(first token)) of tokens() [N,n,width]. Error(unsupported) without a pooler.
  Tensor pool(const Tensor& tokens) const;
  /// The position table for an image of this size, [1, 1+n, width] (without class token: [1,n,D]).
  Tensor positions(int64_t height, int64_t width) const;

  /// Tokens before the patches: class token and registers.
  int64_t prefix() const noexcept { return (options_.class_token ? 1 : 0) + options_.registers; }
  const VitOptions& options() const noexcept { return options_; }
  int64_t image_size() const noexcept { return image_size_; }

 private:
  VitOptions options_;
  int64_t image_size_;
  Tensor class_token_, mask_token_, registers_, positions_;
  std::shared_ptr<PatchEmbedding> patches_;
  std::vector<std::shared_ptr<VitLayer>> layers_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear pooler_{nullptr};
};

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::PositionResize> {
  using E = foresight::nn::PositionResize;
  static constexpr std::array<std::pair<std::string_view, E>, 4> names{
      {{"bicubic", E::bicubic},
       {"bicubic_float", E::bicubic_float},
       {"bicubic_antialiased", E::bicubic_antialiased},
       {"bicubic_offset", E::bicubic_offset}}};
};
