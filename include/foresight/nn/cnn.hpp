// SPDX-License-Identifier: Apache-2.0
// A small strided convolutional encoder: fast enough to train on a laptop's CPU.
#pragma once

#include <torch/nn/modules/conv.h>

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/batch_norm.hpp"
#include "foresight/nn/encoder.hpp"
#include "foresight/nn/norm.hpp"

namespace foresight::nn {

/// Each convolution halves the image (kernel 4, stride 2, padding 1); a linear layer reads the
/// rest.
struct FORESIGHT_API CnnOptions {
  std::vector<int64_t> channels = {16, 32, 64, 128};  ///< output channels of every convolution
  int64_t width = 128;                                ///< width of the feature vector
  Activation activation = Activation::silu;           ///< after every convolution
  NormKind norm = NormKind::none;                     ///< before the activation; layer = one group

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("channels", self.channels, "output channels of every convolution; each halves the image");
    visit("width", self.width, "width of the feature vector");
    visit("activation", self.activation, "after every convolution");
    visit("norm", self.norm, "before the activation; layer = one group over all channels");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: conv.{i}.*, norm.{i}.*, head.*.
class FORESIGHT_API Cnn : public ImageEncoder {
 public:
  /// Throws Error(invalid_option) if the options are invalid or the image too small for the depth.
  Cnn(const CnnOptions& options, int64_t image_size, int64_t channels = 3);

  /// [N,C,image_size,image_size] -> [N, width]. Other sizes are an Error(invalid_argument).
  Tensor encode(const Tensor& images, Mode mode) const override;
  int64_t width() const override { return options_.width; }
  void initialise(Noise& noise) override;

 private:
  CnnOptions options_;
  int64_t image_size_, channels_;
  std::vector<torch::nn::Conv2d> convolutions_;
  std::vector<std::shared_ptr<BatchNorm2d>> batch_norms_;
  std::vector<torch::nn::GroupNorm> group_norms_;
  torch::nn::Linear head_{nullptr};
};

}  // namespace foresight::nn
