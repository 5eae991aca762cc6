// SPDX-License-Identifier: Apache-2.0
// Plots as SVG text: lines, coloured scatter, bars and strips of cells. They are data structs in
// and markup out, need no plotting library or script, and read well on light and dark pages.
//
// Values that cannot be drawn (NaN, infinity, zero or less on a logarithmic axis) are left out and
// the figure says so: a training run that blew up must not look like one that merely stopped.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "foresight/viz/markup.hpp"
#include "foresight/viz/ticks.hpp"

namespace foresight::viz {

/// What an axis shows. Limits that are not set follow the data.
struct Axis {
  std::string label = {};  ///< "training step"
  std::string unit = {};   ///< "ms"; empty: none
  Scale scale = Scale::linear;
  std::optional<double> low = {};   ///< includes at least this value
  std::optional<double> high = {};  ///< includes at least this value
};

/// Size of a figure in CSS pixels before the page scales it.
struct FigureSize {
  int width = 560;
  int height = 320;
};

enum class Stroke { solid, dashed, dotted };
enum class Marker { none, dot };

/// Number of distinct series colours; slots repeat after that.
inline constexpr int kSeriesColours = 8;

/// One line. `x` and `y` have equal length; `low`/`high` are empty or as long and draw a band
/// around it.
struct Series {
  std::string name = {};
  std::vector<double> x = {};
  std::vector<double> y = {};
  std::vector<double> low = {};
  std::vector<double> high = {};
  Stroke stroke = Stroke::solid;
  Marker marker = Marker::none;
  int colour = -1;  ///< slot 0..kSeriesColours-1; -1: by position
};

/// Lines over one pair of axes. A legend appears with two or more named series. Series with more
/// points than pixels are reduced to the minimum and maximum of each pixel column, so that spikes
/// survive.
struct LinePlot {
  std::string title = {};
  Axis x = {};
  Axis y = {};
  std::vector<Series> series = {};
  FigureSize size = {};
};

/// What is drawn across a scatter plot for the eye to compare with.
enum class Reference { none, identity /**< y = x */ };
enum class Aspect { free, equal /**< one unit is as long on both axes */ };

/// Points coloured by a value (empty `value`: one colour). `x`, `y` and, if given, `value` have
/// equal length. Above 4000 points every n-th is drawn, and the figure says so.
struct ScatterPlot {
  std::string title = {};
  Axis x = {};
  Axis y = {};
  std::vector<double> x_values = {};
  std::vector<double> y_values = {};
  std::vector<double> value = {};
  Axis colour = {};  ///< label, unit and limits of `value`
  Reference reference = Reference::none;
  Aspect aspect = Aspect::free;
  FigureSize size = {};
};

/// One horizontal bar; `low`/`high` draw an interval (e.g. a 95 % confidence interval).
struct Bar {
  std::string label = {};
  double value = 0;
  std::optional<double> low = {};
  std::optional<double> high = {};
  int colour = 0;         ///< series slot
  std::string note = {};  ///< written after the value, e.g. "43/50"
};

/// Horizontal bars from zero; the height follows the number of bars.
struct BarPlot {
  std::string title = {};
  Axis value = {};
  std::vector<Bar> bars = {};
  int width = 560;
};

enum class StripColours {
  ordered,  ///< a colour map from the smallest to the largest value
  outcome,  ///< 1: success (filled), 0: failure (hollow), anything between: partly
};

/// One row of cells; NaN is drawn as "not measured".
struct StripRow {
  std::string label = {};
  std::vector<double> values = {};
};

/// Rows of small cells, one per instance: which problems are hard, and for whom.
struct HeatStrip {
  std::string title = {};
  Axis value = {};                  ///< what a cell shows
  std::string column = "instance";  ///< what a column is
  std::vector<StripRow> rows = {};  ///< may have different lengths
  StripColours colours = StripColours::ordered;
  int width = 1140;
};

/// Each throws Error(invalid_argument) naming the series when lengths disagree. No data is not an
/// error: the figure says that there is none.
FORESIGHT_API Svg draw(const LinePlot& plot);
FORESIGHT_API Svg draw(const ScatterPlot& plot);
FORESIGHT_API Svg draw(const BarPlot& plot);
FORESIGHT_API Svg draw(const HeatStrip& plot);

}  // namespace foresight::viz
