// SPDX-License-Identifier: Apache-2.0
#include "family_run.hpp"

#include <cmath>

#include "elapsed.hpp"
#include "foresight/data/statistics.hpp"
#include "learning_data.hpp"
#include "run_summary.hpp"

namespace foresight::train {

FamilyRun::FamilyRun(std::string family, Dynamics dynamics, nlohmann::json options,
                     const TrainOptions& training, const RunFolder& folder, ProgressStyle progress,
                     const LearnHooks& hooks)
    : family_(std::move(family)),
      options_(std::move(options)),
      training_(training),
      folder_(folder),
      progress_(progress),
      hooks_(hooks) {
  require(hooks.continuation == nullptr, ErrorCategory::unsupported,
          "learning on from a bundle is for the families of models::Jepa, not for " + family_);
  require(training.success_every == 0 || dynamics == Dynamics::imagined, ErrorCategory::unsupported,
          "training.success_every = " + std::to_string(training.success_every) + ": family '" +
              family_ + "' has no dynamics to plan with");
  require(training.success_every == 0 || hooks.success, ErrorCategory::invalid_argument,
          "training.success_every = " + std::to_string(training.success_every) +
              ", but nothing measures planning success of family '" + family_ + "' here");
}

double FamilyRun::seconds() const { return seconds_since(start_); }

void FamilyRun::open(const std::string& data) const {
  if (writes()) open_run({{"family", family_}, {"learn", options_}, {"data", data}}, folder_);
}

LearnResult FamilyRun::train(Task& task, const nlohmann::json& provenance, const Write& write) {
  LearnResult result;
  const auto told = [&] {
    auto known = provenance;
    known["world_model"] = run_summary(result.world_model);
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
  result.world_model = train::train(task, training_, folder_, metrics, progress_, hooks);
  metrics.flush();
  result.outcome = result.world_model.outcome;
  result.message = family_ + ": " + result.world_model.message;
  if (result.outcome == Outcome::finished && writes()) {
    write(folder_.path / "bundle", told());
    result.bundle = folder_.path / "bundle";
    std::error_code ignored;
    std::filesystem::remove_all(folder_.path / "candidate", ignored);
  }
  result.seconds = seconds();
  return result;
}

FamilyData::FamilyData(std::shared_ptr<const data::Dataset> dataset,
                       const RecordedTraining& options)
    : dataset_(std::move(dataset)), options_(options) {
  require(dataset_ != nullptr, ErrorCategory::invalid_argument, "a training needs recordings");
  split_ = data::split_episodes(dataset_->num_episodes(), options.validation,
                                static_cast<std::uint64_t>(options.seed));
}

void FamilyData::decode(const models::ImageOptions* image) {
  const auto start = std::chrono::steady_clock::now();
  frames_ = std::make_shared<const data::FrameCache>(
      image != nullptr ? at_model_size(dataset_, *image) : dataset_, options_.cache,
      std::vector<int64_t>{}, options_.loader.unreadable);
  decode_seconds_ = seconds_since(start);
}

TaskData FamilyData::task_data(const ActionSpace& space, bool states,
                               const GradientReducer* reducer) const {
  auto batches = options_.loader;
  batches.seed = options_.seed;
  batches.states = states;
  data::Shard shard;
  if (reducer != nullptr) shard = {reducer->rank(), reducer->world_size()};
  TaskData data;
  data.training = std::make_unique<data::Loader>(
      frames_, data::WindowIndex(*dataset_, options_.windows, split_.train), space, batches, shard);
  data.validation = validation_loader(frames_, options_.windows, batches, space, split_.validation);
  data.validation_batches = options_.validation_batches;
  data.seed = static_cast<std::uint64_t>(options_.seed);
  return data;
}

ActionSpace FamilyData::unused_actions() const {
  ActionSpace space;
  space.dim = static_cast<int64_t>(dataset_->action_columns().size());
  space.block = options_.windows.stride;
  return space;
}

void FamilyData::fill_statistics(const std::vector<std::string>& columns, std::vector<double>& mean,
                                 std::vector<double>& std) const {
  const auto seen =
      data::column_statistics(*dataset_, columns, data::LastRow::include, split_.train);
  if (mean.empty()) mean = seen.mean;
  if (std.empty())
    for (const double value : seen.std) std.push_back(value > 0 ? value : 1.0);
}

nlohmann::json FamilyData::provenance() const {
  return {{"data", dataset_->name()},
          {"episodes", dataset_->num_episodes()},
          {"frames", dataset_->total_rows()},
          {"seed", options_.seed},
          {"validation_episodes", split_.validation}};
}

}  // namespace foresight::train
