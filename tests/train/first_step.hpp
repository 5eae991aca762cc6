// SPDX-License-Identifier: Apache-2.0
// One training step against a step written by hand: the gradient of a loss that the test computes
// itself, and AdamW's first update in closed form.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <string>

#include "catch.hpp"
#include "foresight/train/trainer.hpp"
#include "temporary_folder.hpp"

namespace foresight::train {

/// Trains `task` for one step with rate `kRate` and decay `kDecay` and compares every trainable
/// parameter with p (1 - rate decay) - rate g/(|g| + eps), g the gradient of `loss`. (AdamW's first
/// step in this form: bias correction turns both moments into g and g^2.) Gradients that are
/// rounding, below `noise`, have no sign to compare. Parameters without gradient must not change.
inline void check_first_step(Task& task, const std::function<Tensor()>& loss, double noise = 1e-5) {
  constexpr double kRate = 1e-3, kDecay = 0.1, kEpsilon = 1e-8;
  task.module().train();
  loss().backward();
  std::map<std::string, Tensor> before, gradients;
  for (const auto& item : task.module().named_parameters()) {
    before[item.key()] = item.value().detach().clone();
    gradients[item.key()] = item.value().grad().defined() ? item.value().grad().clone() : Tensor();
    item.value().mutable_grad() = Tensor();
  }
  const TemporaryFolder folder;
  EventWriter metrics(folder.path());
  const auto result =
      train(task,
            {.steps = 1,
             .validate_every = 0,
             .checkpoint_every = 0,
             .optimizer = {.lr = kRate, .weight_decay = kDecay, .epsilon = kEpsilon, .clip = 0},
             .schedule = {.kind = ScheduleKind::constant, .warmup = 0}},
            {folder.path()}, metrics, ProgressStyle::silent);
  REQUIRE(result.outcome == Outcome::finished);
  int64_t compared = 0;
  for (const auto& item : task.module().named_parameters()) {
    INFO("parameter " << item.key());
    const auto& p = before[item.key()];
    const auto& g = gradients[item.key()];
    if (!g.defined()) {
      CHECK(at::equal(item.value(), p));
      continue;
    }
    const auto expected = p * (1 - kRate * kDecay) - kRate * g / (g.abs() + kEpsilon);
    const auto counts = g.abs() > noise;
    CHECK(at::allclose(item.value().masked_select(counts), expected.masked_select(counts), 1e-5,
                       1e-6));
    compared += counts.sum().item<int64_t>();
  }
  CHECK(compared > 100);
}

/// Trains for some steps; metrics go to a folder that is removed.
inline TrainResult brief_training(Task& task, int64_t steps, double rate,
                                  double clip = AdamWOptions().clip) {
  const TemporaryFolder folder;
  EventWriter metrics(folder.path());
  return train(task,
               {.steps = steps,
                .validate_every = 0,
                .checkpoint_every = 0,
                .optimizer = {.lr = rate, .decay = Decay::matrices, .clip = clip},
                .schedule = {.warmup = steps / 10}},
               {folder.path()}, metrics, ProgressStyle::silent);
}

}  // namespace foresight::train
