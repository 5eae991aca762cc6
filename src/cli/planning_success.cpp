// SPDX-License-Identifier: Apache-2.0
#include "planning_success.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "foresight/eval/agent_policy.hpp"
#include "foresight/eval/recorded_sources.hpp"
#include "foresight/train/interrupt.hpp"

namespace foresight::cli {

PlanningGround planning_ground(std::shared_ptr<const data::Dataset> dataset,
                               const std::string& environment, const nlohmann::json& options) {
  PlanningGround ground;
  ground.environment = [environment, options] { return envs::make_env(environment, options); };
  if (dataset) ground.options.image_size = dataset->image_size().width;
  if (dataset) ground.unreadable = dataset->unreadable_episodes();
  ground.dataset = std::move(dataset);
  if (environment == kNoEnvironment) return ground;
  const auto made = ground.environment();
  if (!ground.dataset || made->spec().picture_planes > 0)
    ground.options.image_size = made->spec().native_size;
  return ground;
}

std::vector<Tensor> states_of_readable(const data::Dataset& dataset,
                                       const std::map<int64_t, std::string>& unreadable) {
  auto states = eval::recorded_states(dataset);
  for (const auto& [episode, why] : unreadable) {
    auto& lost = states.at(static_cast<std::size_t>(episode));
    lost = lost.narrow(0, 0, 0);
  }
  return states;
}

eval::PlanningProtocol drawn_protocol(const PlanningGround& ground, const std::string& name,
                                      int64_t instances, int64_t seed) {
  int64_t offset = 0, budget = 0;
  char rest = 0;
  eval::PlanningProtocol drawn;
  if (std::sscanf(name.c_str(), "random/%ld%c", &budget, &rest) == 1) {
    drawn = eval::sample_environment_protocol(*ground.environment(), budget, instances, seed);
  } else {
    require(std::sscanf(name.c_str(), "%ld/%ld%c", &offset, &budget, &rest) == 2,
            ErrorCategory::invalid_option,
            fmt::format("protocol '{}': expected offset/budget in steps, e.g. 25/50, or "
                        "random/budget (or, for eval, the name of a protocol in the file of "
                        "--problems)",
                        name));
    require(ground.dataset != nullptr, ErrorCategory::invalid_option,
            fmt::format("protocol '{}' is drawn from recordings: give --data, or draw start and "
                        "goal from the environment with random/{}",
                        name, budget));
    drawn = eval::sample_planning_protocol(
        states_of_readable(*ground.dataset, ground.unreadable),
        {.goal_offset = offset, .budget = budget, .count = instances, .seed = seed});
  }
  drawn.name = name;
  return drawn;
}

eval::ObservationView view_of_ground(const PlanningGround& ground, const Agent& agent,
                                     const std::vector<std::string>& columns) {
  const auto env = ground.environment();
  const auto& wanted = env->spec();
  const auto& given = agent.model().spec().action;
  require(given.dim == wanted.action.dim, ErrorCategory::invalid_argument,
          fmt::format("environment '{}' takes {} actions, the model gives {} (eval --env none "
                      "measures the model on recordings alone)",
                      wanted.name, wanted.action.dim, given.dim));
  if (!ground.dataset) {
    const auto& observed = agent.model().spec().observation;
    require(observed.size() == 1 && observed.front().name == kPixels,
            ErrorCategory::invalid_argument,
            "the model observes more than pictures: recordings say which columns; give --data");
    return [](const Observation& shown) { return Observation(kPixels, shown.at(kPixels)); };
  }
  const eval::RecordedInput input(agent.model().spec(), *ground.dataset, columns, agent.config());
  return eval::view_of(input, wanted, *ground.dataset);
}

eval::PlanningReport evaluate_agent(const PlanningGround& ground, const Agent& agent,
                                    const eval::ObservationView& view,
                                    const eval::PlanningProtocol& problems,
                                    const std::string& name) {
  const auto policy = eval::agent_policy(agent, problems, name, view);
  // Recorded frames where the problems have them; else evaluation renders.
  const auto frames = problems.recorded() && ground.dataset ? eval::recorded_frames(ground.dataset)
                                                            : eval::FrameLookup();
  return eval::evaluate_planning(*policy, ground.environment, problems, frames, ground.options);
}

void SuccessFlags::add(CLI::App& app, const std::vector<std::string>& environments) {
  app.add_option("--success-protocol", protocol,
                 "problems of --training.success_every: goal offset / step budget, or random / "
                 "step budget")
      ->capture_default_str();
  app.add_option("--success-env", environment, "environment to solve them in")
      ->check(CLI::IsMember(environments))
      ->capture_default_str();
  app.add_option("--success-instances", instances, "number of problems")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}))
      ->capture_default_str();
  app.add_option("--success-seed", seed, "of the problems; another than eval's")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

std::function<double(const std::filesystem::path& bundle)> success_of_bundles(
    const PlanningGround& ground, const SuccessFlags& flags, at::Device device) {
  const auto problems = drawn_protocol(ground, flags.protocol, flags.instances, flags.seed);
  return [ground, problems, device](const std::filesystem::path& bundle) {
    at::NoGradGuard no_grad;
    auto agent = Agent::load(bundle, io::Placement::share);
    agent.to(device);
    // Every plan begins with a look: Ctrl-C waits for one, not for all of them.
    const auto view = [seen = view_of_ground(ground, agent)](const Observation& shown) {
      if (train::InterruptGuard::requested()) throw train::Interrupted();
      return seen(shown);
    };
    return evaluate_agent(ground, agent, view, problems, "planner").rate;
  };
}

}  // namespace foresight::cli
