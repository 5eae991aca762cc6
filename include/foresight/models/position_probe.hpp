// SPDX-License-Identifier: Apache-2.0
// Where is it? A small network that reads a position off a latent: trained beside a world model
// whose latents it may not change, to watch what they keep.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/models/eb_position_statistics.hpp"
#include "foresight/nn/mlp.hpp"

namespace foresight::models {

/// Defaults are EB-JEPA's on Two Rooms; mean and std are in pixels.
struct FORESIGHT_API PositionProbeOptions {
  int64_t latent = 512;  ///< D
  int64_t hidden = 512;  ///< width of the hidden layer
  std::vector<double> mean = {kEbPositionMean.begin(), kEbPositionMean.end()};  ///< of positions
  std::vector<double> std = {kEbPositionStd.begin(), kEbPositionStd.end()};     ///< per coordinate

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("latent", self.latent, "width of a latent");
    visit("hidden", self.hidden, "width of the hidden layer");
    visit("mean", self.mean, "mean per coordinate of positions");
    visit("std", self.std, "standard deviation per coordinate");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: mlp.{0,2}.*, as upstream's.
class FORESIGHT_API PositionProbe : public torch::nn::Module {
 public:
  /// A probe with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit PositionProbe(const PositionProbeOptions& options,
                         std::optional<std::uint64_t> seed = 0);

  const PositionProbeOptions& options() const noexcept { return options_; }

  /// Latents [...,D] -> normalised positions [...,K]. No gradient reaches the latents.
  Tensor normalised(const Tensor& latents) const;
  /// Latents [...,D] -> positions [...,K] in the units of mean and std.
  Tensor positions(const Tensor& latents) const;
  /// Mean squared error in normalised units against positions [...,K] that are normalised already.
  Tensor loss(const Tensor& latents, const Tensor& normalised_positions) const;
  /// A loss in squared units, by the mean deviation of the coordinates: what EB-JEPA minimises.
  Tensor squared_units(const Tensor& loss) const;

 private:
  PositionProbeOptions options_;
  std::shared_ptr<nn::Mlp> mlp_;
};

}  // namespace foresight::models
