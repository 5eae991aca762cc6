// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/svg_plot.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "markup_checker.hpp"

namespace foresight::viz::svg_plot_test {

using foresight::test::attribute_values;
using foresight::test::markup_problem;
using foresight::test::numbers_in;

namespace {

const double kNan = std::nan("");
const double kInfinity = std::numeric_limits<double>::infinity();
const std::string kHostile = "<b>\"x\" & 'y'</b>\x01\xff";

std::string element_with_class(const std::string& markup, const std::string& style) {
  const auto at = markup.find("class=\"" + style);
  if (at == std::string::npos) return {};
  const auto begin = markup.rfind('<', at);
  return markup.substr(begin, markup.find('>', at) - begin + 1);
}

std::vector<double> line_numbers(const Svg& figure, int slot = 0) {
  const auto tag = element_with_class(figure.markup, "fs-line fs-l" + std::to_string(slot));
  REQUIRE_FALSE(tag.empty());
  return numbers_in(attribute_values(tag, "path", "d").at(0));
}

bool says(const Svg& figure, const std::string& text) {
  return figure.markup.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("every plot is well-formed, whatever its texts and numbers are") {
  const std::vector<double> rough = {1, kNan, -3, kInfinity, 1e308, 0, 1e-308, 5};
  for (const Scale scale : {Scale::linear, Scale::log10}) {
    const Axis axis{kHostile, kHostile, scale};
    LinePlot line{
        kHostile, axis, axis, {{kHostile, rough, rough, rough, rough}, {kHostile, {}, {}}}};
    CHECK(markup_problem(draw(line).markup) == "");
    ScatterPlot scatter{kHostile, axis, axis, rough, rough, rough, axis, Reference::identity};
    CHECK(markup_problem(draw(scatter).markup) == "");
    BarPlot bars{kHostile, axis, {}};
    for (const double value : rough)
      bars.bars.push_back({kHostile, value, value, value, 3, kHostile});
    CHECK(markup_problem(draw(bars).markup) == "");
  }
  for (const auto colours : {StripColours::ordered, StripColours::outcome}) {
    HeatStrip strip{
        kHostile, {kHostile, kHostile}, kHostile, {{kHostile, rough}, {"", {}}}, colours};
    CHECK(markup_problem(draw(strip).markup) == "");
  }
}

TEST_CASE("plots without data say so and stay well-formed") {
  for (const auto& figure :
       {draw(LinePlot{}), draw(ScatterPlot{}), draw(BarPlot{}), draw(HeatStrip{})}) {
    CHECK(markup_problem(figure.markup) == "");
    CHECK(says(figure, "no data"));
  }
  CHECK(says(draw(LinePlot{"t", {}, {}, {{"s", {1, 2}, {kNan, kNan}}}}), "no value is finite"));
}

TEST_CASE("a straight line is drawn straight, evenly spaced and upwards") {
  const auto points = line_numbers(draw(LinePlot{"t", {}, {}, {{"s", {0, 5, 10}, {0, 5, 10}}}}));
  REQUIRE(points.size() == 6);
  CHECK(points[2] - points[0] ==
        Approx(points[4] - points[2]).margin(0.11));  // coordinates have one decimal
  CHECK(points[1] - points[3] == Approx(points[3] - points[5]).margin(0.11));
  CHECK(points[0] < points[4]);
  CHECK(points[1] > points[5]);  // y grows downwards in SVG
}

TEST_CASE("a logarithmic axis spaces decades evenly") {
  const auto points = line_numbers(
      draw(LinePlot{"t", {}, {"", "", Scale::log10}, {{"s", {0, 1, 2}, {1, 10, 100}}}}));
  REQUIRE(points.size() == 6);
  CHECK(points[1] - points[3] == Approx(points[3] - points[5]).margin(0.11));
}

TEST_CASE("values that cannot be drawn break the line and are counted") {
  const auto figure = draw(LinePlot{"t", {}, {}, {{"s", {0, 1, 2, 3, 4}, {1, 2, kNan, 2, 1}}}});
  CHECK(says(figure, "1 of 5 points not drawn"));
  const auto tag = element_with_class(figure.markup, "fs-line fs-l0");
  CHECK(std::count(tag.begin(), tag.end(), 'M') == 2);
  CHECK(says(draw(LinePlot{"t", {}, {"", "", Scale::log10}, {{"s", {0, 1}, {1, -1}}}}),
             "not finite or ≤ 0"));
  CHECK_FALSE(says(draw(LinePlot{"t", {}, {}, {{"s", {0, 1}, {1, 2}}}}), "not drawn"));
}

TEST_CASE("thinning a long series keeps a one-point spike") {
  Series series{"s"};
  for (int i = 0; i < 200000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 123456 ? 100.0 : 1.0 + 0.1 * (i % 2));
  }
  const auto figure = draw(LinePlot{"t", {}, {}, {series}});
  CHECK(figure.markup.size() < 60000);
  const auto points = line_numbers(figure);
  double highest = 1e9, at = 0;
  for (std::size_t i = 0; i + 1 < points.size(); i += 2)
    if (points[i + 1] < highest) {
      highest = points[i + 1];
      at = points[i];
    }
  const double left = points.front(), right = points[points.size() - 2];
  CHECK((at - left) / (right - left) == Approx(123456 / 200000.0).margin(0.005));
  CHECK(points[1] - highest > 100);  // pixels above the rest
}

TEST_CASE("a legend names the series when there are several") {
  const Series first{"training", {0, 1}, {0, 1}}, second{"validation", {0, 1}, {1, 0}};
  CHECK_FALSE(says(draw(LinePlot{"t", {}, {}, {first}}), ">training<"));
  const auto both = draw(LinePlot{"t", {}, {}, {first, second}});
  CHECK(says(both, ">training<"));
  CHECK(says(both, ">validation<"));
}

TEST_CASE("axis titles carry their units") {
  CHECK(
      says(draw(LinePlot{"t", {"time", "ms"}, {"error"}, {{"s", {0, 1}, {0, 1}}}}), ">time (ms)<"));
}

TEST_CASE("series of unequal length are refused by name") {
  try {
    draw(LinePlot{"curves", {}, {}, {{"loss", {0, 1, 2}, {0, 1}}}});
    FAIL("accepted");
  } catch (const foresight::Error& error) {
    CHECK(error.category() == foresight::ErrorCategory::invalid_argument);
    CHECK(std::string(error.what()).find("series 'loss' has 3 x and 2 y values") !=
          std::string::npos);
  }
  CHECK_THROWS_AS(draw(LinePlot{"t", {}, {}, {{"s", {0, 1}, {0, 1}, {0}, {1, 2}}}}),
                  foresight::Error);
  CHECK_THROWS_AS(draw(ScatterPlot{"t", {}, {}, {1, 2}, {1}}), foresight::Error);
  CHECK_THROWS_AS(draw(ScatterPlot{"t", {}, {}, {1, 2}, {1, 2}, {1}}), foresight::Error);
}

TEST_CASE("scatter colours follow the value") {
  const auto figure = draw(ScatterPlot{"t", {}, {}, {0, 1, 2}, {0, 1, 2}, {-1, 0, 1}});
  for (const char* style :
       {"fs-dots fs-dot fs-m0", "fs-dots fs-dot fs-m8", "fs-dots fs-dot fs-m15"}) {
    INFO(style);
    CHECK_FALSE(element_with_class(figure.markup, style).empty());
  }
  CHECK(element_with_class(figure.markup, "fs-dots fs-dot fs-m3").empty());
}

TEST_CASE("an equal aspect draws a unit as long on both axes") {
  ScatterPlot plot{"t", {}, {}, {0, 10}, {0, 2}};
  plot.aspect = Aspect::equal;
  const auto points = numbers_in(
      attribute_values(element_with_class(draw(plot).markup, "fs-dots fs-l0"), "path", "d")[0]);
  REQUIRE(points.size() == 6);  // x, y, h0 twice
  CHECK((points[3] - points[0]) / 10 == Approx((points[1] - points[4]) / 2).epsilon(0.01));
}

TEST_CASE("many points are sampled and the figure says so") {
  const std::vector<double> many(9000, 1.0);
  CHECK(says(draw(ScatterPlot{"t", {}, {}, many, many}), "3000 of 9000 points shown"));
}

TEST_CASE("bar lengths are proportional to values, negative ones to the left") {
  const auto figure = draw(BarPlot{"t", {}, {{"a", 1}, {"b", 3}, {"c", -2}}});
  std::vector<double> widths, lefts;
  for (const auto& text : attribute_values(figure.markup, "rect", "width"))
    widths.push_back(std::stod(text));
  for (const auto& text : attribute_values(figure.markup, "rect", "x"))
    lefts.push_back(std::stod(text));
  REQUIRE(widths.size() == 3);
  CHECK(widths[1] == Approx(3 * widths[0]).epsilon(0.02));
  CHECK(widths[2] == Approx(2 * widths[0]).epsilon(0.02));
  CHECK(lefts[0] == Approx(lefts[1]));
  CHECK(lefts[2] + widths[2] == Approx(lefts[0]).margin(0.2));
}

TEST_CASE("an outcome strip fills successes, outlines failures and marks what was not run") {
  const auto figure = draw(
      HeatStrip{"t", {"outcome"}, "instance", {{"cem", {1, 0, kNan, 1}}}, StripColours::outcome});
  CHECK(says(figure, "<title>cem, instance 4: 1</title>"));
  CHECK(says(figure, "<title>cem, instance 2: 0</title>"));
  CHECK_FALSE(says(figure, "instance 3:"));
}

}  // namespace foresight::viz::svg_plot_test
