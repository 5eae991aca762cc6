// SPDX-License-Identifier: Apache-2.0
// Camera pictures to network input: scale, normalise per channel, resize, all on the model's device
// so that only bytes cross the bus. The order is LeWM's: resizing comes after normalising.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::models {

enum class ResizeRule {
  shorter_edge,  ///< shorter edge to `size`, the other in proportion (truncated); no crop
  stretch,       ///< both edges to `size`
  crop,          ///< scaled to cover `size`, then its centre: as shorter_edge plus centre square
};

/// Defaults: ImageNet statistics at 224 pixels.
struct FORESIGHT_API ImageOptions {
  int64_t size = 224;          ///< edge after resizing, pixels
  int64_t width = 0;           ///< horizontal edge for stretch and crop, pixels; 0: as `size`
  double scale = 1.0 / 255.0;  ///< of the bytes, before normalising
  std::vector<double> mean = {0.485, 0.456, 0.406};  ///< per channel, of scaled values
  std::vector<double> std = {0.229, 0.224, 0.225};   ///< per channel, of scaled values
  ResizeRule resize = ResizeRule::shorter_edge;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("size", self.size, "edge after resizing, pixels");
    visit("width", self.width, "horizontal edge for stretch and crop, pixels; 0: as size");
    visit("scale", self.scale, "factor on the bytes before normalising");
    visit("mean", self.mean, "mean per channel of scaled values");
    visit("std", self.std, "standard deviation per channel of scaled values");
    visit("resize", self.resize, "shorter_edge and crop keep the aspect ratio, stretch does not");
  }
  std::vector<std::string> validate() const;

  /// Horizontal edge of stretch and crop.
  int64_t columns() const { return width > 0 ? width : size; }
};

/// RGB bytes [N,H,W,3] -> normalised images [N,3,h,w] with the dtype and device of `like`. Bilinear
/// with antialiasing; a picture that has the size already is not resampled. Computes in at least
/// float32.
FORESIGHT_API Tensor preprocess_images(const Tensor& pixels, const ImageOptions& options,
                                       const at::TensorOptions& like);

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::ResizeRule> {
  using E = foresight::models::ResizeRule;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"shorter_edge", E::shorter_edge}, {"stretch", E::stretch}, {"crop", E::crop}}};
};
