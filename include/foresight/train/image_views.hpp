// SPDX-License-Identifier: Apache-2.0
// Several views of one picture, for encoders that learn by agreeing on them: random crops of two
// sizes, mirrored, their colours changed. All randomness is an input.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"

namespace foresight::train {

/// Defaults are LeJEPA's two large and six small crops with the usual changes of colour.
struct FORESIGHT_API ImageViewOptions {
  int64_t global_views = 2;                        ///< large crops per picture
  int64_t global_size = 224;                       ///< side of a large crop, pixels
  std::vector<double> global_scale = {0.3, 1.0};   ///< part of the picture in one: from, to
  int64_t local_views = 6;                         ///< small crops per picture; may be 0
  int64_t local_size = 98;                         ///< side of a small crop, pixels
  std::vector<double> local_scale = {0.05, 0.3};   ///< part of the picture in one: from, to
  std::vector<double> aspect = {0.75, 4.0 / 3.0};  ///< width / height of a crop before resizing
  double flip = 0.5;                               ///< probability of a mirrored view
  double brightness = 0.4;                         ///< factor 1 +- this much
  double contrast = 0.4;                           ///< factor 1 +- this much
  double saturation = 0.2;                         ///< factor 1 +- this much
  double grey = 0.2;                               ///< probability of a view without colour

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("global_views", self.global_views, "large crops per picture");
    visit("global_size", self.global_size, "side of a large crop, pixels");
    visit("global_scale", self.global_scale, "part of the picture in a large crop: from, to");
    visit("local_views", self.local_views, "small crops per picture");
    visit("local_size", self.local_size, "side of a small crop, pixels");
    visit("local_scale", self.local_scale, "part of the picture in a small crop: from, to");
    visit("aspect", self.aspect, "width / height of a crop: from, to");
    visit("flip", self.flip, "probability of a mirrored view");
    visit("brightness", self.brightness, "factor 1 +- this much");
    visit("contrast", self.contrast, "factor 1 +- this much");
    visit("saturation", self.saturation, "factor 1 +- this much");
    visit("grey", self.grey, "probability of a view without colour");
  }
  std::vector<std::string> validate() const;

  int64_t views() const { return global_views + local_views; }
};

/// Views of RGB bytes [B,H,W,3], the large ones first: float32 [B,3,s,s] in [0,1] on the pictures'
/// device, not normalised. Crops are resized bilinearly with antialiasing. One draw [B,9] a view.
FORESIGHT_API std::vector<Tensor> image_views(const Tensor& pixels, const ImageViewOptions& options,
                                              Noise& noise);

/// One centred view as pictures are seen when nothing is random: the largest square, resized to
/// `size`. [B,3,size,size] in [0,1].
FORESIGHT_API Tensor centre_view(const Tensor& pixels, int64_t size);

}  // namespace foresight::train
