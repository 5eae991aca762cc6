// SPDX-License-Identifier: Apache-2.0
// The small dynamics network: next latent = latent + MLP(last W latents and action embeddings). No
// attention, a handful of matrix products per step: hundreds of candidates per millisecond on a
// CPU.
#pragma once

#include <memory>

#include "foresight/nn/mlp.hpp"
#include "foresight/nn/predictor.hpp"

namespace foresight::nn {

/// Frames before the start of the data are zeros, latents and conditions alike. The last layer
/// starts at zero, so that an untrained model predicts that nothing changes. State-dict keys:
/// mlp.layers.{i}.*; the first layer's columns are the window's latents, oldest first, then its
/// conditions.
class FORESIGHT_API ResidualPredictor : public LatentPredictor {
 public:
  /// sizes.output must equal sizes.latent. Throws Error(invalid_option).
  ResidualPredictor(const MlpOptions& options, const PredictorSizes& sizes);

  Tensor forward(const Tensor& latents, const Tensor& conditions, Mode mode) const override;
  Tensor last(const Tensor& latents, const Tensor& conditions, Mode mode) const override;
  /// The actions' part of the first layer is computed for all steps in one product; with one frame
  /// of history a step neither copies nor concatenates anything.
  Tensor rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                 const PredictionHead& head) const override;
  int64_t max_length() const override;
  void initialise(Noise& noise) override;

 private:
  std::shared_ptr<Mlp> mlp_;
};

}  // namespace foresight::nn
