// SPDX-License-Identifier: Apache-2.0
// The residual convolutional encoder of IMPALA (arXiv 1802.01561), in the form that EB-JEPA uses
// for Two Rooms: small, without batch statistics, precise about where things are.
#pragma once

#include <torch/nn/modules/conv.h>

#include <memory>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/encoder.hpp"
#include "foresight/nn/norm.hpp"

namespace foresight::nn {

/// Defaults are EB-JEPA's.
struct FORESIGHT_API ImpalaOptions {
  std::vector<int64_t> channels = {16, 32, 32};  ///< of every stack; each halves the image
  int64_t blocks = 2;                            ///< residual blocks of a stack
  int64_t width = 512;                           ///< of the feature vector
  NormKind inner_norm = NormKind::none;   ///< layer: of the last feature map as a whole, without
                                          ///< parameters
  NormKind final_norm = NormKind::layer;  ///< of the feature vector: none or layer

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("channels", self.channels, "channels of every stack; each halves the image");
    visit("blocks", self.blocks, "residual blocks of a stack");
    visit("width", self.width, "width of the feature vector");
    visit("inner_norm", self.inner_norm, "of the last feature map as a whole: none or layer");
    visit("final_norm", self.final_norm, "of the feature vector: none or layer");
  }
  std::vector<std::string> validate() const;
};

/// Stack: conv 3x3, max-pool 3 stride 2, blocks relu(conv(relu(conv x)) + x). Then relu, flatten in
/// the order C,H,W, linear, norm. State-dict keys: stack_blocks.{s}.initial_conv.*,
/// stack_blocks.{s}.blocks.{b}.conv{1,2}.*, mlp.*, final_ln.*.
class FORESIGHT_API ImpalaEncoder : public ImageEncoder {
 public:
  /// Throws Error(invalid_option).
  ImpalaEncoder(const ImpalaOptions& options, int64_t image_size, int64_t channels);

  /// [N,C,image_size,image_size] -> [N,width].
  Tensor encode(const Tensor& images, Mode mode) const override;
  /// Feature map [N,C_s,h,w] after the first `stacks` stacks.
  Tensor feature_map(const Tensor& images, int64_t stacks) const;

  int64_t width() const override { return options_.width; }
  int64_t image_size() const noexcept { return image_size_; }
  int64_t channels() const noexcept { return channels_; }
  /// The norm of the feature vector, which a predictor may share; empty without one.
  const torch::nn::LayerNorm& final_norm() const noexcept { return final_norm_; }
  void initialise(Noise& noise) override;

 private:
  struct Block {
    torch::nn::Conv2d first{nullptr}, second{nullptr};
  };
  struct Stack {
    torch::nn::Conv2d entry{nullptr};
    std::vector<Block> blocks;
  };

  ImpalaOptions options_;
  int64_t image_size_, channels_;
  std::vector<Stack> stacks_;
  torch::nn::Linear head_{nullptr};
  torch::nn::LayerNorm final_norm_{nullptr};
};

}  // namespace foresight::nn
