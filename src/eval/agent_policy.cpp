// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/agent_policy.hpp"

#include "foresight/core/options_json.hpp"
#include "foresight/eval/mpc_policy.hpp"
#include "foresight/eval/replanning_policy.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight::eval {

bool plans_within_episode(const Agent& agent, const PlanningProtocol& problems) {
  const auto& spec = agent.model().spec();
  if (problems.solved_when != SolvedWhen::near_at_end || spec.action.discrete ||
      spec.action.block != 1 || spec.history != 1)
    return false;
  // Apart from sizes, seed and retries, which mean the same there, the settings
  // of EB-JEPA.
  const auto& given = agent.options.control;
  auto wanted = AgentOptions::eb_jepa().control;
  wanted.batch = given.batch;
  wanted.horizon = given.horizon;
  wanted.candidate_bytes = given.candidate_bytes;
  wanted.seed = given.seed;
  return write_options(given) == write_options(wanted);
}

std::unique_ptr<EvalPolicy> agent_policy(const Agent& agent, const PlanningProtocol& problems,
                                         std::string name, ObservationView view) {
  const auto kept = std::make_shared<const Agent>(agent);
  if (!plans_within_episode(agent, problems))
    return std::make_unique<MpcEvalPolicy>(
        [kept](int64_t batch) {
          auto sized = *kept;
          sized.options.control.batch = batch;
          return std::make_unique<Mpc>(sized.controller());
        },
        std::move(name), std::move(view));
  const auto& control = agent.options.control;
  return std::make_unique<ReplanningPolicy>(
      agent.planning_model(), agent.objective(),
      std::make_shared<SamplingPlanner>(agent.options.sampling),
      ReplanningOptions{.horizon = control.horizon,
                        .episode_steps = problems.budget,
                        .candidate_bytes = control.candidate_bytes,
                        .seed = control.seed},
      std::move(name), std::move(view));
}

}  // namespace foresight::eval
