// SPDX-License-Identifier: Apache-2.0
// Features of a frozen encoder are computed once a frame, and the training is the same bit by bit.
#include "foresight/train/feature_cache.hpp"

#include <map>
#include <set>

#include "catch.hpp"
#include "copies_made.hpp"
#include "error_message.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/trainer.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "temporary_folder.hpp"
#include "tensor_dataset.hpp"
#include "test_device.hpp"

namespace foresight::train::feature_cache_test {
namespace {

constexpr int64_t kBlock = 2;

std::shared_ptr<models::DinoWm> frozen_dino_wm() {
  models::DinoWmOptions options;
  options.image.size = 32;
  options.encoder = {
      .patch = 16, .width = 24, .depth = 1, .heads = 2, .mlp_width = 32, .norm_epsilon = 1e-6};
  options.encoder_image_size = 32;
  options.predictor = {.depth = 1, .heads = 2, .head_width = 8, .mlp_width = 32};
  options.predictor.dropout = 0.1;
  options.history = 2;
  options.action = ActionSpace();
  options.action.block = kBlock;
  return std::make_shared<models::DinoWm>(options, 1);
}

std::unique_ptr<data::Loader> push_windows(const std::vector<int64_t>& episodes) {
  ActionSpace space;
  space.block = kBlock;
  return windows_of(pushed_square(), 3, 8, space, episodes);
}

std::shared_ptr<FeatureCache> cache_of(const std::shared_ptr<models::DinoWm>& model,
                                       int64_t budget_mb, int64_t stride = kBlock) {
  return std::make_shared<FeatureCache>(
      [model](const Tensor& pixels) { return model->encode_pixels(pixels); }, at::kCPU, stride,
      FeatureCacheOptions{.budget_mb = budget_mb});
}

// Weights and losses of two epochs and a bit.
struct Trained {
  io::NamedTensors weights;
  std::vector<double> losses;
  int64_t encoded = 0, held = 0, steps = 0;
};

Trained train_with_budget(int64_t budget_mb) {
  const auto model = frozen_dino_wm();
  const auto features = cache_of(model, budget_mb);
  const TemporaryFolder folder;
  Trained trained;
  {
    DinoWmTask task(model, {.training = push_windows({0, 1, 2}), .validation = push_windows({3})},
                    features);
    EventWriter metrics(folder.path());
    trained.steps = 2 * push_windows({0, 1, 2})->batches_per_epoch() + 1;
    at::manual_seed(7);  // dropout
    const auto result = train(task,
                              {.steps = trained.steps,
                               .log_every = 1,
                               .validate_every = 2,
                               .checkpoint_every = 0,
                               .optimizer = {.lr = 1e-3},
                               .schedule = {.warmup = 0}},
                              {folder.path()}, metrics, ProgressStyle::silent);
    REQUIRE(result.outcome == Outcome::finished);
  }
  for (const auto& row : read_metrics(folder.path() / "metrics.jsonl"))
    for (const auto& [name, value] : row.scalars)
      if (name.find("loss") != std::string::npos) trained.losses.push_back(value);
  trained.weights = nn::state_dict(*model);
  trained.encoded = features->frames_encoded();
  trained.held = features->frames_held();
  return trained;
}

// Rows of features that left the device.
int64_t rows_brought_down(const CopiesMade& copies) {
  int64_t rows = 0;
  for (const auto& copy : copies.all())
    if (!copy.from.is_cpu() && copy.to.is_cpu()) rows += copy.rows;
  return rows;
}

}  // namespace

TEST_CASE("training on kept features is the training without, bit by bit") {
  const auto anew = train_with_budget(0), kept = train_with_budget(1000);
  CHECK(anew.held == 0);
  // Every frame of four episodes once, whatever the number of epochs and validations.
  CHECK(kept.encoded == kept.held);
  CHECK(kept.held <= 4 * 24);
  CHECK(anew.encoded > 2 * kept.encoded);
  REQUIRE(anew.losses.size() == kept.losses.size());
  REQUIRE(static_cast<int64_t>(anew.losses.size()) > anew.steps);
  CHECK(anew.losses == kept.losses);
  for (std::size_t i = 0; i < anew.weights.size(); ++i) {
    INFO(anew.weights[i].first);
    CHECK(at::equal(anew.weights[i].second, kept.weights[i].second));
  }
}

TEST_CASE("features are those of the frames, and a full cache computes the rest anew") {
  const auto model = frozen_dino_wm();
  ActionSpace space;
  space.block = kBlock;
  const auto loader = windows_of(pushed_square(), 3, 16, space, {0});
  const auto batch = *loader->next();  // 48 frames of an episode of 24 rows
  const auto expected = model->encode_pixels(batch.pixels);
  const auto roomy = cache_of(model, 1000);
  for (int round = 0; round < 2; ++round)
    CHECK(at::allclose(roomy->features(batch), expected, 1e-4, 1e-5));
  const auto once = roomy->frames_encoded();
  CHECK(once == roomy->frames_held());
  CHECK(once <= 24);  // windows overlap

  // Frames large enough that a megabyte holds three of them.
  int64_t calls = 0;
  FeatureCache tight(
      [&calls](const Tensor& pixels) {
        ++calls;
        return pixels.to(at::kFloat).mean().expand({pixels.size(0), 75'000}).contiguous();
      },
      at::kCPU, kBlock, {.budget_mb = 1});
  const auto first = tight.features(batch), second = tight.features(batch);
  CHECK(at::equal(first, second));
  CHECK(tight.frames_held() == 3);
  CHECK(calls == 2 * once - 3);
}

TEST_CASE("on a device only kept features leave it, each once, and batches are the CPU's",
          "[device]") {
  ActionSpace space;
  space.block = kBlock;
  const auto loader = windows_of(pushed_square(), 3, 16, space, {0, 1});
  std::vector<data::Batch> batches;
  for (int i = 0; i < 2; ++i) batches.push_back(*loader->next());
  // Frames large enough that a megabyte holds three of them.
  const auto encode = [](const Tensor& pixels) {
    const auto mean = pixels.to(at::kFloat).flatten(1).mean(1, /*keepdim=*/true);
    return mean.expand({pixels.size(0), 75'000}).contiguous();
  };
  for (const int64_t budget_mb : {0, 1, 1000}) {
    INFO(budget_mb << " MB");
    FeatureCache cache(encode, test_device(), kBlock, {.budget_mb = budget_mb});
    FeatureCache expected(encode, at::kCPU, kBlock, {.budget_mb = budget_mb});
    for (int round = 0; round < 2; ++round)
      for (auto batch : batches) {
        const auto wanted = expected.features(batch);
        batch.pixels = batch.pixels.to(test_device());
        const auto before = cache.frames_held();
        const CopiesMade copies;
        const auto seen = cache.features(batch);
        CHECK(rows_brought_down(copies) == (on_cpu() ? 0 : cache.frames_held() - before));
        CHECK(seen.device() == test_device());
        CHECK(at::allclose(seen.cpu(), wanted, 1e-5, 1e-5));
      }
    CHECK(cache.frames_held() == expected.frames_held());
    CHECK(cache.frames_encoded() == expected.frames_encoded());
    CHECK((cache.frames_held() == 0) == (budget_mb == 0));
  }
}

TEST_CASE("features under autocast and without are kept apart") {
  const auto model = frozen_dino_wm();
  const auto features = cache_of(model, 1000);
  const auto loader = push_windows({0});
  const auto batch = *loader->next();
  const auto plain = features->features(batch);
  Tensor rounded;
  {
    const nn::Autocast autocast(at::kCPU, /*enabled=*/true);
    rounded = features->features(batch);
  }
  CHECK_FALSE(at::equal(plain, rounded.to(plain.scalar_type())));
  CHECK(at::equal(plain, features->features(batch)));
}

TEST_CASE("V-JEPA 2-AC trains on kept latents as on fresh ones") {
  models::VJepa2AcOptions options;
  options.image.size = 16;
  options.encoder = nn::VideoVitOptions::tiny();
  options.encoder.width = 24;
  options.encoder.depth = 1;
  options.encoder.heads = 2;
  options.encoder.mlp_width = 32;
  options.encoder.image_height = options.encoder.image_width = 16;
  options.predictor.width = 24;
  options.predictor.depth = 1;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 48;
  const auto model = std::make_shared<models::VJepa2Ac>(options, 1);
  const auto losses_with = [&](int64_t budget_mb) {
    const auto features = std::make_shared<FeatureCache>(
        [model](const Tensor& pixels) { return model->encode_images(model->preprocess(pixels)); },
        at::kCPU, 1, FeatureCacheOptions{.budget_mb = budget_mb});
    VJepa2AcTask task(model, {.training = windows_of(moving_gripper(16), 4, 16)}, features);
    const c10::NoGradGuard no_grad;
    std::vector<double> losses;
    for (int i = 0; i < 12; ++i) losses.push_back(task.loss().total().item<double>());
    return losses;
  };
  const auto fresh = losses_with(0);
  CHECK(fresh == losses_with(1000));
  CHECK(std::set<double>(fresh.begin(), fresh.end()).size() > 6);
}

TEST_CASE("replayed frames are kept apart from new ones of the same episode and row") {
  const auto model = frozen_dino_wm();
  auto inverted = pushed_square();
  inverted.frames = 255 - inverted.frames;
  ActionSpace space;
  space.block = kBlock;
  const auto loss_with = [&](std::shared_ptr<FeatureCache> features) {
    at::manual_seed(7);  // dropout
    DinoWmTask task(
        model, {.training = push_windows({0}), .replay = windows_of(inverted, 3, 8, space, {0})},
        std::move(features));
    std::vector<double> losses;
    const c10::NoGradGuard no_grad;
    for (int i = 0; i < 6; ++i) losses.push_back(task.loss().total().item<double>());
    return losses;
  };
  CHECK(loss_with(cache_of(model, 1000)) == loss_with(cache_of(model, 0)));
}

TEST_CASE("a cache refuses pictures that change, and options that make no sense") {
  const auto model = frozen_dino_wm();
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        DinoWmTask(model, {.training = push_windows({0}), .augmentation = {.brightness = 0.5}},
                   cache_of(model, 1));
      },
      "as recorded"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { cache_of(model, -1); }, "budget_mb = -1"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { cache_of(model, 1, 0); }, "stride = 0"));
}

}  // namespace foresight::train::feature_cache_test
