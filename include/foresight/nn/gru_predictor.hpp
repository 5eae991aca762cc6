// SPDX-License-Identifier: Apache-2.0
// Dynamics by one recurrent step: the latent is the hidden state of a gated recurrent unit (arXiv
// 1406.1078), the action its input.
#pragma once

#include "foresight/nn/predictor.hpp"

namespace foresight::nn {

/// next = norm(h'), with PyTorch's gates for action a and latent h:
///   r = s(W_ir a + b_ir + W_hr h + b_hr),  z = s(W_iz a + b_iz + W_hz h + b_hz),
///   n = tanh(W_in a + b_in + r (W_hn h + b_hn)),  h' = (1 - z) n + z h.
/// It looks at one frame. State-dict keys: rnn.{weight,bias}_{ih,hh}_l0, rows in the order r, z, n.
class FORESIGHT_API GruPredictor : public LatentPredictor {
 public:
  /// `norm` belongs to another module (EB-JEPA: the encoder's last), so that it is not registered
  /// here and stands once in the parameters of the whole; empty: none. sizes.frames must be 1 and
  /// sizes.output equal sizes.latent. Throws Error(invalid_option).
  explicit GruPredictor(const PredictorSizes& sizes, torch::nn::LayerNorm norm = nullptr);

  Tensor forward(const Tensor& latents, const Tensor& conditions, Mode mode) const override;
  /// Without gradients in float32 on the CPU, product, gates and norm of a
  /// step are one pass (equal to forward() up to rounding); elsewhere, the actions' part of the
  /// gates is computed for all steps in one product.
  Tensor rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                 const PredictionHead& head) const override;
  int64_t max_length() const override;
  /// All weights from U(-1/sqrt(D), 1/sqrt(D)), as PyTorch does. The norm is its owner's business.
  void initialise(Noise& noise) override;

 private:
  Tensor next(const Tensor& latent, const Tensor& from_action) const;
  // From latents [N,D] through actions [N,H,A]: [N,H,D].
  Tensor stepped_rollout(Tensor latent, const Tensor& actions, const PredictionHead& head) const;
  Tensor fused_rollout(const Tensor& start, const Tensor& actions,
                       const PredictionHead& head) const;
  bool is_fused(const Tensor& latent, const Tensor& actions) const;

  Tensor action_weight_, latent_weight_, action_bias_, latent_bias_;
  torch::nn::LayerNorm norm_;
};

}  // namespace foresight::nn
