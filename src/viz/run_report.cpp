// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/run_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "report_chapters.hpp"

namespace foresight::viz {

void require_member(bool holds, const std::string& what) {
  require(holds, ErrorCategory::invalid_argument, "RunReport." + what);
}

std::vector<std::vector<double>> columns(const Tensor& tensor, int64_t count,
                                         const std::string& member) {
  std::vector<std::vector<double>> found(static_cast<std::size_t>(count));
  if (!tensor.defined()) return found;
  require_member(
      tensor.dim() == 2 && tensor.size(1) == count,
      fmt::format("{} has shape {}, expected [N,{}]", member, shape_string(tensor.sizes()), count));
  const auto values = tensor.detach().to(at::kCPU, at::kDouble).contiguous();
  const auto rows = values.accessor<double, 2>();
  for (int64_t i = 0; i < values.size(0); ++i)
    for (int64_t c = 0; c < count; ++c) found[static_cast<std::size_t>(c)].push_back(rows[i][c]);
  return found;
}

std::vector<double> counting(std::size_t count) {
  std::vector<double> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<double>(i + 1);
  return numbers;
}

Scale scale_for(const std::vector<const std::vector<double>*>& series) {
  double low = INFINITY, high = 0;
  for (const auto* values : series) {
    for (const double value : *values) {
      if (!std::isfinite(value)) continue;
      if (value <= 0) return Scale::linear;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  return high > 30 * low ? Scale::log10 : Scale::linear;
}

std::string percent(double fraction) {
  return fmt::format("{}{:.1f} %", fraction < -0.0005 ? "−" : "", std::abs(100 * fraction));
}

std::string percent_range(double low, double high) {
  return fmt::format("{:.1f} to {:.1f} %", 100 * low, 100 * high);
}

namespace {

bool is_filled(const Tensor& tensor) { return tensor.defined() && tensor.numel() > 0; }

void add_data(Report& report, const RunReport& run) { report.facts(run.data_set); }

void add_configuration(Report& report, const RunReport& run) {
  if (!run.provenance.empty()) report.facts(run.provenance);
  if (!run.configuration.empty()) report.folded("Show config.json", run.configuration);
}

void add_commands(Report& report, const RunReport& run) {
  report.prose("These command lines repeat the run.");
  std::string text;
  for (const auto& command : run.commands) text += (text.empty() ? "" : "\n") + command;
  report.code(text);
}

struct Chapter {
  const char* title;
  bool (*recorded)(const RunReport&);  // whether there is anything to show
  void (*add)(Report&, const RunReport&);
};
constexpr Chapter kChapters[] = {
    {"Success", [](const RunReport& run) { return !run.success.rows.empty(); }, add_success},
    {"Plans", [](const RunReport& run) { return !run.frames.empty() || !run.costs.empty(); },
     add_plans},
    {"Imagination",
     [](const RunReport& run) {
       return !run.imagination.model.empty() || !run.imagination.paths.empty();
     },
     add_imagination},
    {"Latent space",
     [](const RunReport& run) {
       return is_filled(run.latent.axes) || is_filled(run.latent.position);
     },
     add_latent},
    {"Linear probes", [](const RunReport& run) { return !run.probes.empty(); }, add_probes},
    {"Collapse",
     [](const RunReport& run) {
       const auto& collapse = run.collapse;
       return !collapse.variance.empty() || !collapse.effective_rank.empty() ||
              !collapse.spectrum.empty();
     },
     add_collapse},
    {"Losses", [](const RunReport& run) { return !run.losses.empty(); }, add_losses},
    {"Learning on",
     [](const RunReport& run) {
       return !run.learned_on.losses.empty() || !run.learned_on.drift.empty();
     },
     add_learned_on},
    {"Trade-offs", [](const RunReport& run) { return !run.trade_offs.empty(); }, add_trade_offs},
    {"Timings", [](const RunReport& run) { return !run.timings.empty(); }, add_timings},
    {"Incidents",
     [](const RunReport& run) {
       return !run.incidents.rows.empty() || run.incidents.malformed > 0;
     },
     add_incidents},
    {"Data set", [](const RunReport& run) { return !run.data_set.empty(); }, add_data},
    {"Configuration",
     [](const RunReport& run) { return !run.provenance.empty() || !run.configuration.empty(); },
     add_configuration},
    {"Reproduce", [](const RunReport& run) { return !run.commands.empty(); }, add_commands},
};

}  // namespace

std::vector<std::string> run_report_sections() {
  std::vector<std::string> titles;
  for (const auto& chapter : kChapters) titles.emplace_back(chapter.title);
  return titles;
}

Report make_run_report(const RunReport& run) {
  Report report(run.title, run.summary);
  report.mark(run.mark).headline(run.headline).foot(run.further);
  for (const auto& chapter : kChapters)
    if (chapter.recorded(run)) chapter.add(report.section(chapter.title), run);
  return report;
}

void write_run_report(const RunReport& run, const std::filesystem::path& path) {
  make_run_report(run).write(path);
}

}  // namespace foresight::viz
