// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/probe_target.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "../models/constant_row.hpp"

namespace foresight::train {
namespace {

Tensor per_column(const std::vector<double>& values, int64_t columns, double fallback,
                  const Tensor& like) {
  return values.empty() ? at::full({columns}, fallback, like.options())
                        : models::constant_row(values, like.options());
}

// [B,N] -> bool [B]: rows whose target can be learned.
Tensor usable_rows(const Tensor& states, const ProbeTargetOptions& target) {
  if (target.classes == 0) return states.isfinite().all(1);
  const auto label = states.select(1, 0);
  return label.ge(0).logical_and(label.lt(target.classes)).logical_and(label.eq(label.round()));
}

// What is wrong with a row that is not usable.
std::string unusable(const Tensor& row, const ProbeTargetOptions& target) {
  const auto values = row.to(at::kCPU, at::kDouble).contiguous();
  if (target.classes > 0)
    return fmt::format("class number {} is outside 0..{}, or no whole number",
                       values[0].item<double>(), target.classes - 1);
  for (int64_t i = 0; i < values.size(0); ++i)
    if (!std::isfinite(values[i].item<double>()))
      return fmt::format("value {} of column {} is not finite", values[i].item<double>(), i);
  return "unusable";
}

}  // namespace

std::vector<std::string> ProbeTargetOptions::validate() const {
  const auto fits = [&](const std::vector<double>& values) {
    return values.empty() || static_cast<int64_t>(values.size()) == columns;
  };
  return Rules("ProbeTargetOptions")
      .at_least("classes", static_cast<double>(classes), 0)
      .at_least("columns", static_cast<double>(columns), 0)
      .check(classes == 0 || columns == 0, "classes", static_cast<double>(classes),
             "and columns cannot both be given")
      .check(fits(mean), "mean", static_cast<double>(mean.size()), "values, expected one a column")
      .check(fits(std), "std", static_cast<double>(std.size()), "values, expected one a column")
      .all_within("mean", mean)
      .all_within("std", std, 1e-12)
      .problems();
}

Tensor probe_truth(const Tensor& states, const ProbeTargetOptions& target,
                   std::string_view reader) {
  const auto wanted = target.states();
  const auto recorded = states.defined() ? states.size(1) : 0;
  require(recorded >= wanted, ErrorCategory::invalid_argument,
          fmt::format("{}: the recordings have {} state columns, the probe reads {}", reader,
                      recorded, wanted));
  auto truth = states.narrow(1, 0, wanted);
  const auto usable = usable_rows(truth, target);
  if (usable.all().item<bool>()) return truth;
  const auto first = usable.to(at::kInt).argmin().item<int64_t>();
  throw Error(ErrorCategory::bad_file,
              fmt::format("{}: {}", reader, unusable(truth[first], target)));
}

ProbeLoss probe_loss(const Tensor& read, const Tensor& truth, const ProbeTargetOptions& target) {
  const auto told = truth.to(read);
  if (target.classes > 0) {
    const auto labels = told.select(1, 0).to(at::kLong);
    return {at::cross_entropy_loss(read, labels),
            read.detach().argmax(1).ne(labels).to(read.dtype()).mean()};
  }
  const auto columns = target.columns;
  const auto standardised = (told - per_column(target.mean, columns, 0.0, read)) /
                            per_column(target.std, columns, 1.0, read);
  const auto error = (read - standardised).square().mean();
  return {error, error.detach().sqrt()};
}

void check_probe_target(const data::Dataset& dataset, const ProbeTargetOptions& target,
                        int64_t first_row) {
  auto columns = dataset.state_columns();
  const auto wanted = target.states();
  require(static_cast<int64_t>(columns.size()) >= wanted, ErrorCategory::invalid_option,
          fmt::format("{}: {} = {}, but these recordings have {} state columns ({}); choose "
                      "others with DatasetOptions.states (--states)",
                      dataset.name(), target.classes > 0 ? "a label is read, classes" : "columns",
                      target.outputs(), columns.size(), fmt::join(columns, ", ")));
  columns.resize(static_cast<std::size_t>(wanted));
  const auto lost = dataset.unreadable_episodes();  // nobody sees their numbers, which may be NaN
  for (int64_t episode = 0; episode < dataset.num_episodes(); ++episode) {
    const auto rows = dataset.length(episode) - first_row;
    if (rows <= 0 || lost.contains(episode)) continue;
    const auto values = dataset.read_rows(columns, episode, first_row, rows);
    const auto usable = usable_rows(values, target);
    if (usable.all().item<bool>()) continue;
    const auto first = usable.to(at::kInt).argmin().item<int64_t>();
    throw Error(
        ErrorCategory::bad_file,
        fmt::format("{}: {}, row {} ({}): {}", dataset.name(), dataset.episode_name(episode),
                    first_row + first, fmt::join(columns, ", "), unusable(values[first], target)));
  }
}

}  // namespace foresight::train
