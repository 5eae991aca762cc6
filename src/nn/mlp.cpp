// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/mlp.hpp"

#include "foresight/nn/init.hpp"

namespace foresight::nn {

std::vector<std::string> MlpOptions::validate() const {
  Rules rules("MlpOptions");
  for (const auto width : hidden)
    rules.check(width >= 1, "hidden", static_cast<double>(width), "must be >= 1");
  rules.check(norm != NormKind::batch, "norm", enum_name(norm), "must be none or layer");
  return rules.problems();
}

Mlp::Mlp(int64_t input, const MlpOptions& options, int64_t output, std::string_view sequential)
    : options_(options), input_(input), output_(output) {
  require_valid(options);
  require(input >= 1 && output >= 1, ErrorCategory::invalid_option,
          "Mlp: input = " + std::to_string(input) + " and output = " + std::to_string(output) +
              " must be >= 1");
  require(sequential.empty() || options.norm == NormKind::none, ErrorCategory::invalid_option,
          "Mlp: norm = " + std::string(enum_name(options.norm)) +
              " must be none in the layout of a Sequential");
  const auto name_of = [&](std::size_t i) {
    return sequential.empty() ? "layers." + std::to_string(i)
                              : std::string(sequential) + "." + std::to_string(2 * i);
  };
  int64_t in = input;
  for (std::size_t i = 0; i <= options.hidden.size(); ++i) {
    const bool is_last = i == options.hidden.size();
    const int64_t out = is_last ? output : options.hidden[i];
    layers_.push_back(place(*this, name_of(i), torch::nn::Linear(in, out)));
    if (!is_last && options.norm == NormKind::layer)
      norms_.push_back(place(*this, "norms." + std::to_string(i),
                             torch::nn::LayerNorm(torch::nn::LayerNormOptions({out}))));
    in = out;
  }
}

void Mlp::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor Mlp::forward(const Tensor& x) const { return forward_from_first(through(first(), x)); }

Tensor Mlp::forward_from_first(Tensor x) const {
  for (std::size_t i = 1; i < layers_.size(); ++i) {
    if (!norms_.empty()) x = through(norms_[i - 1], x);
    x = through(layers_[i], activate_temporary(std::move(x), options_.activation));
  }
  return x;
}

}  // namespace foresight::nn
