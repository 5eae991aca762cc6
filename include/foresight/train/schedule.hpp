// SPDX-License-Identifier: Apache-2.0
// Learning rates as functions of the step, so that resuming needs no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"

namespace foresight::train {

enum class ScheduleKind {
  cosine,    ///< warm-up, then half a cosine down to final_factor (LeWM)
  constant,  ///< warm-up, then 1
  wsd,       ///< warm-up, stable, then linear decay over the last decay_fraction of the steps
};

struct FORESIGHT_API ScheduleOptions {
  ScheduleKind kind = ScheduleKind::cosine;  ///< LeWM and most JEPA recipes decay by a cosine
  int64_t warmup = 50;          ///< steps of linear warm-up; Adam's moments need about that many
  double warmup_start = 0.0;    ///< factor before the first step: 0 makes the first step's rate 0
  double final_factor = 0.0;    ///< of the base rate, at the last step
  double decay_fraction = 0.2;  ///< wsd: part of all steps that decays

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("kind", self.kind, "cosine, constant or wsd (warm-up, stable, decay)");
    visit("warmup", self.warmup, "steps of linear warm-up");
    visit("warmup_start", self.warmup_start, "factor at step 0");
    visit("final_factor", self.final_factor, "factor at the last step");
    visit("decay_fraction", self.decay_fraction, "wsd: part of all steps that decays");
  }
  std::vector<std::string> validate() const;
};

/// Factor on the base learning rate in force at step `step` (0-based) of `steps`. With warm-up w:
/// warmup_start + (1 - warmup_start) step/w for step < w; then, for cosine, with progress
/// p = (step - w)/(steps - w): final + (1 - final)(1 + cos(pi p))/2.
FORESIGHT_API double learning_rate_factor(const ScheduleOptions& options, int64_t step,
                                          int64_t steps);

}  // namespace foresight::train

template <>
struct foresight::EnumNames<foresight::train::ScheduleKind> {
  using E = foresight::train::ScheduleKind;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"cosine", E::cosine}, {"constant", E::constant}, {"wsd", E::wsd}}};
};
