// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/position_probe.hpp"

#include <cmath>
#include <numeric>

#include "constant_row.hpp"
#include "foresight/losses/prediction.hpp"

namespace foresight::models {

std::vector<std::string> PositionProbeOptions::validate() const {
  Rules rules("PositionProbeOptions");
  rules.check(latent >= 1, "latent", static_cast<double>(latent), "must be >= 1");
  rules.check(hidden >= 1, "hidden", static_cast<double>(hidden), "must be >= 1");
  rules.not_empty("mean", mean).all_within("mean", mean);
  rules.check(std.size() == mean.size(), "std", static_cast<double>(std.size()),
              "entries must be as many as mean has");
  for (const auto value : std)
    rules.check(std::isfinite(value) && value > 0, "std", value, "must be positive");
  return rules.problems();
}

PositionProbe::PositionProbe(const PositionProbeOptions& options, std::optional<std::uint64_t> seed)
    : options_(options) {
  require_valid(options);
  // Registered in the layout mlp.{0,2}, directly below the probe.
  mlp_ = std::make_shared<nn::Mlp>(
      options.latent,
      nn::MlpOptions{.hidden = {options.hidden}, .activation = nn::Activation::relu},
      static_cast<int64_t>(options.mean.size()), "mlp");
  register_module("mlp", mlp_->named_children()["mlp"]);
  if (!seed) return;
  PhiloxNoise noise(*seed);
  mlp_->initialise(noise);
}

Tensor PositionProbe::normalised(const Tensor& latents) const {
  return mlp_->forward(latents.detach());
}

Tensor PositionProbe::positions(const Tensor& latents) const {
  const auto z = normalised(latents);
  const auto row = [&](const std::vector<double>& values) {
    return constant_row(values, z.options().requires_grad(false));
  };
  return z * row(options_.std) + row(options_.mean);
}

Tensor PositionProbe::loss(const Tensor& latents, const Tensor& normalised_positions) const {
  return losses::prediction(normalised(latents), normalised_positions);
}

Tensor PositionProbe::squared_units(const Tensor& loss) const {
  const auto& std = options_.std;
  const double mean =
      std::accumulate(std.begin(), std.end(), 0.0) / static_cast<double>(std.size());
  return loss * (mean * mean);
}

}  // namespace foresight::models
