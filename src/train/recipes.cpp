// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/recipes.hpp"

#include <algorithm>

namespace foresight::train {
namespace {

TrainOptions adamw_recipe(int64_t steps, double rate, double weight_decay, Decay decay,
                          double clip) {
  TrainOptions options;
  options.steps = steps;
  options.optimizer.lr = rate;
  options.optimizer.weight_decay = weight_decay;
  options.optimizer.decay = decay;
  options.optimizer.clip = clip;
  return options;
}

int64_t part_of(int64_t steps, int64_t part, int64_t whole) { return steps * part / whole; }

}  // namespace

TrainOptions lewm_training(int64_t steps) {
  auto options = adamw_recipe(steps, 5e-5, 1e-3, Decay::all, 1.0);
  options.schedule.warmup = std::max<int64_t>(1, part_of(steps, 1, 100));
  return options;
}

TrainOptions dino_wm_training(int64_t steps) {
  auto options = adamw_recipe(steps, 5e-4, 1e-2, Decay::all, 0.0);
  options.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
  return options;
}

TrainOptions vjepa2_training(int64_t steps) {
  auto options = adamw_recipe(steps, 5.25e-4, 0.04, Decay::matrices, 0.0);
  options.schedule = {.kind = ScheduleKind::constant,
                      .warmup = part_of(steps, 40, 800),
                      .warmup_start = 1e-4 / 5.25e-4};
  return options;
}

TrainOptions vjepa2_cool_down(int64_t steps) {
  constexpr double kLast = 1e-6 / 5.25e-4, kWay = 1 / 1.25;  // the schedule is made for 1.25 times
  auto options = vjepa2_training(steps);
  options.schedule = {.kind = ScheduleKind::wsd,
                      .warmup = 0,
                      .final_factor = 1 - kWay * (1 - kLast),
                      .decay_fraction = 1};
  return options;
}

TrainOptions vjepa2_ac_training(int64_t steps) {
  auto options = adamw_recipe(steps, 4.25e-4, 0.04, Decay::matrices, 0.0);
  options.schedule = {.kind = ScheduleKind::wsd,
                      .warmup = part_of(steps, 15, 315),
                      .warmup_start = 7.5e-5 / 4.25e-4,
                      .decay_fraction = 15.0 / 315};
  return options;
}

TrainOptions vjepa2_probe_training(int64_t steps) {
  auto options = adamw_recipe(steps, 1e-3, 0.01, Decay::all, 0.0);
  options.schedule.warmup = 0;
  return options;
}

TrainOptions ijepa_training(int64_t steps) {
  auto options = adamw_recipe(steps, 1e-3, 0.04, Decay::matrices, 0.0);
  options.schedule = {.warmup = part_of(steps, 15, 300), .warmup_start = 0.1, .final_factor = 1e-3};
  options.final_decay = 10;
  return options;
}

TrainOptions lejepa_training(int64_t steps) {
  auto options = adamw_recipe(steps, 5e-4, 5e-2, Decay::all, 0.0);
  options.schedule = {.warmup = part_of(steps, 1, 10), .final_factor = 1e-3};
  return options;
}

}  // namespace foresight::train
