// SPDX-License-Identifier: Apache-2.0
// Incident records of a run folder as a section of its report.
#include <fmt/format.h>

#include "foresight/control/incident.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

std::string joined(const std::vector<double>& values) {
  std::string text;
  for (const double value : values)
    text += fmt::format("{}{:.3g}", text.empty() ? "" : ", ", value);
  return text;
}

}  // namespace

void add_incidents(viz::RunReport& report, const std::filesystem::path& path) {
  const auto file = read_incidents(path);
  report.incidents.malformed = file.malformed;
  report.incidents.problems = file.problems;
  for (const auto& incident : file.incidents) {
    std::string costs;
    for (const auto& [name, value] : incident.terms)
      costs += fmt::format("{}{} {:.3g}", costs.empty() ? "" : ", ", name, value);
    report.incidents.suppressed += incident.suppressed;
    report.incidents.rows.push_back({.time = incident.time,
                                     .event = incident.event,
                                     .problem = incident.problem,
                                     .surprise = incident.surprise,
                                     .threshold = incident.threshold,
                                     .decision = incident.status + ", " + incident.source,
                                     .action = joined(incident.action),
                                     .message = incident.message,
                                     .costs = costs.empty() ? "none" : costs,
                                     .observation = incident.observation});
  }
}

}  // namespace foresight::cli
