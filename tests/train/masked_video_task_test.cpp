// SPDX-License-Identifier: Apache-2.0
// Pre-training on clips: what it learns from, how the target follows, and that it goes on exactly.
#include "foresight/train/masked_video_task.hpp"

#include <cmath>

#include "catch.hpp"
#include "copies_made.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/trainer.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "test_device.hpp"

namespace foresight::train::masked_video_task_test {
namespace {

constexpr int64_t kClipSide = 16;

models::VJepa2Options tiny_clips() {
  auto options = models::VJepa2Options::tiny();
  options.image.size = kClipSide;
  options.encoder.image_height = options.encoder.image_width = kClipSide;
  options.encoder.patch = 4;
  options.encoder.frames = 4;
  options.encoder.width = 24;
  options.encoder.depth = 2;
  options.encoder.heads = 2;
  options.encoder.mlp_width = 48;
  options.predictor.width = 24;
  options.predictor.depth = 1;
  options.predictor.mlp_width = 48;
  return options;
}

std::unique_ptr<data::Loader> clip_loader() { return windows_of(moving_bar(), 4, 8); }

MaskedVideoTask masked_video_task(std::shared_ptr<models::VJepa2> model, double momentum = 0.9) {
  return {
      std::move(model),
      {.training = clip_loader(), .validation = clip_loader(), .validation_batches = 2, .seed = 5},
      {.momentum = momentum}};
}

TEST_CASE("the loss falls, in training and on held-out masks, and the target does not collapse") {
  const TemporaryFolder folder;
  auto model = std::make_shared<models::VJepa2>(tiny_clips(), 1);
  auto task = masked_video_task(model, 0.98);
  const auto before = task.validate().total().item<double>();
  CHECK(task.validate().total().item<double>() == before);  // the same masks every time
  EventWriter metrics(folder.path());
  const auto result = train(task,
                            {.steps = 60,
                             .log_every = 20,
                             .validate_every = 0,
                             .checkpoint_every = 0,
                             .optimizer = {.lr = 2e-3, .decay = Decay::matrices, .clip = 0},
                             .schedule = {.warmup = 10}},
                            {folder.path()}, metrics, ProgressStyle::silent);
  INFO(result.message);
  REQUIRE(result.outcome == Outcome::finished);
  CHECK(result.validation_loss < 0.9 * before);
  const auto batch = clip_loader()->next();
  const auto targets = models::masked_targets(task.target(), model->preprocess(batch->pixels));
  CHECK(eval::measure_collapse(targets.flatten(0, 1)).effective_rank > 2);
}

TEST_CASE("the target follows the encoder and takes no gradient") {
  auto model = std::make_shared<models::VJepa2>(tiny_clips(), 1);
  auto task = masked_video_task(model, 0.75);
  const auto terms = task.loss();
  CHECK(terms.terms().size() == 1);
  terms.total().backward();
  for (const auto& parameter : task.target().parameters()) CHECK_FALSE(parameter.grad().defined());
  CHECK(model->encoder().parameters().front().grad().abs().sum().item<double>() > 0);

  const auto start = task.target().parameters().back().clone();
  {
    at::NoGradGuard no_grad;
    model->encoder().parameters().back().add_(1.0);
  }
  task.updated();
  CHECK(at::allclose(task.target().parameters().back(), start + 0.25));
}

TEST_CASE("a step's masks travel to the device in one piece", "[device]") {
  auto model = std::make_shared<models::VJepa2>(tiny_clips(), 1);
  const auto expected = masked_video_task(model).loss().total().item<double>();
  model->to(test_device());
  auto task = masked_video_task(model);
  const CopiesMade copies;
  const auto loss = task.loss().total();
  CHECK(ids_brought_to(test_device(), copies) == (on_cpu() ? 0 : 1));
  CHECK(loss.item<double>() == Approx(expected).epsilon(1e-4));
}

TEST_CASE("a task that seeks goes on with the same batches and masks") {
  auto first = masked_video_task(std::make_shared<models::VJepa2>(tiny_clips(), 1));
  first.loss();
  const auto position = first.position();
  const auto expected = first.loss().total().item<double>();
  auto second = masked_video_task(std::make_shared<models::VJepa2>(tiny_clips(), 1));
  second.seek(position);
  CHECK(second.loss().total().item<double>() == expected);
  CHECK(first.extra_tensors().size() == nn::state_dict(first.target()).size());
  CHECK_THROWS_AS(second.seek("{}"), Error);
}

TEST_CASE("a random crop is learned from whole, whatever evaluations of the model cut off") {
  // One model stretches pictures, as a new one does; the other has an imported one's evaluation.
  const auto losses = [](const models::ImageOptions& image, const AugmentationOptions& changes) {
    auto options = tiny_clips();
    options.image = image;
    auto model = std::make_shared<models::VJepa2>(options, 1);
    MaskedVideoTask task(model,
                         {.training = clip_loader(),
                          .validation = clip_loader(),
                          .validation_batches = 1,
                          .seed = 5,
                          .augmentation = changes},
                         {});
    const auto learned = task.loss().total().item<double>();
    model->eval();  // as the trainer does
    return std::pair{learned, task.validate().total().item<double>()};
  };
  const models::ImageOptions stretched = tiny_clips().image;
  auto cut = stretched;
  cut.resize = models::ResizeRule::crop;
  cut.resize_edge = kClipSide + 6;
  const AugmentationOptions crops{.crop_scale = {0.3, 1.0}};
  const auto [learned, held_out] = losses(cut, crops);
  const auto [learned_stretched, held_out_stretched] = losses(stretched, crops);
  CHECK(learned == learned_stretched);
  CHECK(held_out != held_out_stretched);
  CHECK(losses(cut, {}).first != losses(stretched, {}).first);  // nothing was cropped before
}

}  // namespace
}  // namespace foresight::train::masked_video_task_test
