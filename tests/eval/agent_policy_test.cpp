// SPDX-License-Identifier: Apache-2.0
// Which policy stands for an agent, and that EB-JEPA's plans end with the episode.
#include "foresight/eval/agent_policy.hpp"

#include "catch.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/eval/mpc_policy.hpp"
#include "foresight/eval/replanning_policy.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "temporary_folder.hpp"

namespace foresight::eval::agent_policy_test {

namespace {

Agent small_agent_of_rooms() {
  const TemporaryFolder folder;
  const models::EbJepa model(models::EbJepaOptions::small(), /*seed=*/3);
  auto config = models::eb_jepa_bundle_config(model);
  auto planner = AgentOptions::eb_jepa();
  planner.sampling.samples = 12;
  planner.sampling.elites = 4;
  planner.sampling.iterations = 2;
  planner.control.horizon = 4;
  config.planner = write_options(planner);
  models::write_eb_jepa(folder / "bundle", model, config);
  return Agent::load(folder / "bundle");
}

std::unique_ptr<envs::Env> rooms_of_agent() { return std::make_unique<envs::EbTwoRooms>(); }

std::vector<Tensor> paths_of(EvalPolicy& policy, const PlanningProtocol& problems) {
  std::vector<Tensor> paths;
  for (const auto& record :
       evaluate_planning(policy, rooms_of_agent, problems, nullptr, {.image_size = 65}).records)
    paths.push_back(record.path);
  return paths;
}

// Steps that two runs of one problem have in common.
int64_t common_steps(const Tensor& a, const Tensor& b) {
  int64_t steps = 0;
  while (steps + 1 < a.size(0) && a[steps + 1].equal(b[steps + 1])) ++steps;
  return steps;
}

}  // namespace

TEST_CASE("an agent with EB-JEPA's settings never plans beyond an episode judged at its end") {
  const auto agent = small_agent_of_rooms();
  const auto problems = sample_environment_protocol(*rooms_of_agent(), /*budget=*/6, 2, 1);
  REQUIRE(problems.solved_when == SolvedWhen::near_at_end);
  CHECK(plans_within_episode(agent, problems));
  const auto policy = agent_policy(agent, problems, "planner");
  CHECK(policy->name() == "planner");
  const auto paths = paths_of(*policy, problems);

  const auto replanning = [&](int64_t episode_steps) {
    const auto kept = std::make_shared<const Agent>(agent);
    return ReplanningPolicy(std::shared_ptr<const WorldModel>(kept, &kept->model()),
                            agent.objective(),
                            std::make_shared<SamplingPlanner>(agent.options.sampling),
                            {.horizon = 4, .episode_steps = episode_steps}, "planner");
  };
  auto within = replanning(6), beyond = replanning(100);
  const auto expected = paths_of(within, problems), longer = paths_of(beyond, problems);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(paths[i].equal(expected[i]));
    // With three steps left of four, what is drawn and compared is another thing.
    CHECK(common_steps(paths[i], longer[i]) == 3);
  }
}

TEST_CASE("an agent with a robot's settings runs the robot's control loop") {
  auto agent = small_agent_of_rooms();
  auto problems = sample_environment_protocol(*rooms_of_agent(), 3, 1, 1);
  const auto is_loop = [&] {
    const auto policy = agent_policy(agent, problems, "planner");
    return dynamic_cast<MpcEvalPolicy*>(policy.get()) != nullptr;
  };
  CHECK_FALSE(is_loop());
  for (const auto& change : {+[](MpcOptions& control) { control.warm_start = true; },
                             +[](MpcOptions& control) { control.replan_steps = 2; },
                             +[](MpcOptions& control) { control.latency_steps = 1; },
                             +[](MpcOptions& control) { control.deadline_ms = 50; },
                             +[](MpcOptions& control) {
                               control.max_step = {1, 1};
                             }}) {
    const auto before = agent.options.control;
    change(agent.options.control);
    CHECK(is_loop());
    agent.options.control = before;
  }
  agent.options.control.horizon = 9;  // sizes are no other loop
  agent.options.control.seed = 5;
  CHECK_FALSE(is_loop());
  problems.solved_when = SolvedWhen::terminated;  // a goal that may be met at any step
  CHECK(is_loop());
}

}  // namespace foresight::eval::agent_policy_test
