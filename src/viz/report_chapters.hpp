// SPDX-License-Identifier: Apache-2.0
// The chapters of a run report and what they share. Not installed.
#pragma once

#include <string>
#include <vector>

#include "foresight/viz/run_report.hpp"
#include "foresight/viz/svg_plot.hpp"

namespace foresight::viz {

// Slots of the series colours that keep one meaning over the page.
inline constexpr int kTrainColour = 0, kValidationColour = 1, kModelColour = 0, kBaselineColour = 7;

/// Throws Error(invalid_argument) "RunReport.<what>" unless `holds`.
void require_member(bool holds, const std::string& what);

/// The values of a tensor [N,count] as one vector per column; undefined: empty columns.
std::vector<std::vector<double>> columns(const Tensor& tensor, int64_t count,
                                         const std::string& member);

/// 1, 2, ..., count.
std::vector<double> counting(std::size_t count);

/// Logarithmic where positive values span more than a factor of 30, which a linear axis would
/// flatten.
Scale scale_for(const std::vector<const std::vector<double>*>& series);

/// "86.0 %".
std::string percent(double fraction);
/// "73.8 to 93.0 %".
std::string percent_range(double low, double high);

// Each is called with something to show.

// What was learned (report_learning.cpp).
void add_losses(Report& report, const RunReport& run);
void add_latent(Report& report, const RunReport& run);
void add_probes(Report& report, const RunReport& run);
void add_collapse(Report& report, const RunReport& run);
void add_imagination(Report& report, const RunReport& run);

// What learning on from a bundle did (report_learned_on.cpp).
void add_learned_on(Report& report, const RunReport& run);

// What planning makes of it (report_planning.cpp).
void add_plans(Report& report, const RunReport& run);
void add_success(Report& report, const RunReport& run);
void add_timings(Report& report, const RunReport& run);
void add_trade_offs(Report& report, const RunReport& run);

// What the safety monitor recorded (report_incidents.cpp).
void add_incidents(Report& report, const RunReport& run);

}  // namespace foresight::viz
