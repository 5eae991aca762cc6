// SPDX-License-Identifier: Apache-2.0
// Line and scatter plots.
#include "foresight/viz/svg_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "foresight/core/error.hpp"
#include "plot_frame.hpp"

namespace foresight::viz {
namespace {

constexpr std::size_t kScatterPoints =
    4000;  // enough to see a shape, small enough for a page with dozens of plots

struct Point {
  double x, y;
};

void require_lengths(bool holds, const std::string& plot, const std::string& what) {
  require(holds, ErrorCategory::invalid_argument, "plot '" + plot + "': " + what);
}

void check(const LinePlot& plot) {
  for (const auto& series : plot.series) {
    const auto points = series.x.size();
    require_lengths(series.y.size() == points, plot.title,
                    fmt::format("series '{}' has {} x and {} y values, expected as many",
                                series.name, points, series.y.size()));
    const bool no_band = series.low.empty() && series.high.empty();
    require_lengths(
        no_band || (series.low.size() == points && series.high.size() == points), plot.title,
        fmt::format(
            "series '{}' has a band of {} low and {} high values for {} points, expected as many "
            "or none",
            series.name, series.low.size(), series.high.size(), points));
  }
}

/// Runs of drawable points in pixels; a point that cannot be drawn ends a run.
std::vector<std::vector<Point>> runs(const std::vector<double>& xs, const std::vector<double>& ys,
                                     const Frame& frame) {
  std::vector<std::vector<Point>> found(1);
  for (std::size_t i = 0; i < xs.size(); ++i) {
    if (drawable(xs[i], frame.x.scale) && drawable(ys[i], frame.y.scale))
      found.back().push_back({frame.x(xs[i]), frame.y(ys[i])});
    else if (!found.back().empty())
      found.emplace_back();
  }
  if (found.back().empty()) found.pop_back();
  return found;
}

/// Keeps first, lowest, highest and last of consecutive points in one pixel column, in their order.
std::vector<Point> thin(const std::vector<Point>& run) {
  std::vector<Point> kept;
  for (std::size_t begin = 0; begin < run.size();) {
    std::size_t end = begin, lowest = begin, highest = begin;
    for (; end < run.size() && std::floor(run[end].x) == std::floor(run[begin].x); ++end) {
      if (run[end].y < run[lowest].y) lowest = end;
      if (run[end].y > run[highest].y) highest = end;
    }
    std::array<std::size_t, 4> picked = {begin, lowest, highest, end - 1};
    std::sort(picked.begin(), picked.end());
    for (auto last = std::unique(picked.begin(), picked.end()), it = picked.begin(); it != last;
         ++it)
      kept.push_back(run[*it]);
    begin = end;
  }
  return kept;
}

void append_polyline(std::string& data, const std::vector<Point>& run) {
  for (std::size_t i = 0; i < run.size(); ++i)
    data += fmt::format("{}{} {}", i == 0 ? 'M' : 'L', pixel(run[i].x), pixel(run[i].y));
  if (run.size() == 1) data += "h0";  // a round cap shows a single point
}

/// The area between low and high, in pieces where both can be drawn. On a logarithmic axis a low
/// edge at or below zero is moved to the lower end of the axis.
std::string band(const Series& series, const Frame& frame) {
  std::string data;
  std::vector<Point> upper, lower;
  auto close = [&] {
    if (upper.size() > 1) {
      upper.insert(upper.end(), lower.rbegin(), lower.rend());
      append_polyline(data, upper);
      data += 'Z';
    }
    upper.clear();
    lower.clear();
  };
  for (std::size_t i = 0; i < series.low.size(); ++i) {
    const double low =
        frame.y.scale == Scale::log10 && series.low[i] <= 0 ? frame.y.low : series.low[i];
    if (!drawable(series.x[i], frame.x.scale) || !drawable(low, frame.y.scale) ||
        !drawable(series.high[i], frame.y.scale)) {
      close();
      continue;
    }
    upper.push_back({frame.x(series.x[i]), frame.y(series.high[i])});
    lower.push_back({frame.x(series.x[i]), frame.y(low)});
  }
  close();
  return data;
}

void draw_series(Canvas& canvas, const Series& series, int colour, const Frame& frame) {
  if (!series.low.empty()) {
    const auto area = band(series, frame);
    if (!area.empty()) canvas.path(area, "fs-band " + series_class('f', colour));
  }
  std::string line, dots;
  for (const auto& run : runs(series.x, series.y, frame)) {
    const bool dense = run.size() > 2 * static_cast<std::size_t>(frame.right() - frame.left());
    append_polyline(line, dense ? thin(run) : run);
    if (series.marker == Marker::dot)
      for (const auto& point : run) dots += fmt::format("M{} {}h0", pixel(point.x), pixel(point.y));
  }
  if (!line.empty())
    canvas.path(line, "fs-line " + series_class('l', colour), dash_attribute(series.stroke));
  if (!dots.empty())
    canvas.path(dots, "fs-dots " + series_class('l', colour), "stroke-width=\"5.5\"");
}

/// Points grouped by colour step. Groups are short stretches of the input, so that no value hides
/// all others.
void draw_points(Canvas& canvas, const std::vector<Point>& points, const std::vector<int>& steps) {
  constexpr std::size_t kStretch = 250;
  const auto attributes = points.size() > 300 ? "stroke-width=\"3.5\" opacity=\"0.7\""
                                              : "stroke-width=\"5\" opacity=\"0.85\"";
  for (std::size_t begin = 0; begin < points.size(); begin += kStretch) {
    std::array<std::string, kMapColours> data;
    for (std::size_t i = begin; i < std::min(begin + kStretch, points.size()); ++i)
      data[static_cast<std::size_t>(steps.empty() ? 0 : steps[i])] +=
          fmt::format("M{} {}h0", pixel(points[i].x), pixel(points[i].y));
    for (std::size_t step = 0; step < data.size(); ++step) {
      if (data[step].empty()) continue;
      canvas.path(data[step],
                  steps.empty() ? "fs-dots fs-l0" : fmt::format("fs-dots fs-dot fs-m{}", step),
                  attributes);
    }
  }
}

/// "label (unit)  low [ramp] high".
void draw_colour_key(Canvas& canvas, const ScatterPlot& plot, const Extent& colours, double y) {
  const auto label = axis_title(plot.colour);
  const auto low = number(colours.low, 3), high = number(colours.high, 3);
  double x = 0;
  if (!label.empty()) canvas.text(x, y + 4, "fs-label", Anchor::start, label);
  x += label.empty() ? 0 : text_width(label, 11) + 10;
  canvas.text(x, y + 4, "fs-tick", Anchor::start, low);
  x += text_width(low, 10.5) + 6;
  canvas.colour_ramp(x, y - 4, 96, 8);
  canvas.text(x + 102, y + 4, "fs-tick", Anchor::start, high);
}

}  // namespace

Svg draw(const LinePlot& plot) {
  check(plot);
  Extent x{plot.x.scale}, y{plot.y.scale};
  int64_t total = 0, skipped = 0;
  std::vector<LegendEntry> legend;
  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    const auto& series = plot.series[s];
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      ++total;
      if (!drawable(series.x[i], x.scale) || !drawable(series.y[i], y.scale)) {
        ++skipped;
        continue;
      }
      x.add(series.x[i]);
      y.add(series.y[i]);
      if (!series.low.empty()) {
        y.add(series.low[i]);  // an edge that cannot be drawn leaves the extent as it is
        y.add(series.high[i]);
      }
    }
    const int colour = series.colour >= 0 ? series.colour : static_cast<int>(s);
    if (!series.name.empty())
      legend.push_back({series.name, colour, series.stroke,
                        series.x.size() == 1 ? LegendKey::dot : LegendKey::line});
  }
  if (total == skipped)
    return empty_figure(plot.title, plot.size, total == 0 ? "no data" : "no value is finite");
  x.include_limits(plot.x);
  y.include_limits(plot.y);
  if (legend.size() < 2) legend.clear();

  Canvas canvas;
  FrameSpec spec{plot.title,
                 plot.x,
                 plot.y,
                 ticks_for(x, plot.x, Fit::tight, plot.size.width / 90),
                 ticks_for(y, plot.y, Fit::loose, 5),
                 plot.size};
  spec.note = skipped_note(skipped, total, plot.x.scale, plot.y.scale);
  spec.header =
      draw_legend(canvas, legend, 0, plot.size.width - 8, header_top(spec) + kLegendRow / 2);
  const auto frame = draw_frame(canvas, spec);
  for (std::size_t s = 0; s < plot.series.size(); ++s)
    draw_series(canvas, plot.series[s],
                plot.series[s].colour >= 0 ? plot.series[s].colour : static_cast<int>(s), frame);
  return canvas.finish(plot.size.width, plot.size.height, plot.title);
}

Svg draw(const ScatterPlot& plot) {
  const auto total = plot.x_values.size();
  require_lengths(
      plot.y_values.size() == total && (plot.value.empty() || plot.value.size() == total),
      plot.title,
      fmt::format("{} x, {} y and {} colour values, expected as many (colours may be absent)",
                  total, plot.y_values.size(), plot.value.size()));
  require_lengths(plot.aspect == Aspect::free ||
                      (plot.x.scale == Scale::linear && plot.y.scale == Scale::linear),
                  plot.title, "an equal aspect needs two linear axes");
  Extent x{plot.x.scale}, y{plot.y.scale}, colours;
  std::vector<std::size_t> shown;
  for (std::size_t i = 0; i < total; ++i) {
    const bool coloured = plot.value.empty() || drawable(plot.value[i], Scale::linear);
    if (!coloured || !drawable(plot.x_values[i], x.scale) || !drawable(plot.y_values[i], y.scale))
      continue;
    shown.push_back(i);
    x.add(plot.x_values[i]);
    y.add(plot.y_values[i]);
    if (!plot.value.empty()) colours.add(plot.value[i]);
  }
  if (shown.empty())
    return empty_figure(plot.title, plot.size, total == 0 ? "no data" : "no value is finite");
  x.include_limits(plot.x);
  y.include_limits(plot.y);
  colours.include_limits(plot.colour);
  if (plot.reference == Reference::identity && plot.x.scale == plot.y.scale) {
    x.low = y.low = std::min(x.low, y.low);
    x.high = y.high = std::max(x.high, y.high);
  }

  Canvas canvas;
  FrameSpec spec{plot.title,
                 plot.x,
                 plot.y,
                 ticks_for(x, plot.x, Fit::loose, plot.size.width / 70),
                 ticks_for(y, plot.y, Fit::loose, 5),
                 plot.size};
  spec.aspect = plot.aspect;
  spec.note = skipped_note(static_cast<int64_t>(total - shown.size()), static_cast<int64_t>(total),
                           plot.x.scale, plot.y.scale);
  const std::size_t every = (shown.size() + kScatterPoints - 1) / kScatterPoints;
  if (every > 1)
    spec.note += fmt::format("{}{} of {} points shown", spec.note.empty() ? "" : "; ",
                             (shown.size() + every - 1) / every, shown.size());
  spec.header = plot.value.empty() ? 0 : kLegendRow;
  const auto frame = draw_frame(canvas, spec);
  if (!plot.value.empty())
    draw_colour_key(canvas, plot, colours, header_top(spec) + kLegendRow / 2);

  std::vector<Point> points;
  std::vector<int> steps;
  for (std::size_t k = 0; k < shown.size(); k += every) {
    points.push_back({frame.x(plot.x_values[shown[k]]), frame.y(plot.y_values[shown[k]])});
    if (!plot.value.empty())
      steps.push_back(map_colour(plot.value[shown[k]], colours.low, colours.high));
  }
  draw_points(canvas, points, steps);
  if (plot.reference == Reference::identity && plot.x.scale == plot.y.scale) {
    const double low = std::max(frame.x.low, frame.y.low);
    const double high = std::min(frame.x.high, frame.y.high);
    canvas.line(frame.x(low), frame.y(low), frame.x(high), frame.y(high), "fs-reference");
  }
  return canvas.finish(plot.size.width, plot.size.height, plot.title);
}

}  // namespace foresight::viz
