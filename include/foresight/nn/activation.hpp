// SPDX-License-Identifier: Apache-2.0
// Pointwise nonlinearities as an option value.
#pragma once

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::nn {

enum class Activation {
  identity,
  relu,
  silu,
  gelu,       ///< exact, by the error function
  gelu_tanh,  ///< tanh approximation
  elu,
  mish,
  tanh,
};

/// The nonlinearity of `x`, same shape.
FORESIGHT_API Tensor activate(const Tensor& x, Activation activation);

/// As activate(), but may overwrite `x` when no gradient is being recorded. Only for a temporary
/// that nobody else reads: it saves an allocation and a pass over memory per layer while planning.
FORESIGHT_API Tensor activate_temporary(Tensor x, Activation activation);

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::Activation> {
  using E = foresight::nn::Activation;
  static constexpr std::array<std::pair<std::string_view, E>, 8> names{{{"identity", E::identity},
                                                                        {"relu", E::relu},
                                                                        {"silu", E::silu},
                                                                        {"gelu", E::gelu},
                                                                        {"gelu_tanh", E::gelu_tanh},
                                                                        {"elu", E::elu},
                                                                        {"mish", E::mish},
                                                                        {"tanh", E::tanh}}};
};
