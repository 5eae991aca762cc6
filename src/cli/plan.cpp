// SPDX-License-Identifier: Apache-2.0
// foresight plan: one plan from a start to a goal picture, as JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "machine_flags.hpp"
#include "picture.hpp"

namespace foresight::cli {
namespace {

struct PlanFlags {
  std::string bundle, start, goal;
  MachineFlags machine;
  PrecisionFlag precision;
  OptionFlags options;
};

nlohmann::json nested_list(const Tensor& tensor) {
  auto list = nlohmann::json::array();
  if (tensor.dim() == 0) return tensor.item<double>();
  for (int64_t i = 0; i < tensor.size(0); ++i) list.push_back(nested_list(tensor[i]));
  return list;
}

void plan_command(const PlanFlags& flags) {
  const auto device = flags.machine.apply();
  at::NoGradGuard no_grad;
  auto agent = Agent::load(flags.bundle);
  agent.to(device);
  flags.precision.apply(agent);
  agent.options = resolve(agent.options, flags.options);
  agent.options.control.batch = 1;
  auto mpc = agent.controller();
  const auto observation = [](const std::string& file) {
    return Observation(kPixels, read_picture(file).unsqueeze(0));
  };
  const auto start = observation(flags.start);
  mpc.set_goal(observation(flags.goal));
  mpc.warm_up(start);
  const auto decision = mpc.act(start);
  require(!decision.solved.empty(), ErrorCategory::non_finite, "no plan: " + decision.message);
  const auto& plan = decision.solved.front().plan;
  nlohmann::json terms = nlohmann::json::object();
  for (const auto& [name, value] : plan.terms) terms[name] = value[0].item<double>();
  const nlohmann::json result = {
      {"status", to_string(plan.status)},
      {"message", plan.message},
      {"cost", plan.cost[0].item<double>()},
      {"terms", terms},
      {"actions", nested_list(agent.model().spec().action.clamp_raw(
                      agent.model().spec().action.denormalise(plan.actions[0]).flatten(0, 1)))},
      {"first_action", nested_list(decision.action[0])},
      {"iterations", plan.diagnostics.iterations},
      {"milliseconds",
       {{"encode", 1e3 * decision.observe_seconds}, {"plan", 1e3 * decision.plan_seconds}}}};
  fmt::print("{}\n", result.dump(2));
  require(is_usable(plan.status), ErrorCategory::non_finite,
          "the plan is not usable: " + plan.message);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  auto* command = app.add_subcommand("plan", "Plan from a start picture to a goal picture");
  command->add_option("--bundle", flags->bundle, "trained bundle")->required();
  command->add_option("--start", flags->start, "picture of the start: image, or video.mp4:frame")
      ->required();
  command->add_option("--goal", flags->goal, "picture of the goal")->required();
  flags->machine.add(*command);
  flags->precision.add(*command);
  add_options(*command, AgentOptions{}, flags->options);
  command->callback([flags] { plan_command(*flags); });
}

}  // namespace foresight::cli
