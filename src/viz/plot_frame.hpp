// SPDX-License-Identifier: Apache-2.0
// What all plots share: the canvas that collects SVG elements, and the frame of title, legend, axes
// and ticks around a plot area. Not installed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/viz/svg_plot.hpp"

namespace foresight::viz {

/// A coordinate with one decimal, "12" or "12.5": a tenth of a CSS pixel is finer than any screen.
std::string pixel(double value);

/// Above and to the right of a figure; the left edge aligns with the text around it. [CSS pixels]
inline constexpr double kMargin = 8;
inline constexpr double kTitleBaseline = 18;
inline constexpr double kLegendRow = 18;

/// Estimated width of text in CSS pixels; there is no font to ask.
double text_width(std::string_view text, double font_size);

/// "label (unit)".
std::string axis_title(const Axis& axis);

/// Whether `value` has a place on an axis of this scale.
bool drawable(double value, Scale scale);

/// The class of series slot `colour`: "fs-l0" (kind 'l', strokes) or "fs-f0" (kind 'f', fills).
std::string series_class(char kind, int colour);

enum class Anchor { start, middle, end };

/// Collects elements; every text goes through escape().
class Canvas {
 public:
  void text(double x, double y, std::string_view style, Anchor anchor, std::string_view text);
  void line(double x1, double y1, double x2, double y2, std::string_view style);
  /// `tooltip` may be empty.
  void rectangle(double x, double y, double width, double height, std::string_view style,
                 double rounding, std::string_view tooltip);
  void dot(double x, double y, double radius, std::string_view style);
  /// `data` is path data, `attributes` further attributes ready for markup.
  void path(std::string_view data, std::string_view style, std::string_view attributes = {});
  /// A small ramp of the colour map from x to x + width.
  void colour_ramp(double x, double y, double width, double height);

  /// The finished element. `title` names the figure for screen readers.
  Svg finish(double width, double height, std::string_view title) const;

 private:
  std::string body_;
};

/// Number of steps of the colour map.
inline constexpr int kMapColours = 16;
/// The step for `value` in [low, high], clamped.
int map_colour(double value, double low, double high);

/// From values to pixels along one axis.
struct Mapping {
  Scale scale = Scale::linear;
  double low = 0, high = 1;              ///< values
  double pixel_low = 0, pixel_high = 1;  ///< pixels at these
  double operator()(double value) const;
};

/// Smallest and largest drawable value; counts those that are not.
struct Extent {
  Scale scale = Scale::linear;
  double low = 0, high = 0;
  int64_t count = 0;
  int64_t skipped = 0;
  void add(double value);
  void add(const std::vector<double>& values);
  /// Limits that the axis asks for; without any data and limits, 0 to 1 (1 to 10 on a logarithmic
  /// axis).
  void include_limits(const Axis& axis);
};

/// How a legend shows a series: by a piece of line, or by a dot if that is all there is of it.
enum class LegendKey { line, dot };

struct LegendEntry {
  std::string name = {};
  int colour = 0;
  Stroke stroke = Stroke::solid;
  LegendKey key = LegendKey::line;
};

std::string dash_attribute(Stroke stroke);

/// Legend entries in rows between `left` and `right`, the first row centred on y. Returns the
/// height used.
double draw_legend(Canvas& canvas, const std::vector<LegendEntry>& entries, double left,
                   double right, double y);

/// "12 of 200 points not drawn (not finite)" or empty.
std::string skipped_note(int64_t skipped, int64_t total, Scale x, Scale y);

/// The plot area within a figure.
struct Frame {
  Mapping x, y;
  double left() const { return x.pixel_low; }
  double right() const { return x.pixel_high; }
  double top() const { return y.pixel_high; }
  double bottom() const { return y.pixel_low; }
};

struct FrameSpec {
  std::string title = {};
  const Axis& x;
  const Axis& y;
  Ticks x_ticks;
  Ticks y_ticks;
  FigureSize size = {};
  double header = 0;  ///< pixels reserved between title and y label
  Aspect aspect = Aspect::free;
  std::string note = {};  ///< warning below the plot
};

/// Pixels from the top of the figure to the reserved header.
double header_top(const FrameSpec& spec);

/// Draws title, grid, axes, ticks, axis titles and note.
Frame draw_frame(Canvas& canvas, const FrameSpec& spec);

/// Ticks for an extent on an axis.
Ticks ticks_for(const Extent& extent, const Axis& axis, Fit fit, int wanted);

/// A figure that says that there is nothing to draw.
Svg empty_figure(const std::string& title, FigureSize size, const std::string& reason);

}  // namespace foresight::viz
