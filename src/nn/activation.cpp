// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/activation.hpp"

namespace foresight::nn {

Tensor activate(const Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::identity:
      return x;
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::elu:
      return at::elu(x);
    case Activation::mish:
      return at::mish(x);
    case Activation::tanh:
      return at::tanh(x);
  }
  throw Error(ErrorCategory::invalid_option, "unknown activation");
}

Tensor activate_temporary(Tensor x, Activation activation) {
  if (at::GradMode::is_enabled()) return activate(x, activation);
  switch (activation) {
    case Activation::relu:
      return at::relu_(x);
    case Activation::silu:
      return at::silu_(x);
    case Activation::gelu:
      return at::gelu_(x);
    case Activation::gelu_tanh:
      return at::gelu_(x, "tanh");
    case Activation::elu:
      return at::elu_(x);
    case Activation::mish:
      return at::mish_(x);
    case Activation::tanh:
      return at::tanh_(x);
    default:
      return activate(x, activation);
  }
}

}  // namespace foresight::nn
