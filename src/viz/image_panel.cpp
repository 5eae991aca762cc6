// SPDX-License-Identifier: Apache-2.0
// Vector layers over an image.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/viz/image.hpp"
#include "plot_frame.hpp"

namespace foresight::viz {
namespace {

constexpr double kPanelTitle = 24, kKeyRow = 17;

struct InkStyle {
  const char* colour;
  double width;
  double opacity;
  double outline;  ///< extra width of the dark line below; 0: none
};

InkStyle style_of(Ink ink) {
  switch (ink) {
    case Ink::executed:
      return {"#ffffff", 2.25, 1, 2.5};
    case Ink::candidate:
      return {"#8ab4ff", 0.8, 0.45, 0};
    case Ink::elite:
      return {"#ffab2e", 1.2, 0.9, 0};
    case Ink::chosen:
      return {"#ff3d8b", 2.5, 1, 2};
    case Ink::goal:
      return {"#2fe38c", 2, 1, 2};
  }
  return {"#ffffff", 1, 1, 0};
}

constexpr const char* kHalo = "#10131a";

/// [N,2] or [S,N,2] -> double [S,N,2] on the CPU.
Tensor as_paths(const Tensor& points, const std::string& name) {
  const bool accepted =
      points.defined() && (points.dim() == 2 || points.dim() == 3) && points.size(-1) == 2;
  require(accepted, ErrorCategory::invalid_argument,
          fmt::format("layer '{}' has shape {}, expected [N,2] or [S,N,2]", name,
                      points.defined() ? shape_string(points.sizes()) : "(undefined)"));
  const auto values = points.detach().to(at::kCPU, at::kDouble).contiguous();
  return values.dim() == 2 ? values.unsqueeze(0) : values;
}

std::string path_data(const Tensor& paths, double scale) {
  const auto values = paths.accessor<double, 3>();
  std::string data;
  for (int64_t s = 0; s < paths.size(0); ++s) {
    bool pen = false;
    for (int64_t n = 0; n < paths.size(1); ++n) {
      const double x = (values[s][n][0] + 0.5) * scale, y = (values[s][n][1] + 0.5) * scale;
      if (!(std::abs(x) < 1e6 && std::abs(y) < 1e6)) {  // non-finite, or absurdly far outside
        pen = false;
        continue;
      }
      data += fmt::format("{}{} {}", pen ? 'L' : 'M', pixel(x), pixel(y));
      pen = true;
    }
  }
  return data;
}

std::string stroke(const char* colour, double width, double opacity) {
  auto text = fmt::format(
      "fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" "
      "stroke-linecap=\"round\"",
      colour, width);
  if (opacity < 1) text += fmt::format(" opacity=\"{}\"", opacity);
  return text;
}

std::string draw_paths(const PathLayer& layer, double scale) {
  const auto data = path_data(as_paths(layer.points, layer.name), scale);
  if (data.empty()) return {};
  const auto ink = style_of(layer.ink);
  std::string markup;
  if (ink.outline > 0)
    markup +=
        fmt::format("<path d=\"{}\" {}/>", data, stroke(kHalo, ink.width + ink.outline, 0.75));
  return markup +
         fmt::format("<path d=\"{}\" {}/>", data, stroke(ink.colour, ink.width, ink.opacity));
}

std::string draw_circles(const CircleLayer& layer, double scale) {
  require(layer.radius > 0 && layer.radius < 1e6, ErrorCategory::invalid_argument,
          fmt::format("layer '{}' has radius {}, expected a positive number of pixels", layer.name,
                      layer.radius));
  const auto centres = as_paths(layer.centres, layer.name);
  const auto values = centres.accessor<double, 3>();
  const auto ink = style_of(layer.ink);
  std::string markup;
  for (int64_t s = 0; s < centres.size(0); ++s) {
    for (int64_t n = 0; n < centres.size(1); ++n) {
      const double x = (values[s][n][0] + 0.5) * scale, y = (values[s][n][1] + 0.5) * scale;
      if (!(std::abs(x) < 1e6 && std::abs(y) < 1e6)) continue;
      const auto place = fmt::format("cx=\"{}\" cy=\"{}\" r=\"{}\"", pixel(x), pixel(y),
                                     pixel(layer.radius * scale));
      markup += fmt::format("<circle {} {}/>", place, stroke(kHalo, 4, 0.75));
      markup += fmt::format("<circle {} {}/>", place, stroke(ink.colour, 2, 1));
    }
  }
  return markup;
}

struct Key {
  std::string name;
  Ink ink;
  bool circle;
};

/// Keys stand on a dark tile, as the lines stand on an image: white ink must be seen on a white
/// page.
std::string draw_keys(const std::vector<Key>& keys, double top, double width, double& height) {
  std::string markup;
  double x = 0, y = top + kKeyRow / 2 + 2;
  for (const auto& key : keys) {
    const double key_width = 26 + text_width(key.name, 11) + 12;
    if (x > 0 && x + key_width > width) {
      x = 0;
      y += kKeyRow;
    }
    const auto ink = style_of(key.ink);
    markup += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"20\" height=\"12\" rx=\"2\" fill=\"#3a3f4a\"/>", pixel(x),
        pixel(y - 6));
    markup += key.circle ? fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"3.5\" {}/>", pixel(x + 10),
                                       pixel(y), stroke(ink.colour, 1.75, 1))
                         : fmt::format("<path d=\"M{} {}h12\" {}/>", pixel(x + 4), pixel(y),
                                       stroke(ink.colour, std::max(ink.width, 1.25), 1));
    markup += fmt::format("<text x=\"{}\" y=\"{}\" class=\"fs-label\">{}</text>", pixel(x + 25),
                          pixel(y + 4), escape(key.name));
    x += key_width;
  }
  height = keys.empty() ? 0 : y + kKeyRow / 2 - top;
  return markup;
}

}  // namespace

Svg draw(const ImagePanel& panel) {
  require(panel.width >= 16 && panel.width <= 8192, ErrorCategory::invalid_argument,
          fmt::format("ImagePanel.width = {} must be 16 to 8192", panel.width));
  const auto source = png_data_uri(panel.image);  // checks the image
  const double scale = panel.width / static_cast<double>(panel.image.size(1));
  const double height = scale * static_cast<double>(panel.image.size(0));
  const double top = panel.title.empty() ? 0 : kPanelTitle;

  std::string layers;
  std::vector<Key> keys;
  for (const auto& layer : panel.paths) {
    layers += draw_paths(layer, scale);
    if (!layer.name.empty()) keys.push_back({layer.name, layer.ink, false});
  }
  for (const auto& layer : panel.circles) {
    layers += draw_circles(layer, scale);
    if (!layer.name.empty()) keys.push_back({layer.name, layer.ink, true});
  }
  double key_height = 0;
  const auto legend = draw_keys(keys, top + height + 4, panel.width, key_height);
  const auto title =
      panel.title.empty()
          ? std::string()
          : fmt::format("<text x=\"0\" y=\"16\" class=\"fs-title\">{}</text>", escape(panel.title));
  // The nested svg clips the layers to the image.
  return {fmt::format(
      "<svg class=\"fs-figure\" role=\"img\" aria-label=\"{0}\" width=\"{1}\" height=\"{2}\" "
      "viewBox=\"0 0 {1} {2}\">{3}<svg x=\"0\" y=\"{4}\" width=\"{1}\" height=\"{5}\">"
      "<image width=\"{1}\" height=\"{5}\" preserveAspectRatio=\"none\" "
      "style=\"image-rendering:pixelated\" href=\"{6}\"/>{7}</svg>{8}</svg>",
      escape(panel.title), panel.width, pixel(top + height + 4 + key_height), title, pixel(top),
      pixel(height), source, layers, legend)};
}

}  // namespace foresight::viz
