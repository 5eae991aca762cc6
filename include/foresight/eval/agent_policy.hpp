// SPDX-License-Identifier: Apache-2.0
// How an agent is put to the test: in the control loop that a robot runs, or, where its settings
// and the problems are EB-JEPA's, as EB-JEPA evaluates planning.
#pragma once

#include <memory>
#include <string>

#include "foresight/control/agent.hpp"
#include "foresight/eval/planning_evaluation.hpp"
#include "foresight/eval/planning_protocol.hpp"
#include "foresight/eval/recorded_input.hpp"

namespace foresight::eval {

/// Whether plans of `agent` should end with the episode: problems that are judged after their last
/// step alone (SolvedWhen::near_at_end), where what comes later counts for nothing, and a control
/// loop that starts over at every step (replan_steps 1, no warm_start, a model of one continuous
/// raw action a step and one observation) and asks for nothing that only Mpc does (rates, latency,
/// deadlines, limits of change, a safe action).
FORESIGHT_API bool plans_within_episode(const Agent& agent, const PlanningProtocol& problems);

/// The policy of `agent` for `problems`: ReplanningPolicy over the protocol's budget where
/// plans_within_episode(), else MpcEvalPolicy. `view`: what the model sees of what the evaluation
/// shows. Shares the agent's model. Throws Error as Agent::objective() and the policies do.
FORESIGHT_API std::unique_ptr<EvalPolicy> agent_policy(const Agent& agent,
                                                       const PlanningProtocol& problems,
                                                       std::string name, ObservationView view = {});

}  // namespace foresight::eval
