// SPDX-License-Identifier: Apache-2.0
// foresight eval: does planning with a bundle reach goals, how fast, and what does the model know?
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "command_lines.hpp"
#include "commands.hpp"
#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/eval/agent_policy.hpp"
#include "foresight/eval/planning_evaluation.hpp"
#include "foresight/eval/recorded_sources.hpp"
#include "machine_flags.hpp"
#include "measure.hpp"
#include "planning_success.hpp"
#include "reading_flags.hpp"

namespace foresight::cli {
namespace {

struct EvalFlags {
  std::string bundle, data, env = "two_room", env_options, out, problems;
  std::vector<std::string> states;
  ReadingFlags reading;
  std::vector<std::string> protocols;  // none: see chosen_protocols()
  int64_t instances = 50, seed = 42, horizon = 10;
  bool baselines = true, trade_off = false;
  MachineFlags machine;
  PrecisionFlag precision;
  OptionFlags options;
};

// Everything that the parts of an evaluation share.
struct Setting : PlanningGround {
  Agent agent;
  eval::ObservationView view = {};                      // of the environment; none without one
  std::shared_ptr<const data::FrameCache> frames = {};  // of the recordings; null: not yet decoded
};

// A file's problems may lie in episodes that cannot be read: `left_out` of them.
struct Problems : eval::PlanningProtocol {
  std::size_t left_out = 0;
};

Problems problems_of(const EvalFlags& flags, const Setting& setting, const std::string& name) {
  if (flags.problems.empty()) return {drawn_protocol(setting, name, flags.instances, flags.seed)};
  Problems problems{eval::read_planning_protocol(flags.problems, name)};
  const auto all = problems.instances.size();
  problems.left_out = std::erase_if(problems.instances, [&](const auto& instance) {
    return setting.unreadable.contains(instance.episode);
  });
  require(!problems.instances.empty(), ErrorCategory::invalid_argument,
          fmt::format("{}: protocol '{}': no episode of its {} problems can be read",
                      flags.problems, name, all));
  return problems;
}

// Those named; else what there is: problems of the file, of the recordings, of the environment.
std::vector<std::string> chosen_protocols(const EvalFlags& flags, const Setting& setting) {
  if (!flags.protocols.empty()) return flags.protocols;
  if (!flags.problems.empty()) return eval::planning_protocol_names(flags.problems);
  if (setting.dataset) return {"25/50", "50/100"};
  return {fmt::format("random/{}", setting.environment()->spec().problem_steps)};
}

// Recorded frames where the problems have them; else evaluation renders.
eval::FrameLookup frames_of(const Setting& setting, const eval::PlanningProtocol& problems) {
  return problems.recorded() && setting.dataset ? eval::recorded_frames(setting.dataset)
                                                : eval::FrameLookup();
}

// One problem at a time, as a robot plans: milliseconds of a replanning act(), encoding included.
nlohmann::json single_problem_latency(const Setting& setting,
                                      const eval::PlanningProtocol& problems) {
  auto agent = setting.agent;
  agent.options.control.batch = 1;
  auto mpc = agent.controller();
  const auto env = setting.environment();
  const auto picture = [&](const std::vector<double>& state) {
    const auto place = at::tensor(state, at::kDouble).to(env->spec().state_dtype);
    env->reset_to(place, place);
    Observation shown(kPixels, env->render(setting.options.image_size).unsqueeze(0));
    shown.set(kProprio, env->state().to(at::kFloat).unsqueeze(0));
    return setting.view(shown);
  };
  const auto& first = problems.instances.front();
  mpc.set_goal(picture(first.goal_state));
  mpc.warm_up(picture(first.start_state), 5);
  std::vector<double> total, plan;
  for (const auto& instance : problems.instances) {
    mpc.reset();
    mpc.set_goal(picture(instance.goal_state));
    const auto decision = mpc.act(picture(instance.start_state));
    total.push_back(1e3 * decision.total_seconds);
    plan.push_back(1e3 * decision.plan_seconds);
  }
  const auto summary = [](std::vector<double> ms) {
    std::sort(ms.begin(), ms.end());
    const auto at = [&](double q) {
      return ms[std::min(ms.size() - 1,
                         static_cast<std::size_t>(q * static_cast<double>(ms.size())))];
    };
    return nlohmann::json{{"runs", ms.size()},
                          {"median_ms", at(0.5)},
                          {"p95_ms", at(0.95)},
                          {"p99_ms", at(0.99)},
                          {"worst_ms", ms.back()}};
  };
  return {{"act", summary(total)}, {"plan", summary(plan)}};
}

nlohmann::json baselines(const Setting& setting, const eval::PlanningProtocol& problems,
                         int64_t seed) {
  auto rows = nlohmann::json::array();
  const auto add = [&](eval::EvalPolicy& policy) {
    const auto report = eval::evaluate_planning(policy, setting.environment, problems,
                                                frames_of(setting, problems), setting.options);
    fmt::print("  {}\n", eval::summary(report));
    rows.push_back(eval::to_json(report));
  };
  const auto env = setting.environment();
  const auto& spec = env->spec();
  const bool heads = static_cast<int64_t>(spec.state_names.size()) == spec.action.dim;
  for (const auto* name : {"still", "random", "straight"}) {
    if (name == std::string_view("straight") && !heads) continue;  // a state that is no position
    eval::ScriptedEvalPolicy policy([name] { return envs::make_policy(name); },
                                    static_cast<std::uint64_t>(seed));
    add(policy);
  }
  if (problems.recorded() && setting.dataset) {
    eval::ReplayEvalPolicy replay(eval::recorded_actions(setting.dataset));
    add(replay);
  }
  return rows;
}

// What fewer or more candidates, iterations and steps ahead bring, one factor at a time and the
// corners.
nlohmann::json trade_off(const Setting& setting, const std::vector<Problems>& protocols) {
  auto rows = nlohmann::json::array();
  for (const auto& [samples, iterations, horizon] : {std::array<int64_t, 3>{32, 3, 3},
                                                     {64, 4, 3},
                                                     {128, 4, 2},
                                                     {128, 4, 3},
                                                     {128, 4, 5},
                                                     {300, 8, 3},
                                                     {300, 8, 5}}) {
    auto agent = setting.agent;
    agent.options.sampling.samples = samples;
    agent.options.sampling.iterations = iterations;
    agent.options.sampling.elites = std::max<int64_t>(samples / 8, 4);
    agent.options.control.horizon = horizon;
    Setting changed = setting;
    changed.agent = agent;
    nlohmann::json row = {{"samples", samples},
                          {"iterations", iterations},
                          {"horizon", horizon},
                          {"latency", single_problem_latency(changed, protocols.front())["act"]}};
    std::string line;
    for (const auto& problems : protocols) {
      const auto report = evaluate_agent(changed, agent, setting.view, problems, "planner");
      row["success"][problems.name] = {{"successes", report.successes},
                                       {"trials", report.trials},
                                       {"interval", {report.interval.low, report.interval.high}}};
      line += fmt::format("  {} {}/{}", problems.name, report.successes, report.trials);
    }
    fmt::print("  {} samples x {} iterations x {} blocks: {:.1f} ms{}\n", samples, iterations,
               horizon, row["latency"]["median_ms"].get<double>(), line);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Success and speed in the environment, into `result`.
void measure_planning(const EvalFlags& flags, Setting& setting, nlohmann::json& result) {
  setting.view = view_of_ground(setting, setting.agent, flags.states);
  std::vector<Problems> protocols;
  for (const auto& name : chosen_protocols(flags, setting))
    protocols.push_back(problems_of(flags, setting, name));
  for (const auto& problems : protocols) {
    if (problems.left_out > 0)
      fmt::print("{}: left out: {} of {} problems, whose episodes cannot all be read\n",
                 problems.name, problems.left_out, problems.left_out + problems.instances.size());
    const auto report = evaluate_agent(setting, setting.agent, setting.view, problems, "planner");
    fmt::print("{}\n", eval::summary(report));
    const bool within = eval::plans_within_episode(setting.agent, problems);
    if (within) fmt::print("  plans end with the episode, as EB-JEPA evaluates them\n");
    nlohmann::json entry = {{"planner", eval::to_json(report)},
                            {"plans_end_with_episode", within},
                            {"left_out_problems", problems.left_out},
                            {"latency", single_problem_latency(setting, problems)}};
    fmt::print(
        "  one problem at a time: {:.1f} ms median, {:.1f} ms worst per decision (encoding "
        "included)\n",
        entry["latency"]["act"]["median_ms"].get<double>(),
        entry["latency"]["act"]["worst_ms"].get<double>());
    if (flags.baselines) entry["baselines"] = baselines(setting, problems, flags.seed);
    std::fflush(stdout);
    result["protocols"].push_back(std::move(entry));
  }
  if (!flags.trade_off) return;
  fmt::print("trade-off:\n");
  result["trade_off"] = trade_off(setting, protocols);
}

// Without an environment nothing is planned and solved.
void require_no_problems(const CLI::App& command) {
  std::vector<std::string> acting = {"--protocol",    "--problems",     "--instances", "--seed",
                                     "--env-options", "--no-baselines", "--trade-off", "--config"};
  std::vector<FieldFlag> planner;
  list_fields(AgentOptions{}, {}, planner);
  for (const auto& field : planner) acting.push_back("--" + field.path);
  for (const auto& name : acting)
    require(command.count(name) == 0, ErrorCategory::invalid_option,
            fmt::format("{} needs an environment to act in, and --env {} measures the model on "
                        "recordings alone: leave one of them out",
                        name, kNoEnvironment));
}

// What belongs to recordings, where there are none.
void require_no_recordings(const CLI::App& command, const std::string& environment) {
  require(environment != kNoEnvironment, ErrorCategory::invalid_option,
          fmt::format("--env {} measures the model on recordings: give --data", kNoEnvironment));
  for (const auto* name : {"--camera", "--states", "--open-loop"})
    require(command.count(name) == 0, ErrorCategory::invalid_option,
            fmt::format("{} is about recordings: give --data, or leave it out", name));
}

nlohmann::json parsed_env_options(const std::string& text) {
  if (text.empty()) return nlohmann::json::object();
  auto options = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  require(options.is_object(), ErrorCategory::invalid_option,
          fmt::format("--env-options {}: expected a JSON object", text));
  return options;
}

// What the model knows, measured on held-out episodes, into `result`.
void measure_knowledge(const EvalFlags& flags, const Setting& setting,
                       const eval::RecordedInput& input, nlohmann::json& result) {
  const auto frames =
      setting.frames ? setting.frames : std::make_shared<const data::FrameCache>(setting.dataset);
  const auto measures =
      measure(setting.agent.model(), input, frames,
              without(split_of(setting.agent.config(), *setting.dataset), setting.unreadable),
              flags.horizon);
  result["world_model"] = to_json(measures);
  if (measures.open_loop) {
    fmt::print("open loop, error relative to copying the last state:");
    for (const auto ratio : measures.open_loop->ratio) fmt::print(" {:.3f}", ratio);
    fmt::print("\n");
  }
  for (const auto& column : measures.probe_report.columns)
    fmt::print("linear probe of {}: r = {:.4f}, rmse {:.2f}\n", column.name, column.pearson_r,
               column.rmse);
  fmt::print("latent: effective rank {:.1f} of {}\n", measures.collapse.effective_rank,
             measures.collapse.channels);
}

// Decodes all frames ahead of everything else, as no problem may be drawn from those that are lost.
void leave_out_unreadable(Setting& setting, nlohmann::json& result) {
  constexpr auto kSkip = data::Unreadable::skip;
  setting.frames = std::make_shared<const data::FrameCache>(
      setting.dataset, data::FrameCacheOptions{}, std::vector<int64_t>{}, kSkip);
  setting.unreadable = unreadable_episodes(*setting.frames, kSkip);
  result["unreadable_episodes"] = named(setting.unreadable, *setting.dataset);
  if (!setting.unreadable.empty())
    fmt::print("{}\n", left_out(setting.unreadable, *setting.dataset));
}

void eval_command(const EvalFlags& flags) {
  const auto device = flags.machine.apply();
  at::NoGradGuard no_grad;
  const auto trained_on = told_by_bundle(flags.bundle);
  auto dataset = flags.data.empty() ? nullptr : flags.reading.open_as(trained_on, flags.data);
  auto agent = Agent::load(flags.bundle, io::Placement::share);
  const auto env_options = parsed_env_options(flags.env_options);
  Setting setting{planning_ground(std::move(dataset), flags.env, env_options), std::move(agent)};
  setting.agent.to(device);
  flags.precision.apply(setting.agent);
  setting.agent.options = resolve(setting.agent.options, flags.options, "agent");
  std::optional<eval::RecordedInput> input;
  if (setting.dataset)
    input.emplace(setting.agent.model().spec(), *setting.dataset, flags.states,
                  setting.agent.config());

  nlohmann::json result = {
      {"bundle", flags.bundle},
      {"data", setting.dataset ? setting.dataset->name() : std::string()},
      {"camera", setting.dataset ? setting.dataset->camera() : std::string()},
      {"environment", flags.env},
      {"environment_options", env_options},
      {"problems", flags.problems},
      {"instances", flags.instances},
      {"seed", flags.seed},
      {"observed_columns", input ? input->columns() : std::vector<std::string>()},
      {"open_loop_blocks", flags.horizon},
      {"machine", machine_description(device)},
      {"precision", flags.precision.told()},
      {"agent", write_options(setting.agent.options)},
      {"protocols", nlohmann::json::array()}};
  if (setting.dataset) {
    result["reading"] = flags.reading.over(trained_on.reading);
    if (flags.reading.options(trained_on).unreadable == data::Unreadable::skip)
      leave_out_unreadable(setting, result);
  }
  if (flags.env != kNoEnvironment) measure_planning(flags, setting, result);
  if (input) measure_knowledge(flags, setting, *input, result);

  auto out = std::filesystem::path(flags.out);
  if (out.empty()) out = folder_path(flags.bundle).parent_path() / "eval.json";
  io::write_json(out, result);
  fmt::print("written: {}\n", out.string());
}

}  // namespace

void add_eval(CLI::App& app) {
  auto flags = std::make_shared<EvalFlags>();
  auto* command = app.add_subcommand("eval", "Measure planning success, speed and the world model");
  command->add_option("--bundle", flags->bundle, "trained bundle")->required();
  command->add_option("--data", flags->data,
                      "recordings: start and goal frames, held-out episodes; without, start and "
                      "goal are drawn from the environment and the model is judged by planning "
                      "alone");
  flags->reading.add(*command, LoaderFlag::added);
  command
      ->add_option("--states", flags->states,
                   "columns that fill the model's observation besides the picture, in its order "
                   "(default: those it was trained on, else all state columns)")
      ->delimiter(',');
  auto environments = envs::env_names();
  environments.emplace_back(kNoEnvironment);
  command
      ->add_option("--env", flags->env,
                   "environment to act in; none: measure the model on the recordings alone")
      ->check(CLI::IsMember(environments))
      ->capture_default_str();
  command->add_option("--env-options", flags->env_options,
                      "JSON that changes the environment's options, e.g. "
                      "'{\"geometry\": {\"wall\": \"fixed\"}}'");
  command
      ->add_option("--protocol", flags->protocols,
                   "goal offset / step budget, drawn from --data; random / step budget: start and "
                   "goal anywhere; or names in --problems (default: all of --problems, else "
                   "25/50,50/100, without --data random/ and the environment's own steps)")
      ->delimiter(',');
  command->add_option("--problems", flags->problems, "JSON file with planning problems")
      ->check(CLI::ExistingFile);
  command->add_option("--instances", flags->instances, "problems drawn per protocol")
      ->check(CLI::Range(int64_t{1}, int64_t{100000}))
      ->capture_default_str();
  command->add_option("--seed", flags->seed, "of the problems and of scripted policies")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--open-loop", flags->horizon, "imagined blocks of the open-loop error")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  command->add_flag_callback(
      "--no-baselines", [flags] { flags->baselines = false; },
      "leave out standing still, random, straight and replayed actions");
  command->add_flag("--trade-off", flags->trade_off, "also try other planner budgets");
  command->add_option("--out", flags->out, "result file (default: eval.json beside the bundle)");
  flags->machine.add(*command);
  flags->precision.add(*command);
  add_planner_options(*command, flags->options);
  command->callback([flags, command] {
    if (flags->data.empty()) require_no_recordings(*command, flags->env);
    if (flags->env == kNoEnvironment) require_no_problems(*command);
    eval_command(*flags);
  });
}

}  // namespace foresight::cli
