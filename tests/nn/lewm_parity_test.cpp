// SPDX-License-Identifier: Apache-2.0
// Every part of the LeWM network against the reference implementation, in float32, float64 and
// bfloat16.
#include <optional>

#include "foresight/nn/autocast.hpp"
#include "lewm_golden_nn.hpp"

namespace foresight::lewm_parity_test {

namespace {

// Whether 1 + scale of modulated norms is as a rule less than the last digit of bfloat16 below 1.
bool has_fine_scales(const Golden& golden) {
  for (const auto& [key, bias] : golden.section("params")) {
    if (!key.ends_with("adaLN_modulation.1.bias")) continue;
    const auto parts = bias.chunk(6);  // shift, scale, gate of attention, the same of the MLP
    for (const std::size_t scale : {1, 4})
      if ((1 + parts[scale]).abs().median().item<double>() < 0x1p-8) return true;
  }
  return false;
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
    for (const auto type : kNetworkTypes) {
      vit.to(test_device(), type);
      for (const std::string image : golden.config().at("images")) {
        const auto x = golden.input(image).to(type);
        const auto compare = [&](const std::string& key, const Tensor& actual, int64_t blocks) {
          golden.compare_run(image + key, actual, roundings_of_network(blocks));
        };
        compare("_embeddings", vit.embed(x), 0);
        compare("_last_hidden_state", vit.tokens(x), vit.options().depth);
        compare("_cls", vit.encode(x, nn::Mode::infer), vit.options().depth);
        const auto hidden = vit.hidden_states(x);
        for (std::size_t i = 0; i < hidden.size(); ++i)
          compare("_hidden_" + std::to_string(i), hidden[i], static_cast<int64_t>(i));
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
      for (const auto type : kNetworkTypes) {
        nn::Projection head(config.at("input_dim"), golden_projection_options(config),
                            config.at("output_dim"));
        nn::load_state_dict(head, golden_tensors(golden, "params", name + "."), golden.name());
        head.to(test_device(), type);
        at::NoGradGuard no_grad;
        const auto x = golden.input(name + "_x").to(type);
        const auto compare = [&, &name = name](const std::string& key, const Tensor& actual) {
          golden.compare_run(name + key, actual, kRoundingsOfBlock);
        };
        compare("_eval", head.forward(x, nn::Mode::infer));
        compare("_eval", head.fold().forward(x));
        // Training has its weights and statistics in float32.
        if (type == at::kBFloat16 || !golden.has("outputs/" + name + "_train")) continue;
        compare("_train", head.forward(x, nn::Mode::train));
        for (const auto& [key, value] : nn::state_dict(head)) compare("_after_train/" + key, value);
        compare("_eval_after_train", head.forward(x, nn::Mode::infer));
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
    for (const auto type : kNetworkTypes) {
      encoder.to(test_device(), type);
      for (const auto& [name, blocks] : golden.section("inputs"))
        golden.compare_run(name, encoder.forward(blocks.to(type)), kRoundingsOfBlock);
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
    const auto forward = roundings_of_network(config.at("depth"));
    const bool fine_scales = has_fine_scales(golden);  // bfloat16 loses them: weights in float32
    for (const auto type : kNetworkTypes) {
      const bool is_mixed = fine_scales && type == at::kBFloat16;
      if (is_mixed && !has_autocast()) continue;
      const auto held = is_mixed ? at::kFloat : type;
      predictor.to(test_device(), held);
      for (const int64_t window : golden.config().at("windows")) {
        const auto cut = [&](const char* key) {
          return golden.input(key).to(held).narrow(1, 0, window).clone().requires_grad_();
        };
        const auto latents = cut("emb"), conditions = cut("act_emb");
        std::optional<nn::Autocast> autocast;
        if (is_mixed) autocast.emplace(test_device().type(), /*enabled=*/true);
        const auto out = predictor.forward(latents, conditions, nn::Mode::infer);
        autocast.reset();
        const auto name = "window" + std::to_string(window);
        golden.compare_run(name, out.to(type), forward);
        const auto weights = golden.input("grad_out" + std::to_string(window)).to(held);
        (out * weights).sum().backward();
        golden.compare_run(name + "_grad_emb", latents.grad().to(type), 2 * forward);
        golden.compare_run(name + "_grad_act", conditions.grad().to(type), 2 * forward);
        if (type == at::kBFloat16) continue;
        const auto last = predictor.last(latents, conditions, nn::Mode::infer);
        CHECK(at::allclose(last, out.select(1, -1), 1e-5, type == at::kDouble ? 1e-12 : 2e-5));
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

}  // namespace foresight::lewm_parity_test
