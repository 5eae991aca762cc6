// SPDX-License-Identifier: Apache-2.0
// Encoders, heads, initial weights and state dicts.
#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/cnn.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/mlp.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit.hpp"
#include "golden.hpp"

namespace foresight::modules_test {

TEST_CASE("each CNN layer halves the image and the head reads what is left") {
  nn::Cnn cnn({.channels = {4, 6}, .width = 5}, 20);
  const auto shapes = cnn.named_parameters();
  CHECK(shapes["conv.0.weight"].sizes() == at::IntArrayRef({4, 3, 4, 4}));
  CHECK(shapes["conv.1.weight"].sizes() == at::IntArrayRef({6, 4, 4, 4}));
  CHECK(shapes["head.weight"].sizes() == at::IntArrayRef({5, 6 * 5 * 5}));
  CHECK(cnn.encode(at::zeros({2, 3, 20, 20}), nn::Mode::infer).sizes() == at::IntArrayRef({2, 5}));
}

TEST_CASE("a product in bfloat16 is exact up to the rounding of its result") {
  PhiloxNoise noise(11);
  const auto draw = [&](at::IntArrayRef shape) { return noise.normal(shape).to(at::kBFloat16); };
  const auto x = draw({7, 5, 96}), weight = draw({33, 96}), bias = draw({33});
  for (const bool biased : {false, true}) {
    const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
    const auto exact =
        at::linear(wide(x), wide(weight), biased ? wide(bias) : at::zeros({33}, at::kDouble));
    const auto product = nn::apply_linear(x, weight, biased ? bias : Tensor());
    CHECK(product.scalar_type() == at::kBFloat16);
    // Sums of 96 products of order 1 in float32 add some 1e-5; a bfloat16 rounds by up to 2^-8.
    const auto allowed = 0x1p-8 * exact.abs() + 1e-4;
    CHECK((wide(product) - exact).abs().le(allowed).all().item<bool>());
    CHECK((wide(product) - exact).abs().max().item<double>() > 0);
  }
}

TEST_CASE("a product under bfloat16 autocast is that of its rounded factors, rounded once") {
  PhiloxNoise noise(13);
  const auto x = noise.normal({9, 96}).requires_grad_(), weight = noise.normal({33, 96}),
             bias = noise.normal({33});
  const auto rounded = [](const Tensor& t) { return t.detach().to(at::kBFloat16).to(at::kDouble); };
  const auto exact = at::linear(rounded(x), rounded(weight), rounded(bias));
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Tensor product, untouched;
    {
      const nn::Autocast autocast(at::kCPU, true);
      product = nn::apply_linear(x.to(type), weight, bias);
      untouched = nn::apply_linear(rounded(x), rounded(weight), rounded(bias));
    }
    CHECK(product.scalar_type() == at::kBFloat16);
    CHECK((product.detach().to(at::kDouble) - exact)
              .abs()
              .le(0x1p-8 * exact.abs() + 1e-4)
              .all()
              .item<bool>());
    CHECK(at::equal(untouched, exact));  // float64 is left alone
    x.mutable_grad() = Tensor();
    product.sum().backward();
    CHECK(at::allclose(x.grad(), weight.sum(0).expand({9, 96}), 1e-2, 0.2));
  }
}

TEST_CASE("a product in bfloat16 passes gradients to all of its inputs") {
  PhiloxNoise noise(12);
  const auto leaf = [&](at::IntArrayRef shape) {
    return noise.normal(shape).to(at::kBFloat16).requires_grad_();
  };
  const auto x = leaf({4, 8}), weight = leaf({3, 8}), bias = leaf({3});
  nn::apply_linear(x, weight, bias).sum().backward();
  const auto wide = [](const Tensor& t) { return t.detach().to(at::kDouble); };
  CHECK(at::allclose(wide(x.grad()), wide(weight).sum(0).expand({4, 8}), 1e-2, 1e-2));
  CHECK(at::allclose(wide(weight.grad()), wide(x).sum(0).expand({3, 8}), 1e-2, 1e-2));
  CHECK(at::equal(bias.grad(), at::full({3}, 4, at::kBFloat16)));
}

TEST_CASE("the CNN computes convolution, norm, activation, head") {
  using nn::NormKind;
  for (const auto norm : {NormKind::none, NormKind::layer, NormKind::batch}) {
    nn::Cnn cnn({.channels = {4}, .width = 3, .activation = nn::Activation::relu, .norm = norm}, 8);
    PhiloxNoise noise(4);
    cnn.initialise(noise);
    cnn.to(at::kDouble);
    const auto x = noise.normal({5, 3, 8, 8}, at::kDouble);
    const auto p = cnn.named_parameters();
    auto h = at::conv2d(x, p["conv.0.weight"], p["conv.0.bias"], 2, 1);
    if (norm == NormKind::layer)
      h = (h - h.mean({1, 2, 3}, true)) / at::sqrt(h.var({1, 2, 3}, false, true) + 1e-5);
    if (norm == NormKind::batch)
      h = (h - h.mean(at::IntArrayRef{0, 2, 3}, true)) /
          at::sqrt(h.var(at::IntArrayRef{0, 2, 3}, false, true) + 1e-5);
    const auto expected = at::linear(at::relu(h).flatten(1), p["head.weight"], p["head.bias"]);
    CHECK(at::allclose(cnn.encode(x, nn::Mode::train), expected, 1e-9, 1e-12));
  }
}

TEST_CASE("encoders reject images and options that do not fit") {
  nn::Cnn cnn({.channels = {4}, .width = 3}, 8);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        cnn.encode(at::zeros({1, 3, 8, 10}), nn::Mode::infer);
      },
      "[1, 3, 8, 10]", "8, 8"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [] {
        nn::Cnn({.channels = {4, 4, 4}}, 4);
      },
      "3 convolutions halve an image of size 4"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { nn::Vit({.width = 10, .heads = 3}, 28); },
      "width = 10 must be a multiple of heads = 3"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { nn::Vit({.patch = 16}, 8); }, "image size = 8"));
  nn::Vit vit({.patch = 8, .width = 6, .depth = 1, .heads = 3, .mlp_width = 8}, 16);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        vit.encode(at::zeros({1, 3, 4, 16}), nn::Mode::infer);
      },
      "smaller than one patch"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        vit.encode(at::zeros({1, 1, 16, 16}), nn::Mode::infer);
      },
      "[1, 1, 16, 16]"));
}

TEST_CASE("a change of floating type leaves the count of batches an integer") {
  nn::Projection head(4, {.hidden = 5}, 3);
  for (int i = 0; i < 300; ++i) head.forward(at::ones({2, 4}), nn::Mode::train);
  const auto count = [&] { return head.named_buffers()["net.1.num_batches_tracked"]; };
  head.to(at::kBFloat16);  // has no 300 batches plus one
  CHECK(count().scalar_type() == at::kLong);
  CHECK(count().item<int64_t>() == 300);
  head.to(at::kCPU, at::kDouble);
  CHECK(count().scalar_type() == at::kLong);
  CHECK(head.named_buffers()["net.1.running_mean"].scalar_type() == at::kDouble);
  head.forward(at::ones({2, 4}, at::kDouble), nn::Mode::train);
  CHECK(count().item<int64_t>() == 301);
}

TEST_CASE("an MLP equals its layers written out") {
  nn::Mlp mlp(
      3, {.hidden = {5, 4}, .activation = nn::Activation::mish, .norm = nn::NormKind::layer}, 2);
  PhiloxNoise noise(2);
  mlp.initialise(noise);
  mlp.to(at::kDouble);
  const auto p = mlp.named_parameters();
  const auto x = noise.normal({7, 3}, at::kDouble);
  auto h = x;
  for (const std::string i : {"0", "1"}) {
    h = at::linear(h, p["layers." + i + ".weight"], p["layers." + i + ".bias"]);
    h = (h - h.mean(-1, true)) / at::sqrt(h.var({-1}, false, true) + 1e-5);
    h = h * at::tanh(at::log1p(at::exp(h)));
  }
  const auto expected = at::linear(h, p["layers.2.weight"], p["layers.2.bias"]);
  CHECK(at::allclose(mlp.forward(x), expected, 1e-10, 1e-12));
  at::NoGradGuard no_grad;
  CHECK(at::allclose(mlp.forward(x), expected, 1e-10, 1e-12));
}

TEST_CASE("in-place activations equal the plain ones") {
  const auto x = PhiloxNoise(3).normal({100}, at::kDouble);
  for (const auto& [name, activation] : EnumNames<nn::Activation>::names) {
    INFO(name);
    const auto expected = nn::activate(x, activation);
    at::NoGradGuard no_grad;
    CHECK(at::equal(nn::activate_temporary(x.clone(), activation), expected));
  }
}

TEST_CASE("initial weights depend on the seed alone") {
  const auto weights = [](std::uint64_t seed) {
    nn::Cnn cnn({.channels = {4}, .width = 3}, 8);
    PhiloxNoise noise(seed);
    cnn.initialise(noise);
    return cnn.parameters()[0].clone();
  };
  CHECK(at::equal(weights(1), weights(1)));
  CHECK_FALSE(at::equal(weights(1), weights(2)));
}

TEST_CASE("initial linear layers are uniform within one over the root of the fan-in") {
  nn::Mlp mlp(64, {.hidden = {400}}, 100);
  PhiloxNoise noise(5);
  mlp.initialise(noise);
  for (const auto& [name, bound] : {std::pair{"layers.0.weight", 1.0 / 8},
                                    {"layers.1.weight", 0.05},
                                    {"layers.1.bias", 0.05}}) {
    const auto w = mlp.named_parameters()[name];
    CHECK(w.abs().max().item<double>() <= bound);
    CHECK(w.abs().max().item<double>() > 0.9 * bound);
    CHECK(std::abs(w.mean().item<double>()) < 0.1 * bound);
    CHECK(w.std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.2));
  }
}

TEST_CASE("an initial ViT has weights of deviation 0.02, zero biases and unit norms") {
  nn::Vit vit({.patch = 4, .width = 32, .depth = 1, .heads = 2, .mlp_width = 64}, 16);
  PhiloxNoise noise(5);
  vit.initialise(noise);
  for (const auto& parameter : vit.named_parameters()) {
    INFO(parameter.key());
    const auto& value = parameter.value();
    if (parameter.key().ends_with("bias"))
      CHECK(value.abs().max().item<double>() == 0.0);
    else if (parameter.key().find("layernorm") != std::string::npos)
      CHECK(at::equal(value, at::ones_like(value)));
    else if (value.numel() > 500)
      CHECK(value.std().item<double>() == Approx(0.02).epsilon(0.1));
  }
}

TEST_CASE("a state dict loads back, and anything that does not fit is listed and changes nothing") {
  nn::Projection from(4, {.hidden = 5}, 3), to(4, {.hidden = 5}, 3);
  PhiloxNoise noise(1);
  from.initialise(noise);
  auto tensors = nn::state_dict(from);
  REQUIRE(tensors.size() == 9);
  nn::load_state_dict(to, tensors, "weights");
  const auto loaded = nn::state_dict(to);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    CHECK(loaded[i].first == tensors[i].first);
    CHECK(at::equal(loaded[i].second, tensors[i].second));
    CHECK(loaded[i].second.data_ptr() != tensors[i].second.data_ptr());
  }

  auto broken = tensors;
  broken[0].second = at::zeros({5, 7});
  broken.erase(broken.begin() + 1);
  broken.emplace_back("extra.weight", at::zeros({1}));
  const auto before = loaded[0].second.clone();
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { nn::load_state_dict(to, broken, "weights"); },
      "weights: ", "'net.0.weight' has shape [5, 7], expected [5, 4]", "'net.0.bias' is missing",
      "'extra.weight' is unexpected"));
  CHECK(at::equal(nn::state_dict(to)[0].second, before));

  auto twice = tensors;
  twice.push_back(twice.front());
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { nn::load_state_dict(to, twice, "weights"); },
      "appears twice"));
}

TEST_CASE("copying a state takes values, gradient flags and the training flag") {
  nn::Mlp from(2, {.hidden = {3}}, 1), to(2, {.hidden = {3}}, 1);
  from.parameters()[1].requires_grad_(false);
  from.eval();
  nn::copy_state(from, to);
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(at::equal(from.parameters()[i], to.parameters()[i]));
    CHECK(from.parameters()[i].requires_grad() == to.parameters()[i].requires_grad());
  }
  CHECK_FALSE(to.is_training());
  CHECK(nn::parameter_count(to) == 6 + 3 + 3 + 1 - 3);
}

TEST_CASE("newer ViT key names map to the older ones, and nothing else changes") {
  const auto layouts = golden_json("lewm/lewm_key_layouts.json");
  for (const auto& [older, newer] : layouts.at("full_size_old_to_new").items()) {
    CHECK(nn::older_hf_vit_key(newer.get<std::string>()) == older);
    CHECK(nn::older_hf_vit_key(older) == older);
  }
  for (const std::string key : layouts.at("unchanged")) CHECK(nn::older_hf_vit_key(key) == key);
  CHECK(nn::older_hf_vit_key("layers.11.mlp.fc2.bias") == "encoder.layer.11.output.dense.bias");
  CHECK(nn::older_hf_vit_key("layers.x.mlp.fc2.bias") == "layers.x.mlp.fc2.bias");
  CHECK(nn::older_hf_vit_key("layers.1") == "layers.1");
}

}  // namespace foresight::modules_test
