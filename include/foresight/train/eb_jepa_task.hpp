// SPDX-License-Identifier: Apache-2.0
// Training an EbJepa on trajectories that are made as they are needed: EB-JEPA's Two Rooms recipe
// (arXiv 2602.03604, examples/ac_video_jepa).
#pragma once

#include <memory>

#include "foresight/envs/eb_trajectories.hpp"
#include "foresight/models/eb_jepa.hpp"
#include "foresight/models/position_probe.hpp"
#include "foresight/train/task.hpp"
#include "foresight/train/trainer.hpp"

namespace foresight::train {

/// Defaults are EB-JEPA's, but for the probe, which is off.
struct FORESIGHT_API EbJepaTaskOptions {
  int64_t batch = 384;            ///< clips per step
  double clip = 2.0;              ///< largest gradient norm of each group; 0: no clipping
  int64_t validation_clips = 96;  ///< held-out clips; 0: none
  int64_t seed = 1;               ///< of the trajectories; EB-JEPA's first seed
  int64_t probe_hidden = 0;       ///< > 0: a position probe with such a hidden layer learns along,
                                  ///< EB-JEPA's has 512; 0: none

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch", self.batch, "clips per step");
    visit("clip", self.clip, "largest gradient norm of encoder and of predictor; 0: no clipping");
    visit("validation_clips", self.validation_clips, "held-out clips; 0: none");
    visit("seed", self.seed, "of the trajectories");
    visit("probe_hidden", self.probe_hidden,
          "> 0: a position probe with such a hidden layer learns along; EB-JEPA 512");
  }
  std::vector<std::string> validate() const;
};

/// Terms: the model's, with a probe also "probe", its mean squared error in px^2, and, only
/// reported, "probe_error", the root of that. It reads where the dot is off the first frame's
/// latent, passes that no gradient, and shares optimiser and schedule, as published.
class FORESIGHT_API EbJepaTask final : public Task {
 public:
  /// Throws Error(invalid_argument) without a model, Error(invalid_option) for options that are
  /// invalid or trajectories whose pictures or windows do not fit the model.
  EbJepaTask(std::shared_ptr<models::EbJepa> model, envs::EbTrajectoryOptions trajectories,
             const EbJepaTaskOptions& options = {});

  const std::string& name() const override { return name_; }
  /// The model; with a probe "model.*" and "probe.*".
  torch::nn::Module& module() override { return *all_; }
  /// Null without one.
  const models::PositionProbe* probe() const { return probe_.get(); }
  std::optional<std::uint64_t> seed() const override {
    return static_cast<std::uint64_t>(options_.seed);
  }
  int64_t samples() const override { return samples_; }
  /// Every step sees trajectories that were never seen before, every process its part of them.
  losses::Terms loss() override;
  /// The model's, each with EbJepaTaskOptions.clip: AdamWOptions.clip plays no part.
  std::vector<ClippingGroup> clipping_groups() const override;
  losses::Terms validate() override { return held_out_loss(nullptr); }
  losses::Terms validate_together(const Replicas& processes) override {
    return held_out_loss(&processes);
  }
  std::string position() const override;
  void seek(const std::string& position) override;

 private:
  losses::Terms batch_loss(const envs::EbBatch& batch) const;
  losses::Terms held_out_loss(const Replicas* processes) const;

  std::string name_ = "eb_jepa";
  std::shared_ptr<models::EbJepa> model_;
  EbJepaTaskOptions options_;
  std::shared_ptr<models::PositionProbe> probe_;
  std::shared_ptr<torch::nn::Module> all_;
  envs::EbTrajectorySource training_, held_out_;
  int64_t next_ = 0;  // number of the next trajectory
  int64_t samples_;
};

/// EB-JEPA's optimiser and schedule: AdamW 1e-3 with decay 1e-5 on everything, linear warm-up from
/// 1e-8 of the rate over a tenth of the steps, cosine down to 1e-5. Published: 3120 steps of 384
/// clips in bfloat16, which EbJepaLearnOptions::two_rooms() sets; precision is fp32 here.
FORESIGHT_API TrainOptions eb_jepa_training(int64_t steps = 3120);

}  // namespace foresight::train
