// SPDX-License-Identifier: Apache-2.0
// Jepa's own behaviour: states, losses, copies, options, errors.
#include "foresight/models/jepa.hpp"

#include <torch/optim/adamw.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"

namespace foresight::jepa_test {

using models::EncoderKind;
using models::JepaOptions;
using models::PredictorKind;

namespace {

Tensor normal(at::IntArrayRef shape, std::uint64_t seed, at::ScalarType type = at::kFloat) {
  return PhiloxNoise(seed).normal(shape, type);
}

double difference(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

}  // namespace

TEST_CASE("the state counts observed frames up to the history and keeps the newest") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::adaln, 3));
  PhiloxNoise noise(1);
  auto state = model->initial(2);
  CHECK(state.filled() == 0);
  std::vector<Tensor> latents, blocks;
  for (int64_t t = 0; t < 5; ++t) {
    const auto pixels = random_pixels({2}, static_cast<std::uint64_t>(t));
    if (t > 0) blocks.push_back(normal({2, 4}, static_cast<std::uint64_t>(t)));
    state = model->observe(state, t > 0 ? blocks.back() : Tensor(), Observation(kPixels, pixels),
                           noise);
    latents.push_back(model->encode_pixels(pixels));
    CHECK(state.filled() == std::min<int64_t>(t + 1, 3));
  }
  CHECK(at::equal(state.at("latent"), latents[4]));
  CHECK(at::equal(state.at("past_latents"), at::cat({latents[2], latents[3]}, 1)));
  CHECK(at::equal(state.at("past_blocks"), at::stack({blocks[2], blocks[3]}, 1)));
}

TEST_CASE("with one frame of history the state is the latent alone") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  CHECK(model->initial(2).fields().size() == 1);
}

TEST_CASE("clips are encoded frame by frame") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::vit, PredictorKind::mlp, 1));
  const auto clips = random_pixels({2, 3}, 1);
  const auto latents = model->encode_pixels(clips);
  CHECK(latents.sizes() == at::IntArrayRef({2, 3, 6}));
  CHECK(difference(latents.narrow(1, 2, 1), model->encode_pixels(clips.select(1, 2))) < 1e-5);
}

TEST_CASE("pictures of another size are resized") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  // A constant picture stays constant, so its latent does not depend on the camera.
  const auto grey = [](int64_t side) { return at::full({1, side, side, 3}, 90, at::kByte); };
  CHECK(difference(model->encode_pixels(grey(40)), model->encode_pixels(grey(16))) < 1e-4);
}

TEST_CASE("the one-step loss of a clip no longer than the window is one causal pass") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::adaln, 3);
  options.loss.sigreg = 0;
  const auto model = jepa_under_test(options);
  model->to(at::kDouble);
  const auto z = normal({3, 4, 6}, 1, at::kDouble), a = normal({3, 3, 4}, 2, at::kDouble);
  PhiloxNoise noise(1);
  const auto predicted = model->predict(z.narrow(1, 0, 3), a, nn::Mode::infer);
  const auto expected = (predicted - z.narrow(1, 1, 3)).square().mean();
  const auto terms = model->loss_of_latents(z, a, noise);
  CHECK(difference(terms.total(), expected) < 1e-14);
}

TEST_CASE("longer clips are cut into every window they contain") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::adaln, 2);
  options.loss.sigreg = 0;
  const auto model = jepa_under_test(options);
  model->to(at::kDouble);
  const auto z = normal({3, 5, 6}, 1, at::kDouble), a = normal({3, 4, 4}, 2, at::kDouble);
  PhiloxNoise noise(1);
  double sum = 0;
  for (int64_t start = 0; start < 3; ++start) {
    const auto predicted =
        model->predict(z.narrow(1, start, 2), a.narrow(1, start, 2), nn::Mode::infer);
    sum += (predicted - z.narrow(1, start + 1, 2)).square().mean().item<double>();
  }
  CHECK(model->loss_of_latents(z, a, noise).total().item<double>() == Approx(sum / 3));
}

TEST_CASE("the rollout loss is the error of planning rollouts from every start") {
  for (const auto predictor : {PredictorKind::adaln, PredictorKind::mlp}) {
    for (const int64_t history : {1, 2}) {
      auto options = tiny_jepa_options(EncoderKind::cnn, predictor, history);
      options.predicted_steps = 3;
      options.loss.sigreg = 0;
      options.loss.rollout = 0.7;
      options.loss.rollout_discount = 0.5;
      const auto model = jepa_under_test(options);
      model->to(at::kDouble);
      const int64_t frames = 6, steps = 3;
      const auto z = normal({2, frames, 6}, 1, at::kDouble);
      const auto a = normal({2, frames - 1, 4}, 2, at::kDouble);
      PhiloxNoise noise(1);
      const int64_t starts = frames - steps - history + 1;
      double two = 0, three = 0;
      for (int64_t s = 0; s < starts; ++s) {
        auto state = model->observe_latent(model->initial(2), {}, z.narrow(1, s, 1));
        for (int64_t t = 1; t < history; ++t)
          state = model->observe_latent(state, a.select(1, s + t - 1), z.narrow(1, s + t, 1));
        const auto first = s + history - 1;
        const auto future = model->rollout(state, a.narrow(1, first, steps).unsqueeze(1), noise);
        const auto error =
            (future.states.at("latent").squeeze(3).squeeze(1) - z.narrow(1, first + 1, steps))
                .square();
        two += error.select(1, 1).mean().item<double>() / static_cast<double>(starts);
        three += error.select(1, 2).mean().item<double>() / static_cast<double>(starts);
      }
      const auto terms = model->loss_of_latents(z, a, noise);
      CHECK(terms.at("rollout").value.item<double>() == Approx((two + 0.5 * three) / 1.5));
      CHECK(terms.at("rollout").weight == 0.7);
    }
  }
}

TEST_CASE("every weighted loss term reaches the total, zero weights are not computed") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1);
  options.predicted_steps = 2;
  options.inverse_dynamics_hidden = 8;
  options.loss = {.rollout = 2,
                  .sigreg = 3,
                  .std = 4,
                  .std_t = 5,
                  .cov = 6,
                  .cov_t = 7,
                  .temporal = 8,
                  .inverse_dynamics = 9,
                  .straightening = 10,
                  .sigreg_options = {.projections = 4}};
  models::Jepa model(options);
  PhiloxNoise noise(1);
  const auto terms = model.loss(random_pixels({3, 4}, 1), normal({3, 3, 4}, 2), noise);
  CHECK(terms.terms().size() == 10);
  double sum = 0;
  for (const auto& term : terms.terms()) sum += term.weight * term.value.item<double>();
  CHECK(terms.total().item<double>() == Approx(sum));
  terms.total().backward();
  for (const auto& parameter : model.named_parameters()) {
    INFO(parameter.key());
    CHECK(parameter.value().grad().defined());
  }
  options.loss = {};
  options.loss.sigreg = 0;
  CHECK(models::Jepa(options)
            .loss(random_pixels({3, 4}, 1), normal({3, 3, 4}, 2), noise)
            .terms()
            .size() == 1);
}

TEST_CASE("actions to be inferred are not rounded to the latents' type") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1);
  options.inverse_dynamics_hidden = 8;
  options.loss.inverse_dynamics = 1;
  const auto model = jepa_under_test(options);
  const auto latents = normal({3, 4, 6}, 1).to(at::kBFloat16), blocks = normal({3, 3, 4}, 2);
  PhiloxNoise noise(1);
  const nn::Autocast autocast(at::kCPU, true);
  const auto terms = model->loss_of_latents(latents, blocks, noise);
  const auto inferred = model->infer_actions(latents).to(at::kDouble);
  CHECK(terms.at("inverse_dynamics").value.item<double>() ==
        Approx((inferred - blocks).square().mean().item<double>()).epsilon(1e-5));
}

TEST_CASE("losses in training mode move batch statistics, in inference mode they do not") {
  models::Jepa model(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  const auto pixels = random_pixels({3, 3}, 1);
  const auto blocks = normal({3, 2, 4}, 2);
  PhiloxNoise noise(1);
  const auto mean = model.named_buffers()["projector.net.1.running_mean"];
  model.eval();
  model.loss(pixels, blocks, noise);
  CHECK(mean.abs().max().item<double>() == 0);
  model.train();
  model.loss(pixels, blocks, noise);
  CHECK(mean.abs().max().item<double>() > 0);
}

TEST_CASE("a few steps of training fit a batch without collapsing it") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1);
  models::Jepa model(options, 3);
  PhiloxNoise noise(1);
  const auto pixels = random_pixels({16, 3}, 1);
  const auto blocks = normal({16, 2, 4}, 2);
  torch::optim::AdamW optimizer(model.parameters(), torch::optim::AdamWOptions(1e-2));
  double first = 0, last = 0;
  for (int step = 0; step < 60; ++step) {
    optimizer.zero_grad();
    const auto terms = model.loss(pixels, blocks, noise);
    terms.total().backward();
    optimizer.step();
    last = terms.at("prediction").value.item<double>();
    if (step == 0) first = last;
  }
  CHECK(last < 0.5 * first);
  const auto latents = model.encode_images(model.preprocess(pixels.flatten(0, 1)), nn::Mode::train);
  CHECK(latents.std(at::IntArrayRef{0}, true).min().item<double>() > 0.1);
}

TEST_CASE("a copy is independent and equal, flags and dtype included") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 2));
  model->to(at::kDouble);
  model->parameters()[0].requires_grad_(false);
  const auto twin = model->copy();
  const auto pixels = random_pixels({2}, 1);
  CHECK(at::equal(twin->encode_pixels(pixels), model->encode_pixels(pixels)));
  CHECK_FALSE(twin->is_training());
  CHECK_FALSE(twin->parameters()[0].requires_grad());
  {
    at::NoGradGuard no_grad;
    twin->parameters()[1].add_(1);
  }
  CHECK(difference(twin->parameters()[1], model->parameters()[1]) == Approx(1));
  const auto cloned = std::dynamic_pointer_cast<models::Jepa>(model->clone());
  REQUIRE(cloned);
  CHECK(at::equal(cloned->encode_pixels(pixels), model->encode_pixels(pixels)));
}

TEST_CASE("models of one seed are equal, of another are not") {
  const auto options = tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 2);
  const auto weights = [&](std::uint64_t seed) {
    const models::Jepa model(options, seed);
    return nn::state_dict(model)[2].second.clone();
  };
  CHECK(at::equal(weights(4), weights(4)));
  CHECK_FALSE(at::equal(weights(4), weights(5)));
}

TEST_CASE("options survive JSON and the presets are valid") {
  for (const auto& preset : {JepaOptions::lewm(), JepaOptions::pldm(), JepaOptions::small()}) {
    CHECK(preset.validate().empty());
    auto changed = preset;
    changed.latent = 17;
    changed.loss.distance = losses::Distance::l1;
    const auto json = write_options(changed);
    JepaOptions read;
    read_options(read, json, "config.json: model");
    CHECK(write_options(read) == json);
    CHECK(read.latent == 17);
  }
  const models::Jepa small(JepaOptions::small());
  CHECK(nn::parameter_count(small) < 1'000'000);
}

TEST_CASE("invalid options are listed together with their values") {
  auto options = tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 2);
  options.history = 0;
  options.vit.heads = 5;
  options.projector.hidden = 0;
  options.loss.rollout = 1;
  options.loss.inverse_dynamics = 1;
  options.image.std = {1, 1};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { models::Jepa model(options); }, "history = 0",
      "width = 12 must be a multiple of heads = 5",
      "latent = 6 must equal the encoder's width = 12", "predicted_steps = 1 must be >= 2",
      "inverse_dynamics_hidden = 0 must be >= 1", "ImageOptions.std = 2"));
  options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1);
  options.loss.prediction = 0;
  options.cnn.channels = {};
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { models::Jepa model(options); }, "prediction = 0",
      "CnnOptions.channels"));
}

TEST_CASE("misuse is an error that says what to do") {
  const auto model = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 2));
  PhiloxNoise noise(1);
  using enum ErrorCategory;
  const auto action = at::zeros({1, 4});
  CHECK(fails_with(
      invalid_argument, [&] { model->step(model->initial(1), action, noise); },
      "call observe() first"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->rollout(model->initial(1), at::zeros({1, 2, 3, 4}), noise);
      },
      "call observe() first"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        const auto state = model->observe(model->initial(1), {}, pixel_observation(1, 1), noise);
        model->observe(state, {}, pixel_observation(1, 1), noise);
      },
      "action is undefined"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->encode_pixels(at::zeros({1, 16, 16, 3}));
      },
      "dtype Float, expected Byte"));
  CHECK(fails_with(
      invalid_argument, [&] { model->encode_pixels(random_pixels({}, 1)); }, "[16, 16, 3]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->loss(random_pixels({2, 1}, 1), at::zeros({2, 0, 4}), noise);
      },
      "T = 1"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        model->loss(random_pixels({2, 3}, 1), at::zeros({2, 3, 4}), noise);
      },
      "[2, 3, 4]", "[2, 2, 4]"));
  CHECK(fails_with(
      unsupported,
      [&] {
        model->infer_actions(at::zeros({1, 2, 6}));
      },
      "inverse_dynamics_hidden"));
}

}  // namespace foresight::jepa_test
