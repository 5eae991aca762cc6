// SPDX-License-Identifier: Apache-2.0
#include "family_run.hpp"

#include <cmath>

#include "before_after.hpp"
#include "elapsed.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "run_summary.hpp"

namespace foresight::train {
namespace {

// The tensors stay as they are: only what is told of them is replaced, as a whole.
void add_to_provenance(const std::filesystem::path& bundle, const nlohmann::json& measured) {
  if (measured.is_null()) return;
  const auto file = bundle / io::kBundleConfigFile;
  auto config = io::read_bundle_config(io::read_json(file), file.string());
  config.provenance.update(measured);
  io::write_json(file, io::write_bundle_config(config));
}

}  // namespace

std::optional<io::Bundle> continued_bundle(const LearnHooks& hooks) {
  if (hooks.continuation == nullptr) return std::nullopt;
  hooks.continuation->check();
  return io::read_bundle(hooks.continuation->bundle);
}

nlohmann::json kept_planner(const std::optional<io::Bundle>& origin, nlohmann::json usual) {
  const bool told = origin && origin->config.planner.is_object() && !origin->config.planner.empty();
  return told ? origin->config.planner : std::move(usual);
}

nlohmann::json continued_provenance(nlohmann::json provenance,
                                    const std::optional<io::Bundle>& origin) {
  if (origin) provenance["continued_from"] = origin->config.provenance;
  return provenance;
}

FamilyRun::FamilyRun(std::string family, Dynamics dynamics, nlohmann::json options,
                     const TrainOptions& training, const RunFolder& folder, ProgressStyle progress,
                     const LearnHooks& hooks)
    : family_(std::move(family)),
      options_(std::move(options)),
      training_(training),
      folder_(folder),
      progress_(progress),
      hooks_(hooks) {
  require(training.success_every == 0 || dynamics == Dynamics::imagined, ErrorCategory::unsupported,
          "training.success_every = " + std::to_string(training.success_every) + ": family '" +
              family_ + "' has no dynamics to plan with");
  require(training.success_every == 0 || hooks.success, ErrorCategory::invalid_argument,
          "training.success_every = " + std::to_string(training.success_every) +
              ", but nothing measures planning success of family '" + family_ + "' here");
}

double FamilyRun::seconds() const { return seconds_since(start_); }

void FamilyRun::open(const LearnedFrom& data, const nlohmann::json& measured) {
  auto config = run_config(options_, data, hooks_);
  config["family"] = family_;
  if (!measured.is_null()) config["measured"] = measured;
  lock_ = open_run(config, folder_, hooks_);
}

ContinualReport FamilyRun::before(Task& task, const LearningOn& on) const {
  c10::NoGradGuard no_grad;
  task.module().eval();
  ContinualReport report;
  report.drift = on.drift();
  for (const auto& warning : report.drift.warnings())
    log(LogLevel::warning, "the new data are unlike what " + hooks_.continuation->bundle.string() +
                               " was trained on: " + warning);
  report.new_data = measured_before(on.fresh());
  if (on.old) report.old_data = measured_before(on.old());
  return report;
}

void FamilyRun::measure_after(ContinualReport& report, const LearningOn& on) const {
  c10::NoGradGuard no_grad;
  if (!report.new_data.empty()) fill_after(report.new_data, on.fresh());
  if (!report.old_data.empty()) fill_after(report.old_data, on.old());
}

// Only a task that reads recordings meets windows that cannot be read.
void FamilyRun::take_skipped(LearnResult& result, const Task& task) const {
  const auto* loaded = dynamic_cast<const LoaderTask*>(&task);
  if (loaded == nullptr) return;
  result.skipped_windows = loaded->skipped_windows();
  result.unreadable_episodes = loaded->unreadable_episodes();
}

LearnResult FamilyRun::train(Task& task, const nlohmann::json& provenance, const Write& write,
                             const LearningOn& on, const Measure& measure) {
  LearnResult result;
  const auto told = [&] {
    auto known = provenance;
    known["world_model"] = run_summary(result.world_model);
    tell_skipped(known, result);
    return known;
  };
  TrainHooks hooks;
  hooks.reducer = hooks_.reducer;
  if (hooks_.success)
    hooks.success = [&] {
      if (!writes()) return std::nan("");  // rank 0 decides which weights are kept
      const auto candidate = folder_.path / "candidate";
      write(candidate, told());
      return hooks_.success(candidate);
    };
  std::optional<int64_t> metrics_from;
  if (folder_.resume) metrics_from = resume_step(folder_, task.name());
  auto metrics = open_metrics(folder_, hooks_, metrics_from);
  if (hooks_.continuation != nullptr) result.continual = before(task, on);
  result.world_model = train::train(task, training_, folder_, metrics, progress_, hooks);
  metrics.flush();
  take_skipped(result, task);
  if (writes()) warn_of_skipped(result);
  result.outcome = result.world_model.outcome;
  result.message = family_ + ": " + result.world_model.message;
  const bool is_finished = result.outcome == Outcome::finished;
  const auto report_continual = [&] {
    if (!is_finished || !result.continual) return;
    measure_after(*result.continual, on);
    if (writes()) io::write_json(folder_.path / "continual.json", to_json(*result.continual));
  };
  // The bundle comes before what may still fail. But several processes measure together, and none
  // is to wait there for the first one, which writes.
  const bool alone = hooks_.reducer == nullptr || hooks_.reducer->world_size() == 1;
  if (!alone) report_continual();
  if (is_finished && writes()) {
    write(folder_.path / "bundle", told());
    result.bundle = folder_.path / "bundle";
  }
  if (alone) report_continual();
  if (is_finished && writes()) {
    if (measure) add_to_provenance(result.bundle, measure());
    std::error_code ignored;
    std::filesystem::remove_all(folder_.path / "candidate", ignored);
  }
  result.seconds = seconds();
  return result;
}

}  // namespace foresight::train
