// SPDX-License-Identifier: Apache-2.0
// Learning an ensemble's dynamics from recorded transitions, every member from a bootstrap sample
// of its own (PETS, arXiv 1805.12114).
#pragma once

#include <memory>

#include "foresight/core/noise.hpp"
#include "foresight/models/mlp_dynamics.hpp"
#include "foresight/train/task.hpp"

namespace foresight::train {

class FORESIGHT_API DynamicsTask final : public Task {
 public:
  /// `batch` rows per member and step, of all processes together. Sets the model's scales from
  /// `training`; `validation` may be empty. The bootstrap samples and the order follow from `seed`.
  /// Throws as MlpDynamics::fit_scales(), or Error(invalid_option) for batch < 1.
  DynamicsTask(std::shared_ptr<models::MlpDynamics> dynamics, models::Transitions training,
               models::Transitions validation, int64_t batch, std::uint64_t seed);

  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *dynamics_; }
  int64_t samples() const override { return samples_; }
  losses::Terms loss() override;
  /// "mse": mean squared error of the predicted mean, scaled, over members.
  losses::Terms validate() override;
  std::string position() const override;
  void seek(const std::string& position) override;

 private:
  std::string name_ = "dynamics";
  std::shared_ptr<models::MlpDynamics> dynamics_;
  models::Transitions training_, validation_;
  int64_t batch_, samples_ = 0;
  Tensor rows_;  // [K,N]
  PhiloxNoise noise_;
};

}  // namespace foresight::train
