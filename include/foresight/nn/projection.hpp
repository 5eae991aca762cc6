// SPDX-License-Identifier: Apache-2.0
// Two-layer projection head: Linear, BatchNorm / LayerNorm / nothing, exact GELU, Linear. LeWM uses
// it behind the encoder and behind the predictor, PLDM as inverse-dynamics head.
#pragma once

#include <memory>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/nn/batch_norm.hpp"
#include "foresight/nn/frozen.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/norm.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

struct FORESIGHT_API ProjectionOptions {
  int64_t hidden = 2048;            ///< hidden width; 0: no head, the input passes through
  NormKind norm = NormKind::batch;  ///< of the hidden layer (eps 1e-5, momentum 0.1)

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("hidden", self.hidden, "hidden width; 0: no head, the input passes through");
    visit("norm", self.norm, "normalisation of the hidden layer");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: net.0.*, net.1.* (the norm), net.3.*, as in a torch Sequential.
class FORESIGHT_API Projection : public torch::nn::Module {
 public:
  /// Needs options.hidden >= 1. Throws Error(invalid_option).
  Projection(int64_t input, const ProjectionOptions& options, int64_t output);

  /// [..., input] -> [..., output]. Batch statistics run over all leading axes together.
  Tensor forward(const Tensor& x, Mode mode) const;

  /// The head for inference with the running statistics folded into the first layer: equal up to
  /// rounding, one pass over the hidden activations less. Valid until the weights change.
  class FORESIGHT_API Folded {
   public:
    Tensor forward(const Tensor& x) const;

   private:
    friend class Projection;
    Tensor first_weight_, first_bias_, last_weight_, last_bias_;
    torch::nn::LayerNorm norm_{nullptr};
    std::shared_ptr<const PackedFeedForward> packed_;
  };
  Folded fold() const;

  /// From now on inference computes with packed weights (nn/packed_linear.hpp), with the running
  /// statistics folded in; in fixed16 training is refused. A head with a layer norm stays as it is.
  void use_packed(const Packing& packing);
  /// Frees them.
  void drop_packed() { packed_ = nullptr; }

  void initialise(Noise& noise);

 private:
  struct Packed {
    std::shared_ptr<const PackedFeedForward> layers;
    Frozen frozen;
    PackedFormat format;
  };
  // Null where the plain layers compute.
  std::shared_ptr<const PackedFeedForward> packed_for(Mode mode) const;

  torch::nn::Linear first_{nullptr}, last_{nullptr};
  std::shared_ptr<BatchNorm1d> batch_norm_;
  torch::nn::LayerNorm layer_norm_{nullptr};
  std::shared_ptr<const Packed> packed_;
};

}  // namespace foresight::nn
