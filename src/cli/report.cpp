// SPDX-License-Identifier: Apache-2.0
// foresight report: a run folder as one page with pictures, and the film of one planned episode.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "camera_flag.hpp"
#include "commands.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/viz/run_report.hpp"
#include "machine_flags.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

namespace fs = std::filesystem;

struct ReportFlags {
  std::string run, data, env = "two_room";
  CameraFlag camera;
  MachineFlags machine;
};

// Whether the measures below can be made: of a world model that sees camera pictures alone.
bool can_be_measured(const io::BundleConfig& bundle) {
  const auto& families = models::world_model_families();
  const bool imagines = std::any_of(families.begin(), families.end(), [&](const auto& family) {
    return bundle.family == family.name;
  });
  const auto& seen = bundle.observation;
  return imagines && seen.size() == 1 && seen.front().shape == std::vector<int64_t>{kAny, kAny, 3};
}

// The flags that read the same recordings again. "pixels" stands for a camera without a name.
std::string data_flags(const std::string& path, const std::string& camera,
                       const std::vector<std::string>& states = {}) {
  auto text = " --data " + path;
  if (!camera.empty() && camera != "pixels") text += " --camera " + camera;
  if (!states.empty()) text += fmt::format(" --states {}", fmt::join(states, ","));
  return text;
}

std::string train_command_line(const nlohmann::json& config, const std::string& data,
                               const std::string& run) {
  const auto family = config.value("family", std::string());
  const auto trained_on = data::identity_told(config);
  return fmt::format("foresight train{}{} --out {} --config {}/config.json",
                     family.empty() ? "" : " " + family,
                     family == models::kEbJepaFamily
                         ? ""
                         : data_flags(data, trained_on.camera, trained_on.observed_columns),
                     run, run);
}

// What measuring the model adds to the report. Returns whether there is a film.
bool add_measures(viz::RunReport& report, const ReportFlags& flags, const std::string& data_path) {
  const fs::path run(flags.run);
  const auto agent = Agent::load(run / "bundle");
  const auto dataset =
      flags.camera.open(data_path, {}, data::identity_told(agent.config().provenance).camera);
  describe_data(report, *dataset);
  if (fs::exists(run / kIncidentFile)) add_incidents(report, run / kIncidentFile);

  const auto frames = std::make_shared<const data::FrameCache>(dataset);
  const auto env = envs::make_env(flags.env);
  const auto episodes = split_of(agent.config(), *dataset);
  const eval::RecordedInput input(agent.model().spec(), *dataset, {}, agent.config());
  const auto measures = measure(agent.model(), input, frames, episodes, kOpenLoopHorizon);
  add_world_model(report, agent, frames, episodes, measures);
  const bool placed = measures.probe && dataset->state_columns().size() >= 2;
  if (placed)
    add_planned_episode(report, agent, *measures.probe, frames, *env, run / "episode.mp4");
  report.commands.push_back(fmt::format("foresight eval --bundle {}/bundle{}", flags.run,
                                        data_flags(data_path, dataset->camera())));
  return placed;
}

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
  const auto bundle = io::read_bundle(run / "bundle");
  describe_training(report, bundle);
  report.commands.push_back(train_command_line(config, data_path, flags.run));
  const bool measured = can_be_measured(bundle.config);
  if (fs::exists(run / "eval.json")) add_evaluation(report, io::read_json(run / "eval.json"));
  const bool film = measured && add_measures(report, flags, data_path);
  report.commands.push_back(fmt::format("foresight report --run {}", flags.run));
  viz::write_run_report(report, run / "report.html");
  fmt::print("report: {}\n", fs::absolute(run / "report.html").string());
  if (film)
    fmt::print("film:   {}\n", fs::absolute(run / "episode.mp4").string());
  else if (measured)
    fmt::print("no film: the recordings name no states to start the environment from\n");
  else
    fmt::print("losses alone: family '{}' is no world model of camera pictures alone\n",
               bundle.config.family);
}

}  // namespace

void add_report(CLI::App& app) {
  auto flags = std::make_shared<ReportFlags>();
  auto* command = app.add_subcommand("report", "Write report.html and a film for a training run");
  command->add_option("--run", flags->run, "run folder, after train (and eval)")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--data", flags->data, "recordings (default: those the run names)");
  flags->camera.add(*command);
  command->add_option("--env", flags->env, "environment of the film")
      ->check(CLI::IsMember(envs::env_names()))
      ->capture_default_str();
  flags->machine.add(*command);
  command->callback([flags] { report_command(*flags); });
}

}  // namespace foresight::cli
