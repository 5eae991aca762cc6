// SPDX-License-Identifier: Apache-2.0
// A plain multi-layer perceptron: Linear, optional LayerNorm, activation, ..., Linear.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/norm.hpp"

namespace foresight::nn {

struct FORESIGHT_API MlpOptions {
  std::vector<int64_t> hidden = {128, 128};  ///< hidden widths; empty: one linear layer
  Activation activation = Activation::silu;  ///< between layers
  NormKind norm = NormKind::none;            ///< before each activation: none or layer

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden, "hidden widths; empty: one linear layer");
    visit("activation", self.activation, "between layers");
    visit("norm", self.norm, "before each activation: none or layer");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: layers.{i}.*, norms.{i}.*; or, in the layout of a torch Sequential with
/// activations between its linear layers, {sequential}.{2i}.*.
class FORESIGHT_API Mlp : public torch::nn::Module {
 public:
  /// `sequential`: name of the Sequential whose keys are wanted; it has no norms. Throws
  /// Error(invalid_option).
  Mlp(int64_t input, const MlpOptions& options, int64_t output, std::string_view sequential = {});

  /// [..., input] -> [..., output].
  Tensor forward(const Tensor& x) const;
  /// Continues after the first linear layer: `first` [..., hidden.front()] is its output, which a
  /// caller may have assembled from precomputed parts. `first` may be overwritten when no gradient
  /// is recorded.
  Tensor forward_from_first(Tensor first) const;
  /// The first linear layer.
  const torch::nn::Linear& first() const { return layers_.front(); }
  const torch::nn::Linear& last() const { return layers_.back(); }

  void initialise(Noise& noise);
  int64_t input() const noexcept { return input_; }
  int64_t output() const noexcept { return output_; }

 private:
  MlpOptions options_;
  int64_t input_, output_;
  std::vector<torch::nn::Linear> layers_;
  std::vector<torch::nn::LayerNorm> norms_;
};

}  // namespace foresight::nn
