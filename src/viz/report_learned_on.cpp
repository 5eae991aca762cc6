// SPDX-License-Identifier: Apache-2.0
// The chapter on learning on: what was forgotten, what was learned, and how far the data moved.
#include <fmt/format.h>

#include <cmath>

#include "report_chapters.hpp"

namespace foresight::viz {
namespace {

std::string known(double value, int digits) {
  return std::isfinite(value) ? number(value, digits) : "–";
}

std::string change(double before, double after) {
  const double relative = after / before - 1;
  return std::isfinite(relative) ? percent(relative) : "–";
}

Table losses_table(const LearnedOn& learned) {
  Table table{{{"held-out recordings", Align::left},
               {"term", Align::left},
               {"before"},
               {"after"},
               {"change"}},
              {}};
  for (const auto& row : learned.losses)
    table.rows.push_back({row.recordings, row.term, known(row.before, 4), known(row.after, 4),
                          change(row.before, row.after)});
  table.caption =
      "Losses of the model as it came and as it is now, on recordings that are not learned from.";
  return table;
}

Table drift_table(const LearnedOn& learned) {
  Table table{{{"column", Align::left},
               {"shift of the mean"},
               {"spread"},
               {"outside the limits"},
               {"unit", Align::left}},
              {}};
  for (const auto& row : learned.drift)
    table.rows.push_back({row.column, known(row.shift, 3), known(row.spread, 3),
                          std::isnan(row.outside) ? "–" : percent(row.outside),
                          row.never_varied ? "the column's own: it never varied in the training"
                                           : "standard deviations of the training"});
  table.caption = "New recordings against the statistics that the model was trained with.";
  return table;
}

}  // namespace

void add_learned_on(Report& report, const RunReport& run) {
  const auto& learned = run.learned_on;
  if (std::isfinite(learned.forgetting))
    report.prose("Forgotten of the old recordings: their loss changed by " +
                 percent(learned.forgetting) + ".");
  if (!learned.losses.empty()) report.table(losses_table(learned));
  if (!learned.drift.empty()) report.table(drift_table(learned));
  for (const auto& warning : learned.warnings) report.prose("Drift: " + warning + ".");
}

}  // namespace foresight::viz
