// SPDX-License-Identifier: Apache-2.0
// Every part of the LeWM network against the reference implementation, in float32 and float64.
#include "lewm_golden_nn.hpp"

namespace foresight::lewm_parity_test {

namespace {

constexpr std::array kTypes{at::kFloat, at::kDouble};

std::string reference_key(const std::string& key, at::ScalarType type) {
  return (type == at::kDouble ? "outputs64/" : "outputs/") + key;
}

// Compares where the fixture has the key for this type.
void compare_if_there(Golden& golden, const std::string& key, const Tensor& actual) {
  const auto full = reference_key(key, actual.scalar_type());
  if (golden.has(full)) golden.compare(full, actual);
}

}  // namespace

TEST_CASE(
    "the ViT encoder equals the reference at native and other image sizes, in both key layouts",
    "[parity][device]") {
  for_each_golden("lewm/lewm_encoder", [](Golden& golden) {
    const auto& config = golden.config().at("encoder");
    nn::Vit vit(golden_vit_options(config), config.at("image_size"));
    nn::load_state_dict(vit, golden_tensors(golden, "params"), golden.name());
    at::NoGradGuard no_grad;
    for (const auto type : kTypes) {
      vit.to(test_device(), type);
      for (const std::string image : golden.config().at("images")) {
        const auto x = golden.input(image).to(type);
        compare_if_there(golden, image + "_embeddings", vit.embed(x));
        compare_if_there(golden, image + "_last_hidden_state", vit.tokens(x));
        compare_if_there(golden, image + "_cls", vit.encode(x, nn::Mode::infer));
        const auto hidden = vit.hidden_states(x);
        for (std::size_t i = 0; i < hidden.size(); ++i)
          compare_if_there(golden, image + "_hidden_" + std::to_string(i), hidden[i]);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE(
    "projection heads equal the reference in inference, in training and after its statistics "
    "update",
    "[parity][device]") {
  for_each_golden("lewm/lewm_mlp", [](Golden& golden) {
    for (const auto& [name, config] : golden.config().at("mlps").items()) {
      for (const auto type : kTypes) {
        nn::Projection head(config.at("input_dim"), golden_projection_options(config),
                            config.at("output_dim"));
        nn::load_state_dict(head, golden_tensors(golden, "params", name + "."), golden.name());
        head.to(test_device(), type);
        at::NoGradGuard no_grad;
        const auto x = golden.input(name + "_x").to(type);
        compare_if_there(golden, name + "_eval", head.forward(x, nn::Mode::infer));
        compare_if_there(golden, name + "_eval", head.fold().forward(x));
        if (!golden.has("outputs/" + name + "_train")) continue;
        compare_if_there(golden, name + "_train", head.forward(x, nn::Mode::train));
        for (const auto& [key, value] : nn::state_dict(head)) {
          const auto after = reference_key(name + "_after_train/" + key, type);
          if (golden.has(after)) golden.compare(after, value);
        }
        compare_if_there(golden, name + "_eval_after_train", head.forward(x, nn::Mode::infer));
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("the action encoder equals the reference and embeds each block on its own",
          "[parity][device]") {
  for_each_golden("lewm/lewm_action_encoder", [](Golden& golden) {
    const auto& config = golden.config().at("action_encoder");
    nn::ActionEncoder encoder(config.at("input_dim"), golden_action_encoder_options(config));
    nn::load_state_dict(encoder, golden_tensors(golden, "params"), golden.name());
    for (const auto type : kTypes) {
      encoder.to(test_device(), type);
      for (const auto& [name, blocks] : golden.section("inputs"))
        golden.compare(reference_key(name, type), encoder.forward(blocks.to(type)));
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("the AdaLN predictor equals the reference for every window length, with input gradients",
          "[parity][device]") {
  for_each_golden("lewm/lewm_predictor", [](Golden& golden) {
    const auto& config = golden.config().at("predictor");
    nn::AdaLnPredictor predictor(golden_predictor_options(config), golden_predictor_sizes(config));
    nn::load_state_dict(predictor, golden_tensors(golden, "params"), golden.name());
    for (const auto type : kTypes) {
      predictor.to(test_device(), type);
      for (const int64_t window : golden.config().at("windows")) {
        const auto cut = [&](const char* key) {
          return golden.input(key).to(type).narrow(1, 0, window).clone().requires_grad_();
        };
        const auto latents = cut("emb"), conditions = cut("act_emb");
        const auto out = predictor.forward(latents, conditions, nn::Mode::infer);
        const auto name = "window" + std::to_string(window);
        golden.compare(reference_key(name, type), out);
        const auto weights = golden.input("grad_out" + std::to_string(window)).to(type);
        (out * weights).sum().backward();
        golden.compare(reference_key(name + "_grad_emb", type), latents.grad());
        golden.compare(reference_key(name + "_grad_act", type), conditions.grad());
        const auto last = predictor.last(latents, conditions, nn::Mode::infer);
        CHECK(at::allclose(last, out.select(1, -1), 1e-5, type == at::kDouble ? 1e-12 : 2e-5));
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

}  // namespace foresight::lewm_parity_test
