// SPDX-License-Identifier: Apache-2.0
// Images for reports: PNG, and lines and circles drawn over an image as vectors, so that a path
// imagined on a 64 x 64 frame stays sharp at any size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "foresight/viz/markup.hpp"

namespace foresight::viz {

/// PNG file of an RGB image, uint8 [H,W,3] on any device. Throws Error(invalid_argument) for
/// another shape, type or an empty image.
FORESIGHT_API std::vector<std::uint8_t> encode_png(const Tensor& image);

/// The image in a PNG file as uint8 [H,W,3]. Accepts 8-bit grey, RGB and RGBA (alpha is dropped).
/// Throws Error(bad_file) naming `name` when the bytes are not such an image, Error(unsupported) in
/// a build without FFmpeg.
FORESIGHT_API Tensor decode_png(const std::vector<std::uint8_t>& bytes, const std::string& name);

/// "data:image/png;base64,..." for an `<img>` or `<image>` element.
FORESIGHT_API std::string png_data_uri(const Tensor& image);

/// Every pixel repeated `factor` times along both axes: [H,W,C] -> [H*factor, W*factor, C].
FORESIGHT_API Tensor upscale_nearest(const Tensor& image, int64_t factor);

/// How something is drawn over an image. Fixed colours with a contrasting outline, since the image
/// below does not change with the page's colour scheme.
enum class Ink {
  executed,   ///< what the robot did: solid white on dark
  candidate,  ///< one of many considered futures: thin, translucent
  elite,      ///< one of the best: orange
  chosen,     ///< the plan that was taken: thick, magenta
  goal,       ///< green
};

/// Polylines of one kind: [N,2] or [S,N,2] pixel coordinates (x right, y down; (0,0) is the centre
/// of the first pixel). Non-finite points break a line.
struct PathLayer {
  std::string name = {};  ///< legend entry; empty: none
  Tensor points = {};
  Ink ink = Ink::executed;
};

/// Circles at [N,2] pixel coordinates.
struct CircleLayer {
  std::string name = {};
  Tensor centres = {};
  double radius = 2;  ///< image pixels
  Ink ink = Ink::goal;
};

/// An image with vector layers, drawn in the order listed, paths before circles, and a legend
/// below.
struct ImagePanel {
  std::string title = {};
  Tensor image = {};  ///< uint8 [H,W,3]
  std::vector<PathLayer> paths = {};
  std::vector<CircleLayer> circles = {};
  int width = 300;  ///< CSS pixels; the height follows
};

/// Throws Error(invalid_argument) naming the layer when a shape is wrong.
FORESIGHT_API Svg draw(const ImagePanel& panel);

}  // namespace foresight::viz
