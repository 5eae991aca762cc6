// SPDX-License-Identifier: Apache-2.0
// What the recurrent predictor, the IMPALA encoder, the projector and the U-Net mean, beyond the
// numbers of their references.
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/rnn.h>

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/gru_predictor.hpp"
#include "foresight/nn/impala.hpp"
#include "foresight/nn/mlp.hpp"
#include "foresight/nn/projector.hpp"
#include "foresight/nn/res_unet.hpp"
#include "foresight/nn/state_dict.hpp"
#include "threads.hpp"

namespace foresight::eb_jepa_parts_test {
namespace {

Tensor draws(at::IntArrayRef shape, std::uint64_t seed) {
  return PhiloxNoise(seed).normal(shape, at::kDouble);
}

}  // namespace

TEST_CASE("a GRU predictor without norm is PyTorch's GRU, stepped and rolled out") {
  const int64_t width = 5, actions = 3, batch = 2, samples = 4, horizon = 6;
  nn::GruPredictor predictor({1, width, actions, width});
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  predictor.to(at::kDouble);
  torch::nn::GRU gru(torch::nn::GRUOptions(actions, width));
  gru->to(at::kDouble);
  for (const auto& [key, tensor] : nn::state_dict(predictor)) {
    at::NoGradGuard no_grad;
    gru->named_parameters()[key.substr(4)].copy_(tensor);  // without "rnn."
  }
  const auto start = draws({batch, 1, width}, 1);
  const auto future = draws({batch, samples, horizon, actions}, 2);
  const auto imagined = predictor.rollout(start, future.new_zeros({batch, 0, actions}), future,
                                          [](const Tensor& z) { return z; });
  const auto hidden = start.expand({batch, samples, width}).reshape({1, batch * samples, width});
  const auto expected =
      std::get<0>(gru->forward(future.flatten(0, 1).transpose(0, 1), hidden.contiguous()));
  CHECK(at::allclose(imagined.flatten(0, 1).transpose(0, 1), expected, 1e-12, 1e-12));
  const auto one = predictor.forward(start, future.select(1, 0).narrow(1, 0, 1), nn::Mode::infer);
  CHECK(at::allclose(one.squeeze(1), imagined.select(1, 0).select(1, 0), 1e-12, 1e-12));
}

TEST_CASE(
    "a GRU predictor takes float32 latents under bfloat16 autocast, as norms leave them on CUDA") {
  const int64_t width = 16, actions = 2, horizon = 3;
  nn::GruPredictor predictor({1, width, actions, width},
                             torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  const auto start = noise.normal({4, 1, width}), future = noise.normal({4, 1, horizon, actions});
  const auto imagine = [&] {
    return predictor.rollout(start, future.new_zeros({4, 0, actions}), future,
                             [](const Tensor& z) { return z; });
  };
  const auto exact = imagine();
  Tensor imagined;
  {
    const nn::Autocast autocast(at::kCPU, true);
    imagined = imagine();
  }
  CHECK(imagined.scalar_type() == at::kFloat);
  CHECK(at::allclose(imagined, exact, 0.0, 0.05));
  imagined.square().sum().backward();
  for (const auto& parameter : predictor.parameters()) CHECK(parameter.grad().defined());
}

TEST_CASE("a shared norm is applied by the predictor and registered by its owner alone") {
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({4}));
  nn::GruPredictor predictor({1, 4, 2, 4}, norm);
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  CHECK(predictor.parameters().size() == 4);
  const auto next = predictor.forward(at::randn({3, 1, 4}), at::randn({3, 1, 2}), nn::Mode::infer);
  CHECK(next.mean(-1).abs().max().item<double>() < 1e-6);
  {
    at::NoGradGuard no_grad;
    norm->bias.fill_(7.0);
  }
  const auto moved = predictor.forward(at::randn({3, 1, 4}), at::randn({3, 1, 2}), nn::Mode::infer);
  CHECK(moved.mean().item<double>() == Approx(7.0));
}

TEST_CASE("a rollout in single precision is PyTorch's GRU with a layer norm, in double") {
  const int64_t width = GENERATE(24, 48);  // in steps of 8, or of 16 where AVX-512 computes
  const int64_t actions = 3, samples = 37, horizon = 12;
  const bool normed = GENERATE(true, false);
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({width}));
  nn::GruPredictor predictor({1, width, actions, width},
                             normed ? norm : torch::nn::LayerNorm(nullptr));
  torch::nn::GRU gru(torch::nn::GRUOptions(actions, width));
  at::NoGradGuard no_grad;
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  norm->weight.copy_(1 + 0.3 * noise.normal({width}));
  norm->bias.copy_(0.2 * noise.normal({width}));
  for (const auto& [key, tensor] : nn::state_dict(predictor))
    gru->named_parameters()[key.substr(4)].copy_(tensor);
  const auto start = draws({1, 1, width}, 1);
  const auto future = 4 * draws({1, samples, horizon, actions}, 2);  // gates from shut to open
  const auto head = GENERATE(1.0, 0.5);  // one that makes a new tensor, and one that does not
  const auto narrow = [](const Tensor& x) { return x.to(at::kFloat); };
  const auto imagined =
      predictor.rollout(narrow(start), at::zeros({1, 0, actions}), narrow(future),
                        [&](const Tensor& z) { return head == 1.0 ? z : z * head; });

  gru->to(at::kDouble);
  norm->to(at::kDouble);
  auto hidden = start.expand({1, samples, width}).contiguous();
  for (int64_t t = 0; t < horizon; ++t) {
    const auto action = future.select(2, t).to(at::kFloat).to(at::kDouble);
    hidden = std::get<1>(gru->forward(action, hidden));
    if (normed) hidden = norm->forward(hidden);
    hidden = hidden * head;
    CHECK(at::allclose(imagined.select(2, t).to(at::kDouble), hidden, 1e-5, 1e-5));
  }
}

TEST_CASE("a fused rollout is the same on any number of threads, bit for bit") {
  const int64_t width = GENERATE(24, 48), actions = 3, samples = 101;  // rows of seven tasks
  torch::nn::LayerNorm norm(torch::nn::LayerNormOptions({width}));
  nn::GruPredictor predictor({1, width, actions, width}, norm);
  at::NoGradGuard no_grad;
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  const auto start = noise.normal({1, 1, width}), future = noise.normal({1, samples, 4, actions});
  CHECK(same_on_four_threads([&] {
    return predictor.rollout(start, at::zeros({1, 0, actions}), future,
                             [](const Tensor& z) { return z; });
  }));
}

TEST_CASE("initial weights of the GRU stay within one over the root of its width") {
  nn::GruPredictor predictor({1, 16, 2, 16});
  PhiloxNoise noise(3);
  predictor.initialise(noise);
  for (const auto& weight : predictor.parameters()) {
    CHECK(weight.abs().max().item<double>() <= 0.25);
    CHECK(weight.abs().max().item<double>() > 0.15);
  }
}

TEST_CASE("parts that do not fit are refused by name") {
  using enum ErrorCategory;
  CHECK(fails_with(
      invalid_option,
      [] {
        nn::GruPredictor({2, 4, 2, 4});
      },
      "frames = 2"));
  CHECK(fails_with(
      invalid_option,
      [] {
        nn::GruPredictor({1, 4, 2, 5});
      },
      "output width = 5"));
  CHECK(fails_with(
      invalid_option, [] { nn::ImpalaEncoder({.channels = {}}, 65, 2); }, "channels"));
  CHECK(fails_with(
      invalid_option, [] { nn::ImpalaEncoder({.final_norm = nn::NormKind::batch}, 65, 2); },
      "final_norm"));
  const nn::ImpalaEncoder encoder({.channels = {2}, .blocks = 1, .width = 3}, 9, 2);
  CHECK(fails_with(
      invalid_argument,
      [&] {
        encoder.encode(at::zeros({1, 2, 9, 8}), nn::Mode::infer);
      },
      "[1, 2, 9, 8]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        encoder.feature_map(at::zeros({1, 2, 9, 9}), 2);
      },
      "stacks = 2"));
  CHECK(fails_with(
      invalid_option, [] { nn::Projector(std::vector<int64_t>{8}); }, "1 widths"));
  CHECK(fails_with(
      invalid_option, [] { nn::ResUNet(2, 0, 2); }, "2, 0, 2"));
  CHECK(fails_with(
      invalid_option, [] { nn::Mlp(2, {.norm = nn::NormKind::layer}, 2, "model"); },
      "norm = layer"));
}

TEST_CASE(
    "a projector is Linear, BatchNorm, ReLU, Linear without bias, under a Sequential's keys") {
  nn::Projector projector(std::vector<int64_t>{3, 4, 2});
  PhiloxNoise noise(1);
  projector.initialise(noise);
  projector.to(at::kDouble);
  torch::nn::Sequential reference(torch::nn::Linear(3, 4), torch::nn::BatchNorm1d(4),
                                  torch::nn::ReLU(),
                                  torch::nn::Linear(torch::nn::LinearOptions(4, 2).bias(false)));
  reference->to(at::kDouble);
  {
    at::NoGradGuard no_grad;
    auto parameters = reference->named_parameters();
    for (const auto& [key, tensor] : nn::state_dict(projector))
      if (auto* own = parameters.find(key.substr(4))) own->copy_(tensor);
  }
  const auto x = draws({5, 2, 3}, 4);
  const auto trained = projector.forward(x, nn::Mode::train);
  CHECK(at::allclose(trained.flatten(0, 1), reference->forward(x.flatten(0, 1)), 1e-12, 1e-12));
  reference->eval();
  CHECK(at::allclose(projector.forward(x, nn::Mode::infer).flatten(0, 1),
                     reference->forward(x.flatten(0, 1)), 1e-12, 1e-12));
}

TEST_CASE("a U-Net keeps the size of its picture, whatever it is, and sees all of it") {
  nn::ResUNet net(2, 3, 1);
  PhiloxNoise noise(1);
  net.initialise(noise);
  for (const auto& [rows, columns] : {std::pair{16, 16}, {12, 14}, {9, 7}}) {
    auto x = at::randn({1, 2, rows, columns}).requires_grad_();
    const auto y = net.forward(x, nn::Mode::infer);
    CHECK(y.sizes() == at::IntArrayRef({1, 1, rows, columns}));
    y.select(2, 0).select(2, 0).sum().backward();
    INFO("the far corner counts for the near one through the bottleneck");
    CHECK(x.grad().select(2, rows - 1).abs().sum().item<double>() > 0);
  }
}

}  // namespace foresight::eb_jepa_parts_test
