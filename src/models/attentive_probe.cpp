// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/attentive_probe.hpp"

#include "copies.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::models {

std::vector<std::string> AttentiveProbeOptions::validate() const {
  return Rules("AttentiveProbeOptions")
      .within("outputs", static_cast<double>(outputs), 1, 1e6)
      .check(names.empty() || static_cast<int64_t>(names.size()) == outputs, "names",
             static_cast<double>(names.size()),
             "names must be one for each of the " + std::to_string(outputs) + " outputs")
      .nested("pooler", pooler.validate())
      .problems();
}

std::string AttentiveProbeOptions::name_of(int64_t output) const {
  return names.empty() ? std::to_string(output) : names.at(static_cast<std::size_t>(output));
}

AttentiveProbe::AttentiveProbe(int64_t width, const AttentiveProbeOptions& options,
                               std::optional<std::uint64_t> seed)
    : width_(width), options_(options) {
  require_valid(options);
  pooler_ = register_module("pooler", std::make_shared<nn::AttentivePooler>(width, options.pooler));
  linear_ = register_module("linear", torch::nn::Linear(width, options.outputs));
  if (!seed) return;
  PhiloxNoise noise(*seed);
  pooler_->initialise(noise);
  nn::init_uniform_fan_in(linear_->weight, linear_->bias, noise);
}

std::shared_ptr<AttentiveProbe> AttentiveProbe::copy() const {
  return filled_from(*this, std::make_shared<AttentiveProbe>(width_, options_, std::nullopt),
                     linear_->weight.options());
}

Tensor AttentiveProbe::forward(const Tensor& tokens) const {
  return nn::through(linear_, pooler_->forward(tokens));
}

Tensor AttentiveProbe::predict(const Tensor& tokens) const {
  const auto outputs = forward(tokens);
  return options_.reading == ProbeReading::classes ? outputs.softmax(1) : outputs;
}

void AttentiveProbe::transform_outputs(const std::vector<double>& scale,
                                       const std::vector<double>& offset) {
  const auto count = static_cast<std::size_t>(options_.outputs);
  require(scale.size() == count && offset.size() == count, ErrorCategory::invalid_argument,
          "AttentiveProbe: " + std::to_string(scale.size()) + " scales and " +
              std::to_string(offset.size()) + " offsets, expected one for each of the " +
              std::to_string(options_.outputs) + " outputs");
  const c10::NoGradGuard no_grad;
  const auto factor = at::tensor(scale, at::kDouble), shift = at::tensor(offset, at::kDouble);
  const auto weight = linear_->weight.to(at::kCPU, at::kDouble);
  const auto bias = linear_->bias.to(at::kCPU, at::kDouble);
  linear_->weight.copy_(weight * factor.unsqueeze(1));
  linear_->bias.copy_(bias * factor + shift);
}

}  // namespace foresight::models
