// SPDX-License-Identifier: Apache-2.0
// Training a Jepa on windows of recorded video and actions.
#pragma once

#include <memory>

#include "foresight/data/loader.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/train/task.hpp"

namespace foresight::train {

class FORESIGHT_API JepaTask final : public Task {
 public:
  /// `validation` may be null. Its first `validation_batches` batches are used every time, with the
  /// same noise.
  JepaTask(std::shared_ptr<models::Jepa> model, std::unique_ptr<data::Loader> training,
           std::unique_ptr<data::Loader> validation, int64_t validation_batches,
           std::uint64_t seed);

  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *model_; }
  int64_t samples() const override { return samples_; }
  losses::Terms loss() override;
  losses::Terms validate() override;
  std::string position() const override;
  void seek(const std::string& position) override;

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise);

  std::string name_ = "jepa";
  std::shared_ptr<models::Jepa> model_;
  std::unique_ptr<data::Loader> training_, validation_;
  int64_t validation_batches_, samples_ = 0;
  std::uint64_t seed_;
  PhiloxNoise noise_;
};

}  // namespace foresight::train
