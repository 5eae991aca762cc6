// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/init.hpp"

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

namespace foresight::nn {
namespace {

void fill_uniform(const Tensor& parameter, double bound, Noise& noise) {
  parameter.copy_(noise.uniform(parameter.sizes()).mul_(2 * bound).sub_(bound));
}

// True if `module` was one of the given types and has been initialised.
template <class Layer>
bool init_if_weighted(torch::nn::Module& module, Noise& noise) {
  auto* layer = module.as<Layer>();
  if (!layer) return false;
  init_uniform_fan_in(layer->weight, layer->bias, noise);
  return true;
}

template <class Norm>
bool init_if_norm(torch::nn::Module& module) {
  auto* norm = module.as<Norm>();
  if (!norm) return false;
  if (norm->weight.defined()) init_constant(norm->weight, 1.0);
  if (norm->bias.defined()) init_constant(norm->bias, 0.0);
  if constexpr (requires { norm->running_mean; }) {
    if (norm->running_mean.defined()) norm->reset_running_stats();
  }
  return true;
}

}  // namespace

void init_normal(const Tensor& parameter, double std, Noise& noise) {
  at::NoGradGuard no_grad;
  parameter.copy_(noise.normal(parameter.sizes()).mul_(std));
}

void init_constant(const Tensor& parameter, double value) {
  at::NoGradGuard no_grad;
  parameter.fill_(value);
}

void init_uniform_fan_in(const Tensor& weight, const Tensor& bias, Noise& noise) {
  at::NoGradGuard no_grad;
  const double fan_in = static_cast<double>(weight.numel()) / static_cast<double>(weight.size(0));
  const double bound = 1.0 / std::sqrt(fan_in);
  fill_uniform(weight, bound, noise);
  if (bias.defined()) fill_uniform(bias, bound, noise);
}

void init_layers(torch::nn::Module& module, Noise& noise) {
  at::NoGradGuard no_grad;
  init_if_weighted<torch::nn::LinearImpl>(module, noise) ||
      init_if_weighted<torch::nn::Conv1dImpl>(module, noise) ||
      init_if_weighted<torch::nn::Conv2dImpl>(module, noise) ||
      init_if_weighted<torch::nn::ConvTranspose2dImpl>(module, noise) ||
      init_if_norm<torch::nn::LayerNormImpl>(module) ||
      init_if_norm<torch::nn::GroupNormImpl>(module) ||
      init_if_norm<torch::nn::BatchNorm1dImpl>(module) ||
      init_if_norm<torch::nn::BatchNorm2dImpl>(module);
  for (const auto& child : module.children()) init_layers(*child, noise);
}

}  // namespace foresight::nn
