// SPDX-License-Identifier: Apache-2.0
// Presets of the trainings of train/learn_family.hpp and train/learn.hpp.
#include <algorithm>
#include <cmath>

#include "foresight/train/learn_family.hpp"

namespace foresight::train {
namespace {

constexpr int64_t kBriefSteps = 1500;  // of a small preset: minutes on two cores

// What all small presets have in common.
template <class Options>
Options brief(int64_t frames, int64_t stride, int64_t batch) {
  Options options;
  options.windows = {.frames = frames, .stride = stride};
  options.loader.batch = batch;
  options.training = Options::recipe(kBriefSteps);
  return options;
}

// A published recipe in the precision that it was published with.
TrainOptions as_published(TrainOptions recipe, Precision precision = Precision::bf16) {
  recipe.precision = precision;
  return recipe;
}

// What a published recipe has: epochs become steps, which depend on the data.
template <class Options>
Options published(int64_t frames, int64_t stride, int64_t batch, int64_t steps,
                  Precision precision = Precision::bf16) {
  auto options = brief<Options>(frames, stride, batch);
  options.training = as_published(Options::recipe(steps), precision);
  return options;
}

// torchvision's RandomResizedCrop with these ranges.
AugmentationOptions random_crops(std::vector<double> scale, std::vector<double> aspect) {
  AugmentationOptions augmentation;
  augmentation.crop_scale = std::move(scale);
  augmentation.crop_aspect = std::move(aspect);
  return augmentation;
}

// V-JEPA 2's main phase for an encoder of any size (arXiv 2506.09985, appendix).
VJepa2LearnOptions published_vjepa2(models::VJepa2Options model) {
  auto options = published<VJepa2LearnOptions>(16, 1, 3072, 240'000);
  options.model = std::move(model);
  options.model.encoder.frames = 16;
  options.augmentation = random_crops({0.3, 1.0}, {0.75, 1.35});
  options.augmentation.flip = 0.5;
  options.augmentation.flip_signs = {1.0};  // it learns from no actions
  return options;
}

constexpr int64_t kImageNetSteps = 187'500;  // 300 epochs of 1,281,167 pictures

// I-JEPA's recipe for an encoder of any size (arXiv 2301.08243, appendix).
IJepaLearnOptions published_ijepa(models::VJepa2Options model, int64_t steps) {
  auto options = published<IJepaLearnOptions>(1, 1, 2048, steps);
  options.model = std::move(model);
  // The paper names a crop and nothing else. Its part of the picture is V-JEPA 2's, its shape what
  // RandomResizedCrop does unless told otherwise.
  options.augmentation = random_crops({0.3, 1.0}, {3.0 / 4, 4.0 / 3});
  return options;
}

}  // namespace

LearnOptions LearnOptions::lewm() {
  LearnOptions options;
  options.model = models::JepaOptions::lewm();
  options.windows = {.frames = 4, .stride = 5};
  options.loader.batch = 128;
  options.training = as_published(lewm_training(140'000));
  options.critic_training.steps = 0;
  return options;
}

LearnOptions LearnOptions::pldm() {
  auto options = lewm();
  options.model = models::JepaOptions::pldm();
  return options;
}

DinoWmLearnOptions DinoWmLearnOptions::small() {
  auto options = brief<DinoWmLearnOptions>(4, 5, 32);
  options.model.predictor = {.depth = 2, .heads = 4, .head_width = 16, .mlp_width = 128};
  options.model.predictor.dropout = 0.0;
  return options;
}

DinoWmLearnOptions DinoWmLearnOptions::dino_wm() {
  auto options = published<DinoWmLearnOptions>(4, 5, 32, 60'000, Precision::fp32);
  options.image_size = 196;
  return options;
}

DinoWmLearnOptions DinoWmLearnOptions::adaln() {
  auto options = dino_wm();
  options.model.predictor.conditioning = nn::ActionConditioning::adaln;
  options.model.loss.rollout = 1.0;
  return options;
}

int64_t vjepa2_clip_stride(double fps) {
  constexpr double kPerSecond = 4, kRounding = 1e-6, kMost = 1e9;
  return static_cast<int64_t>(std::clamp(std::ceil(fps / kPerSecond - kRounding), 1.0, kMost));
}

VJepa2AcLearnOptions VJepa2AcLearnOptions::small() {
  auto options = brief<VJepa2AcLearnOptions>(4, 1, 16);
  options.model.predictor.width = 48;
  options.model.predictor.depth = 2;
  options.model.predictor.heads = 2;
  options.model.predictor.mlp_width = 192;
  options.model.image.max_aspect = models::kVJepa2AcAspect;
  return options;
}

VJepa2AcLearnOptions VJepa2AcLearnOptions::vjepa2_ac() {
  auto options = published<VJepa2AcLearnOptions>(8, 1, 256, 94'500);
  options.model.image.max_aspect = models::kVJepa2AcAspect;
  return options;
}

VJepa2LearnOptions VJepa2LearnOptions::tiny() {
  auto options = brief<VJepa2LearnOptions>(models::VJepa2Options::tiny().encoder.frames, 2, 16);
  // The published momentum is for hundreds of thousands of steps, the rate for batches of 3072.
  options.task.momentum = 0.99;
  options.training.optimizer.lr = 1e-3;
  options.training.schedule.kind = ScheduleKind::cosine;
  return options;
}

VJepa2LearnOptions VJepa2LearnOptions::large() {
  return published_vjepa2(models::VJepa2Options::large());
}

VJepa2LearnOptions VJepa2LearnOptions::huge() {
  return published_vjepa2(models::VJepa2Options::huge());
}

VJepa2LearnOptions VJepa2LearnOptions::giant() {
  return published_vjepa2(models::VJepa2Options::giant());
}

VJepa2LearnOptions VJepa2LearnOptions::cool_down() {
  auto options = giant();
  options.windows.frames = options.model.encoder.frames = 64;
  options.training = as_published(vjepa2_cool_down(12'000));
  return options;
}

VJepa2ProbeLearnOptions VJepa2ProbeLearnOptions::small() {
  return brief<VJepa2ProbeLearnOptions>(models::VJepa2Options::tiny().encoder.frames, 2, 16);
}

VJepa2ProbeLearnOptions VJepa2ProbeLearnOptions::published() {
  constexpr int64_t kSteps = 13'200;  // 20 epochs of 168,913 clips
  auto options = ::foresight::train::published<VJepa2ProbeLearnOptions>(16, 4, 256, kSteps);
  options.augmentation = random_crops({0.08, 1.0}, {3.0 / 4, 4.0 / 3});
  return options;
}

IJepaLearnOptions IJepaLearnOptions::tiny() { return brief<IJepaLearnOptions>(1, 1, 64); }

IJepaLearnOptions IJepaLearnOptions::huge() {
  return published_ijepa(models::ijepa_huge(), kImageNetSteps);
}

IJepaLearnOptions IJepaLearnOptions::huge_448() {
  return published_ijepa(models::ijepa_huge_448(), kImageNetSteps);
}

IJepaLearnOptions IJepaLearnOptions::giant() {
  constexpr int64_t kSteps = 305'000;  // 44 epochs of the 14.2 million pictures of ImageNet-22k
  return published_ijepa(models::ijepa_giant(), kSteps);
}

LeJepaLearnOptions LeJepaLearnOptions::tiny() {
  auto options = brief<LeJepaLearnOptions>(1, 1, 64);
  auto& views = options.task.views;
  views.global_size = 32;
  views.local_size = 16;
  views.local_views = 2;
  return options;
}

LeJepaLearnOptions LeJepaLearnOptions::small() {
  auto options = published<LeJepaLearnOptions>(1, 1, 512, 100'000);
  options.model = models::LeJepaOptions::small();
  return options;
}

LeJepaLearnOptions LeJepaLearnOptions::minimal() {
  constexpr int64_t kSteps = 29'600;  // 800 epochs of Imagenette's 9469 pictures
  auto options = published<LeJepaLearnOptions>(1, 1, 256, kSteps);
  options.model = models::LeJepaOptions::minimal();
  options.training.optimizer.lr = 2e-3;
  auto& views = options.task.views;
  views.global_views = 4;
  views.local_views = 0;
  views.global_size = options.model.image.size;
  return options;
}

EbJepaLearnOptions EbJepaLearnOptions::small() {
  EbJepaLearnOptions options;
  options.walks.window = 9;
  options.task.batch = 32;
  options.task.validation_clips = 64;
  options.training = recipe(5000);
  return options;
}

EbJepaLearnOptions EbJepaLearnOptions::two_rooms() {
  EbJepaLearnOptions options;
  options.model = models::EbJepaOptions::two_rooms();
  options.task.probe_hidden = models::PositionProbeOptions().hidden;
  options.training = as_published(recipe(3120));
  return options;
}

}  // namespace foresight::train
