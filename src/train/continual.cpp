// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/continual.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace foresight::train {
namespace {

constexpr double kLargestShift = 0.5, kLargestSpread = 2.0, kMostOutside = 0.01;
// Of a column that never varied: another way of writing a number is no change.
constexpr double kSameValue = 1e-6;
constexpr const char* kNeverVaried = "never_varied";  // in a bundle's provenance

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

void warn_of(std::vector<std::string>& warnings, const ColumnDrift& column) {
  if (!column.never_varied) return warn_of(warnings, column.column, column.shift, column.spread);
  if (column.shift != 0 || column.spread != 0)
    warnings.push_back(
        fmt::format("{}: never varied in the training data; here its mean is {:.3g} away from that "
                    "value, its standard deviation {:.3g}",
                    column.column, column.shift, column.spread));
}

// A column with `seen` mean and std, in units of what the model has.
ColumnDrift drift_of(const std::string& column, double seen_mean, double seen_std, double mean,
                     double std, bool never_varied) {
  const double shift = seen_mean - mean;
  if (never_varied) {
    const double same = kSameValue * std::max(1.0, std::abs(mean));
    return {.column = column,
            .shift = std::abs(shift) > same ? shift : 0.0,
            .spread = seen_std > same ? seen_std : 0.0,
            .never_varied = true};
  }
  // 1 is also what a column that never changed was given: it may well go on so.
  const bool goes_on = seen_std == 0 && std == 1;
  return {.column = column, .shift = shift / std, .spread = goes_on ? 1.0 : seen_std / std};
}

bool holds(const std::vector<int64_t>& places, std::size_t i) {
  return std::find(places.begin(), places.end(), static_cast<int64_t>(i)) != places.end();
}

std::vector<int64_t> places_told(const nlohmann::json& told, const char* kind) {
  std::vector<int64_t> places;
  if (const auto list = told.find(kind); list != told.end() && list->is_array())
    for (const auto& place : *list)
      if (place.is_number_integer()) places.push_back(place.get<int64_t>());
  return places;
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
    warn_of(found, column);
    if (column.outside > kMostOutside)
      found.push_back(fmt::format("{}: {:.0f} % of the actions are outside the model's limits",
                                  column.column, 100 * column.outside));
  }
  for (const auto& column : states) warn_of(found, column);
  if (std::isfinite(latent_shift)) warn_of(found, "latents", latent_shift, latent_spread);
  return found;
}

std::optional<ConstantColumns> constant_columns_told(const nlohmann::json& provenance) {
  if (!provenance.is_object()) return std::nullopt;
  const auto told = provenance.find(kNeverVaried);
  if (told == provenance.end() || !told->is_object()) return std::nullopt;
  return ConstantColumns{places_told(*told, "actions"), places_told(*told, "states")};
}

ConstantColumns still_constant(const ConstantColumns& constant, const DataDrift& drift) {
  const auto held = [](std::vector<int64_t> places, const std::vector<ColumnDrift>& columns) {
    std::erase_if(places, [&](int64_t place) {
      const auto i = static_cast<std::size_t>(place);
      return i < columns.size() && (columns[i].shift != 0 || columns[i].spread != 0);
    });
    return places;
  };
  return {held(constant.actions, drift.actions), held(constant.states, drift.states)};
}

void tell_constant_columns(nlohmann::json& provenance, const ConstantColumns& constant) {
  provenance[kNeverVaried] = {{"actions", constant.actions}, {"states", constant.states}};
}

std::vector<int64_t> constant_columns(const data::Dataset& dataset,
                                      const std::vector<std::string>& columns,
                                      const std::vector<double>& std, data::LastRow last_row,
                                      const std::vector<int64_t>& episodes) {
  std::vector<int64_t> places;
  if (columns.empty() || std::find(std.begin(), std.end(), 1.0) == std.end()) return places;
  const auto seen =
      data::column_statistics(dataset, columns, last_row, episodes, data::Missing::row);
  for (std::size_t i = 0; i < std::min(columns.size(), std.size()); ++i)
    if (std[i] == 1 && seen.min[i] == seen.max[i]) places.push_back(static_cast<int64_t>(i));
  return places;
}

std::vector<ColumnDrift> action_drift(const ActionSpace& space, const data::Dataset& dataset,
                                      const std::vector<int64_t>& episodes,
                                      const std::optional<ConstantColumns>& constant) {
  const auto& columns = dataset.action_columns();
  require(space.discrete || static_cast<int64_t>(columns.size()) == space.dim,
          ErrorCategory::invalid_argument,
          fmt::format("{}: {} action columns, the model has {} dimensions", dataset.name(),
                      columns.size(), space.dim));
  std::vector<ColumnDrift> drift;
  if (space.discrete) return drift;  // symbols have no mean
  const auto seen = data::column_statistics(dataset, columns, data::LastRow::exclude, episodes,
                                            data::Missing::row);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    drift.push_back(drift_of(columns[i], seen.mean[i], seen.std[i], limit(space.mean, i, 0.0),
                             limit(space.std, i, 1.0), constant && holds(constant->actions, i)));
    drift.back().outside = part_outside(space, i, dataset, episodes);
  }
  return drift;
}

std::vector<ColumnDrift> state_drift(const data::Dataset& dataset,
                                     const std::vector<std::string>& columns,
                                     const std::vector<double>& mean,
                                     const std::vector<double>& std,
                                     const std::vector<int64_t>& episodes,
                                     const std::optional<ConstantColumns>& constant) {
  std::vector<ColumnDrift> drift;
  if (columns.empty()) return drift;
  const auto seen = data::column_statistics(dataset, columns, data::LastRow::include, episodes,
                                            data::Missing::row);
  for (std::size_t i = 0; i < columns.size(); ++i)
    drift.push_back(drift_of(columns[i], seen.mean[i], seen.std[i], limit(mean, i, 0.0),
                             limit(std, i, 1.0), constant && holds(constant->states, i)));
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
                      {"outside", column.outside},
                      {"never_varied", column.never_varied}});
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
