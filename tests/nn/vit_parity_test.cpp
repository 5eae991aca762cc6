// SPDX-License-Identifier: Apache-2.0
// DINOv2 in its own key layout against its own code, and the sizes of the released networks.
#include "error_message.hpp"
#include "foresight/nn/dinov2.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "golden.hpp"

namespace foresight::vit_parity_test {

namespace {

nn::VitOptions dinov2_options(const nlohmann::json& model) {
  nn::VitOptions options;
  options.patch = model.at("patch_size");
  options.width = model.at("embed_dim");
  options.depth = model.at("depth");
  options.heads = model.at("num_heads");
  options.gated = model.at("ffn_layer") == "swiglufused";
  options.mlp_width = static_cast<int64_t>(static_cast<double>(options.width) *
                                           model.at("mlp_ratio").get<double>());
  if (options.gated) options.mlp_width = (options.mlp_width * 2 / 3 + 7) / 8 * 8;
  options.norm_epsilon = 1e-6;
  options.registers = model.at("num_register_tokens");
  options.layer_scale = true;
  options.mask_token = true;
  const bool antialias = model.at("interpolate_antialias");
  REQUIRE(model.at("interpolate_offset") == (antialias ? 0.0 : 0.1));
  options.positions =
      antialias ? nn::PositionResize::bicubic_antialiased : nn::PositionResize::bicubic_offset;
  return options;
}

}  // namespace

TEST_CASE("DINOv2 equals its own code at every size, with and without registers",
          "[parity][device]") {
  for_each_golden("dino_wm/dinov2", [](Golden& golden) {
    const auto& model = golden.config().at("model");
    const auto options = dinov2_options(model);
    nn::Vit vit(options, model.at("img_size"));
    io::NamedTensors params;
    for (const auto& item : golden.section("params")) params.emplace_back(item);
    nn::load_state_dict(vit, nn::vit_tensors(params), golden.name());
    at::NoGradGuard no_grad;
    for (const auto type : kNetworkTypes) {
      vit.to(test_device(), type);
      const std::string section = type == at::kDouble ? "outputs64/" : "outputs/";
      const auto compare = [&](const std::string& key, const Tensor& actual, int64_t blocks) {
        if (type == at::kBFloat16)
          golden.compare_bfloat16(key, actual, roundings_of_network(blocks));
        else
          golden.compare_resampled(section + key, actual);
      };
      for (const auto& run : golden.config().at("runs")) {
        const auto key = run.at("name").get<std::string>() + ".";
        // Pictures are resized in float32, whatever the network computes in.
        auto images = golden.input(run.at("image").get<std::string>())
                          .to(type == at::kDouble ? at::kDouble : at::kFloat);
        if (run.contains("resize")) {
          const int64_t size = run.at("resize");
          images = at::_upsample_bilinear2d_aa(images, {size, size}, /*align_corners=*/false);
          golden.compare(section + key + "resized", images);
        }
        images = images.to(type);
        Tensor masked;
        if (run.contains("masks")) masked = golden.input(run.at("masks").get<std::string>());
        const auto tokens = vit.tokens(images, masked);
        const auto depth = options.depth;
        compare(key + "pos_embed", vit.positions(images.size(2), images.size(3)), 0);
        compare(key + "x_norm_clstoken", tokens.select(1, 0), depth);
        compare(key + "x_norm_patchtokens", tokens.slice(1, vit.prefix()), depth);
        if (options.registers > 0)
          compare(key + "x_norm_regtokens", tokens.narrow(1, 1, options.registers), depth);
        if (masked.defined()) continue;
        compare(key + "x_norm_clstoken", vit.encode(images, nn::Mode::infer), depth);
        compare(key + "x_norm_patchtokens", vit.patch_tokens(images), depth);
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("the DINOv2 presets have the released parameter counts") {
  // Per layer: two norms, four projections, two layer scales, feed-forward; outside: patch
  // projection, positions for 37 x 37 + 1 tokens, class and mask token, last norm.
  const auto count = [](const nn::VitOptions& o) {
    const int64_t d = o.width, h = o.mlp_width;
    const int64_t feed_forward = o.gated ? d * 2 * h + 2 * h + h * d + d : 2 * d * h + h + d;
    const int64_t layer = 4 * d + 4 * (d * d + d) + 2 * d + feed_forward;
    return o.depth * layer + d * 3 * 14 * 14 + d + (37 * 37 + 1) * d + (2 + o.registers) * d +
           2 * d;
  };
  using nn::DinoV2Size;
  const auto small = nn::dinov2(DinoV2Size::small), registers = nn::dinov2(DinoV2Size::small, 4);
  CHECK(nn::parameter_count(nn::Vit(small, nn::kDinoV2ImageSize)) == count(small));
  CHECK(nn::parameter_count(nn::Vit(registers, nn::kDinoV2ImageSize)) == count(registers));
  // Of torch.hub's models, mask token included.
  CHECK(count(small) == 22'056'576);
  CHECK(count(nn::dinov2(DinoV2Size::base)) == 86'580'480);
  CHECK(count(nn::dinov2(DinoV2Size::large)) == 304'368'640);
  CHECK(count(nn::dinov2(DinoV2Size::giant)) == 1'136'480'768);
}

TEST_CASE("a network without class token encodes to the mean of its patches") {
  nn::Vit vit(
      {.patch = 4, .width = 8, .depth = 1, .heads = 2, .mlp_width = 8, .class_token = false}, 8);
  PhiloxNoise noise(1);
  vit.initialise(noise);
  at::NoGradGuard no_grad;
  const auto images = noise.normal({2, 3, 8, 12});
  CHECK(vit.prefix() == 0);
  CHECK(at::allclose(vit.encode(images, nn::Mode::infer), vit.tokens(images).mean(1)));
  CHECK(vit.patch_tokens(images).sizes() == at::IntArrayRef({2, 6, 8}));
}

TEST_CASE("parts that a network lacks, and options that contradict each other, are named") {
  const nn::VitOptions tiny{.patch = 4, .width = 8, .depth = 1, .heads = 2, .mlp_width = 8};
  const nn::Vit vit(tiny, 8);
  const auto images = at::zeros({1, 3, 8, 8});
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] {
        vit.tokens(images, at::ones({1, 4}, at::kBool));
      },
      "mask_token"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { vit.pool(vit.tokens(images)); }, "pooler"));
  auto options = tiny;
  options.registers = 2;
  options.class_token = false;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { nn::Vit(options, 8); }, "VitOptions.registers = 2",
      "class_token"));
  options = tiny;
  options.mask_token = true;
  const nn::Vit masking(options, 8);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        masking.tokens(images, at::ones({1, 5}, at::kBool));
      },
      "masked", "[1, 5]"));
}

}  // namespace foresight::vit_parity_test
