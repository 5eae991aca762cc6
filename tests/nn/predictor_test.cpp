// SPDX-License-Identifier: Apache-2.0
// Predictors: pruned rollouts against the plain loop, causality, padding, initial behaviour.
#include "foresight/nn/adaln_predictor.hpp"
#include "foresight/nn/residual_predictor.hpp"

#include <memory>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::predictor_test {

namespace {

constexpr int64_t kLatent = 6, kCondition = 5;

std::shared_ptr<nn::LatentPredictor> adaln(int64_t frames, int64_t output = kLatent) {
  const nn::AdaLnPredictorOptions options{
      .depth = 2, .width = 8, .heads = 2, .head_width = 4, .mlp_width = 12, .dropout = 0.0};
  return std::make_shared<nn::AdaLnPredictor>(
      options, nn::PredictorSizes{frames, kLatent, kCondition, output});
}

std::shared_ptr<nn::LatentPredictor> residual(int64_t frames) {
  return std::make_shared<nn::ResidualPredictor>(
      nn::MlpOptions{.hidden = {16, 12}, .norm = nn::NormKind::layer},
      nn::PredictorSizes{frames, kLatent, kCondition, kLatent});
}

// Every parameter random, gates and last layers too, so that nothing hides behind a zero.
void randomise(torch::nn::Module& module, std::uint64_t seed) {
  PhiloxNoise noise(seed);
  for (const auto& parameter : module.parameters()) nn::init_normal(parameter, 0.4, noise);
}

Tensor normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType type = at::kDouble) {
  return PhiloxNoise(seed).normal(shape, type);
}

}  // namespace

TEST_CASE("pruned rollouts equal the plain loop for every context length and window") {
  const int64_t samples = 3, horizon = 5;
  for (const int64_t frames : {1, 2, 3, 4}) {
    for (const auto& predictor : {adaln(frames), residual(frames)}) {
      randomise(*predictor, 11);
      predictor->to(at::kDouble);
      const auto head = [](const Tensor& x) { return at::tanh(x) + 0.1; };
      for (int64_t observed = 1; observed <= frames + 1; ++observed) {
        INFO(frames << " frames, " << observed << " observed");
        const auto context = normal({2, observed, kLatent}, 1);
        const auto past = normal({2, observed - 1, kCondition}, 2);
        const auto future = normal({2, samples, horizon, kCondition}, 3);
        const auto pruned = predictor->rollout(context, past, future, head);
        const auto plain = predictor->LatentPredictor::rollout(context, past, future, head);
        REQUIRE(pruned.sizes() == at::IntArrayRef({2, samples, horizon, kLatent}));
        CHECK((pruned - plain).abs().max().item<double>() < 1e-12);
        at::NoGradGuard no_grad;  // in-place activations take another path
        const auto again = predictor->rollout(context, past, future, head);
        CHECK((again - plain).abs().max().item<double>() < 1e-12);
      }
    }
  }
}

TEST_CASE("pruned rollouts have the gradient of the plain loop") {
  for (const auto& predictor : {adaln(3), residual(1), residual(2)}) {
    randomise(*predictor, 5);
    predictor->to(at::kDouble);
    const auto head = [](const Tensor& x) { return at::tanh(x); };
    const auto context = normal({2, 2, kLatent}, 1), past = normal({2, 1, kCondition}, 2);
    const auto gradient = [&](bool pruned) {
      const auto future = normal({2, 4, 4, kCondition}, 3).requires_grad_();
      const auto out = pruned ? predictor->rollout(context, past, future, head)
                              : predictor->LatentPredictor::rollout(context, past, future, head);
      (out.select(2, -1).square().sum() + out.sum()).backward();
      return future.grad();
    };
    const auto reference = gradient(false);
    CHECK(reference.abs().min().item<double>() > 0);
    CHECK((gradient(true) - reference).abs().max().item<double>() < 1e-11);
  }
}

TEST_CASE("a prediction depends on no later frame and no later action") {
  for (const auto& predictor : {adaln(4), residual(2)}) {
    randomise(*predictor, 9);
    predictor->to(at::kDouble);
    auto latents = normal({1, 4, kLatent}, 1), conditions = normal({1, 4, kCondition}, 2);
    const auto before = predictor->forward(latents, conditions, nn::Mode::infer);
    latents = latents.clone();
    conditions = conditions.clone();
    latents.select(1, 2).add_(1.0);
    conditions.select(1, 3).add_(1.0);
    const auto after = predictor->forward(latents, conditions, nn::Mode::infer);
    const auto change = (after - before).abs().amax({0, 2});
    CHECK(change[0].item<double>() == 0.0);
    CHECK(change[1].item<double>() == 0.0);
    CHECK(change[2].item<double>() > 1e-6);
    CHECK(change[3].item<double>() > 1e-6);
  }
}

TEST_CASE("a fresh residual predictor predicts that nothing changes") {
  const auto predictor = residual(2);
  PhiloxNoise noise(1);
  predictor->initialise(noise);
  const auto latents = normal({3, 4, kLatent}, 1, at::kFloat);
  const auto out =
      predictor->forward(latents, normal({3, 4, kCondition}, 2, at::kFloat), nn::Mode::infer);
  CHECK(at::equal(out, latents));
}

TEST_CASE("a fresh AdaLN predictor ignores the action and passes tokens through its blocks") {
  nn::AdaLnPredictor predictor(
      {.depth = 2, .width = kLatent, .heads = 2, .head_width = 4, .mlp_width = 12},
      {3, kLatent, kLatent, kLatent});
  PhiloxNoise noise(1);
  predictor.initialise(noise);
  const auto latents = normal({3, 3, kLatent}, 1, at::kFloat);
  const auto out =
      predictor.forward(latents, normal({3, 3, kLatent}, 2, at::kFloat), nn::Mode::infer);
  const auto positions = predictor.named_parameters()["pos_embedding"];
  const auto expected = at::layer_norm(latents + positions, {kLatent});
  CHECK(at::allclose(out, expected, 1e-5, 1e-6));
}

TEST_CASE("dropout acts in train mode only") {
  nn::AdaLnPredictor predictor(
      {.depth = 1, .width = 8, .heads = 2, .head_width = 4, .mlp_width = 16, .dropout = 0.5},
      {3, kLatent, kCondition, kLatent});
  randomise(predictor, 3);
  const auto latents = normal({4, 3, kLatent}, 1, at::kFloat);
  const auto conditions = normal({4, 3, kCondition}, 2, at::kFloat);
  const auto infer = [&] { return predictor.forward(latents, conditions, nn::Mode::infer); };
  CHECK(at::equal(infer(), infer()));
  CHECK_FALSE(at::allclose(predictor.forward(latents, conditions, nn::Mode::train), infer()));
}

TEST_CASE("windows and sizes that do not fit are errors that name them") {
  const auto predictor = adaln(3);
  const auto run = [&](at::IntArrayRef latents, at::IntArrayRef conditions) {
    return error_message(ErrorCategory::invalid_argument, [&] {
      predictor->forward(at::zeros(latents), at::zeros(conditions), nn::Mode::infer);
    });
  };
  CHECK(run({2, 4, kLatent}, {2, 4, kCondition}).find("window of 4 frames, expected 1..3") !=
        std::string::npos);
  CHECK(run({2, 3, 7}, {2, 3, kCondition}).find("latents has shape [2, 3, 7]") !=
        std::string::npos);
  CHECK(run({2, 3, kLatent}, {2, 2, kCondition}).find("conditions has shape [2, 2, 5]") !=
        std::string::npos);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [] {
        nn::AdaLnPredictor({.depth = 0, .dropout = 1.0}, {3, 4, 4, 4});
      },
      "depth = 0", "dropout = 1"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [] {
        nn::ResidualPredictor({}, {1, 4, 4, 5});
      },
      "output width = 5"));
}

}  // namespace foresight::predictor_test
