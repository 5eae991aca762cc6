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
#include "foresight/envs/registry.hpp"
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

// Of a page; see measured_mark().
constexpr const char* kMarkOfTraining = "training alone";
constexpr const char* kMarkOfMeasures = "measured: ";

// Whether a page that is not of the run as it stands makes room for that of a training. Those of
// a training that have no mark yet are known by these words.
bool is_replaceable(const std::string& page) {
  const auto says = [&](const char* words) { return page.find(words) != std::string::npos; };
  return viz::has_mark(page, kMarkOfTraining) || viz::has_mark_beginning(page, kMarkOfMeasures) ||
         says("Written at the end of the training") || says("Training has not finished");
}

// Whether a page that is there is kept. One that may show measures, of which it does not say, is
// not lost to a training without them.
bool keeps_page(const std::string& folder, const fs::path& path,
                const std::optional<io::Bundle>& bundle) {
  if (!fs::exists(path)) return false;
  const auto page = io::read_text(path, std::size_t{1} << 30);
  // Measured of just this: a run that had finished ended anew.
  if (bundle && viz::has_mark(page, measured_mark(folder, *bundle))) return true;
  if (is_replaceable(page)) return false;
  log(LogLevel::warning,
      fmt::format("{} is of an earlier version and is kept; `foresight report --run {}` makes it "
                  "anew",
                  path.string(), shell_word(folder)));
  return true;
}

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

// The environment, as it is made by default, that draws what a model sees and takes the actions
// that it gives; empty: none.
std::string fitting_environment(const io::BundleConfig& bundle) {
  const auto& seen = bundle.observation;
  if (seen.empty() || seen.front().name != kPixels) return {};
  for (const auto& name : envs::env_names()) {
    const auto env = envs::make_env(name);
    const auto planes = env->spec().picture_planes, size = env->spec().native_size;
    const auto drawn = planes > 0 ? std::vector<int64_t>{planes, size, size}
                                  : std::vector<int64_t>{kAny, kAny, 3};
    if (env->spec().action.dim == bundle.action.dim && seen.front().shape == drawn) return name;
  }
  return {};
}

// Whether `foresight eval` has left success in the run folder.
bool has_success(const fs::path& run) {
  const auto file = run / "eval.json";
  try {
    return fs::exists(file) && !io::read_json(file).at("protocols").empty();
  } catch (const std::exception&) {
    return false;  // a damaged one is measured again
  }
}

// Success that a later page can show; empty: none.
std::string success_to_show(const std::string& folder, const std::string& data,
                            const io::BundleConfig& bundle, const std::string& environment) {
  if (has_success(folder)) return "success and timings, which eval.json there holds";
  if (environment.empty()) return {};
  auto line = "foresight eval --bundle " + shell_word((fs::path(folder) / "bundle").string());
  const bool told = bundle.observation.size() > 1;  // its columns, by recordings alone
  if (told) line += " --data " + shell_word(data);
  return fmt::format(
      "success and timings (with --trade-off trade-offs, too), as `{} --env {}` measures in that "
      "environment{}",
      line, environment, told ? ", where the recordings are of it" : "");
}

}  // namespace

std::optional<io::Bundle> finished_bundle(const fs::path& run) {
  if (!fs::exists(run / "bundle")) return std::nullopt;
  return io::read_bundle(run / "bundle");
}

std::string measured_mark(const fs::path& run, const io::Bundle& bundle) {
  const auto metrics = metrics_of(run);
  return fmt::format("{}bundle {}, step {}", kMarkOfMeasures,
                     io::told_checksum(bundle.tensors).value_or("without checksum"),
                     metrics.empty() ? 0 : metrics.back().step);
}

std::string what_else(const viz::RunReport& report, const std::string& folder,
                      const std::string& data, const io::BundleConfig& bundle) {
  const bool measurable = can_be_measured(bundle);
  const auto environment = fitting_environment(bundle);
  std::vector<std::string> parts;
  if (measurable && report.collapse.spectrum.empty())
    parts.push_back(
        "latent space, linear probes of recorded states, collapse and imagination, as it measures");
  if (measurable && report.frames.empty() && !environment.empty())
    parts.push_back("plans, where the recordings are of a built-in environment (or --env)");
  if (models::is_world_model(bundle.family) && report.success.rows.empty())
    if (auto success = success_to_show(folder, data, bundle, environment); !success.empty())
      parts.push_back(std::move(success));
  if (measurable && report.incidents.rows.empty())
    parts.push_back("incidents, as a safety monitor logs in " +
                    shell_word((fs::path(folder) / kIncidentFile).string()));
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
    if (keeps_page(folder, path, bundle)) return true;
    const auto config = io::read_json(fs::path(folder) / "config.json");
    const auto data = config.value("data", std::string());
    auto report = training_report(folder, config, data, bundle, device);
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
      report.further = what_else(report, folder, data, bundle->config);
    }
    viz::write_run_report(report, path);
    return true;
  } catch (const std::exception& problem) {  // the training itself is done
    log(LogLevel::warning, fmt::format("{} was not written: {}", path.string(), problem.what()));
    return false;
  }
}

}  // namespace foresight::cli
