// SPDX-License-Identifier: Apache-2.0
// The predictor of DINO-WM against both published implementations, and its pruned rollout against
// the plain one.
#include "foresight/nn/patch_predictor.hpp"

#include "error_message.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/state_dict.hpp"
#include "golden.hpp"

namespace foresight::patch_predictor_test {

using nn::ActionConditioning;

namespace {

nn::PatchPredictorOptions options_of(const nlohmann::json& config) {
  return {.depth = config.at("depth"),
          .heads = config.at("heads"),
          .head_width = config.at("dim_head"),
          .mlp_width = config.at("mlp_dim"),
          .dropout = config.at("dropout")};
}

// Without actions: the fixtures' tokens are whole inputs.
nn::PatchPredictorSizes sizes_of(const nlohmann::json& config) {
  return {config.at("num_frames"), config.at("num_patches"), config.at("dim"), 0};
}

// stable-worldmodel keeps its mask as a buffer of each attention layer.
io::NamedTensors params(const Golden& golden) {
  io::NamedTensors tensors;
  for (const auto& item : golden.section("params"))
    if (!item.first.ends_with(".0.bias") || item.first.find("to_out") != std::string::npos ||
        item.first.find("net") != std::string::npos)
      tensors.emplace_back(item);
  return tensors;
}

Tensor run(const nn::PatchPredictor& predictor, const Tensor& tokens) {  // [N, L*P, D]
  const auto frames = tokens.unflatten(1, {-1, predictor.sizes().tokens});
  const auto none = tokens.new_zeros({frames.size(0), frames.size(1), 0});
  return predictor.forward(frames, none, nn::Mode::infer).flatten(1, 2);
}

// Which tokens each output depends on, by gradients.
Tensor dependence(const nn::PatchPredictor& predictor) {
  const auto& sizes = predictor.sizes();
  const auto n = sizes.frames * sizes.tokens;
  PhiloxNoise noise(3);
  const auto x =
      noise.normal({1, n, sizes.channels}).to(test_device(), at::kDouble).requires_grad_();
  const auto weights = noise.normal({sizes.channels}).to(test_device(), at::kDouble);
  const auto y = (run(predictor, x) * weights).sum(-1).squeeze(0);
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < n; ++i) {
    x.mutable_grad() = Tensor();
    y[i].backward({}, /*keep_graph=*/true);
    rows.push_back(x.grad().squeeze(0).abs().amax(-1).gt(0));
  }
  return at::stack(rows).to(at::kByte);
}

nn::PatchPredictor random_predictor(ActionConditioning conditioning, int64_t frames,
                                    int64_t condition) {
  nn::PatchPredictor predictor({.conditioning = conditioning,
                                .depth = 2,
                                .heads = 2,
                                .head_width = 5,
                                .mlp_width = 12,
                                .dropout = 0.1},
                               {frames, 4, 6, condition});
  PhiloxNoise noise(11);
  for (auto& parameter : predictor.parameters()) nn::init_normal(parameter, 0.4, noise);
  predictor.to(test_device(), at::kDouble);
  return predictor;
}

}  // namespace

TEST_CASE("the predictor equals DINO-WM's, layer by layer, for every number of frames",
          "[parity][device]") {
  for_each_golden("dino_wm/predictor", [](Golden& golden) {
    const auto& config = golden.config().at("model");
    const auto options = options_of(config);
    const auto sizes = sizes_of(config);
    nn::PatchPredictor predictor(options, sizes);
    nn::load_state_dict(predictor, params(golden), golden.name());
    const std::string traced = golden.config().at("trace");
    for (const auto type : kNetworkTypes) {
      predictor.to(test_device(), type);
      if (type == at::kDouble && golden.has("outputs/mask"))
        golden.compare("outputs/mask", dependence(predictor));
      at::NoGradGuard no_grad;
      for (const auto& [name, tokens] : golden.section("inputs"))
        golden.compare_run(name, run(predictor, tokens.to(type)),
                           roundings_of_network(options.depth));
      // The branches of every layer, from the public halves of a block.
      auto x = golden.input(traced).to(type);
      x = (x + golden.param("pos_embedding").to(type).narrow(1, 0, x.size(1)))
              .unflatten(1, {-1, sizes.tokens});
      for (int64_t i = 0; i < options.depth; ++i) {
        nn::FrameAttention attention(
            {sizes.channels, options.heads, options.head_width, options.dropout});
        nn::NormedFeedForward feed_forward(sizes.channels, options.mlp_width, options.dropout);
        const auto fill = [&](torch::nn::Module& module, const std::string& half) {
          const auto prefix = "transformer.layers." + std::to_string(i) + "." + half + ".";
          io::NamedTensors own;
          for (const auto& [key, tensor] : params(golden))
            if (key.starts_with(prefix)) own.emplace_back(key.substr(prefix.size()), tensor);
          nn::load_state_dict(module, own, golden.name());
          module.to(test_device(), type);
        };
        fill(attention, "0");
        fill(feed_forward, "1");
        const auto key = traced + ".layer" + std::to_string(i);
        const auto attended =
            attention.forward(x, nullptr, nullptr, nn::Outputs::all, nn::Mode::infer);
        golden.compare_run(key + ".attention", attended.flatten(1, 2), roundings_of_network(i));
        x = attended + x;
        const auto fed = feed_forward.forward(x, nn::Mode::infer);
        golden.compare_run(key + ".feed_forward", fed.flatten(1, 2), roundings_of_network(i));
        x = fed + x;
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("the predictor equals stable-worldmodel's, with input gradients", "[parity][device]") {
  for_each_golden("lewm/prejepa_predictor", [](Golden& golden) {
    const auto& config = golden.config().at("predictor");
    nn::PatchPredictor predictor(options_of(config), sizes_of(config));
    nn::load_state_dict(predictor, params(golden), golden.name());
    const auto forward = roundings_of_network(config.at("depth"));
    for (const auto type : kNetworkTypes) {
      predictor.to(test_device(), type);
      if (type == at::kDouble) golden.compare("outputs/mask", dependence(predictor));
      for (const int64_t frames : golden.config().at("frames")) {
        const auto number = std::to_string(frames), name = "frames" + number;
        const auto x = golden.input("tokens")
                           .to(type)
                           .narrow(1, 0, frames * predictor.sizes().tokens)
                           .clone()
                           .requires_grad_();
        const auto y = run(predictor, x);
        golden.compare_run(name, y, forward);
        (y * golden.input("grad_out" + number).to(type)).sum().backward();
        golden.compare_run(name + "_grad", x.grad(), 2 * forward);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("the pruned rollout equals predictions made window by window, however actions enter") {
  for (const auto conditioning :
       {ActionConditioning::feature, ActionConditioning::token, ActionConditioning::adaln}) {
    for (const int64_t frames : {1, 2, 3}) {
      for (const int64_t observed : {1, 2, 3, 4}) {
        INFO(enum_name(conditioning) << ", window " << frames << ", observed " << observed);
        const auto predictor = random_predictor(conditioning, frames,
                                                conditioning == ActionConditioning::token ? 6 : 3);
        const auto c = predictor.sizes().condition;
        PhiloxNoise noise(5);
        const auto normal = [&](at::IntArrayRef shape) {
          return noise.normal(shape).to(at::kDouble);
        };
        const auto context = normal({2, observed, 4, 6}), past = normal({2, observed - 1, c});
        const auto future = normal({2, 3, 5, c});
        const auto imagined = predictor.rollout(context, past, future);
        REQUIRE(imagined.sizes() == at::IntArrayRef({2, 3, 5, 4, 6}));
        for (int64_t s = 0; s < 3; ++s) {
          auto seen = context;
          const auto conditions = at::cat({past, future.select(1, s)}, 1);
          for (int64_t t = 0; t < 5; ++t) {
            const auto end = observed + t, length = std::min(frames, end);
            const auto next =
                predictor
                    .forward(seen.narrow(1, end - length, length),
                             conditions.narrow(1, end - length, length), nn::Mode::infer)
                    .select(1, -1);
            CHECK(at::allclose(imagined.select(1, s).select(1, t), next, 1e-9, 1e-9));
            seen = at::cat({seen, next.unsqueeze(1)}, 1);
          }
        }
      }
    }
  }
}

TEST_CASE("the last frame alone equals the last of all, and dropout acts in training only") {
  for (const auto conditioning :
       {ActionConditioning::feature, ActionConditioning::token, ActionConditioning::adaln}) {
    const auto predictor = random_predictor(conditioning, 3, 6);
    PhiloxNoise noise(5);
    const auto frames = noise.normal({2, 3, 4, 6}).to(at::kDouble);
    const auto conditions = noise.normal({2, 3, 6}).to(at::kDouble);
    const auto all = predictor.forward(frames, conditions, nn::Mode::infer);
    const auto last = predictor.last(frames, conditions, nn::Mode::infer);
    CHECK(at::allclose(last, all.select(1, -1), 1e-9, 1e-9));
    CHECK(at::equal(all, predictor.forward(frames, conditions, nn::Mode::infer)));
    CHECK_FALSE(at::allclose(all, predictor.forward(frames, conditions, nn::Mode::train)));
  }
}

TEST_CASE("an untrained AdaLN predictor ignores the action, for its gates start closed") {
  nn::PatchPredictor predictor({.conditioning = ActionConditioning::adaln, .depth = 1, .heads = 2},
                               {2, 4, 6, 3});
  PhiloxNoise noise(1);
  predictor.initialise(noise);
  const auto frames = noise.normal({1, 2, 4, 6});
  CHECK(at::equal(predictor.forward(frames, noise.normal({1, 2, 3}), nn::Mode::infer),
                  predictor.forward(frames, noise.normal({1, 2, 3}), nn::Mode::infer)));
}

TEST_CASE("DINO-WM's predictor has the published number of parameters") {
  CHECK(nn::parameter_count(nn::PatchPredictor({}, {3, 196, 394, 10})) == 20'122'600);
}

TEST_CASE("windows, widths and conditions that do not fit are named") {
  const auto predictor = random_predictor(ActionConditioning::feature, 2, 3);
  const auto zeros = [](at::IntArrayRef shape) { return at::zeros(shape, at::kDouble); };
  const auto infer = nn::Mode::infer;
  using enum ErrorCategory;
  CHECK(fails_with(
      invalid_argument,
      [&] {
        predictor.forward(zeros({1, 3, 4, 6}), zeros({1, 3, 3}), infer);
      },
      "3 frames", "1..2"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        predictor.forward(zeros({1, 2, 5, 6}), zeros({1, 2, 3}), infer);
      },
      "frames", "[1, 2, 5, 6]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        predictor.last(zeros({1, 2, 4, 6}), zeros({1, 1, 3}), infer);
      },
      "conditions", "[1, 1, 3]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        predictor.rollout(zeros({1, 2, 4, 6}), zeros({1, 2, 3}), zeros({1, 1, 1, 3}));
      },
      "past conditions"));
  CHECK(fails_with(
      invalid_option,
      [] {
        nn::PatchPredictor({.conditioning = ActionConditioning::token}, {2, 4, 6, 3});
      },
      "condition = 3", "channels = 6"));
  CHECK(fails_with(
      invalid_option,
      [] {
        nn::PatchPredictor({.conditioning = ActionConditioning::adaln}, {2, 4, 6, 0});
      },
      "condition = 0"));
  CHECK(fails_with(
      invalid_option,
      [] {
        nn::PatchPredictor({.dropout = 1.0}, {2, 4, 6, 3});
      },
      "dropout = 1"));
}

}  // namespace foresight::patch_predictor_test
