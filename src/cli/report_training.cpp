// SPDX-License-Identifier: Apache-2.0
// The part of a run's report that the run folder tells by itself: what was logged, how it was
// started, what the bundle knows, what learning on did.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "command_lines.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
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

constexpr const char* kTrainingPage = "Written at the end of the training";
constexpr const char* kUnfinishedPage = "Training has not finished";

// Whether `foresight report` wrote it of a finished run, with more than a training tells.
bool is_measured_page(const fs::path& path) {
  if (!fs::exists(path)) return false;
  const auto page = io::read_text(path, std::size_t{1} << 30);
  return page.find(kTrainingPage) == std::string::npos &&
         page.find(kUnfinishedPage) == std::string::npos;
}

// A run that is at work, was stopped, or diverged.
void describe_unfinished(viz::RunReport& report, const nlohmann::json& config,
                         const std::vector<train::MetricsRow>& metrics) {
  report.summary = std::string(kUnfinishedPage) + ": there is no bundle yet. ";
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

viz::RunReport training_report(const std::string& folder, const nlohmann::json& config,
                               const std::string& data, const std::optional<io::Bundle>& bundle,
                               at::Device device) {
  const fs::path run(folder);
  viz::RunReport report;
  report.title = "Training run " + folder_path(folder).filename().string();
  report.configuration = config.dump(2);
  report.machine = machine_description(device);
  std::vector<train::MetricsRow> metrics;
  if (fs::exists(run / "metrics.jsonl")) metrics = train::read_metrics(run / "metrics.jsonl");
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
    if (is_measured_page(path)) return true;  // of the run as it is: a finished one ends anew
    const auto config = io::read_json(fs::path(folder) / "config.json");
    const auto bundle = finished_bundle(folder);
    auto report =
        training_report(folder, config, config.value("data", std::string()), bundle, device);
    if (result.outcome != train::Outcome::finished)
      report.headline = {{"state",
                          result.outcome == train::Outcome::diverged ? "diverged" : "interrupted",
                          result.message}};
    if (bundle) {
      const auto measure = "foresight report --run " + shell_word(folder);
      report.summary += fmt::format(
          "{}{}; `{}` writes it again{}.", report.summary.empty() ? "" : "\n", kTrainingPage,
          measure, can_be_measured(bundle->config) ? " with what is measured of the model" : "");
      report.commands.push_back(measure);
    }
    viz::write_run_report(report, path);
    return true;
  } catch (const std::exception& problem) {  // the training itself is done
    log(LogLevel::warning, fmt::format("{} was not written: {}", path.string(), problem.what()));
    return false;
  }
}

}  // namespace foresight::cli
