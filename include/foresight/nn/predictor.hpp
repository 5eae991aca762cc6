// SPDX-License-Identifier: Apache-2.0
// What a latent world model needs of its predictor: the next latent from a window of latents and
// action embeddings, and whole imagined futures computed with as little work as gives the same
// result.
#pragma once

#include <functional>

#include "foresight/core/noise.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

/// Sizes through which a predictor meets the rest of a model.
struct PredictorSizes {
  int64_t frames = 1;     ///< W, frames that it can look at
  int64_t latent = 1;     ///< D, width of a latent
  int64_t condition = 1;  ///< C, width of an action embedding
  int64_t output = 1;     ///< width of a prediction, before the head
};

/// Maps predictions [..., output] to latents [..., D].
using PredictionHead = std::function<Tensor(const Tensor&)>;

/// Predicts latents. In a window of L frames, condition k belongs to the action block that *leaves*
/// frame k, and output k predicts frame k+1 from frames and blocks 0..k only. Derive from it to
/// plug in an own dynamics network.
class FORESIGHT_API LatentPredictor : public torch::nn::Module {
 public:
  explicit LatentPredictor(const PredictorSizes& sizes) : sizes_(sizes) {}

  /// latents [N,L,D], conditions [N,L,C] -> [N,L,output], 1 <= L <= max_length().
  virtual Tensor forward(const Tensor& latents, const Tensor& conditions, Mode mode) const = 0;

  /// The last row of forward(), [N,output]; an override skips what only other rows need.
  virtual Tensor last(const Tensor& latents, const Tensor& conditions, Mode mode) const;

  /// Imagined latents of all candidates, for inference.
  /// context [B,F,D]: observed latents, oldest first; past [B,F-1,C]: conditions between them;
  /// future [B,S,H,C]: candidates; head: applied to every prediction before it is fed back.
  /// Result [B,S,H,D]. Step t looks at the last `frames` of F+t frames. The default loops last().
  virtual Tensor rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                         const PredictionHead& head) const;

  /// From now on inference computes with packed weights (nn/packed_linear.hpp); in fixed16 training
  /// is refused. The default leaves float32 as it is and throws Error(unsupported) for fixed16.
  virtual void use_packed(const Packing& packing);
  /// From now on inference in bfloat16 multiplies by weights that are laid out for this processor
  /// (nn/prepacked_linear.hpp), where it multiplies bfloat16. The default is nothing.
  virtual void use_prepacked() {}
  /// Frees what both laid out; the default is nothing.
  virtual void drop_packed() {}

  /// Longest window that forward() accepts.
  virtual int64_t max_length() const { return sizes_.frames; }
  /// Draws new initial weights.
  virtual void initialise(Noise& noise) = 0;

  const PredictorSizes& sizes() const noexcept { return sizes_; }

 protected:
  /// Throws Error(invalid_argument) unless the arguments of forward() or rollout() fit.
  void check_window(const Tensor& latents, const Tensor& conditions) const;
  void check_rollout(const Tensor& context, const Tensor& past, const Tensor& future) const;

 private:
  PredictorSizes sizes_;
};

}  // namespace foresight::nn
