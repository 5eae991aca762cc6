// SPDX-License-Identifier: Apache-2.0
// Does planning work? Runs a policy on recorded planning problems in a simulator and reports how
// many goals it reached, how sure that number is, and how long planning took. The protocol is that
// of the LeWM evaluation: the first observation and the goal are recorded frames, later
// observations are rendered, and a problem is solved when the environment terminates after any step
// within the budget. (PlanningProtocol::solved_when names EB-JEPA's rule beside it.)
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/core/observation.hpp"
#include "foresight/envs/env.hpp"
#include "foresight/envs/policies.hpp"
#include "foresight/eval/planning_protocol.hpp"
#include "foresight/eval/statistics.hpp"

namespace foresight::eval {

/// N problems that start together. Observations hold "pixels" uint8 [N,size,size,3] and "proprio"
/// float32 [N,state].
struct EvalProblems {
  Observation start;  ///< the recorded start
  Observation goal;   ///< the recorded goal
  std::vector<const PlanningInstance*> instances;
  std::vector<const envs::Env*>
      simulators;     ///< for baselines that know the truth; a planner must not look
  int64_t first = 0;  ///< index of the first of these problems in the protocol
};

/// What a policy wants to do next.
struct EvalActions {
  Tensor actions;         ///< raw, [N,dim]; rows of inactive problems are ignored
  int64_t planned = 0;    ///< problems for which this call searched; 0: an earlier plan goes on
  int64_t fallbacks = 0;  ///< active problems whose action is not from a usable plan
  std::string message;    ///< why, if fallbacks > 0
};

/// A policy under test. It sees observations only, and acts for N problems at once.
class FORESIGHT_API EvalPolicy {
 public:
  virtual ~EvalPolicy() = default;
  virtual std::string name() const = 0;
  /// Starts N problems.
  virtual void begin(const EvalProblems& problems) = 0;
  /// Whether the next act() looks at its observation: false saves rendering.
  virtual bool wants_observation() const { return true; }
  /// One environment step. `observation` is as in EvalProblems, or empty if it was not wanted;
  /// `active` bool [N] tells which problems are still unsolved.
  virtual EvalActions act(const Observation& observation, const Tensor& active) = 0;
};

/// Recorded frame uint8 [size,size,3] of an episode's row.
using FrameLookup = std::function<Tensor(int64_t episode, int64_t step)>;
/// Recorded raw action [dim] of an episode's row.
using ActionLookup = std::function<Tensor(int64_t episode, int64_t step)>;

struct FORESIGHT_API EvaluationOptions {
  int64_t image_size = 64;   ///< side of the observations, px
  int64_t batch = 50;        ///< problems run side by side
  double confidence = 0.95;  ///< level of the reported interval

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image_size", self.image_size, "side of the observations, px");
    visit("batch", self.batch, "problems run side by side");
    visit("confidence", self.confidence, "level of the reported interval");
  }
  std::vector<std::string> validate() const;
};

/// How one problem went.
struct InstanceRecord {
  PlanningInstance instance;
  bool success = false;
  int64_t steps = 0;  ///< environment steps made: to success, or the budget
  double start_distance = 0;
  double final_distance = 0;
  Tensor path;  ///< states, start included, double [steps+1, N]
};

struct PlanningReport {
  std::string protocol, policy, environment;
  int64_t goal_offset = 0;
  int64_t budget = 0;
  SolvedWhen solved_when = SolvedWhen::terminated;
  double success_distance = 0;  ///< of near_at_end
  int64_t trials = 0;
  int64_t successes = 0;
  double rate = 0;    ///< successes / trials
  Interval interval;  ///< Wilson's, at `confidence`
  double confidence = 0.95;
  double median_steps = 0;  ///< steps to success, over the solved problems; 0 if none
  double mean_steps = 0;
  /// Seconds of planning per problem and per call of act() that planned. The first such call
  /// (allocations, kernel selection) is left out and reported beside.
  DurationSummary seconds_per_problem, seconds_per_call;
  double first_call_seconds = 0;
  int64_t fallbacks = 0;         ///< environment steps whose action was not from a usable plan
  std::string fallback_message;  ///< why the first of them happened
  double total_seconds = 0;      ///< wall clock of the whole evaluation, simulation included
  std::string frames =
      "recorded";  ///< "recorded", or "rendered" where no recorded frames were given
  std::vector<InstanceRecord> records;
};

/// Runs `policy` on every problem of `protocol` in environments made by `factory`. `frames` gives
/// the recorded start and goal frames; without it they are rendered from the recorded states.
/// Throws Error on frames of another size, states that do not fit the environment, and actions of a
/// wrong shape or non-finite.
FORESIGHT_API PlanningReport evaluate_planning(EvalPolicy& policy, const envs::EnvFactory& factory,
                                               const PlanningProtocol& protocol,
                                               const FrameLookup& frames,
                                               const EvaluationOptions& options = {});

/// Everything in the report, paths included.
FORESIGHT_API nlohmann::json to_json(const PlanningReport& report);
/// One line: "jepa on code_25_50: 49/50 = 98 % (95 % interval 90-100 %), ...".
FORESIGHT_API std::string summary(const PlanningReport& report);

/// A scripted policy as a baseline; it looks at the simulator. Problem i draws from stream i of
/// `seed`, whatever the batch.
class FORESIGHT_API ScriptedEvalPolicy final : public EvalPolicy {
 public:
  ScriptedEvalPolicy(envs::ScriptedPolicyFactory factory, std::uint64_t seed);
  std::string name() const override { return name_; }
  void begin(const EvalProblems& problems) override;
  bool wants_observation() const override { return false; }
  EvalActions act(const Observation& observation, const Tensor& active) override;

 private:
  envs::ScriptedPolicyFactory factory_;
  std::uint64_t seed_;
  std::string name_;
  std::vector<std::unique_ptr<envs::ScriptedPolicy>> policies_;
  std::vector<PhiloxNoise> noises_;
  std::vector<const envs::Env*> simulators_;
};

/// Replays the recorded actions from start to goal, then stays: what the recording itself achieves,
/// and so a check of simulator and data set together.
class FORESIGHT_API ReplayEvalPolicy final : public EvalPolicy {
 public:
  explicit ReplayEvalPolicy(ActionLookup actions) : actions_(std::move(actions)) {}
  std::string name() const override { return "replay"; }
  void begin(const EvalProblems& problems) override;
  bool wants_observation() const override { return false; }
  EvalActions act(const Observation& observation, const Tensor& active) override;

 private:
  ActionLookup actions_;
  std::vector<const PlanningInstance*> instances_;
  int64_t dim_ = 0;
  int64_t step_ = 0;
};

}  // namespace foresight::eval
