// SPDX-License-Identifier: Apache-2.0
// Vision transformer with a class token, in the convention of Hugging Face's ViTModel: pre-norm,
// separate q, k, v with bias, exact GELU, LayerNorm eps 1e-12, no pooler, position table resampled
// for other image sizes. State-dict keys are those of transformers < 5.9; nn/hf_vit_keys.hpp maps
// the newer ones.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/encoder.hpp"
#include "foresight/nn/patch_embedding.hpp"

namespace foresight::nn {

/// Defaults are ViT-Tiny/14, the encoder of LeWM (arXiv 2603.19312).
struct FORESIGHT_API VitOptions {
  int64_t patch = 14;           ///< side of a square patch, pixels
  int64_t width = 192;          ///< token width; must be a multiple of heads
  int64_t depth = 12;           ///< transformer layers
  int64_t heads = 3;            ///< attention heads
  int64_t mlp_width = 768;      ///< hidden width of the feed-forward part
  double norm_epsilon = 1e-12;  ///< LayerNorm epsilon; part of the architecture (DINO: 1e-6)

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("patch", self.patch, "side of a square patch, pixels");
    visit("width", self.width, "token width; must be a multiple of heads");
    visit("depth", self.depth, "transformer layers");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
  }
  std::vector<std::string> validate() const;
};

class FORESIGHT_API VitLayer;

class FORESIGHT_API Vit : public ImageEncoder {
 public:
  /// `image_size`: native side of the square position table, pixels. Throws Error(invalid_option).
  Vit(const VitOptions& options, int64_t image_size, int64_t channels = 3);

  /// Class token after the last norm, [N, width]. The last layer computes queries, output
  /// projection and feed-forward for that token only: nothing else of it is read.
  Tensor encode(const Tensor& images, Mode mode) const override;
  int64_t width() const override { return options_.width; }
  /// N(0, 0.02^2) weights, class token and positions; zero biases (the Hugging Face default).
  void initialise(Noise& noise) override;

  /// Patch tokens behind the class token, positions added: [N, 1+n, width].
  Tensor embed(const Tensor& images) const;
  /// All tokens after the last norm, [N, 1+n, width].
  Tensor tokens(const Tensor& images) const;
  /// The residual stream: embed() and the output of every layer, before the last norm. depth+1
  /// tensors.
  std::vector<Tensor> hidden_states(const Tensor& images) const;

  const VitOptions& options() const noexcept { return options_; }

 private:
  Tensor positions(int64_t height, int64_t width) const;

  VitOptions options_;
  int64_t image_size_;
  Tensor class_token_, positions_;
  std::shared_ptr<PatchEmbedding> patches_;
  std::vector<std::shared_ptr<VitLayer>> layers_;
  torch::nn::LayerNorm norm_{nullptr};
};

}  // namespace foresight::nn
