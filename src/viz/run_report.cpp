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

void add_data(Report& report, const RunReport& run) {
  if (run.data_set.empty()) {
    report.remark(kNothingRecorded);
    return;
  }
  report.facts(run.data_set);
}

void add_configuration(Report& report, const RunReport& run) {
  if (!run.provenance.empty()) report.facts(run.provenance);
  if (!run.configuration.empty()) report.folded("Show config.json", run.configuration);
  if (run.provenance.empty() && run.configuration.empty()) report.remark(kNothingRecorded);
}

void add_commands(Report& report, const RunReport& run) {
  if (run.commands.empty()) {
    report.remark(kNothingRecorded);
    return;
  }
  report.prose("These command lines repeat the run.");
  std::string text;
  for (const auto& command : run.commands) text += (text.empty() ? "" : "\n") + command;
  report.code(text);
}

struct Chapter {
  const char* title;
  void (*add)(Report&, const RunReport&);
};
constexpr Chapter kChapters[] = {
    {"Success", add_success},
    {"Plans", add_plans},
    {"Imagination", add_imagination},
    {"Latent space", add_latent},
    {"Linear probes", add_probes},
    {"Collapse", add_collapse},
    {"Losses", add_losses},
    {"Learning on", add_learned_on},
    {"Trade-offs", add_trade_offs},
    {"Timings", add_timings},
    {"Incidents", add_incidents},
    {"Data set", add_data},
    {"Configuration", add_configuration},
    {"Reproduce", add_commands},
};

}  // namespace

std::vector<std::string> run_report_sections() {
  std::vector<std::string> titles;
  for (const auto& chapter : kChapters) titles.emplace_back(chapter.title);
  return titles;
}

Report make_run_report(const RunReport& run) {
  Report report(run.title, run.summary);
  report.headline(run.headline);
  for (const auto& chapter : kChapters) chapter.add(report.section(chapter.title), run);
  return report;
}

void write_run_report(const RunReport& run, const std::filesystem::path& path) {
  make_run_report(run).write(path);
}

}  // namespace foresight::viz
