// SPDX-License-Identifier: Apache-2.0
// The projector of joint-embedding training (VICReg, arXiv 2105.04906): losses look at latents
// through it, planning never does. Linear, BatchNorm, ReLU, ..., and a last linear layer without
// bias.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/nn/batch_norm.hpp"

namespace foresight::nn {

/// State-dict keys: net.{3i}.* (linear), net.{3i+1}.* (norm), as in a torch Sequential.
class FORESIGHT_API Projector : public torch::nn::Module {
 public:
  /// `widths`: of the input and of every layer's output, e.g. {512, 2048, 128}. Throws
  /// Error(invalid_option) for fewer than two, or one below 1.
  explicit Projector(const std::vector<int64_t>& widths);

  /// [..., widths.front()] -> [..., widths.back()]. Batch statistics run over all leading axes
  /// together.
  Tensor forward(const Tensor& x, Mode mode) const;
  void initialise(Noise& noise);
  int64_t output() const noexcept { return output_; }

 private:
  int64_t output_;
  std::vector<torch::nn::Linear> layers_;
  std::vector<std::shared_ptr<BatchNorm1d>> norms_;
};

}  // namespace foresight::nn
