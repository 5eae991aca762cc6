// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/jepa_task.hpp"

#include <map>

#include "catch.hpp"
#include "foresight/train/trainer.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::jepa_task_test {
namespace {

// How far one update moves the model and the inverse-dynamics head. With such an epsilon an update
// is the clipped gradient.
std::map<std::string, double> moved_by_one_step(double inverse_dynamics, double clip) {
  auto options = models::JepaOptions::small();
  options.action.dim = 1;
  options.action.block = 1;
  options.inverse_dynamics_hidden = 8;
  options.loss.inverse_dynamics = inverse_dynamics;
  const auto model = std::make_shared<models::Jepa>(options, 1);
  std::map<std::string, Tensor> before;
  for (const auto& item : model->named_parameters())
    before[item.key()] = item.value().detach().clone();
  JepaTask task(model, {.training = windows_of(pushed_square(), 5, 8, options.action)});
  TrainOptions training;
  training.steps = 1;
  training.validate_every = training.checkpoint_every = 0;
  training.schedule = {.kind = ScheduleKind::constant, .warmup = 0};
  training.optimizer = {.lr = 1e6, .weight_decay = 0, .epsilon = 1e6, .clip = clip};
  const TemporaryFolder folder;
  EventWriter metrics(folder / "run");
  REQUIRE(train(task, training, {folder / "run"}, metrics, ProgressStyle::silent).outcome ==
          Outcome::finished);
  std::map<std::string, double> squares{{"model", 0}, {"head", 0}};
  for (const auto& item : model->named_parameters())
    squares[item.key().starts_with("idm.") ? "head" : "model"] +=
        (item.value().detach() - before[item.key()]).square().sum().item<double>();
  for (auto& [part, value] : squares) value = std::sqrt(value);
  return squares;
}

}  // namespace

TEST_CASE("the model and the inverse-dynamics head are clipped one by one, as upstream does") {
  constexpr double kClip = 0.02;
  auto free = moved_by_one_step(1.0, 0.0);
  REQUIRE(free["model"] > kClip);
  REQUIRE(free["head"] > kClip);
  auto clipped = moved_by_one_step(1.0, kClip);
  CHECK(clipped["model"] == Approx(kClip).epsilon(1e-3));
  CHECK(clipped["head"] == Approx(kClip).epsilon(1e-3));
  // Without weight the head has no gradient.
  CHECK(moved_by_one_step(0.0, kClip)["model"] == Approx(kClip).epsilon(1e-3));
  CHECK(moved_by_one_step(0.0, kClip)["head"] == 0);
}

}  // namespace foresight::train::jepa_task_test
