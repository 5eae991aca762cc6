// SPDX-License-Identifier: Apache-2.0
// The conformance suite applied to Jepa in all its forms and to a hand-written linear model.
#include "conformance.hpp"

#include "error_message.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"

namespace foresight::conformance_test {

using models::EncoderKind;
using models::PredictorKind;

namespace {

/// x' = x + 0.5 a + drift * x on a "position" observation: the smallest WorldModel there is.
class LinearModel : public WorldModel {
 public:
  explicit LinearModel(int64_t width) {
    spec_.family = "linear";
    spec_.observation = {{"position", {width}}};
    spec_.action.dim = width;
    spec_.channels = width;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State().set("latent", at::zeros({batch, 1, spec_.channels}));
  }
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise&) const override {
    spec_.check(observation, previous.batch_shape()[0]);
    if (last_action.defined())
      check_shape("action", last_action, {kAny, spec_.action.width()}, "[B,A]");
    return State().set("latent", observation.at("position").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    auto shape = state.batch_shape();
    shape.push_back(spec_.action.width());
    check_shape("action", action, shape, "[...,A]");
    const auto& x = state.at("latent");
    State next(state.batch_dims());
    next.set("latent", x * 1.1 + 0.5 * action.unsqueeze(-2)).set_filled(1);
    return {std::move(next), {}, {}};
  }

 private:
  ModelSpec spec_;
};

}  // namespace

TEST_CASE("Jepa conforms with every encoder, predictor and history, in float64 to rounding",
          "[device]") {
  for (const auto encoder : {EncoderKind::vit, EncoderKind::cnn}) {
    for (const auto predictor : {PredictorKind::adaln, PredictorKind::mlp}) {
      for (const int64_t history : {1, 2, 3}) {
        INFO(enum_name(encoder) << " encoder, " << enum_name(predictor) << " predictor, history "
                                << history);
        const auto model = jepa_under_test(tiny_jepa_options(encoder, predictor, history));
        const Conformance suite{*model, pixel_observation, 2e-5, [&] {
                                  std::vector<Tensor> tensors;
                                  for (const auto& [name, tensor] : nn::state_dict(*model))
                                    tensors.push_back(tensor);
                                  return tensors;
                                }};
        check_conformance(suite);
        model->to(at::kDouble);
        model->train();  // inference must not care
        auto exact = suite;
        exact.tolerance = 1e-12;
        check_conformance(exact);
      }
    }
  }
}

TEST_CASE("a fixed-point copy of a Jepa conforms, but for gradients, which it refuses") {
  for (const auto encoder : {EncoderKind::vit, EncoderKind::cnn})
    for (const int64_t history : {1, 2, 3}) {
      INFO(enum_name(encoder) << " encoder, history " << history);
      const auto model = jepa_under_test(tiny_jepa_options(encoder, PredictorKind::adaln, history))
                             ->fixed_point_copy();
      // Two ways of computing one thing differ by rounding, which can move an integer by one.
      check_conformance({.model = *model,
                         .observation = pixel_observation,
                         .tolerance = 2e-3,
                         .parameters = [&] { return model->parameters(); },
                         .gradients = Gradients::refused});
    }
}

TEST_CASE("Jepa conforms without heads and action encoder, and with a stretched picture",
          "[device]") {
  auto options = tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1);
  options.projector.hidden = 0;
  options.pred_proj.hidden = 0;
  options.latent = options.cnn.width;
  options.action_encoder.width = 0;
  options.image.size = 12;
  options.image.resize = models::ResizeRule::stretch;
  const auto model = jepa_under_test(options);
  model->to(at::kDouble);
  check_conformance({*model, pixel_observation, 1e-12});
}

TEST_CASE("a hand-written linear model conforms") {
  const LinearModel model(3);
  check_conformance({model, [](int64_t batch, std::uint64_t seed) {
                       return Observation("position", PhiloxNoise(seed).normal({batch, 3}));
                     }});
}

}  // namespace foresight::conformance_test
