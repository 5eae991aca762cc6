// SPDX-License-Identifier: Apache-2.0
// Residual convolutional networks that keep the resolution of what they see (ResNet, arXiv
// 1512.03385; U-Net, arXiv 1505.04597), as EB-JEPA uses them on video: latents are feature maps.
#pragma once

#include <torch/nn/modules/conv.h>

#include <memory>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/nn/batch_norm.hpp"

namespace foresight::nn {

/// relu(norm(conv(relu(norm(conv x)))) + shortcut), 3x3 convolutions without bias; the shortcut is
/// a 1x1 convolution with norm where the shape changes. State-dict keys: conv{1,2}.*, bn{1,2}.*,
/// shortcut.{0,1}.*.
class FORESIGHT_API ResidualBlock : public torch::nn::Module {
 public:
  ResidualBlock(int64_t in, int64_t out, int64_t stride = 1);
  /// [N,in,h,w] -> [N,out,ceil(h/stride),ceil(w/stride)].
  Tensor forward(const Tensor& x, Mode mode) const;

 private:
  int64_t stride_;
  torch::nn::Conv2d first_{nullptr}, second_{nullptr}, shortcut_{nullptr};
  std::shared_ptr<BatchNorm2d> first_norm_, second_norm_, shortcut_norm_;
};

/// A convolution and three residual blocks of widths hidden, 2 hidden, out; nothing is strided.
/// State-dict keys: conv1.*, bn1.*, layer{1,2,3}.*.
class FORESIGHT_API ResNet5 : public torch::nn::Module {
 public:
  /// Throws Error(invalid_option) for a width below 1.
  ResNet5(int64_t in, int64_t hidden, int64_t out);
  /// [N,in,h,w] -> [N,out,h,w].
  Tensor forward(const Tensor& x, Mode mode) const;
  void initialise(Noise& noise);

 private:
  torch::nn::Conv2d entry_{nullptr};
  std::shared_ptr<BatchNorm2d> entry_norm_;
  std::vector<std::shared_ptr<ResidualBlock>> blocks_;
};

/// Three levels of residual blocks down (each half the size, twice the width), a bottleneck, and
/// three up, each joined with its level's map. Sizes that are no multiple of 8 are resized to the
/// map that they are joined with (bilinear). State-dict keys: conv1.*, bn1.*, enc{1,2,3}.*, bott.*,
/// up{1,2,3}.*, dec{1,2,3}.*, head.*.
class FORESIGHT_API ResUNet : public torch::nn::Module {
 public:
  /// Throws Error(invalid_option) for a width below 1.
  ResUNet(int64_t in, int64_t hidden, int64_t out);
  /// [N,in,h,w] -> [N,out,h,w].
  Tensor forward(const Tensor& x, Mode mode) const;
  void initialise(Noise& noise);

 private:
  torch::nn::Conv2d entry_{nullptr}, head_{nullptr};
  std::shared_ptr<BatchNorm2d> entry_norm_;
  std::vector<std::shared_ptr<ResidualBlock>> down_, up_blocks_;
  std::shared_ptr<ResidualBlock> bottleneck_;
  std::vector<torch::nn::ConvTranspose2d> up_;
};

}  // namespace foresight::nn
