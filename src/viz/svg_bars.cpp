// SPDX-License-Identifier: Apache-2.0
// Bars and strips of cells.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/viz/svg_plot.hpp"
#include "plot_frame.hpp"

namespace foresight::viz {
namespace {

constexpr double kBarsTitle = 30;
constexpr double kBarPitch = 28, kBarHeight = 14;
constexpr double kCellPitch = 22, kCellHeight = 15;

std::string bar_text(const Bar& bar, const std::string& unit) {
  std::string text = number(bar.value) + (unit.empty() ? "" : " " + unit);
  return bar.note.empty() ? text : text + "  (" + bar.note + ")";
}

std::string bar_tooltip(const Bar& bar, const std::string& unit) {
  std::string text = bar.label + ": " + bar_text(bar, unit);
  if (bar.low && bar.high)
    text += fmt::format(", interval {} to {}", number(*bar.low), number(*bar.high));
  return text;
}

/// Labels are at most about 28 characters wide; longer ones are cut, the tooltip has them whole.
std::string shortened(const std::string& label) {
  constexpr int kLongest = 28;
  if (code_points(label) <= kLongest) return label;
  std::string cut;
  int characters = 0;
  for (std::size_t i = 0; i < label.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(label[i]) & 0xc0u) != 0x80u;
    if (starts && characters++ == kLongest - 1) break;
    cut += label[i];
  }
  return cut + "…";
}

void draw_whisker(Canvas& canvas, double low, double high, double y) {
  canvas.path(fmt::format("M{0} {1}H{2}M{0} {3}v6M{2} {3}v6", pixel(low), pixel(y), pixel(high),
                          pixel(y - 3)),
              "fs-whisker");
}

struct CellStyle {
  std::string style;
  bool hollow;
};

CellStyle cell_style(double value, StripColours colours, const Extent& extent) {
  if (colours == StripColours::ordered)
    return {fmt::format("fs-cell fs-m{}", map_colour(value, extent.low, extent.high)), false};
  if (value >= 1) return {"fs-f2", false};
  if (value <= 0) return {"fs-hollow", true};
  return {fmt::format("fs-cell fs-m{}", map_colour(value, 0, 1)), false};
}

void draw_strip_key(Canvas& canvas, const HeatStrip& plot, const Extent& extent, double y) {
  double x = 0;
  auto say = [&](const std::string& text, const char* style) {
    canvas.text(x, y + 4, style, Anchor::start, text);
    x += text_width(text, 11) + 8;
  };
  const auto label = axis_title(plot.value);
  if (!label.empty()) say(label + ":", "fs-label");
  if (plot.colours == StripColours::ordered) {
    say(number(extent.low, 3), "fs-tick");
    canvas.colour_ramp(x, y - 4, 96, 8);
    x += 104;
    say(number(extent.high, 3), "fs-tick");
  } else {
    canvas.rectangle(x, y - 5, 10, 10, "fs-f2", 2, {});
    x += 15;
    say("success", "fs-label");
    canvas.rectangle(x + 4, y - 5, 10, 10, "fs-hollow", 2, {});
    x += 19;
    say("failure", "fs-label");
  }
  canvas.path(fmt::format("M{} {}h6", pixel(x + 4), pixel(y)), "fs-axis");
  x += 15;
  say("not measured", "fs-label");
}

}  // namespace

Svg draw(const BarPlot& plot) {
  Extent extent{plot.value.scale};
  int64_t skipped = 0;
  double label_space = 0, value_space = 0;
  for (const auto& bar : plot.bars) {
    label_space = std::max(label_space, text_width(shortened(bar.label), 11));
    if (!drawable(bar.value, extent.scale)) {
      ++skipped;
      continue;
    }
    extent.add(bar.value);
    for (const auto& end : {bar.low, bar.high})
      if (end && drawable(*end, extent.scale)) extent.add(*end);
    value_space = std::max(value_space, text_width(bar_text(bar, plot.value.unit), 11));
  }
  const auto count = static_cast<double>(plot.bars.size());
  const FigureSize size{plot.width,
                        static_cast<int>(kBarsTitle + 44 + std::max(count, 3.0) * kBarPitch)};
  if (plot.bars.empty()) return empty_figure(plot.title, size, "no data");
  if (extent.scale == Scale::linear) extent.add(0.0);  // bars are lengths: they start at zero
  extent.include_limits(plot.value);

  const auto ticks = ticks_for(extent, plot.value, Fit::tight, 5);
  const double left = label_space + 10;
  const double right = std::max(left + 60, plot.width - kMargin - value_space - 10);
  const double top = kBarsTitle, bottom = top + count * kBarPitch;
  const Mapping x{extent.scale, ticks.low, ticks.high, left, right};
  const double zero = extent.scale == Scale::linear ? x(0) : left;

  Canvas canvas;
  canvas.text(0, kTitleBaseline, "fs-title", Anchor::start, plot.title);
  for (const auto& tick : ticks.ticks) {
    canvas.line(x(tick.value), top, x(tick.value), bottom, "fs-grid");
    canvas.text(x(tick.value), bottom + 15, "fs-tick", Anchor::middle, tick.label);
  }
  double y = top + kBarPitch / 2;
  for (const auto& bar : plot.bars) {
    canvas.text(left - 8, y + 4, "fs-label", Anchor::end, shortened(bar.label));
    if (drawable(bar.value, extent.scale)) {
      const double end = x(bar.value);
      double reach = std::max(end, zero);
      canvas.rectangle(std::min(zero, end), y - kBarHeight / 2, std::max(std::abs(end - zero), 0.5),
                       kBarHeight, series_class('f', bar.colour), 2,
                       bar_tooltip(bar, plot.value.unit));
      if (bar.low && bar.high && drawable(*bar.low, extent.scale) &&
          drawable(*bar.high, extent.scale)) {
        draw_whisker(canvas, x(*bar.low), x(*bar.high), y);
        reach = std::max(reach, x(*bar.high));
      }
      canvas.text(reach + 8, y + 4, "fs-value", Anchor::start, bar_text(bar, plot.value.unit));
    } else {
      canvas.text(zero + 8, y + 4, "fs-note", Anchor::start, number(bar.value));
    }
    y += kBarPitch;
  }
  canvas.line(zero, top, zero, bottom, "fs-axis");
  canvas.text((left + right) / 2, bottom + 30, "fs-label", Anchor::middle, axis_title(plot.value));
  const double note_height = skipped > 0 ? 16 : 0;
  if (skipped > 0)
    canvas.text(
        kMargin, bottom + 46, "fs-note", Anchor::start,
        skipped_note(skipped, static_cast<int64_t>(plot.bars.size()), Scale::linear, extent.scale));
  return canvas.finish(plot.width, bottom + 38 + note_height, plot.title);
}

Svg draw(const HeatStrip& plot) {
  Extent extent;
  std::size_t columns = 0;
  double label_space = 0;
  for (const auto& row : plot.rows) {
    columns = std::max(columns, row.values.size());
    label_space = std::max(label_space, text_width(shortened(row.label), 11));
    extent.add(row.values);
  }
  if (columns == 0) return empty_figure(plot.title, {plot.width, 110}, "no data");
  extent.include_limits(plot.value);

  const double left = label_space + 10;
  const double pitch = std::min(18.0, (plot.width - kMargin - left) / static_cast<double>(columns));
  const double gap = pitch >= 6 ? 2 : 0;
  const double top = kBarsTitle + 20;

  Canvas canvas;
  canvas.text(0, kTitleBaseline, "fs-title", Anchor::start, plot.title);
  draw_strip_key(canvas, plot, extent, kBarsTitle + 4);
  double y = top;
  for (const auto& row : plot.rows) {
    canvas.text(left - 8, y + kCellHeight / 2 + 4, "fs-label", Anchor::end, shortened(row.label));
    for (std::size_t i = 0; i < row.values.size(); ++i) {
      const double x = left + static_cast<double>(i) * pitch;
      if (!drawable(row.values[i], Scale::linear)) {
        canvas.line(x + pitch * 0.3, y + kCellHeight / 2, x + pitch * 0.7 - gap / 2,
                    y + kCellHeight / 2, "fs-axis");
        continue;
      }
      const auto [style, hollow] = cell_style(row.values[i], plot.colours, extent);
      const double inset = hollow ? 0.5 : 0;  // the outline lies inside the cell
      canvas.rectangle(
          x + inset, y + inset, std::max(pitch - gap - 2 * inset, 0.5), kCellHeight - 2 * inset,
          style, gap > 0 ? 2 : 0,
          fmt::format("{}, {} {}: {}", row.label, plot.column, i + 1, number(row.values[i])));
    }
    y += kCellPitch;
  }
  const auto label_every = static_cast<std::size_t>(std::ceil(40 / pitch / 5)) * 5;
  for (std::size_t i = 0; i < columns; i += i == 0 ? label_every - 1 : label_every)
    canvas.text(left + (static_cast<double>(i) + 0.5) * pitch - gap / 2, y + 9, "fs-tick",
                Anchor::middle, std::to_string(i + 1));
  canvas.text(left - 8, y + 9, "fs-tick", Anchor::end, plot.column);
  return canvas.finish(plot.width, y + 18, plot.title);
}

}  // namespace foresight::viz
