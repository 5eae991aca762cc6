// SPDX-License-Identifier: Apache-2.0
// What the trainings of all families do alike: recordings in, a run folder around the trainer, a
// bundle out. A family adds its model, its task and how its bundle is written.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/data/dataset.hpp"
#include "foresight/train/learn_family.hpp"
#include "foresight/train/loader_task.hpp"
#include "run_config.hpp"

namespace foresight::train {

/// Whether a family can imagine what actions would do, so that planning success can be measured.
enum class Dynamics { none, imagined };

/// One training of a family.
class FamilyRun {
 public:
  /// Writes a bundle with this provenance.
  using Write = std::function<void(const std::filesystem::path&, nlohmann::json provenance)>;

  /// `options` as they were asked for: a resumed run must be given the same. Throws
  /// Error(unsupported) for what the family cannot do: learning on, measuring success.
  FamilyRun(std::string family, Dynamics dynamics, nlohmann::json options,
            const TrainOptions& training, const RunFolder& folder, ProgressStyle progress,
            const LearnHooks& hooks);

  /// Creates the run folder or checks that it is this run's. Call it when nothing about the options
  /// can be wrong any more.
  void open(const std::string& data) const;
  /// Trains and writes the bundle, or what led to its absence into the result. `provenance`: what
  /// the family knows of where the model came from.
  LearnResult train(Task& task, const nlohmann::json& provenance, const Write& write);

  GradientReducer* reducer() const noexcept { return hooks_.reducer; }
  double seconds() const;

 private:
  bool writes() const { return writes_run(hooks_); }

  std::string family_;
  nlohmann::json options_;
  TrainOptions training_;
  RunFolder folder_;
  ProgressStyle progress_;
  LearnHooks hooks_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The recordings of one training, split into episodes to learn from and held-out ones.
class FamilyData {
 public:
  FamilyData(std::shared_ptr<const data::Dataset> dataset, const RecordedTraining& options);

  const data::Dataset& dataset() const noexcept { return *dataset_; }
  const data::EpisodeSplit& split() const noexcept { return split_; }
  /// Decodes frames into memory, shrunk to what `image` asks for where that changes nothing; null:
  /// as they were recorded.
  void decode(const models::ImageOptions* image);
  /// Loaders of the windows. `space`: of the actions in them; see unused_actions().
  TaskData task_data(const ActionSpace& space, bool states, const GradientReducer* reducer) const;
  /// For families that look at no actions.
  ActionSpace unused_actions() const;
  /// Mean and std of state columns over the episodes that are trained on, each where it is empty;
  /// a column that never changes has std 1.
  void fill_statistics(const std::vector<std::string>& columns, std::vector<double>& mean,
                       std::vector<double>& std) const;
  /// What a bundle tells of the data.
  nlohmann::json provenance() const;
  double decode_seconds() const noexcept { return decode_seconds_; }

 private:
  std::shared_ptr<const data::Dataset> dataset_;
  RecordedTraining options_;
  data::EpisodeSplit split_;
  std::shared_ptr<const data::FrameCache> frames_;
  double decode_seconds_ = 0;
};

}  // namespace foresight::train
