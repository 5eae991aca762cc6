// SPDX-License-Identifier: Apache-2.0
// How many planning problems an agent solves: what `eval` reports, and what `train` can watch
// meanwhile.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "foresight/control/agent.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/eval/planning_evaluation.hpp"
#include "foresight/eval/recorded_input.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

/// Instead of an environment's name.
inline constexpr const char* kNoEnvironment = "none";

/// Where problems come from and are solved.
struct PlanningGround {
  std::shared_ptr<const data::Dataset> dataset;  ///< null: problems are drawn from the environment
  envs::EnvFactory environment;
  eval::EvaluationOptions options;
  /// Recorded episodes whose frames cannot be read, and why: no problem is drawn from them.
  std::map<int64_t, std::string> unreadable = {};
};

/// The ground of a named environment, with its options, and recordings, which may be null. Pictures
/// are as large as recorded; else, and where the environment draws one size only, as it draws them.
/// Unreadable are the episodes of Dataset::unreadable_episodes().
PlanningGround planning_ground(std::shared_ptr<const data::Dataset> dataset,
                               const std::string& environment,
                               const nlohmann::json& options = nlohmann::json::object());

/// States [T,N] of every episode, of those that are unreadable none. Throws as
/// eval::recorded_states().
std::vector<Tensor> states_of_readable(const data::Dataset& dataset,
                                       const std::map<int64_t, std::string>& unreadable);

/// Problems that `name` describes: "25/50" for goals 25 steps ahead within 50 steps, "random/50"
/// for start and goal anywhere. Throws Error(invalid_option) for another name, and for the first
/// kind without recordings.
eval::PlanningProtocol drawn_protocol(const PlanningGround& ground, const std::string& name,
                                      int64_t instances, int64_t seed);

/// What the agent's model sees of the ground's environment. `columns`: as of RecordedInput. Throws
/// Error(invalid_argument) for an environment that takes other actions than the model gives, or,
/// without recordings, for a model that observes more than pictures.
eval::ObservationView view_of_ground(const PlanningGround& ground, const Agent& agent,
                                     const std::vector<std::string>& columns = {});

/// Runs the agent on every problem, by eval::agent_policy().
eval::PlanningReport evaluate_agent(const PlanningGround& ground, const Agent& agent,
                                    const eval::ObservationView& view,
                                    const eval::PlanningProtocol& problems,
                                    const std::string& name);

/// Flags by which `train` measures success.
struct SuccessFlags {
  std::string protocol = "25/50", environment = "two_room";
  int64_t instances = 20, seed = 7;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("protocol", self.protocol, "goal offset / step budget, or random / step budget");
    visit("environment", self.environment, "where problems are solved");
    visit("instances", self.instances, "number of problems");
    visit("seed", self.seed, "of the problems");
  }
  /// `environments`: those that may be chosen.
  void add(CLI::App& app, const std::vector<std::string>& environments = envs::env_names());
};

/// Part of the problems that the bundle in a folder solves.
std::function<double(const std::filesystem::path& bundle)> success_of_bundles(
    const PlanningGround& ground, const SuccessFlags& flags, at::Device device);

}  // namespace foresight::cli
