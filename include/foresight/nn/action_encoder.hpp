// SPDX-License-Identifier: Apache-2.0
// Embeds one action block at a time, without mixing over time (LeWM, arXiv 2603.19312): a narrow
// linear layer, stored as a convolution of kernel 1, then an MLP.
#pragma once

#include <torch/nn/modules/conv.h>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/nn/module.hpp"

namespace foresight::nn {

struct FORESIGHT_API ActionEncoderOptions {
  int64_t width = 192;    ///< embedding width; 0: no encoder, blocks are used as they are
  int64_t narrow = 10;    ///< width of the first layer
  int64_t expansion = 4;  ///< hidden width as a multiple of `width`

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("width", self.width, "embedding width; 0: no encoder, blocks are used as they are");
    visit("narrow", self.narrow, "width of the first layer");
    visit("expansion", self.expansion, "hidden width as a multiple of width");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: patch_embed.*, embed.0.*, embed.2.*.
class FORESIGHT_API ActionEncoder : public torch::nn::Module {
 public:
  /// `input`: A, width of a block. Needs options.width >= 1. Throws Error(invalid_option).
  ActionEncoder(int64_t input, const ActionEncoderOptions& options);

  /// Normalised blocks [..., A] of any floating dtype -> embeddings [..., width].
  Tensor forward(const Tensor& blocks) const;
  void initialise(Noise& noise);

 private:
  torch::nn::Conv1d narrow_{nullptr};
  torch::nn::Linear expand_{nullptr}, project_{nullptr};
};

}  // namespace foresight::nn
