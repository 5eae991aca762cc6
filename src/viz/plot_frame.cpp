// SPDX-License-Identifier: Apache-2.0
#include "plot_frame.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace foresight::viz {
namespace {

constexpr double kTitleHeight = 26;
constexpr double kAxisTitleHeight = 16, kTickHeight = 18, kNoteHeight = 15;

std::string_view anchor_name(Anchor anchor) {
  return anchor == Anchor::start ? "start" : anchor == Anchor::middle ? "middle" : "end";
}

std::string class_attribute(std::string_view style) { return fmt::format("class=\"{}\"", style); }

}  // namespace

std::string pixel(double value) {
  const double rounded = std::round(value * 10) / 10;
  return rounded == std::floor(rounded) ? fmt::format("{:.0f}", rounded + 0.0)
                                        : fmt::format("{:.1f}", rounded);
}

double text_width(std::string_view text, double font_size) {
  return 0.58 * font_size *
         code_points(text);  // measured on system fonts; wide enough for DejaVu Sans
}

std::string axis_title(const Axis& axis) {
  if (axis.unit.empty()) return axis.label;
  return axis.label.empty() ? axis.unit : axis.label + " (" + axis.unit + ")";
}

bool drawable(double value, Scale scale) {
  if (scale == Scale::log10) return value >= kSmallestDrawn && value <= kLargestDrawn;
  return std::abs(value) <= kLargestDrawn;
}

std::string series_class(char kind, int colour) {
  const int slot = ((colour % kSeriesColours) + kSeriesColours) % kSeriesColours;
  return fmt::format("fs-{}{}", kind, slot);
}

void Canvas::text(double x, double y, std::string_view style, Anchor anchor,
                  std::string_view text) {
  body_ += fmt::format(
      "<text x=\"{}\" y=\"{}\" {}{}>{}</text>", pixel(x), pixel(y), class_attribute(style),
      anchor == Anchor::start ? "" : fmt::format(" text-anchor=\"{}\"", anchor_name(anchor)),
      escape(text));
}

void Canvas::line(double x1, double y1, double x2, double y2, std::string_view style) {
  body_ += fmt::format("<path d=\"M{} {}L{} {}\" {}/>", pixel(x1), pixel(y1), pixel(x2), pixel(y2),
                       class_attribute(style));
}

void Canvas::rectangle(double x, double y, double width, double height, std::string_view style,
                       double rounding, std::string_view tooltip) {
  body_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{} {}", pixel(x),
                       pixel(y), pixel(width), pixel(height),
                       rounding > 0 ? fmt::format(" rx=\"{}\"", pixel(rounding)) : "",
                       class_attribute(style));
  body_ += tooltip.empty() ? "/>" : fmt::format("><title>{}</title></rect>", escape(tooltip));
}

void Canvas::dot(double x, double y, double radius, std::string_view style) {
  body_ += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" {}/>", pixel(x), pixel(y),
                       pixel(radius), class_attribute(style));
}

void Canvas::path(std::string_view data, std::string_view style, std::string_view attributes) {
  body_ += fmt::format("<path d=\"{}\" {}{}{}/>", data, class_attribute(style),
                       attributes.empty() ? "" : " ", attributes);
}

void Canvas::colour_ramp(double x, double y, double width, double height) {
  for (int step = 0; step < kMapColours;
       ++step)  // a little wider than a step: no seams between neighbours
    rectangle(x + step * width / kMapColours, y,
              width / kMapColours + (step + 1 < kMapColours ? 0.5 : 0), height,
              fmt::format("fs-cell fs-m{}", step), 0, {});
}

Svg Canvas::finish(double width, double height, std::string_view title) const {
  return {fmt::format(
      "<svg class=\"fs-figure\" role=\"img\" aria-label=\"{2}\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\">{3}</svg>",
      pixel(width), pixel(height), escape(title), body_)};
}

int map_colour(double value, double low, double high) {
  // Halves, so that the width of the range cannot overflow; clamped before it becomes an integer.
  const double position = high > low ? (value / 2 - low / 2) / (high / 2 - low / 2) : 0.5;
  return static_cast<int>(std::clamp(position * kMapColours, 0.0, kMapColours - 1.0));
}

double Mapping::operator()(double value) const {
  const auto place = [&](double v) { return scale == Scale::log10 ? std::log10(v) : v; };
  const double fraction = (place(value) - place(low)) / (place(high) - place(low));
  return pixel_low + fraction * (pixel_high - pixel_low);
}

void Extent::add(double value) {
  if (!drawable(value, scale)) {
    ++skipped;
    return;
  }
  low = count == 0 ? value : std::min(low, value);
  high = count == 0 ? value : std::max(high, value);
  ++count;
}

void Extent::add(const std::vector<double>& values) {
  for (const double value : values) add(value);
}

void Extent::include_limits(const Axis& axis) {
  const auto skipped_values = skipped;
  for (const auto& limit : {axis.low, axis.high})
    if (limit) add(*limit);
  skipped = skipped_values;
  if (count == 0) {
    low = scale == Scale::log10 ? 1 : 0;
    high = scale == Scale::log10 ? 10 : 1;
  }
}

std::string dash_attribute(Stroke stroke) {
  if (stroke == Stroke::dashed) return "stroke-dasharray=\"6 4\"";
  if (stroke == Stroke::dotted) return "stroke-dasharray=\"1 4\"";
  return {};
}

double draw_legend(Canvas& canvas, const std::vector<LegendEntry>& entries, double left,
                   double right, double y) {
  double x = left, row = 0;
  for (const auto& entry : entries) {
    const double width = 24 + text_width(entry.name, 11) + 14;
    if (x > left && x + width > right) {
      x = left;
      row += kLegendRow;
    }
    const auto colour = series_class('l', entry.colour);
    if (entry.key == LegendKey::dot)
      canvas.path(fmt::format("M{} {}h0", pixel(x + 9), pixel(y + row)), "fs-dots " + colour,
                  "stroke-width=\"5.5\"");
    else
      canvas.path(fmt::format("M{} {}h16", pixel(x + 1), pixel(y + row)), "fs-line " + colour,
                  dash_attribute(entry.stroke));
    canvas.text(x + 23, y + row + 4, "fs-label", Anchor::start, entry.name);
    x += width;
  }
  return entries.empty() ? 0 : row + kLegendRow;
}

std::string skipped_note(int64_t skipped, int64_t total, Scale x, Scale y) {
  if (skipped == 0) return {};
  const bool log = x == Scale::log10 || y == Scale::log10;
  return fmt::format("{} of {} points not drawn ({})", skipped, total,
                     log ? "not finite or ≤ 0" : "not finite");
}

double header_top(const FrameSpec& spec) { return spec.title.empty() ? kMargin : kTitleHeight; }

Ticks ticks_for(const Extent& extent, const Axis& axis, Fit fit, int wanted) {
  return axis.scale == Scale::log10 ? log_ticks(extent.low, extent.high, wanted)
                                    : linear_ticks(extent.low, extent.high, fit, wanted);
}

Frame draw_frame(Canvas& canvas, const FrameSpec& spec) {
  const auto x_title = axis_title(spec.x), y_title = axis_title(spec.y);
  Frame frame;
  const double left = 8 + label_width(spec.y_ticks) * 6.3;
  double right = spec.size.width - 16;
  const double top = header_top(spec) + spec.header + (y_title.empty() ? 6 : kAxisTitleHeight + 4);
  double bottom = spec.size.height - kTickHeight - (x_title.empty() ? 2 : kAxisTitleHeight) -
                  (spec.note.empty() ? 0 : kNoteHeight);
  if (spec.aspect == Aspect::equal) {
    const double x_range = spec.x_ticks.high - spec.x_ticks.low,
                 y_range = spec.y_ticks.high - spec.y_ticks.low;
    const double scale = std::min((right - left) / x_range, (bottom - top) / y_range);
    right = left + scale * x_range;
    bottom = top + scale * y_range;
  }
  frame.x = {spec.x.scale, spec.x_ticks.low, spec.x_ticks.high, left, right};
  frame.y = {spec.y.scale, spec.y_ticks.low, spec.y_ticks.high, bottom, top};

  if (!spec.title.empty()) canvas.text(0, kTitleBaseline, "fs-title", Anchor::start, spec.title);
  if (!y_title.empty()) canvas.text(0, top - 9, "fs-label", Anchor::start, y_title);
  for (const auto& tick : spec.y_ticks.ticks) {
    const double y = frame.y(tick.value);
    canvas.line(left, y, right, y, "fs-grid");
    canvas.text(left - 6, y + 3.5, "fs-tick", Anchor::end, tick.label);
  }
  canvas.line(left, bottom, right, bottom, "fs-axis");
  for (const auto& tick : spec.x_ticks.ticks) {
    const double x = frame.x(tick.value);
    canvas.line(x, bottom, x, bottom + 4, "fs-axis");
    canvas.text(x, bottom + 15, "fs-tick", Anchor::middle, tick.label);
  }
  if (!x_title.empty())
    canvas.text((left + right) / 2, bottom + kTickHeight + 12, "fs-label", Anchor::middle, x_title);
  if (!spec.note.empty()) canvas.text(0, spec.size.height - 5, "fs-note", Anchor::start, spec.note);
  return frame;
}

Svg empty_figure(const std::string& title, FigureSize size, const std::string& reason) {
  Canvas canvas;
  if (!title.empty()) canvas.text(0, kTitleBaseline, "fs-title", Anchor::start, title);
  canvas.rectangle(0.5, kTitleHeight + 6, size.width - 1, size.height - kTitleHeight - 6 - kMargin,
                   "fs-grid", 4, {});
  canvas.text(size.width / 2.0, (size.height + kTitleHeight) / 2.0, "fs-empty", Anchor::middle,
              reason);
  return canvas.finish(size.width, size.height, title);
}

}  // namespace foresight::viz
