// SPDX-License-Identifier: Apache-2.0
// A goal-conditioned cost-to-go: how many steps it takes from one latent to another. Planners use
// it as terminal cost, where straight-line distance in latent space misleads (walls, corridors).
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/nn/mlp.hpp"

namespace foresight::models {

/// What the critic reads.
enum class CriticInput {
  pair,               ///< [z | goal]
  pair_and_distance,  ///< [z | goal | |z - goal|]
};

struct FORESIGHT_API ValueCriticOptions {
  int64_t latent = 32;  ///< D, width of a latent
  nn::MlpOptions mlp = {.hidden = {256, 256}, .norm = nn::NormKind::layer};
  CriticInput input = CriticInput::pair;
  double scale = 1.0;  ///< steps per unit of network output: set near the typical distance

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("latent", self.latent, "width of a latent");
    visit("mlp", self.mlp, "the network: widths, activation, norm");
    visit("input", self.input, "pair or pair_and_distance");
    visit("scale", self.scale, "steps per unit of network output");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: mlp.*.
class FORESIGHT_API ValueCritic : public torch::nn::Module {
 public:
  /// A critic with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit ValueCritic(const ValueCriticOptions& options, std::optional<std::uint64_t> seed = 0);

  /// Latents z [...,D] and goals [...,D], whose leading axes broadcast -> estimated steps [...], >=
  /// 0 (softplus).
  Tensor forward(const Tensor& z, const Tensor& goal) const;

  const ValueCriticOptions& options() const noexcept { return options_; }

  /// An independent critic with the same weights, flags, dtype and device.
  std::shared_ptr<ValueCritic> copy() const;

 private:
  ValueCriticOptions options_;
  std::shared_ptr<nn::Mlp> mlp_;
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::CriticInput> {
  using E = foresight::models::CriticInput;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"pair", E::pair}, {"pair_and_distance", E::pair_and_distance}}};
};
