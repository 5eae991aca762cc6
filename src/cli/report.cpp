// SPDX-License-Identifier: Apache-2.0
// foresight report: a run folder as one page with pictures, and the film of one planned episode.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "command_lines.hpp"
#include "commands.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/viz/run_report.hpp"
#include "machine_flags.hpp"
#include "planning_success.hpp"
#include "reading_flags.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  std::string run, data, env;
  ReadingFlags reading;
  MachineFlags machine;
};

// The world in which `foresight record` recorded; empty where the recordings do not tell.
std::string recorded_environment(const data::Dataset& dataset) {
  const auto notes = dataset.notes();
  const auto told = notes.find("environment");
  return told == notes.end() ? std::string() : told->second;
}

// Where an episode is planned: in the environment that was asked for, else in that of the
// recordings. Null where it cannot be, and why not.
std::unique_ptr<envs::Env> planning_environment(const ReportFlags& flags,
                                                const data::Dataset& dataset,
                                                std::string& why_not) {
  const auto name = flags.env.empty() ? recorded_environment(dataset) : flags.env;
  const auto known = envs::env_names();
  const auto states = std::ssize(dataset.state_columns()),
             actions = std::ssize(dataset.action_columns());
  if (states == 0)
    why_not = "the recordings name no states to start the environment from";
  else if (name.empty())
    why_not = "the recordings do not say which environment they are of; --env does";
  else if (name == kNoEnvironment)
    why_not = fmt::format("--env {}", name);
  else if (std::find(known.begin(), known.end(), name) == known.end())
    why_not = fmt::format("the recordings are of '{}', and known environments are {}", name,
                          fmt::join(known, ", "));
  if (!why_not.empty()) return nullptr;
  auto env = envs::make_env(name);
  const auto& spec = env->spec();
  if (spec.picture_planes > 0)
    why_not = fmt::format("environment '{}' draws no pictures that a film can show", name);
  else if (states != std::ssize(spec.state_names) || actions != spec.action.dim)
    why_not = fmt::format(
        "the recordings have {} state and {} action columns, environment '{}' has {} and {}",
        states, actions, name, spec.state_names.size(), spec.action.dim);
  return why_not.empty() ? std::move(env) : nullptr;
}

// Where an episode of a measured model could be planned, and why there is no film of one; empty:
// there is one.
struct Planned {
  std::string environment = kNoEnvironment, no_film;
};

// What measuring the model adds to the report.
Planned add_measures(viz::RunReport& report, const ReportFlags& flags, const nlohmann::json& config,
                     const std::string& data_path, at::Device device) {
  const fs::path run(flags.run);
  auto agent = Agent::load(run / "bundle", io::Placement::share);
  agent.to(device);
  auto trained_on = told_by(agent.config().provenance);
  trained_on.reading.update(told_by(config).reading);
  const auto dataset = flags.reading.open_as(trained_on, data_path);
  const auto unreadable = flags.reading.options(trained_on).unreadable;
  describe_data(report, *dataset);
  if (fs::exists(run / kIncidentFile)) add_incidents(report, run / kIncidentFile);

  const auto frames = std::make_shared<const data::FrameCache>(dataset, data::FrameCacheOptions{},
                                                               std::vector<int64_t>{}, unreadable);
  const auto lost = unreadable_episodes(*frames, unreadable);
  describe_left_out(report, lost, *dataset);
  Planned planned;
  auto& why_not = planned.no_film;
  const auto env = planning_environment(flags, *dataset, why_not);
  if (env) planned.environment = env->spec().name;
  const auto episodes = without(split_of(agent.config(), *dataset), lost);
  const eval::RecordedInput input(agent.model().spec(), *dataset, {}, agent.config());
  const auto measures = measure(agent.model(), input, frames, episodes, kOpenLoopHorizon);
  add_world_model(report, agent, frames, episodes, measures);
  if (env && measures.probe) {
    const bool films = data::has_video_encoder();
    add_planned_episode(report, agent, *measures.probe, frames, lost, *env,
                        films ? run / "episode.mp4" : fs::path());
    if (!films)
      why_not = "this build writes no films: it has no FFmpeg, or that has no H.264 encoder";
  } else if (env) {
    why_not = "no episode is left to fit the probe on that finds states in latents";
  }
  return planned;
}

void report_command(const ReportFlags& flags) {
  const auto device = flags.machine.apply();
  at::NoGradGuard no_grad;
  const fs::path run(flags.run);
  const auto config = io::read_json(run / "config.json");
  const auto data_path = flags.data.empty() ? config.value("data", std::string()) : flags.data;

  const auto bundle = finished_bundle(run);
  auto report = training_report(flags.run, config, data_path, bundle, device);
  const bool measured = bundle && can_be_measured(bundle->config);
  // Else the agent that is measured does.
  if (bundle && !measured) io::require_checksum(bundle->tensors);
  nlohmann::json evaluation;
  if (fs::exists(run / "eval.json")) {
    evaluation = io::read_json(run / "eval.json");
    add_evaluation(report, evaluation);
  }
  const auto planned =
      measured ? add_measures(report, flags, config, data_path, device) : Planned();
  if (bundle && (measured || evaluation.is_object())) {
    const auto evaluated_on = evaluation.is_object() && flags.data.empty()
                                  ? evaluation.value("data", data_path)
                                  : data_path;
    const auto camera = data::identity_told(bundle->config.provenance).camera;
    report.commands.push_back(
        eval_again(evaluation, evaluated_on, camera, planned.environment, flags.run));
  }
  report.commands.push_back("foresight report --run " + shell_word(flags.run));
  if (bundle) {
    report.further = what_else(report, flags.run, data_path, bundle->config);
    if (measured || evaluation.is_object()) report.mark = measured_mark(run, *bundle);
  }
  viz::write_run_report(report, run / "report.html");
  fmt::print("report: {}\n", fs::absolute(run / "report.html").string());
  if (measured && planned.no_film.empty())
    fmt::print("film:   {}\n", fs::absolute(run / "episode.mp4").string());
  else if (measured)
    fmt::print("no film: {}\n", planned.no_film);
  else if (bundle)
    fmt::print("losses alone: family '{}' is no world model of camera pictures alone\n",
               bundle->config.family);
  else
    fmt::print("losses alone: training has not finished, there is no bundle yet\n");
}

}  // namespace

bool can_be_measured(const io::BundleConfig& bundle) {
  const auto& families = models::world_model_families();
  const bool imagines = std::any_of(families.begin(), families.end(), [&](const auto& family) {
    return bundle.family == family.name;
  });
  const auto& seen = bundle.observation;
  return imagines && seen.size() == 1 && seen.front().shape == std::vector<int64_t>{kAny, kAny, 3};
}

void add_report(CLI::App& app) {
  auto flags = std::make_shared<ReportFlags>();
  auto* command = app.add_subcommand("report", "Write report.html and a film for a training run");
  command
      ->add_option(
          "--run", flags->run,
          "run folder of `foresight train`, at work or finished; its eval.json is shown, too")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--data", flags->data, "recordings (default: those the run names)");
  flags->reading.add(*command, LoaderFlag::added);
  auto environments = envs::env_names();
  environments.emplace_back(kNoEnvironment);
  command
      ->add_option("--env", flags->env,
                   "environment of the planned episode and its film; none: neither (default: the "
                   "one that the recordings say they are of)")
      ->check(CLI::IsMember(environments));
  flags->machine.add(*command);
  command->callback([flags] { report_command(*flags); });
}

}  // namespace foresight::cli
