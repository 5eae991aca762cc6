// SPDX-License-Identifier: Apache-2.0
// Scripted policies that see the simulator itself: they record training data, and are the baselines
// beside which a planner's success rate means something.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/envs/env.hpp"

namespace foresight::envs {

/// Chooses a raw action from the simulator's own state. One instance drives one environment.
class FORESIGHT_API ScriptedPolicy {
 public:
  virtual ~ScriptedPolicy() = default;
  virtual std::string name() const = 0;
  /// Forgets the previous episode.
  virtual void begin_episode() {}
  /// Raw action, float32 [dim]. Throws Error(unsupported) for an environment that the policy does
  /// not know.
  virtual Tensor act(const Env& env, Noise& noise) = 0;
};

/// Makes one policy per environment.
using ScriptedPolicyFactory = std::function<std::unique_ptr<ScriptedPolicy>()>;

/// Uniform over the action limits, which must be finite.
class FORESIGHT_API RandomPolicy final : public ScriptedPolicy {
 public:
  std::string name() const override { return "random"; }
  Tensor act(const Env& env, Noise& noise) override;
};

/// Does nothing: the action zero, clamped to the limits.
class FORESIGHT_API StillPolicy final : public ScriptedPolicy {
 public:
  std::string name() const override { return "still"; }
  Tensor act(const Env& env, Noise& noise) override;
};

/// Heads straight for the goal, walls or not: a unit vector (zero at the goal). For worlds whose
/// state is a position and whose action is a velocity, that is, of one dimension [N].
class FORESIGHT_API StraightPolicy final : public ScriptedPolicy {
 public:
  std::string name() const override { return "straight"; }
  Tensor act(const Env& env, Noise& noise) override;
};

struct FORESIGHT_API TwoRoomExpertOptions {
  double noise_std =
      2;  ///< Gaussian noise per component; 2 as in the reference recordings, 0: exact
  double repeat_probability = 0.05;  ///< chance that the previous action is repeated
  double door_fit_margin =
      1.1;                   ///< a door is used if its half size is at least so many agent radii
  double door_reach = 10.5;  ///< the door counts as reached within this distance, px

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("noise_std", self.noise_std, "Gaussian noise per action component");
    visit("repeat_probability", self.repeat_probability, "chance to repeat the previous action");
    visit("door_fit_margin", self.door_fit_margin, "smallest door half size, in agent radii");
    visit("door_reach", self.door_reach, "the door counts as reached within this distance, px");
  }
  std::vector<std::string> validate() const;
};

/// The expert of TwoRoom: a unit vector to the goal or, while that is in the other room, to the
/// nearest door that is wide enough; plus noise, clipped to [-1,1]. (The reference: ExpertPolicy of
/// stable-worldmodel, MIT.)
class FORESIGHT_API TwoRoomExpert final : public ScriptedPolicy {
 public:
  explicit TwoRoomExpert(TwoRoomExpertOptions options = {});
  std::string name() const override { return "expert"; }
  void begin_episode() override { previous_ = Tensor(); }
  Tensor act(const Env& env, Noise& noise) override;

 private:
  TwoRoomExpertOptions options_;
  Tensor previous_;
};

}  // namespace foresight::envs
