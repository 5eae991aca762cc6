// SPDX-License-Identifier: Apache-2.0
// K multi-layer perceptrons of one shape as one: their weights are stacked, so that an ensemble
// costs one batched matrix product a layer instead of K small ones.
#pragma once

#include <vector>

#include "foresight/nn/mlp.hpp"

namespace foresight::nn {

/// State-dict keys: layers.{i}.weight [K,in,out] and layers.{i}.bias [K,1,out].
class FORESIGHT_API StackedMlp : public torch::nn::Module {
 public:
  /// `options.norm` must be none. Throws Error(invalid_option).
  StackedMlp(int64_t count, int64_t input, const MlpOptions& options, int64_t output);

  /// [K,N,in] -> [K,N,out], network k applied to rows [k].
  Tensor forward(const Tensor& x) const;
  /// Network by network as Mlp::initialise().
  void initialise(Noise& noise);

  int64_t count() const noexcept { return count_; }
  int64_t input() const noexcept { return input_; }
  int64_t output() const noexcept { return output_; }

 private:
  int64_t count_, input_, output_;
  Activation activation_;
  std::vector<Tensor> weights_, biases_;
};

}  // namespace foresight::nn
