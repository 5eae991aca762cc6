// SPDX-License-Identifier: Apache-2.0
#include "probe_report.hpp"

#include <fmt/format.h>

#include "foresight/eval/probe.hpp"

namespace foresight::train {
namespace {

ProbeOnHeldOut of_classes(const Tensor& read, const Tensor& states, int64_t classes) {
  const auto labels = states.select(1, 0).to(at::kLong);
  const auto clips = labels.size(0);
  const auto part = [&](const Tensor& count) {
    return count.item<double>() / static_cast<double>(clips);
  };
  const double accuracy = part(read.argmax(1).eq(labels).sum());
  const double commonest = part(at::bincount(labels, {}, classes).max());
  return {{{"clips", clips}, {"accuracy", accuracy}, {"commonest_class", commonest}},
          fmt::format("{:.1f} % of {} held-out clips are classed rightly; {:.1f} % are of the "
                      "commonest class",
                      100 * accuracy, clips, 100 * commonest)};
}

ProbeOnHeldOut of_values(const Tensor& read, const Tensor& states,
                         const std::vector<std::string>& names) {
  const auto report = eval::evaluate_predictions(read, states, names);
  std::string words;
  for (const auto& column : report.columns)
    words += fmt::format("{}{} r2 {:.3f} (rmse {:.3g})", words.empty() ? "" : ", ", column.name,
                         column.r2, column.rmse);
  return {eval::to_json(report), fmt::format("{} held-out clips: {}", report.rows, words)};
}

}  // namespace

ProbeOnHeldOut probe_on_held_out(const models::AttentiveProbe& probe,
                                 const std::function<Tensor(const data::Batch&)>& tokens,
                                 data::Loader* held_out, const ProbeTargetOptions& target) {
  if (held_out == nullptr) return {};
  const c10::NoGradGuard no_grad;
  std::vector<Tensor> read, states;
  while (const auto batch = held_out->next()) {
    read.push_back(probe.forward(tokens(*batch)).to(at::kCPU, at::kDouble));
    states.push_back(batch->states.select(1, -1).narrow(1, 0, target.states()).to(at::kDouble));
  }
  return target.classes > 0 ? of_classes(at::cat(read), at::cat(states), target.classes)
                            : of_values(at::cat(read), at::cat(states), probe.options().names);
}

}  // namespace foresight::train
