// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/action_encoder.hpp"

#include "foresight/nn/activation.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::nn {

std::vector<std::string> ActionEncoderOptions::validate() const {
  Rules rules("ActionEncoderOptions");
  rules.check(width >= 0, "width", static_cast<double>(width), "must be >= 0");
  rules.check(narrow >= 1, "narrow", static_cast<double>(narrow), "must be >= 1");
  rules.check(expansion >= 1, "expansion", static_cast<double>(expansion), "must be >= 1");
  return rules.problems();
}

ActionEncoder::ActionEncoder(int64_t input, const ActionEncoderOptions& options) {
  require_valid(options);
  require(options.width >= 1, ErrorCategory::invalid_option,
          "ActionEncoderOptions.width = 0 means no encoder: do not construct one");
  const int64_t hidden = options.expansion * options.width;
  narrow_ = place(*this, "patch_embed",
                  torch::nn::Conv1d(torch::nn::Conv1dOptions(input, options.narrow, 1)));
  expand_ = place(*this, "embed.0", torch::nn::Linear(options.narrow, hidden));
  project_ = place(*this, "embed.2", torch::nn::Linear(hidden, options.width));
}

void ActionEncoder::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor ActionEncoder::forward(const Tensor& blocks) const {
  const auto weight = narrow_->weight.squeeze(-1);
  require(blocks.defined() && blocks.dim() >= 1 && blocks.size(-1) == weight.size(1),
          ErrorCategory::invalid_argument,
          "action blocks have shape " +
              (blocks.defined() ? shape_string(blocks.sizes()) : std::string("undefined")) +
              ", expected [..., " + std::to_string(weight.size(1)) + "]");
  const auto narrow = apply_linear(blocks.to(weight.scalar_type()), weight, narrow_->bias);
  return through(project_, activate_temporary(through(expand_, narrow), Activation::silu));
}

}  // namespace foresight::nn
