// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/continual.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/data/statistics.hpp"

namespace foresight::train {
namespace {

constexpr double kLargestShift = 0.5, kLargestSpread = 2.0, kMostOutside = 0.01;

nlohmann::json finite_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

void warn_of(std::vector<std::string>& warnings, const std::string& what, double shift,
             double spread) {
  if (std::abs(shift) > kLargestShift)
    warnings.push_back(
        fmt::format("{}: the mean lies {:.2f} standard deviations away", what, shift));
  if (spread > kLargestSpread || spread < 1 / kLargestSpread)
    warnings.push_back(fmt::format("{}: the spread is {:.2f} times what it was", what, spread));
}

double limit(const std::vector<double>& limits, std::size_t i, double open) {
  return limits.empty() ? open : limits[i];
}

// Part of the rows outside the limits of dimension i.
double part_outside(const ActionSpace& space, std::size_t i, const data::Dataset& dataset,
                    const std::vector<int64_t>& episodes) {
  constexpr double kOpen = std::numeric_limits<double>::infinity();
  const double low = limit(space.low, i, -kOpen), high = limit(space.high, i, kOpen);
  int64_t outside = 0, rows = 0;
  for (const auto episode : episodes) {
    const auto count = dataset.length(episode) - 1;  // the last action leads nowhere
    if (count < 1) continue;
    const auto values = dataset.read_rows({dataset.action_columns()[i]}, episode, 0, count);
    outside += values.lt(low).logical_or(values.gt(high)).sum().item<int64_t>();
    rows += count;
  }
  return rows > 0 ? static_cast<double>(outside) / static_cast<double>(rows) : 0.0;
}

nlohmann::json losses_json(const std::vector<BeforeAfter>& losses) {
  auto object = nlohmann::json::object();
  for (const auto& loss : losses)
    object[loss.term] = {{"before", finite_or_null(loss.before)},
                         {"after", finite_or_null(loss.after)}};
  return object;
}

}  // namespace

void Continuation::check() const {
  require(!replay || (share > 0 && share < 1), ErrorCategory::invalid_option,
          fmt::format("the share of replayed windows = {} must be between 0 and 1, both excluded",
                      share));
}

int64_t Continuation::replayed(int64_t batch, int64_t processes) const {
  const auto each = batch / processes;
  require(each >= 2, ErrorCategory::invalid_option,
          fmt::format("loader.batch = {}: {} window(s) a process cannot hold both old and new ones",
                      batch, each));
  require(batch % processes == 0, ErrorCategory::invalid_option,
          fmt::format("loader.batch = {} must be a multiple of the number of processes, {}", batch,
                      processes));
  const auto old =
      std::llround(share * static_cast<double>(batch) / static_cast<double>(processes));
  return processes * std::clamp<int64_t>(old, 1, each - 1);
}

std::vector<std::string> DataDrift::warnings() const {
  std::vector<std::string> found;
  for (const auto& column : actions) {
    warn_of(found, column.column, column.shift, column.spread);
    if (column.outside > kMostOutside)
      found.push_back(fmt::format("{}: {:.0f} % of the actions are outside the model's limits",
                                  column.column, 100 * column.outside));
  }
  for (const auto& column : states) warn_of(found, column.column, column.shift, column.spread);
  if (std::isfinite(latent_shift)) warn_of(found, "latents", latent_shift, latent_spread);
  return found;
}

std::vector<ColumnDrift> action_drift(const ActionSpace& space, const data::Dataset& dataset,
                                      const std::vector<int64_t>& episodes) {
  const auto& columns = dataset.action_columns();
  require(space.discrete || static_cast<int64_t>(columns.size()) == space.dim,
          ErrorCategory::invalid_argument,
          fmt::format("{}: {} action columns, the model has {} dimensions", dataset.name(),
                      columns.size(), space.dim));
  std::vector<ColumnDrift> drift;
  if (space.discrete) return drift;  // symbols have no mean
  const auto seen = data::column_statistics(dataset, columns, data::LastRow::exclude, episodes);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const double std = limit(space.std, i, 1.0);
    drift.push_back({columns[i], (seen.mean[i] - limit(space.mean, i, 0.0)) / std,
                     seen.std[i] / std, part_outside(space, i, dataset, episodes)});
  }
  return drift;
}

std::vector<ColumnDrift> state_drift(const data::Dataset& dataset,
                                     const std::vector<std::string>& columns,
                                     const std::vector<double>& mean,
                                     const std::vector<double>& std,
                                     const std::vector<int64_t>& episodes) {
  std::vector<ColumnDrift> drift;
  if (columns.empty()) return drift;
  const auto seen = data::column_statistics(dataset, columns, data::LastRow::include, episodes);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const double spread = limit(std, i, 1.0);
    // 1 is what a column that never changed was given: it may well go on so.
    const bool constant = seen.std[i] == 0 && spread == 1;
    drift.push_back({columns[i], (seen.mean[i] - limit(mean, i, 0.0)) / spread,
                     constant ? 1.0 : seen.std[i] / spread, 0.0});
  }
  return drift;
}

void add_latent_drift(DataDrift& drift, const Tensor& fresh, const Tensor& old) {
  check_shape("new latents", fresh, {kAny, old.size(1)}, "[N,D]");
  const auto a = fresh.to(at::kDouble), b = old.to(at::kDouble);
  const auto spread = b.std(0, /*unbiased=*/false).clamp_min(1e-12);
  const auto rms = [](const Tensor& x) { return x.square().mean().sqrt().item<double>(); };
  drift.latent_shift = rms((a.mean(0) - b.mean(0)) / spread);
  drift.latent_spread = rms(a.std(0, /*unbiased=*/false) / spread);
}

double ContinualReport::forgetting() const {
  for (const auto& loss : old_data)
    if (loss.term == "loss") return loss.after / loss.before - 1;
  return std::numeric_limits<double>::quiet_NaN();
}

nlohmann::json to_json(const ContinualReport& report) {
  const auto columns_json = [](const std::vector<ColumnDrift>& columns) {
    auto list = nlohmann::json::array();
    for (const auto& column : columns)
      list.push_back({{"column", column.column},
                      {"shift", finite_or_null(column.shift)},
                      {"spread", finite_or_null(column.spread)},
                      {"outside", column.outside}});
    return list;
  };
  return {{"drift",
           {{"actions", columns_json(report.drift.actions)},
            {"states", columns_json(report.drift.states)},
            {"latent_shift", finite_or_null(report.drift.latent_shift)},
            {"latent_spread", finite_or_null(report.drift.latent_spread)},
            {"warnings", report.drift.warnings()}}},
          {"old_data", losses_json(report.old_data)},
          {"new_data", losses_json(report.new_data)},
          {"forgetting", finite_or_null(report.forgetting())}};
}

std::string summary(const ContinualReport& report) {
  std::string text;
  const auto add = [&](const char* what, const std::vector<BeforeAfter>& losses) {
    for (const auto& loss : losses)
      if (loss.term == "loss")
        text +=
            fmt::format("held-out loss on {} recordings: {:.4g} before, {:.4g} after ({:+.0f} %)\n",
                        what, loss.before, loss.after, 100 * (loss.after / loss.before - 1));
  };
  add("old", report.old_data);
  add("new", report.new_data);
  for (const auto& warning : report.drift.warnings()) text += "drift: " + warning + "\n";
  return text;
}

}  // namespace foresight::train
