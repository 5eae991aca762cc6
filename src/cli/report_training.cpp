// SPDX-License-Identifier: Apache-2.0
// The part of a run's report that the run folder tells by itself: what was logged, how it was
// started, what the bundle knows, what learning on did.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "command_lines.hpp"
#include "foresight/control/incident.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/checksum.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/world_models.hpp"
#include "machine_flags.hpp"
#include "report_parts.hpp"

namespace foresight::cli {
namespace {

namespace fs = std::filesystem;

constexpr double kNoLimits = std::numeric_limits<double>::quiet_NaN();  // of states and latents

double number_or_nan(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

void add_losses_of(viz::LearnedOn& learned, const nlohmann::json& losses, const char* recordings) {
  for (const auto& [term, loss] : losses.items())
    learned.losses.push_back({.recordings = recordings,
                              .term = term,
                              .before = number_or_nan(loss.at("before")),
                              .after = number_or_nan(loss.at("after"))});
}

void add_learned_on(viz::RunReport& report, const fs::path& file) {
  const auto told = io::read_json(file);
  auto& learned = report.learned_on;
  try {
    add_losses_of(learned, told.at("old_data"), "old");
    add_losses_of(learned, told.at("new_data"), "new");
    learned.forgetting = number_or_nan(told.at("forgetting"));
    const auto& drift = told.at("drift");
    for (const std::string kind : {"actions", "states"})
      for (const auto& column : drift.at(kind))
        learned.drift.push_back(
            {.column = column.at("column"),
             .shift = number_or_nan(column.at("shift")),
             .spread = number_or_nan(column.at("spread")),
             .outside = kind == "actions" ? column.at("outside").get<double>() : kNoLimits,
             .never_varied = column.value("never_varied", false)});
    if (!drift.at("latent_shift").is_null())
      learned.drift.push_back({.column = "latents",
                               .shift = drift.at("latent_shift"),
                               .spread = number_or_nan(drift.at("latent_spread")),
                               .outside = kNoLimits});
    learned.warnings = drift.at("warnings");
  } catch (const nlohmann::json::exception& problem) {
    throw Error(ErrorCategory::bad_file,
                fmt::format("{} is not what a training that learned on writes: {}", file.string(),
                            problem.what()));
  }
}

constexpr const char* kMarkOfTraining = "training alone";  // of a page; see measured_mark()

std::vector<train::MetricsRow> metrics_of(const fs::path& run) {
  const auto file = run / "metrics.jsonl";
  return fs::exists(file) ? train::read_metrics(file) : std::vector<train::MetricsRow>();
}

// A run that is at work, was stopped, or diverged.
void describe_unfinished(viz::RunReport& report, const nlohmann::json& config,
                         const std::vector<train::MetricsRow>& metrics) {
  report.summary = "Training has not finished: there is no bundle yet. ";
  report.summary +=
      metrics.empty() ? "Nothing has been logged."
                      : fmt::format("Shown is what was logged up to step {}.", metrics.back().step);
  report.headline.push_back({"state", "not finished", "no bundle"});
  report.data_set = {{"recordings", config.value("data", std::string("unknown"))}};
  for (const auto* count : {"episodes", "frames"})
    if (config.contains(count)) report.data_set.push_back({count, config[count].dump()});
}

}  // namespace

std::optional<io::Bundle> finished_bundle(const fs::path& run) {
  if (!fs::exists(run / "bundle")) return std::nullopt;
  return io::read_bundle(run / "bundle");
}

std::string measured_mark(const fs::path& run, const io::Bundle& bundle) {
  const auto metrics = metrics_of(run);
  return fmt::format("measured: bundle {}, step {}",
                     io::told_checksum(bundle.tensors).value_or("without checksum"),
                     metrics.empty() ? 0 : metrics.back().step);
}

std::string what_else(const viz::RunReport& report, const std::string& folder,
                      const io::BundleConfig& bundle) {
  const auto in_run = [&](const char* name) {
    return shell_word((fs::path(folder) / name).string());
  };
  const bool measurable = can_be_measured(bundle);
  std::vector<std::string> parts;
  if (measurable && report.collapse.spectrum.empty())
    parts.push_back("latent space, linear probes, collapse, imagination and plans, as it measures");
  if (models::is_world_model(bundle.family) && report.success.rows.empty())
    parts.push_back(
        "success and timings (with --trade-off trade-offs, too), as `foresight eval --bundle " +
        in_run("bundle") + "` measures in an environment");
  if (measurable && report.incidents.rows.empty())
    parts.push_back("incidents, as a safety monitor logs in " + in_run(kIncidentFile));
  if (parts.empty()) return {};
  return fmt::format("`foresight report --run {}` can also show {}.", shell_word(folder),
                     fmt::join(parts, "; "));
}

viz::RunReport training_report(const std::string& folder, const nlohmann::json& config,
                               const std::string& data, const std::optional<io::Bundle>& bundle,
                               at::Device device) {
  const fs::path run(folder);
  viz::RunReport report;
  report.title = "Training run " + folder_path(folder).filename().string();
  report.configuration = config.dump(2);
  report.machine = machine_description(device);
  report.mark = kMarkOfTraining;
  const auto metrics = metrics_of(run);
  report.losses = loss_curves(metrics);
  if (bundle)
    describe_training(report, *bundle);
  else
    describe_unfinished(report, config, metrics);
  describe_processes(report, config);
  if (fs::exists(run / "continual.json")) try {
      add_learned_on(report, run / "continual.json");
    } catch (const Error& problem) {
      log(LogLevel::warning, problem.what());
      report.learned_on = {};
    }
  report.commands.push_back(train_again(config, data, folder));
  return report;
}

bool write_training_report(const std::string& folder, at::Device device,
                           const train::LearnResult& result) {
  const auto path = fs::path(folder) / "report.html";
  try {
    const auto bundle = finished_bundle(folder);
    if (bundle && fs::exists(path) &&
        viz::has_mark(io::read_text(path, std::size_t{1} << 30), measured_mark(folder, *bundle)))
      return true;  // measured of just this: a run that had finished ended anew
    const auto config = io::read_json(fs::path(folder) / "config.json");
    auto report =
        training_report(folder, config, config.value("data", std::string()), bundle, device);
    const bool finished = result.outcome == train::Outcome::finished;
    if (!finished)
      report.headline = {{"state",
                          result.outcome == train::Outcome::diverged ? "diverged" : "interrupted",
                          result.message}};
    if (bundle) {
      const auto measure = "foresight report --run " + shell_word(folder);
      report.summary += fmt::format(
          "{}Written {}; `{}` writes it again{}.", report.summary.empty() ? "" : "\n",
          finished ? "at the end of the training" : "when the training stopped", measure,
          can_be_measured(bundle->config) ? " with what is measured of the model" : "");
      report.commands.push_back(measure);
      report.further = what_else(report, folder, bundle->config);
    }
    viz::write_run_report(report, path);
    return true;
  } catch (const std::exception& problem) {  // the training itself is done
    log(LogLevel::warning, fmt::format("{} was not written: {}", path.string(), problem.what()));
    return false;
  }
}

}  // namespace foresight::cli
