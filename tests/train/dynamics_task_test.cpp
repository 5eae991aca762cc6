// SPDX-License-Identifier: Apache-2.0
// Training of ensemble dynamics: bootstrap samples, positions, and a linear world learned.
#include "foresight/train/dynamics_task.hpp"

#include <torch/nn.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/train/adamw.hpp"

namespace foresight::train::dynamics_task_test {


namespace {

models::Transitions linear_world(int64_t n, std::uint64_t seed) {
  PhiloxNoise noise(seed);
  models::Transitions data{noise.normal({n, 2}), noise.normal({n, 1}), {}};
  data.next = 0.7 * data.states + data.actions;
  return data;
}

std::shared_ptr<models::MlpDynamics> small_dynamics() {
  models::MlpDynamicsOptions options;
  options.state = 2;
  options.members = 3;
  options.mlp.hidden = {16};
  return std::make_shared<models::MlpDynamics>(options);
}

}  // namespace

TEST_CASE("a dynamics task learns, and tells by held-out data that it does") {
  DynamicsTask task(small_dynamics(), linear_world(300, 1), linear_world(100, 2), 32, 4);
  CHECK(task.samples() == 96);
  AdamW optimizer(task.module(), {.lr = 5e-3, .weight_decay = 0});
  const auto before = task.validate().total().item<double>();
  for (int step = 0; step < 300; ++step) {
    task.loss().total().backward();
    optimizer.step(1.0);
  }
  CHECK(task.validate().total().item<double>() < 0.05 * before);
}

TEST_CASE("a dynamics task goes on from a position with the batches that were left") {
  const auto dynamics = small_dynamics();
  DynamicsTask task(dynamics, linear_world(50, 1), {}, 8, 4);
  CHECK(task.validate().empty());
  task.loss();
  const auto position = task.position();
  const auto next = task.loss().total().item<double>();
  CHECK(task.loss().total().item<double>() != next);
  DynamicsTask resumed(dynamics, linear_world(50, 1), {}, 8, 4);
  resumed.seek(position);
  CHECK(resumed.loss().total().item<double>() == next);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { task.seek("{}"); }, "position"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { DynamicsTask bad(dynamics, linear_world(50, 1), {}, 0, 4); }, "batch"));
}

}  // namespace foresight::train::dynamics_task_test
