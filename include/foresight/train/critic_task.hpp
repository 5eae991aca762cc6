// SPDX-License-Identifier: Apache-2.0
// Learning a cost-to-go from recordings alone: how many steps from one latent to another, for the
// best of what was seen. Distance in latent space ignores walls; this does not.
//
// Goal-conditioned implicit value learning (IQL, arXiv 2110.06169, in the goal-conditioned,
// action-free form of HIQL, arXiv 2307.11949, and HILP, arXiv 2402.15567) on frozen latents. For a
// row s of an episode and a goal g,
//
//   y = m + gamma^m d_target(z_{s+m}, g),  y = m if row s+m is the goal,  y = 0 if s is the goal,
//
// m in model steps, at most `reach` rows ahead. An expectile below 1/2 fits d to the low end of y
// over the behaviour's detours: recordings wander, the planner should not. Neither actions, rewards
// nor true states are used.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/models/value_critic.hpp"
#include "foresight/train/task.hpp"

namespace foresight::train {

struct FORESIGHT_API CriticTaskOptions {
  int64_t batch = 512;        ///< pairs per step
  double discount = 0.98;     ///< gamma per model step: far goals saturate at 1/(1 - gamma) = 50
  double expectile = 0.1;     ///< below 0.5: near the best seen rather than the average
  int64_t reach = 10;         ///< rows ahead of the bootstrap: two blocks of five
  double future = 0.70;       ///< part of the goals taken uniformly from the row's own future
  double random = 0.25;       ///< part taken from all rows; the rest are the row itself
  double target_rate = 0.02;  ///< move of the target network per step

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch", self.batch, "pairs of latents per step");
    visit("discount", self.discount, "gamma per model step");
    visit("expectile", self.expectile, "below 0.5: near the shortest way seen, not the average");
    visit("reach", self.reach, "rows ahead of the bootstrap");
    visit("future", self.future, "part of the goals from the row's own future");
    visit("random", self.random, "part of the goals from all rows; the rest are the row itself");
    visit("target_rate", self.target_rate, "move of the target network per step");
  }
  std::vector<std::string> validate() const;
};

/// Latents [N,D] of consecutive episodes; episode e has rows first[e]..first[e+1]-1.
struct EpisodeLatents {
  Tensor latents;
  std::vector<int64_t> first;
};

/// Latents and the rows that have a successor in their episode, each with its episode's last row.
struct FORESIGHT_API PairSource {
  PairSource() = default;
  explicit PairSource(const EpisodeLatents& episodes);
  bool empty() const { return row.empty(); }

  Tensor latents;
  std::vector<int64_t> row, last;
};

class FORESIGHT_API CriticTask final : public Task {
 public:
  /// `block`: rows per model step. `validation` may be empty. Throws Error(invalid_option), or
  /// Error(invalid_argument) unless some episode has at least two rows.
  CriticTask(std::shared_ptr<models::ValueCritic> critic, const EpisodeLatents& training,
             const EpisodeLatents& validation, int64_t block, const CriticTaskOptions& options,
             std::uint64_t seed);

  const std::string& name() const override { return name_; }
  torch::nn::Module& module() override { return *critic_; }
  std::optional<std::uint64_t> seed() const override { return seed_; }
  int64_t samples() const override { return samples_; }
  /// Several processes draw the same pairs, and each takes its part of them.
  losses::Terms loss() override;
  void updated() override;
  losses::Terms validate() override;
  std::string position() const override;
  void seek(const std::string& position) override;
  io::NamedTensors extra_tensors() override;

  /// One batch of the regression: pairs and targets.
  struct Pairs {
    Tensor from, goal;     ///< latents [n,D]
    Tensor later;          ///< z_{s+m}, [n,D]
    Tensor steps;          ///< m in model steps [n]
    Tensor arrived, same;  ///< bool [n]: row s+m is the goal; s itself is the goal
  };
  /// Draws pairs: four uniforms per pair.
  Pairs draw(const PairSource& source, int64_t count, Noise& noise) const;
  /// Targets y [n] by the target network.
  Tensor targets(const Pairs& pairs) const;

 private:
  losses::Terms pair_loss(const Pairs& pairs) const;

  std::string name_ = "critic";
  std::shared_ptr<models::ValueCritic> critic_, target_;
  PairSource training_, validation_;
  int64_t block_;
  CriticTaskOptions options_;
  std::uint64_t seed_;
  PhiloxNoise noise_;
  int64_t samples_;
};

/// Mean of |1{d > 0} - (1 - expectile)|-weighted squares, d = target - value: weight `expectile`
/// where the target lies above the value, 1 - expectile where below. Its minimiser is the expectile
/// of the targets (Newey & Powell 1987).
FORESIGHT_API Tensor expectile_loss(const Tensor& value, const Tensor& target, double expectile);

}  // namespace foresight::train
