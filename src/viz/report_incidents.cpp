// SPDX-License-Identifier: Apache-2.0
// The chapter on what the safety monitor recorded.
#include <fmt/format.h>

#include <algorithm>

#include "report_chapters.hpp"

namespace foresight::viz {
namespace {

constexpr std::size_t kShown = 100;  // enough for a story, few enough for a page

std::string times(int64_t count) { return fmt::format("{} time{}", count, count == 1 ? "" : "s"); }

int64_t count_of(const Incidents& incidents, const char* event) {
  return std::count_if(incidents.rows.begin(), incidents.rows.end(),
                       [&](const IncidentRow& row) { return row.event == event; });
}

std::string summary(const Incidents& incidents) {
  auto text =
      fmt::format("The monitor's flag was raised {} and cleared {}.",
                  times(count_of(incidents, "raised")), times(count_of(incidents, "cleared")));
  if (incidents.suppressed > 0)
    text += fmt::format(" Not written: {} records held back by the rate of the log.",
                        incidents.suppressed);
  if (incidents.rows.size() > kShown)
    text += fmt::format(" Shown are the last {} of {}.", kShown, incidents.rows.size());
  return text;
}

std::string skipped(const Incidents& incidents) {
  auto text =
      fmt::format("Lines that are not incident records and were skipped: {}.", incidents.malformed);
  for (const auto& problem : incidents.problems) text += "\n" + problem;
  return text;
}

}  // namespace

void add_incidents(Report& report, const RunReport& run) {
  const auto& incidents = run.incidents;
  report.prose(summary(incidents));
  if (incidents.malformed > 0) report.remark(skipped(incidents));
  if (incidents.rows.empty()) return;
  Table table{{{"time (UTC)", Align::left},
               {"event", Align::left},
               {"problem"},
               {"surprise"},
               {"threshold"},
               {"decision", Align::left},
               {"action", Align::left},
               {"message", Align::left},
               {"cost terms", Align::left},
               {"observation", Align::left}},
              {}};
  const auto first = incidents.rows.size() - std::min(kShown, incidents.rows.size());
  for (std::size_t i = first; i < incidents.rows.size(); ++i) {
    const auto& row = incidents.rows[i];
    table.rows.push_back({row.time, row.event, std::to_string(row.problem), number(row.surprise, 3),
                          number(row.threshold, 3), row.decision, row.action, row.message,
                          row.costs, row.observation});
  }
  table.caption =
      "Surprise: error of the model's one-step prediction in latent space, scaled by its errors "
      "during calibration.";
  report.table(table);
}

}  // namespace foresight::viz
