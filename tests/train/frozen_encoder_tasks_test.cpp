// SPDX-License-Identifier: Apache-2.0
// DINO-WM and V-JEPA 2-AC learn from recordings: what they learn, what stays frozen, and that one
// step is the one written by hand.
#include "catch.hpp"
#include "error_message.hpp"
#include "first_step.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train::frozen_encoder_tasks_test {
namespace {

constexpr int64_t kSquareSide = 32, kGripperSide = 16;

models::DinoWmOptions small_dino_wm() {
  models::DinoWmOptions options;
  options.image.size = kSquareSide;
  options.encoder = {
      .patch = 16, .width = 24, .depth = 1, .heads = 2, .mlp_width = 32, .norm_epsilon = 1e-6};
  options.encoder_image_size = kSquareSide;
  options.proprio = {.dim = 1, .width = 4, .mean = {12.0}, .std = {5.0}};
  options.predictor = {.depth = 2, .heads = 2, .head_width = 8, .mlp_width = 48};
  options.predictor.dropout = 0.0;
  options.history = 2;
  options.action = ActionSpace();
  options.action.block = 2;
  return options;
}

// Random weights of a size at which patches differ, as those of a trained backbone do.
std::shared_ptr<models::DinoWm> dino_wm_with_backbone() {
  auto model = std::make_shared<models::DinoWm>(small_dino_wm(), 1);
  PhiloxNoise noise(2);
  at::NoGradGuard no_grad;
  for (auto& parameter : model->encoder().parameters())
    if (parameter.dim() >= 2) parameter.copy_(noise.normal(parameter.sizes()) * 0.3);
  return model;
}

TaskData square_windows() {
  const auto space = small_dino_wm().action;
  return {.training = windows_of(pushed_square(), 3, 16, space, {0, 1, 2, 3, 4, 5, 6, 7}),
          .validation = windows_of(pushed_square(), 3, 16, space, {8, 9}),
          .validation_batches = 2};
}

models::VJepa2AcOptions small_vjepa2_ac() {
  models::VJepa2AcOptions options;
  options.image.size = kGripperSide;
  options.encoder = nn::VideoVitOptions::tiny();
  options.encoder.width = 24;
  options.encoder.depth = 1;
  options.encoder.heads = 2;
  options.encoder.mlp_width = 32;
  options.encoder.image_height = options.encoder.image_width = kGripperSide;
  options.predictor.width = 24;
  options.predictor.depth = 2;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 48;
  return options;
}

std::shared_ptr<models::VJepa2Ac> vjepa2_ac_with_encoder() {
  return std::make_shared<models::VJepa2Ac>(small_vjepa2_ac(), 1);
}

TaskData gripper_windows() {
  return {.training = windows_of(moving_gripper(kGripperSide), 4, 16, {}, {0, 1, 2, 3, 4}),
          .validation = windows_of(moving_gripper(kGripperSide), 4, 16, {}, {5}),
          .validation_batches = 1};
}

}  // namespace

TEST_CASE("DINO-WM learns to predict features, and its backbone stays as it was") {
  const auto model = dino_wm_with_backbone();
  std::vector<Tensor> backbone;
  for (const auto& parameter : model->encoder().parameters()) backbone.push_back(parameter.clone());
  DinoWmTask task(model, square_windows());
  const auto before = task.validate();
  const auto result = brief_training(task, 80, 3e-3);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.validation_loss < 0.5 * before.total().item<double>());
  CHECK(before.has("visual"));
  CHECK(before.has("proprio"));
  const auto after = model->encoder().parameters();
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(at::equal(after[i], backbone[i]));

  // Predictions must not fall onto one point, which a frozen target would not excuse.
  c10::NoGradGuard no_grad;
  const auto batch = square_windows().validation->next();
  const auto frames =
      model->join(model->encode_pixels(batch->pixels), model->encode_proprio(batch->states));
  const auto predicted =
      model->predict(frames.narrow(1, 0, 2), batch->actions, nn::Mode::infer).flatten(0, 2);
  CHECK(eval::measure_collapse(predicted).effective_rank >
        0.5 * eval::measure_collapse(frames.narrow(1, 1, 2).flatten(0, 2)).effective_rank);
}

TEST_CASE("one step of DINO-WM is the one written by hand") {
  const auto model = dino_wm_with_backbone();
  DinoWmTask task(model, square_windows());
  const auto batch = square_windows().training->next();
  check_first_step(task, [&] {
    // Every frame but the last predicts the next; patches and proprioception count alike.
    const auto features = model->encode_pixels(batch->pixels);
    const auto frames = model->join(features, model->encode_proprio(batch->states));
    const auto predicted = model->predict(frames.narrow(1, 0, 2), batch->actions, nn::Mode::train);
    return (predicted - frames.narrow(1, 1, 2).detach()).square().mean();
  });
}

TEST_CASE("DINO-WM refuses recordings without the proprioception that it needs") {
  auto without = pushed_square();
  without.states = Tensor();
  DinoWmTask task(dino_wm_with_backbone(),
                  {.training = windows_of(without, 3, 16, small_dino_wm().action)});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { task.loss(); }, "0 state columns",
      "ProprioOptions.dim = 1"));
  CHECK_THROWS_AS(DinoWmTask(nullptr, square_windows()), Error);
}

TEST_CASE("V-JEPA 2-AC learns one step and its own predictions, and its encoder stays as it was") {
  const auto model = vjepa2_ac_with_encoder();
  std::map<std::string, Tensor> encoder;
  for (const auto& item : model->named_parameters())
    if (item.key().starts_with("encoder.")) encoder[item.key()] = item.value().clone();
  VJepa2AcTask task(model, gripper_windows());
  const auto before = task.validate();
  const auto result = brief_training(task, 60, 3e-3);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  const auto after = task.validate();
  for (const char* term : {"teacher_forced", "rollout"}) {
    INFO(term);
    CHECK(after.at(term).value.item<double>() < 0.6 * before.at(term).value.item<double>());
  }
  for (const auto& item : model->named_parameters())
    if (item.key().starts_with("encoder.")) CHECK(at::equal(item.value(), encoder[item.key()]));
}

TEST_CASE("one step of V-JEPA 2-AC is the one written by hand") {
  const auto model = vjepa2_ac_with_encoder();
  VJepa2AcTask task(model, gripper_windows());
  const auto batch = gripper_windows().training->next();
  check_first_step(task, [&] {
    Tensor latents;
    {
      at::NoGradGuard no_grad;
      latents = model->encode_images(model->preprocess(batch->pixels.flatten(0, 1)))
                    .unflatten(0, {16, 4});
    }
    // The gripper only translates, so its action is the plain difference of poses.
    const auto& poses = batch->states;
    const auto actions = poses.narrow(1, 1, 3) - poses.narrow(1, 0, 3);
    const auto forced =
        model->predict({latents.narrow(1, 0, 3), actions, poses.narrow(1, 0, 3), {}});
    // Two steps ahead: frame 0, then the prediction of frame 1 in place of the frame.
    const auto fed = at::stack({latents.select(1, 0), forced.select(1, 0)}, 1);
    const auto second =
        model->predict({fed, actions.narrow(1, 0, 2), poses.narrow(1, 0, 2), {}}).select(1, 1);
    const auto rolled = at::stack({forced.select(1, 0), second}, 1);
    return (forced - latents.narrow(1, 1, 3)).abs().mean() +
           (rolled - latents.narrow(1, 1, 2)).abs().mean();
  });
}

TEST_CASE("the two terms of V-JEPA 2-AC's loss have weights, reported by name and checked") {
  const auto loss_with = [](const models::VJepa2AcLossOptions& weights) {
    auto options = small_vjepa2_ac();
    options.loss = weights;
    const auto model = std::make_shared<models::VJepa2Ac>(options, 1);
    return VJepa2AcTask(model, gripper_windows()).loss();
  };
  const auto usual = loss_with({}), weighted = loss_with({.teacher_forced = 0.25, .rollout = 3.0});
  const auto forced = usual.at("teacher_forced").value.item<double>(),
             rollout = usual.at("rollout").value.item<double>();
  CHECK(usual.total().item<double>() == Approx(forced + rollout));
  CHECK(weighted.total().item<double>() == Approx(0.25 * forced + 3 * rollout));
  CHECK(weighted.at("rollout").value.item<double>() == rollout);
  CHECK(weighted.at("rollout").weight == 3.0);
  CHECK(weighted.at("teacher_forced").weight == 0.25);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { loss_with({.teacher_forced = -1.0}); },
      "VJepa2AcLossOptions.teacher_forced = -1"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { loss_with({.teacher_forced = 0.0, .rollout = 0.0}); },
      "or rollout must be positive"));
}

TEST_CASE("V-JEPA 2-AC refuses recordings whose states are no poses") {
  VJepa2AcTask task(vjepa2_ac_with_encoder(), {.training = windows_of(pushed_square(), 4, 8)});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { task.loss(); }, "1 state columns", "expected 7"));
}

}  // namespace foresight::train::frozen_encoder_tasks_test
