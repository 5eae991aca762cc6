// SPDX-License-Identifier: Apache-2.0
#include "probe_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "foresight/eval/probe.hpp"
#include "foresight/train/interrupt.hpp"

namespace foresight::train {
namespace {

// "1024 of 9500", or "24" where it is all there are.
std::string clips_of(int64_t read, int64_t windows) {
  return read < windows ? fmt::format("{} of {}", read, windows) : fmt::format("{}", read);
}

ProbeOnHeldOut of_classes(const Tensor& read, const Tensor& states, int64_t classes,
                          int64_t windows) {
  const auto labels = states.select(1, 0).to(at::kLong);
  const auto clips = labels.size(0);
  const auto part = [&](const Tensor& count) {
    return count.item<double>() / static_cast<double>(clips);
  };
  const double accuracy = part(read.argmax(1).eq(labels).sum());
  const double commonest = part(at::bincount(labels, {}, classes).max());
  return {{{"clips", clips},
           {"windows", windows},
           {"accuracy", accuracy},
           {"commonest_class", commonest}},
          fmt::format("{:.1f} % of {} held-out clips are classed rightly; {:.1f} % are of the "
                      "commonest class",
                      100 * accuracy, clips_of(clips, windows), 100 * commonest)};
}

ProbeOnHeldOut of_values(const Tensor& read, const Tensor& states,
                         const std::vector<std::string>& names, int64_t windows) {
  const auto report = eval::evaluate_predictions(read, states, names);
  std::string words;
  for (const auto& column : report.columns)
    words += fmt::format("{}{} r2 {:.3f} (rmse {:.3g})", words.empty() ? "" : ", ", column.name,
                         column.r2, column.rmse);
  auto told = eval::to_json(report);
  told["windows"] = windows;
  return {std::move(told),
          fmt::format("{} held-out clips: {}", clips_of(report.rows, windows), words)};
}

}  // namespace

ProbeOnHeldOut probe_on_held_out(const models::AttentiveProbe& probe,
                                 const std::function<Tensor(const data::Batch&)>& tokens,
                                 const HeldOutClips& held_out, const ProbeTargetOptions& target) {
  if (held_out.loader == nullptr) return {};
  const c10::NoGradGuard no_grad;
  const auto enough = std::max(kJudgedClips, held_out.validated);
  std::vector<Tensor> read, states;
  for (int64_t clips = 0; clips < enough && !InterruptGuard::requested();) {
    const auto batch = held_out.loader->next();
    if (!batch) break;
    clips += batch->windows.size(0);
    read.push_back(probe.forward(tokens(*batch)).to(at::kCPU, at::kDouble));
    states.push_back(batch->states.select(1, -1).narrow(1, 0, target.states()).to(at::kDouble));
  }
  if (read.empty()) return {};
  return target.classes > 0
             ? of_classes(at::cat(read), at::cat(states), target.classes, held_out.windows)
             : of_values(at::cat(read), at::cat(states), probe.options().names, held_out.windows);
}

}  // namespace foresight::train
