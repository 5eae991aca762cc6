// SPDX-License-Identifier: Apache-2.0
// foresight plan: one plan from a start to a goal, as JSON. Both are pictures, or rows of
// recordings, which hold all that a model observes.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <memory>

#include "commands.hpp"
#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/eval/recorded_input.hpp"
#include "machine_flags.hpp"
#include "picture.hpp"
#include "reading_flags.hpp"

namespace foresight::cli {
namespace {

struct PlanFlags {
  std::string bundle, start, goal, data;
  std::vector<std::string> states, start_values, goal_values;
  ReadingFlags reading;
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

// Field name -> numbers, of texts such as "proprio=0.1,0.2".
std::map<std::string, std::vector<double>> given_values(const std::vector<std::string>& texts,
                                                        const char* flag) {
  std::map<std::string, std::vector<double>> values;
  for (const auto& text : texts) {
    const auto equals = text.find('=');
    require(equals != std::string::npos && equals > 0, ErrorCategory::invalid_option,
            fmt::format("{} {}: expected FIELD=NUMBER,NUMBER,...", flag, text));
    const auto numbers =
        flag_value(nlohmann::json::array({0.0}), text.substr(equals + 1), std::string(flag));
    auto& list = values[text.substr(0, equals)];
    for (const auto& number : numbers) {
      require(number.is_number(), ErrorCategory::invalid_option,
              fmt::format("{} {}: {} is not a number", flag, text, number.dump()));
      list.push_back(number.get<double>());
    }
  }
  return values;
}

// A picture, and the numbers that were given beside it.
Observation from_picture(const ModelSpec& spec, const std::string& file,
                         const std::vector<std::string>& texts, const char* flag) {
  auto values = given_values(texts, flag);
  Observation seen;
  for (const auto& field : spec.observation) {
    if (field.name == kPixels) {
      seen.set(kPixels, read_picture(file).unsqueeze(0));
      continue;
    }
    const auto found = values.find(field.name);
    require(found != values.end(), ErrorCategory::invalid_option,
            fmt::format("the model observes '{}' {} besides the picture: give it with {} "
                        "{}=NUMBER,NUMBER,..., or take both from recordings with --data",
                        field.name, shape_string(field.shape), flag, field.name));
    seen.set(field.name, at::tensor(found->second, at::kDouble).to(field.dtype).unsqueeze(0));
    values.erase(found);
  }
  require(values.empty(), ErrorCategory::invalid_option,
          values.empty()
              ? std::string()
              : fmt::format("{}: the model does not observe '{}'", flag, values.begin()->first));
  return seen;
}

// EPISODE:ROW.
std::pair<int64_t, int64_t> recorded_place(const std::string& text, const char* flag) {
  std::pair<int64_t, int64_t> place;
  const char* end = text.data() + text.size();
  const auto episode = std::from_chars(text.data(), end, place.first);
  const bool colon = episode.ec == std::errc() && episode.ptr != end && *episode.ptr == ':';
  const auto row = colon ? std::from_chars(episode.ptr + 1, end, place.second)
                         : std::from_chars(end, end, place.second);
  require(colon && row.ec == std::errc() && row.ptr == end, ErrorCategory::invalid_option,
          fmt::format("{} {}: with --data, expected EPISODE:ROW, e.g. 0:12", flag, text));
  return place;
}

// Start and goal as the model observes them.
struct Ends {
  Observation start, goal;
  std::size_t unreadable_episodes = 0;  // of the recordings, as found while opening them
};

Ends ends_of(const PlanFlags& flags, const Agent& agent) {
  const auto& spec = agent.model().spec();
  if (flags.data.empty()) {
    require(flags.states.empty(), ErrorCategory::invalid_option, "--states belongs to --data");
    auto start = from_picture(spec, flags.start, flags.start_values, "--start-values");
    const auto weight = agent.options.objective.proprio_distance;
    require(weight == 0 || !start.has(kProprio) || !flags.goal_values.empty(),
            ErrorCategory::invalid_option,
            fmt::format("the goal's proprioception is weighed (objective.proprio_distance = {}), "
                        "and a picture does not tell it: give it with --goal-values "
                        "{}=NUMBER,NUMBER,..., or plan for the picture alone with "
                        "--objective.proprio_distance 0",
                        weight, kProprio));
    return {std::move(start),
            // What a goal costs is told by its picture, unless its numbers are weighed as well.
            from_picture(spec, flags.goal,
                         flags.goal_values.empty() ? flags.start_values : flags.goal_values,
                         "--goal-values")};
  }
  require(flags.start_values.empty() && flags.goal_values.empty(), ErrorCategory::invalid_option,
          "--start-values and --goal-values come from the recordings of --data: leave them out");
  const auto dataset = flags.reading.open_as(told_by(agent.config().provenance), flags.data);
  const eval::RecordedInput input(spec, *dataset, flags.states, agent.config());
  const data::FrameCache frames(dataset, {.budget_mb = 0});
  const auto at = [&](const std::string& text, const char* flag) {
    const auto [episode, row] = recorded_place(text, flag);
    return input.observation(frames, episode, {row});
  };
  return {at(flags.start, "--start"), at(flags.goal, "--goal"),
          dataset->unreadable_episodes().size()};
}

void plan_command(const PlanFlags& flags) {
  const auto device = flags.machine.apply();
  at::NoGradGuard no_grad;
  auto agent = Agent::load(flags.bundle, io::Placement::share);
  agent.to(device);
  flags.precision.apply(agent);
  agent.options = resolve(agent.options, flags.options);
  agent.options.control.batch = 1;
  const auto ends = ends_of(flags, agent);
  auto mpc = agent.controller();
  mpc.set_goal(ends.goal);
  mpc.warm_up(ends.start);
  const auto decision = mpc.act(ends.start);
  require(!decision.solved.empty(), ErrorCategory::non_finite, "no plan: " + decision.message);
  const auto& plan = decision.solved.front().plan;
  nlohmann::json terms = nlohmann::json::object();
  for (const auto& [name, value] : plan.terms) terms[name] = value[0].item<double>();
  nlohmann::json result = {
      {"status", to_string(plan.status)},
      {"message", plan.message},
      {"cost", plan.cost[0].item<double>()},
      {"terms", terms},
      {"actions", nested_list(agent.model().spec().action.clamp_raw(
                      agent.model().spec().action.denormalise(plan.actions[0]).flatten(0, 1)))},
      {"first_action", nested_list(decision.action[0])},
      {"iterations", plan.diagnostics.iterations},
      {"precision", flags.precision.told()},
      {"milliseconds",
       {{"encode", 1e3 * decision.observe_seconds}, {"plan", 1e3 * decision.plan_seconds}}}};
  if (ends.unreadable_episodes > 0) result["unreadable_episodes"] = ends.unreadable_episodes;
  fmt::print("{}\n", result.dump(2));
  require(is_usable(plan.status), ErrorCategory::non_finite,
          "the plan is not usable: " + plan.message);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto flags = std::make_shared<PlanFlags>();
  auto* command =
      app.add_subcommand("plan", "Plan from a start to a goal: pictures, or rows of recordings");
  command->add_option("--bundle", flags->bundle, "trained bundle")->required();
  command
      ->add_option("--start", flags->start,
                   "picture of the start: image, or video.mp4:frame; with --data EPISODE:ROW")
      ->required();
  command->add_option("--goal", flags->goal, "the goal, likewise")->required();
  command->add_option("--data", flags->data,
                      "recordings that hold start and goal, with all that the model observes");
  flags->reading.add(*command, LoaderFlag::added);
  command
      ->add_option("--states", flags->states,
                   "with --data: columns that fill the model's observation besides the picture, in "
                   "its order (default: those it was trained on, else all state columns)")
      ->delimiter(',');
  command->add_option("--start-values", flags->start_values,
                      "what the model observes besides the picture: FIELD=NUMBER,NUMBER,..., raw");
  command->add_option("--goal-values", flags->goal_values,
                      "the same of the goal (default: the start's, unless "
                      "objective.proprio_distance weighs it)");
  flags->machine.add(*command);
  flags->precision.add(*command);
  add_planner_options(*command, flags->options);
  command->callback([flags] { plan_command(*flags); });
}

}  // namespace foresight::cli
