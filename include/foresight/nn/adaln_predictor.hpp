// SPDX-License-Identifier: Apache-2.0
// Causal transformer predictor conditioned on actions by AdaLN-zero: the dynamics network of LeWM
// (arXiv 2603.19312) and of PLDM in the same code base.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/adaln_block.hpp"
#include "foresight/nn/frozen.hpp"
#include "foresight/nn/predictor.hpp"

namespace foresight::nn {

/// Defaults are LeWM's.
struct FORESIGHT_API AdaLnPredictorOptions {
  int64_t depth = 6;         ///< blocks
  int64_t width = 192;       ///< token width inside; extra linear layers where neighbours differ
  int64_t heads = 16;        ///< attention heads
  int64_t head_width = 64;   ///< width of one head
  int64_t mlp_width = 2048;  ///< hidden width of the feed-forward part
  double dropout = 0.1;      ///< training only; LeWM's ablation: 0 -> 78 %, 0.1 -> 96 % success

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("depth", self.depth, "transformer blocks");
    visit("width", self.width, "token width inside");
    visit("heads", self.heads, "attention heads");
    visit("head_width", self.head_width, "width of one head");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("dropout", self.dropout, "dropout probability in training");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: pos_embedding,
/// transformer.{norm,layers.{i},input_proj,cond_proj,output_proj}.*; the last three only where
/// widths differ.
class FORESIGHT_API AdaLnPredictor : public LatentPredictor {
 public:
  /// Throws Error(invalid_option).
  AdaLnPredictor(const AdaLnPredictorOptions& options, const PredictorSizes& sizes);

  Tensor forward(const Tensor& latents, const Tensor& conditions, Mode mode) const override;
  Tensor last(const Tensor& latents, const Tensor& conditions, Mode mode) const override;

  /// Exact pruning of the plain rollout: all modulations of all layers in one matrix product; keys
  /// and values are kept while the window still grows; tokens that only depend on executed actions
  /// run once per problem instead of once per candidate; the last block and norm run for the one
  /// token that is read. Once the window slides, position 0 belongs to another frame, so nothing of
  /// an earlier step can be reused.
  Tensor rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                 const PredictionHead& head) const override;
  void use_packed(const Packing& packing) override;
  void use_prepacked() override;
  void drop_packed() override;
  void initialise(Noise& noise) override;

 private:
  Tensor modulate(const Tensor& conditions, Mode mode) const;  // [...,C] -> [...,depth,6,width]
  Tensor embed(const Tensor& latents, int64_t first_position) const;
  Tensor finish(const Tensor& x) const;
  Tensor run(Tensor x, const Tensor& modulation, const std::vector<KeyValues>* past,
             std::vector<KeyValues>* present, Outputs outputs, Mode mode) const;
  // rollout() of a few candidates.
  Tensor imagine(const Tensor& context, const Tensor& past, const Tensor& future,
                 const PredictionHead& head) const;
  struct Rollout;

  AdaLnPredictorOptions options_;
  Tensor positions_;
  torch::nn::Linear input_{nullptr}, condition_{nullptr}, output_{nullptr};
  std::vector<std::shared_ptr<AdaLnBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  struct PackedModulation {
    PackedLinear linear;
    Frozen frozen;
    PackedFormat format;
  };
  std::shared_ptr<const PackedModulation> packed_modulation_;
};

}  // namespace foresight::nn
