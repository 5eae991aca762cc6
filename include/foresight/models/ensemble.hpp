// SPDX-License-Identifier: Apache-2.0
// A world model out of several: every candidate is imagined as particles, each advanced by one of K
// members, so that terms can see how far the members disagree and risk measures can plan for the
// worst of them. Trajectory sampling as in PETS (Chua et al., arXiv 1805.12114).
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/world_model.hpp"

namespace foresight::models {

/// K dynamics of one spec that are advanced together: the axis of members K leads every batch
/// shape. An implementation may stack its parameters and advance all members by one operation
/// (models/mlp_dynamics.hpp). Inference is const, as in WorldModel.
class FORESIGHT_API EnsembleMembers {
 public:
  virtual ~EnsembleMembers() = default;
  virtual int64_t count() const = 0;               ///< K
  virtual const ModelSpec& spec() const = 0;       ///< of one member
  virtual State initial(int64_t batch) const = 0;  ///< batch shape [K,batch]
  /// `previous` [K,N]; last action [N,A] and the observation of batch N are the same for all
  /// members. Throws Error as WorldModel::observe() does.
  virtual State observe(const State& previous, const Tensor& last_action,
                        const Observation& observation, Noise& noise) const = 0;
  /// State [K,N], action [K,N,A] -> [K,N].
  virtual Transition step(const State& state, const Tensor& action, Noise& noise) const = 0;
};

/// Any K world models of equal spec side by side, one call a member. Their latents must mean the
/// same (one encoder, or measured coordinates): means and disagreement are taken over them. Throws
/// Error(invalid_argument) unless specs agree in observation, action, latent shape and fields.
FORESIGHT_API std::shared_ptr<const EnsembleMembers> side_by_side(
    std::vector<std::shared_ptr<const WorldModel>> members);

/// Which member advances a particle.
enum class TrajectorySampling {
  ts_infinity,  ///< the same one to the end: a particle is one hypothesis about the world
  ts_1,  ///< drawn anew for every step, every member advancing an equal share of a candidate's
         ///< particles
};

struct FORESIGHT_API EnsembleOptions {
  int64_t particles_per_member = 1;  ///< PETS: 20 particles for 5 members
  TrajectorySampling sampling = TrajectorySampling::ts_infinity;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("particles_per_member", self.particles_per_member, "particles per member");
    visit("sampling", self.sampling, "ts_infinity or ts_1");
  }
  std::vector<std::string> validate() const;
};

/// State fields: for every field F of the members "particles.F" [N...,M,...] (M = K * particles per
/// member; member k starts with particles k*n .. k*n + n-1), and for each imagined one also F
/// itself, the mean over particles. Trajectories also hold "particles.reward" and
/// "particles.discount" where members have them; rewards and discounts are the means. See
/// core/particles.hpp for what terms make of it.
class FORESIGHT_API Ensemble : public WorldModel {
 public:
  /// Throws Error(invalid_option), or Error(invalid_argument) without members.
  explicit Ensemble(std::shared_ptr<const EnsembleMembers> members, EnsembleOptions options = {});

  const ModelSpec& spec() const override { return spec_; }
  const EnsembleMembers& members() const noexcept { return *members_; }
  const EnsembleOptions& options() const noexcept { return options_; }
  int64_t particles() const { return members_->count() * options_.particles_per_member; }

  State initial(int64_t batch) const override;
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  /// Equal to looped_rollout(), with the same draws, and without regrouping particles by member
  /// between steps.
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;

 private:
  State packed(const State& state) const;
  State unpacked(const State& members, at::IntArrayRef batch) const;
  Transition advance(const State& packed, const Tensor& action, Noise& noise) const;

  std::shared_ptr<const EnsembleMembers> members_;
  EnsembleOptions options_;
  ModelSpec spec_;
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::TrajectorySampling> {
  using E = foresight::models::TrajectorySampling;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"ts_infinity", E::ts_infinity}, {"ts_1", E::ts_1}}};
};
