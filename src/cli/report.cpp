// SPDX-License-Identifier: Apache-2.0
// foresight report: a run folder as one page with pictures, and the film of one planned episode.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "commands.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/viz/run_report.hpp"
#include "machine_flags.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  std::string run, data, env = "two_room";
  MachineFlags machine;
};

void report_command(const ReportFlags& flags) {
  flags.machine.apply();
  at::NoGradGuard no_grad;
  const fs::path run(flags.run);
  const auto config = io::read_json(run / "config.json");
  const auto data_path = flags.data.empty() ? config.value("data", std::string()) : flags.data;

  viz::RunReport report;
  report.title = "Training run " + fs::absolute(run).lexically_normal().filename().string();
  report.configuration = config.dump(2);
  report.machine = machine_description();
  report.losses = loss_curves(train::read_metrics(run / "metrics.jsonl"));
  const auto agent = Agent::load(run / "bundle");
  const auto dataset = data::open_dataset(data_path);
  describe_run(report, agent, *dataset);
  if (fs::exists(run / "eval.json")) add_evaluation(report, io::read_json(run / "eval.json"));
  if (fs::exists(run / kIncidentFile)) add_incidents(report, run / kIncidentFile);

  const auto frames = std::make_shared<const data::FrameCache>(dataset);
  const auto env = envs::make_env(flags.env);
  const auto episodes = split_of(agent.config(), *dataset);
  const auto measures = measure(agent.model(), frames, episodes, kOpenLoopHorizon);
  add_world_model(report, agent, frames, episodes, measures);
  const auto film = run / "episode.mp4";
  const bool placed = measures.probe && dataset->state_columns().size() >= 2;
  if (placed) add_planned_episode(report, agent, *measures.probe, frames, *env, film);
  report.commands = {
      fmt::format("foresight train --data {} --out {} --config {}/config.json", data_path,
                  flags.run, flags.run),
      fmt::format("foresight eval --bundle {}/bundle --data {}", flags.run, data_path),
      fmt::format("foresight report --run {}", flags.run)};
  viz::write_run_report(report, run / "report.html");
  fmt::print("report: {}\n", fs::absolute(run / "report.html").string());
  if (placed)
    fmt::print("film:   {}\n", fs::absolute(film).string());
  else
    fmt::print("no film: the recordings name no states to start the environment from\n");
}

}  // namespace

void add_report(CLI::App& app) {
  auto flags = std::make_shared<ReportFlags>();
  auto* command = app.add_subcommand("report", "Write report.html and a film for a training run");
  command->add_option("--run", flags->run, "run folder, after train (and eval)")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--data", flags->data, "recordings (default: those the run names)");
  command->add_option("--env", flags->env, "environment of the film")
      ->check(CLI::IsMember(envs::env_names()))
      ->capture_default_str();
  flags->machine.add(*command);
  command->callback([flags] { report_command(*flags); });
}

}  // namespace foresight::cli
