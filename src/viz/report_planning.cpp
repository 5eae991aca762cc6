// SPDX-License-Identifier: Apache-2.0
// Chapters on planning: imagined plans, success, trade-offs, timings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/viz/image.hpp"
#include "report_chapters.hpp"

namespace foresight::viz {

namespace {

Figure planned_frame(const PlannedFrame& frame, std::size_t position) {
  ImagePanel panel{fmt::format("Frame {}", position + 1), frame.image};
  panel.width = 340;
  auto add = [&](const char* name, const Tensor& points, Ink ink) {
    if (points.defined()) panel.paths.push_back({name, points, ink});
  };
  add("candidates", frame.candidates, Ink::candidate);
  add("elites", frame.elites, Ink::elite);
  add("executed", frame.executed, Ink::executed);
  add("chosen plan", frame.chosen, Ink::chosen);
  if (frame.goal.defined()) {
    const double radius =
        static_cast<double>(frame.image.defined() ? frame.image.size(0) : 64) / 28;
    require_member(frame.goal.numel() == 2,
                   fmt::format("frames[{}].goal has shape {}, expected [2]", position,
                               shape_string(frame.goal.sizes())));
    panel.circles.push_back({"goal", frame.goal.reshape({1, 2}), radius, Ink::goal});
  }
  return {draw(panel), frame.caption};
}

void add_costs(Report& report, const std::vector<CostShare>& costs) {
  BarPlot bars{"Cost of the chosen plan by term", {"weighted cost"}, {}};
  Table table{{{"term", Align::left}, {"weight"}, {"weighted cost"}, {"share of the total"}}, {}};
  double total = 0;
  for (const auto& share : costs) total += share.value;
  for (const auto& share : costs) {
    bars.bars.push_back({share.term, share.value});
    const bool divides = std::isfinite(total) && total != 0;
    table.rows.push_back({share.term, number(share.weight), number(share.value),
                          divides ? percent(share.value / total) : std::string("–")});
  }
  table.rows.push_back({"total", "", number(total), ""});
  report.figures({{draw(bars)}}, table);
}

void add_instances(Report& report, const Success& success) {
  if (success.instances.empty()) return;
  HeatStrip strip{
      "Outcome of each test instance", {"outcome"}, "instance", {}, StripColours::outcome};
  for (const auto& row : success.instances) strip.rows.push_back({row.planner, row.outcome});
  report.figures({{draw(strip), "Every planner faces the same instances in the same order."}});
}

}  // namespace

void add_plans(Report& report, const RunReport& run) {
  if (!run.frames.empty()) {
    report.prose(
        "What the planner imagined at single moments of an episode. Imagined latents are turned "
        "into positions by "
        "the linear probe; the planner itself never uses a position.");
    std::vector<Figure> figures;
    for (std::size_t i = 0; i < run.frames.size(); ++i)
      figures.push_back(planned_frame(run.frames[i], i));
    report.figures(figures);
  }
  if (!run.costs.empty()) add_costs(report, run.costs);
}

void add_success(Report& report, const RunReport& run) {
  const auto& success = run.success;
  if (!success.criterion.empty())
    report.prose("An episode succeeds when: " + success.criterion + ".");
  BarPlot bars{"Success rate", {"success rate", "%"}, {}};
  bars.value.high = 100;
  Table table{{{"planner", Align::left}, {"successes"}, {"trials"}, {"rate"}, {success.interval}},
              {}};
  for (std::size_t i = 0; i < success.rows.size(); ++i) {
    const auto& row = success.rows[i];
    require_member(
        row.trials > 0 && row.successes >= 0 && row.successes <= row.trials,
        fmt::format(
            "success row '{}' has {} successes in {} trials, expected 0 to trials, at least one",
            row.planner, row.successes, row.trials));
    const double rate = static_cast<double>(row.successes) / static_cast<double>(row.trials);
    bars.bars.push_back({row.planner, std::round(1000 * rate) / 10, 100 * row.low, 100 * row.high,
                         i == 0 ? kModelColour : kBaselineColour,
                         fmt::format("{}/{}", row.successes, row.trials)});
    table.rows.push_back({row.planner, std::to_string(row.successes), std::to_string(row.trials),
                          percent(rate), percent_range(row.low, row.high)});
  }
  report.figures({{draw(bars), "Whiskers: " + success.interval + "."}}, table);
  add_instances(report, success);
}

void add_timings(Report& report, const RunReport& run) {
  Table table{{{"operation", Align::left},
               {"runs"},
               {"median (ms)"},
               {"95th pct. (ms)"},
               {"99th pct. (ms)"},
               {"worst (ms)"}},
              {}};
  for (const auto& row : run.timings)
    table.rows.push_back({row.operation, std::to_string(row.runs), number(row.median, 3),
                          number(row.p95, 3), number(row.p99, 3), number(row.max, 3)});
  table.caption = run.machine.empty() ? "Wall time." : "Wall time on " + run.machine + ".";
  report.table(table);
}

void add_trade_offs(Report& report, const RunReport& run) {
  report.prose("The same planner with larger and smaller budgets: what a millisecond buys.");
  Table table{{{"setting", Align::left},
               {"samples"},
               {"iterations"},
               {"horizon"},
               {"median solve (ms)"},
               {"success"},
               {"interval"}},
              {}};
  Series points{.name = "success"};
  auto rows = run.trade_offs;
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.milliseconds < b.milliseconds; });
  bool any_interval = false;
  for (const auto& row : rows) {
    const bool measured = std::isfinite(row.low) && std::isfinite(row.high);
    any_interval = any_interval || measured;
    table.rows.push_back({row.setting, std::to_string(row.samples), std::to_string(row.iterations),
                          std::to_string(row.horizon), number(row.milliseconds, 3),
                          percent(row.success),
                          measured ? percent_range(row.low, row.high) : std::string("–")});
    points.x.push_back(row.milliseconds);
    points.y.push_back(100 * row.success);
    points.low.push_back(100 * row.low);
    points.high.push_back(100 * row.high);
  }
  if (!any_interval) points.low = points.high = {};
  points.marker = Marker::dot;
  LinePlot plot{"Success against solve time",
                {"median solve", "ms", scale_for({&points.x})},
                {"success rate", "%"},
                {std::move(points)},
                {400, 290}};
  plot.y.low = 0;
  plot.y.high = 100;
  report.figures({{draw(plot), any_interval ? "Band: " + run.success.interval + "." : ""}}, table);
}

}  // namespace foresight::viz
