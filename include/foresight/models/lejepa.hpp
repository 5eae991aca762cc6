// SPDX-License-Identifier: Apache-2.0
// LeJEPA (arXiv 2511.08544): an image encoder that learns without labels, target network or
// stop-gradient. Views of one picture must agree in a projected space, whose distribution SIGReg
// keeps an isotropic Gaussian, so that agreeing cannot collapse it.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>
#include <vector>

#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

/// Defaults: ViT-S/14 at 224 pixels; a 16-dimensional projection, weight 0.02 and 256 directions as
/// the authors' minimal recipe has them.
struct FORESIGHT_API LeJepaOptions {
  ImageOptions image = {.size = 224, .resize = ResizeRule::crop};
  nn::VitOptions encoder = {.width = 384, .heads = 6, .mlp_width = 1536, .norm_epsilon = 1e-6};
  nn::ProjectionOptions projector;  ///< between the encoder and the space where views agree
  int64_t projection = 16;          ///< K, dimensions of that space
  double regularisation = 0.02;     ///< lambda: of SIGReg, against 1 - lambda for agreement
  losses::SigRegOptions sigreg = {.projections = 256};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "the vision transformer");
    visit("projector", self.projector, "between the encoder and the space where views agree");
    visit("projection", self.projection, "dimensions of that space");
    visit("regularisation", self.regularisation, "lambda: weight of SIGReg, in (0, 1)");
    visit("sigreg", self.sigreg, "random directions and quadrature");
  }
  std::vector<std::string> validate() const;

  /// ViT-S/14 at 224 pixels with 1024 directions, the authors' defaults but for weight and width of
  /// the projection, which are those of minimal().
  static LeJepaOptions small();
  /// The authors' minimal recipe: ViT-S/8, a projection of width 16, weight 0.02, 256 directions;
  /// at 128 pixels.
  static LeJepaOptions minimal();
  /// 32-pixel pictures, 0.1 million parameters: trains on a CPU in seconds.
  static LeJepaOptions tiny();
};

/// State-dict keys: encoder.* (nn::Vit), projector.*.
class FORESIGHT_API LeJepa : public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit LeJepa(const LeJepaOptions& options, std::optional<std::uint64_t> seed = 0);

  const LeJepaOptions& options() const noexcept { return options_; }
  const nn::Vit& encoder() const noexcept { return *encoder_; }
  nn::Vit& encoder() noexcept { return *encoder_; }

  /// Values in [0,1], [N,3,h,w] -> encoder input.
  Tensor normalise(const Tensor& images) const;
  /// Encoder input of any size that fills a patch -> features [N,D].
  Tensor encode(const Tensor& images) const;
  /// Features [N,D] -> projections [N,K]. In train mode by statistics of the N rows.
  Tensor project(const Tensor& features, nn::Mode mode) const;

  /// Terms of projections [V,B,K] of V views, the first `global_views` of them large: "invariance",
  /// the mean square of each view's distance to the mean of the large ones, weight 1 - lambda, and
  /// "sigreg" over the B pictures of each view, averaged over views, weight lambda.
  losses::Terms loss_of_projections(const Tensor& projections, int64_t global_views,
                                    Noise& noise) const;

 private:
  LeJepaOptions options_;
  std::shared_ptr<nn::Vit> encoder_;
  std::shared_ptr<nn::Projection> projector_;
};

}  // namespace foresight::models
