// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/stacked_mlp.hpp"

#include "foresight/nn/init.hpp"

namespace foresight::nn {

StackedMlp::StackedMlp(int64_t count, int64_t input, const MlpOptions& options, int64_t output)
    : count_(count), input_(input), output_(output), activation_(options.activation) {
  require_valid(options);
  require(options.norm == NormKind::none, ErrorCategory::invalid_option,
          "StackedMlp: norm = " + std::string(enum_name(options.norm)) + " must be none");
  require(count >= 1 && input >= 1 && output >= 1, ErrorCategory::invalid_option,
          "StackedMlp: count = " + std::to_string(count) + ", input = " + std::to_string(input) +
              " and output = " + std::to_string(output) + " must be >= 1");
  int64_t in = input;
  for (std::size_t i = 0; i <= options.hidden.size(); ++i) {
    const auto out = i == options.hidden.size() ? output : options.hidden[i];
    auto& layer = scope(*this, "layers." + std::to_string(i));
    weights_.push_back(layer.register_parameter("weight", at::zeros({count, in, out})));
    biases_.push_back(layer.register_parameter("bias", at::zeros({count, 1, out})));
    in = out;
  }
}

void StackedMlp::initialise(Noise& noise) {
  at::NoGradGuard no_grad;
  for (int64_t k = 0; k < count_; ++k)
    for (std::size_t i = 0; i < weights_.size(); ++i)
      init_uniform_fan_in(weights_[i][k].t(), biases_[i][k][0], noise);
}

Tensor StackedMlp::forward(const Tensor& x) const {
  check_shape("StackedMlp input", x, {count_, kAny, input_}, "[K,N,in]");
  auto h = at::baddbmm(biases_[0], x, weights_[0]);
  for (std::size_t i = 1; i < weights_.size(); ++i)
    h = at::baddbmm(biases_[i], activate_temporary(std::move(h), activation_), weights_[i]);
  return h;
}

}  // namespace foresight::nn
