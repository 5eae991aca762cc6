// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/value_critic.hpp"

#include <cmath>

#include "copies.hpp"

namespace foresight::models {

std::vector<std::string> ValueCriticOptions::validate() const {
  Rules rules("ValueCriticOptions");
  rules.check(latent >= 1, "latent", static_cast<double>(latent), "must be >= 1");
  rules.check(std::isfinite(scale) && scale > 0, "scale", scale, "must be positive");
  rules.nested("mlp", mlp.validate());
  return rules.problems();
}

ValueCritic::ValueCritic(const ValueCriticOptions& options, std::optional<std::uint64_t> seed)
    : options_(options) {
  require_valid(options);
  const int64_t parts = options.input == CriticInput::pair ? 2 : 3;
  mlp_ = register_module("mlp", std::make_shared<nn::Mlp>(parts * options.latent, options.mlp, 1));
  if (!seed) return;
  PhiloxNoise noise(*seed);
  mlp_->initialise(noise);
}

std::shared_ptr<ValueCritic> ValueCritic::copy() const {
  return copy_of(*this, mlp_->first()->weight.options());
}

Tensor ValueCritic::forward(const Tensor& z, const Tensor& goal) const {
  const auto check = [&](const char* name, const Tensor& x) {
    require(x.defined() && x.dim() >= 1 && x.size(-1) == options_.latent,
            ErrorCategory::invalid_argument,
            std::string(name) + " has shape " +
                (x.defined() ? shape_string(x.sizes()) : std::string("undefined")) +
                ", expected [..., " + std::to_string(options_.latent) + "]");
  };
  check("latent", z);
  check("goal", goal);
  // The first layer's two halves apart, so that a goal shared by many latents is multiplied once.
  const auto& first = mlp_->first();
  const auto d = options_.latent;
  auto h = at::linear(z, first->weight.narrow(1, 0, d)) +
           at::linear(goal, first->weight.narrow(1, d, d), first->bias);
  if (options_.input == CriticInput::pair_and_distance)
    h = h + at::linear((z - goal).abs(), first->weight.narrow(1, 2 * d, d));
  return at::softplus(mlp_->forward_from_first(h).squeeze(-1)) * options_.scale;
}

}  // namespace foresight::models
