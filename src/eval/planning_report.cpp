// SPDX-License-Identifier: Apache-2.0
// The planning report as JSON and as a line of text.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "foresight/eval/planning_evaluation.hpp"

namespace foresight::eval {

namespace {

nlohmann::json duration_json(const DurationSummary& summary) {
  return {{"count", summary.count},
          {"median", summary.median},
          {"p95", summary.p95},
          {"worst", summary.worst}};
}

nlohmann::json record_json(const InstanceRecord& record) {
  auto path = nlohmann::json::array();
  for (int64_t t = 0; t < record.path.size(0); ++t) {
    const auto row = record.path[t].contiguous();
    const auto* begin = row.data_ptr<double>();
    path.push_back(std::vector<double>(begin, begin + row.numel()));
  }
  return {{"episode", record.instance.episode},
          {"start_step", record.instance.start_step},
          {"goal_step", record.instance.goal_step},
          {"start_state", record.instance.start_state},
          {"goal_state", record.instance.goal_state},
          {"success", record.success},
          {"steps", record.steps},
          {"start_distance", record.start_distance},
          {"final_distance", record.final_distance},
          {"path", std::move(path)}};
}

}  // namespace

nlohmann::json to_json(const PlanningReport& report) {
  auto records = nlohmann::json::array();
  for (const auto& record : report.records) records.push_back(record_json(record));
  return {{"protocol", report.protocol},
          {"policy", report.policy},
          {"environment", report.environment},
          {"goal_offset", report.goal_offset},
          {"budget", report.budget},
          {"solved_when", std::string(enum_name(report.solved_when))},
          {"success_distance", report.success_distance},
          {"trials", report.trials},
          {"successes", report.successes},
          {"rate", report.rate},
          {"interval", {report.interval.low, report.interval.high}},
          {"confidence", report.confidence},
          {"median_steps", report.median_steps},
          {"mean_steps", report.mean_steps},
          {"planning_seconds_per_problem", duration_json(report.seconds_per_problem)},
          {"planning_seconds_per_call", duration_json(report.seconds_per_call)},
          {"first_call_seconds", report.first_call_seconds},
          {"fallbacks", report.fallbacks},
          {"fallback_message", report.fallback_message},
          {"total_seconds", report.total_seconds},
          {"frames", report.frames},
          {"instances", std::move(records)}};
}

std::string summary(const PlanningReport& report) {
  char text[512];
  std::snprintf(
      text, sizeof text,
      "%s on %s: %lld/%lld = %.0f %% (%.0f %% interval %.0f-%.0f %%), median %.0f steps to "
      "the goal",
      report.policy.c_str(), report.protocol.c_str(), static_cast<long long>(report.successes),
      static_cast<long long>(report.trials), 100 * report.rate, 100 * report.confidence,
      100 * report.interval.low, 100 * report.interval.high, report.median_steps);
  std::string line = text;
  if (report.seconds_per_problem.count > 0) {
    std::snprintf(text, sizeof text, ", planning %.1f ms per problem (p95 %.1f, worst %.1f)",
                  1e3 * report.seconds_per_problem.median, 1e3 * report.seconds_per_problem.p95,
                  1e3 * report.seconds_per_problem.worst);
    line += text;
  }
  if (report.fallbacks > 0)
    line += "; " + std::to_string(report.fallbacks) +
            " steps without a usable plan, first: " + report.fallback_message;
  return line;
}

}  // namespace foresight::eval
