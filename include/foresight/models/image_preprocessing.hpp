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

enum class Interpolation {
  bilinear,
  bicubic,  ///< clamped to what bytes can hold, as a resized picture of bytes is
};

/// Defaults: ImageNet statistics at 224 pixels.
struct FORESIGHT_API ImageOptions {
  int64_t size = 224;          ///< edge after resizing, pixels
  int64_t width = 0;           ///< horizontal edge for stretch and crop, pixels; 0: as `size`
  double scale = 1.0 / 255.0;  ///< of the bytes, before normalising
  std::vector<double> mean = {0.485, 0.456, 0.406};  ///< per channel, of scaled values
  std::vector<double> std = {0.229, 0.224, 0.225};   ///< per channel, of scaled values
  ResizeRule resize = ResizeRule::shorter_edge;
  int64_t resize_edge = 0;  ///< crop: what `size` is while scaling, before the centre of `size` is
                            ///< cut out, pixels; 0: `size`. ImageNet evaluations: 256 for 224
  double max_aspect = 0;    ///< stretch: of a picture wider than this times its height only the
                            ///< centre of that width is stretched; 0: all. V-JEPA 2-AC: 1.35
  Interpolation interpolation = Interpolation::bilinear;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("size", self.size, "edge after resizing, pixels");
    visit("width", self.width, "horizontal edge for stretch and crop, pixels; 0: as size");
    visit("scale", self.scale, "factor on the bytes before normalising");
    visit("mean", self.mean, "mean per channel of scaled values");
    visit("std", self.std, "standard deviation per channel of scaled values");
    visit("resize", self.resize, "shorter_edge and crop keep the aspect ratio, stretch does not");
    visit("resize_edge", self.resize_edge, "crop: size while scaling, before cropping; 0: size");
    visit("max_aspect", self.max_aspect, "stretch: width / height of what is used; 0: all of it");
    visit("interpolation", self.interpolation, "bilinear or bicubic");
  }
  std::vector<std::string> validate() const;

  /// Horizontal edge of stretch and crop.
  int64_t columns() const { return width > 0 ? width : size; }
  /// Whether pictures of this size are scaled to [size, columns()] as they are, nothing cut off.
  bool scales_alone(int64_t picture_height, int64_t picture_width) const;
};

/// RGB bytes [N,H,W,3] -> normalised images [N,3,h,w] with the dtype and device of `like`. Resized
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
template <>
struct foresight::EnumNames<foresight::models::Interpolation> {
  using E = foresight::models::Interpolation;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"bilinear", E::bilinear}, {"bicubic", E::bicubic}}};
};
