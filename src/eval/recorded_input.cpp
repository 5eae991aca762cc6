// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/recorded_input.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "foresight/core/log.hpp"
#include "foresight/models/pose.hpp"
#include "foresight/models/vjepa2_bundle.hpp"

namespace foresight::eval {
namespace {

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

// The columns that a training says it took; empty if it says nothing. Recordings that have none of
// them may call them otherwise; with some of them, others would take the places of the missing.
std::vector<std::string> trained_columns(const io::BundleConfig& bundle,
                                         const data::Dataset& dataset) {
  std::vector<std::string> names, missing;
  const auto told = bundle.provenance.find("observed_columns");
  if (told == bundle.provenance.end() || !told->is_array()) return names;
  const auto& there = dataset.columns();
  for (const auto& name : *told) {
    if (!name.is_string()) return {};
    names.push_back(name.get<std::string>());
    if (std::find(there.begin(), there.end(), names.back()) == there.end())
      missing.push_back(names.back());
  }
  if (missing.empty()) return names;
  require(missing.size() == names.size(), ErrorCategory::not_found,
          dataset.name() + ": the model was trained to observe " + listed(names) +
              ", but these recordings have no: " + listed(missing) +
              ". Name the columns to observe (--states)");
  log(LogLevel::warning,
      dataset.name() + ": has none of the columns that the model was trained to observe (" +
          listed(names) + "); it is shown the state columns: " + listed(dataset.state_columns()));
  return {};
}

int64_t numbers_of(const ObservationField& field) {
  require(field.shape.size() == 1 && field.shape[0] > 0, ErrorCategory::unsupported,
          "observation field '" + field.name + "' has shape " + shape_string(field.shape) +
              ": columns can fill [N] alone");
  return field.shape[0];
}

// Each field takes its part of the columns.
void check_columns(const ModelSpec& spec, const std::vector<std::string>& columns,
                   const std::string& recordings) {
  const auto available = static_cast<int64_t>(columns.size());
  int64_t used = 0;
  for (const auto& field : spec.observation) {
    if (field.name == kPixels) continue;
    const auto numbers = numbers_of(field);
    require(used + numbers <= available, ErrorCategory::invalid_argument,
            recordings + ": observation field '" + field.name + "' of the model holds " +
                std::to_string(numbers) + " numbers, but " + std::to_string(available - used) +
                " columns are left for it of: " + listed(columns) +
                ". Name the columns to observe (--states)");
    used += numbers;
  }
  require(used == available, ErrorCategory::invalid_argument,
          recordings + ": the model observes " + std::to_string(used) +
              " numbers besides the picture, but these columns were named: " + listed(columns));
}

}  // namespace

RecordedInput::RecordedInput(const ModelSpec& spec, const data::Dataset& dataset,
                             std::vector<std::string> columns, const io::BundleConfig& bundle)
    : spec_(spec),
      columns_(std::move(columns)),
      stride_(spec.action.block),
      pose_changes_(spec.family == models::kVJepa2AcFamily) {
  const bool measured =
      std::any_of(spec.observation.begin(), spec.observation.end(),
                  [](const ObservationField& field) { return field.name != kPixels; });
  if (measured && columns_.empty()) columns_ = trained_columns(bundle, dataset);
  if (measured && columns_.empty()) columns_ = dataset.state_columns();
  check_columns(spec, columns_, dataset.name());
  if (!columns_.empty()) dataset.read_rows(columns_, 0, 0, 1);  // or an error naming the column
  if (!pose_changes_) return;
  const auto told = bundle.provenance.find("stride");
  if (told != bundle.provenance.end() && told->is_number_integer() && *told >= 1)
    stride_ = told->get<int64_t>();
}

Observation RecordedInput::observation(const Tensor& pixels, const Tensor& values) const {
  Observation seen;
  int64_t used = 0;
  for (const auto& field : spec_.observation) {
    if (field.name == kPixels) {
      seen.set(kPixels, pixels);
      continue;
    }
    const auto numbers = numbers_of(field);
    seen.set(field.name, values.narrow(1, used, numbers).to(field.dtype));
    used += numbers;
  }
  return seen;
}

Tensor RecordedInput::values(const data::Dataset& dataset, int64_t episode,
                             at::IntArrayRef rows) const {
  if (columns_.empty()) return {};
  std::vector<Tensor> read;
  for (const auto row : rows) read.push_back(dataset.read_rows(columns_, episode, row, 1));
  return at::cat(read);
}

Observation RecordedInput::observation(const data::FrameCache& frames, int64_t episode,
                                       at::IntArrayRef rows) const {
  return observation(frames.frames(episode, rows), values(*frames.dataset(), episode, rows));
}

Tensor RecordedInput::blocks(const data::Dataset& dataset, int64_t episode, int64_t row,
                             int64_t count) const {
  if (pose_changes_) {
    std::vector<int64_t> rows(static_cast<std::size_t>(count + 1));
    for (std::size_t t = 0; t < rows.size(); ++t) rows[t] = row + static_cast<int64_t>(t) * stride_;
    const auto poses = values(dataset, episode, rows).narrow(1, 0, models::kPoseWidth);
    return models::pose_difference(poses.narrow(0, 0, count), poses.narrow(0, 1, count))
        .to(at::kFloat);
  }
  const auto raw = dataset.read_rows(dataset.action_columns(), episode, row, count * stride_);
  return spec_.action.normalise(raw.to(at::kFloat).reshape({count, stride_, -1}));
}

ActionSpace RecordedInput::loader_actions(const data::Dataset& dataset) const {
  if (!pose_changes_) return spec_.action;
  ActionSpace unread;
  unread.dim = static_cast<int64_t>(dataset.action_columns().size());
  unread.block = stride_;
  return unread;
}

OpenLoopWindows RecordedInput::windows(const data::Dataset& dataset,
                                       const data::Batch& batch) const {
  const auto count = batch.pixels.size(0), steps = batch.pixels.size(1);
  OpenLoopWindows seen;
  seen.actions = batch.actions;
  std::vector<Tensor> measured, actions;
  const auto place = batch.windows.accessor<int64_t, 2>();
  for (int64_t b = 0; b < count; ++b) {
    std::vector<int64_t> rows(static_cast<std::size_t>(steps));
    for (std::size_t t = 0; t < rows.size(); ++t)
      rows[t] = place[b][2] + static_cast<int64_t>(t) * stride_;
    if (!columns_.empty()) measured.push_back(values(dataset, place[b][1], rows));
    if (pose_changes_) actions.push_back(blocks(dataset, place[b][1], place[b][2], steps - 1));
  }
  if (pose_changes_) seen.actions = at::stack(actions);
  const auto numbers = columns_.empty() ? Tensor() : at::stack(measured);  // [B,T,columns]
  for (int64_t t = 0; t < steps; ++t)
    seen.observations.push_back(
        observation(batch.pixels.select(1, t), columns_.empty() ? Tensor() : numbers.select(1, t)));
  return seen;
}

ObservationView view_of(const RecordedInput& input, const envs::EnvSpec& environment,
                        const data::Dataset& dataset) {
  const auto& names = environment.state_names;
  std::vector<int64_t> picked;
  for (const auto& column : input.columns()) {
    auto found = std::find(names.begin(), names.end(), column);
    const auto& recorded = dataset.state_columns();
    const auto place = std::find(recorded.begin(), recorded.end(), column);
    if (found == names.end() && recorded.size() == names.size() && place != recorded.end())
      found = names.begin() + (place - recorded.begin());
    require(found != names.end(), ErrorCategory::not_found,
            "environment '" + environment.name + "' does not tell '" + column +
                "', which the model observes; its state is: " + listed(names));
    picked.push_back(found - names.begin());
  }
  const auto rows = at::tensor(picked, at::kLong);
  return [input, rows](const Observation& shown) {
    return input.observation(
        shown.at(kPixels), rows.numel() > 0 ? shown.at(kProprio).index_select(1, rows) : Tensor());
  };
}

}  // namespace foresight::eval
