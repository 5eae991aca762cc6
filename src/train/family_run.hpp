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
#include "foresight/io/bundle.hpp"
#include "foresight/train/learn_family.hpp"
#include "foresight/train/loader_task.hpp"
#include "learning_data.hpp"
#include "run_config.hpp"

namespace foresight::train {

/// Whether a family can imagine what actions would do, so that planning success can be measured.
enum class Dynamics { none, imagined };

/// What a run that learns on measures, before and after: how far its data are from the old ones,
/// and the mean loss of held-out windows, by the model as it is.
struct LearningOn {
  std::function<DataDrift()> drift;
  std::function<losses::Terms()> fresh;
  std::function<losses::Terms()> old = {};  ///< empty without a replay
};

/// Which of the new recordings' episodes are held out where learning goes on from a bundle.
enum class HeldOut {
  drawn,  ///< by RecordedTraining.seed and .validation, as of any recordings
  kept,   ///< those that the bundle held out, where these are the recordings that it comes from
};

/// One training of a family.
class FamilyRun {
 public:
  /// Writes a bundle with this provenance.
  using Write = std::function<void(const std::filesystem::path&, nlohmann::json provenance)>;
  /// What is measured of the finished model, to be told in its provenance; null: nothing.
  using Measure = std::function<nlohmann::json()>;

  /// `options` as they were asked for: a resumed run must be given the same. Throws
  /// Error(unsupported) for measuring the success of a family without dynamics.
  FamilyRun(std::string family, Dynamics dynamics, nlohmann::json options,
            const TrainOptions& training, const RunFolder& folder, ProgressStyle progress,
            const LearnHooks& hooks);

  /// Creates the run folder or checks that it is this run's, and keeps it locked. Call it when
  /// nothing about the options can be wrong any more. `measured`: what of the model was taken from
  /// the recordings.
  void open(const LearnedFrom& data, const nlohmann::json& measured = {});
  /// Trains and writes the bundle, or what led to its absence into the result. `provenance`: what
  /// the family knows of where the model came from. `on`: of a run that learns on; measured after
  /// the bundle was written, by several processes before. `measure` is called at the end, as it
  /// may take long: what fails then costs neither the bundle nor the report of learning on.
  LearnResult train(Task& task, const nlohmann::json& provenance, const Write& write,
                    const LearningOn& on = {}, const Measure& measure = nullptr);

  GradientReducer* reducer() const noexcept { return hooks_.reducer; }
  double seconds() const;

 private:
  bool writes() const { return writes_run(hooks_); }
  void take_skipped(LearnResult& result, const Task& task) const;
  ContinualReport before(Task& task, const LearningOn& on) const;
  void measure_after(ContinualReport& report, const LearningOn& on) const;

  std::string family_;
  nlohmann::json options_;
  TrainOptions training_;
  RunFolder folder_;
  ProgressStyle progress_;
  LearnHooks hooks_;
  RunLock lock_;  // from open() on
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The recordings of one training, split into episodes to learn from and held-out ones; beside them
/// those that are rehearsed.
class FamilyData {
 public:
  /// What the model as it is makes of a batch's pictures, [B,D].
  using Features = std::function<Tensor(const data::Batch&)>;

  /// The new recordings, or the old ones.
  struct Part {
    std::shared_ptr<const data::Dataset> dataset;  ///< null: nothing is replayed
    data::EpisodeSplit split;
    std::shared_ptr<const data::Dataset> shown = {};      ///< as the model looks at it
    std::shared_ptr<const data::FrameCache> frames = {};  ///< of `shown`, after decode()
  };

  /// Throws Error(invalid_option) for a replay whose columns do not go with those of `dataset`, of
  /// what is read, and for recorded splits that there are not or that share an episode.
  FamilyData(std::shared_ptr<const data::Dataset> dataset, const RecordedTraining& options,
             const LearnHooks& hooks, ReadColumns reads, HeldOut held_out = HeldOut::drawn);

  const data::Dataset& dataset() const noexcept { return *fresh_.dataset; }
  const data::EpisodeSplit& split() const noexcept { return fresh_.split; }
  const Part& fresh() const noexcept { return fresh_; }
  const Part& old() const noexcept { return old_; }
  const LearnedFrom& learned_from() const noexcept { return learned_from_; }
  bool replays() const noexcept { return old_.dataset != nullptr; }
  /// Frames are shrunk to what `image` asks for where that changes nothing; null: they are shown as
  /// they were recorded. Call it before anything is written: throws Error(invalid_option) for a
  /// replay whose frames are then of another size than the new ones, as batches hold both; and
  /// where the weights with the lowest loss are to be kept and the held-out episodes have no window
  /// (none is held out of a few, or they are too short), which is a warning otherwise and where a
  /// run goes on.
  void show(const models::ImageOptions* image, bool resumes);
  /// Decodes what is shown into memory, or a file. Where InterruptGuard::requested() it ends early,
  /// and what is not held is decoded at each use.
  void decode(ProgressStyle progress);
  /// Loaders of the windows, for a task on `device`. `space`: of the actions in them.
  TaskData task_data(const ActionSpace& space, at::Device device);
  /// For families that look at no actions: batches hold none.
  TaskData task_data(at::Device device);
  /// Mean and std of state columns over the episodes that are trained on, each where it is empty;
  /// a column that never changes has std 1.
  void fill_statistics(const std::vector<std::string>& columns, std::vector<double>& mean,
                       std::vector<double>& std) const;
  /// `target` with the statistics of what is regressed, where they were not given; checked against
  /// all recordings, those that are rehearsed included. Throws Error as check_probe_target().
  ProbeTargetOptions probe_target(ProbeTargetOptions target) const;
  /// How learning on is measured, after task_data(): `drift` of actions and states, and with a
  /// replay that of `features`. `task` and this must outlive it.
  LearningOn learning_on(LoaderTask& task, DataDrift drift, Features features) const;
  /// Windows of `episodes` to measure by; null if they are too short for one.
  std::unique_ptr<data::Loader> measuring_loader(const Part& part,
                                                 const std::vector<int64_t>& episodes) const;
  /// How many windows of the new recordings' `episodes` there are; of none of them: 0.
  int64_t windows(const std::vector<int64_t>& episodes) const;
  /// What a bundle tells of the data, and of the bundle that it goes on from.
  nlohmann::json provenance() const;
  double decode_seconds() const noexcept { return decode_seconds_; }

 private:
  data::DataIdentity identity(const data::Dataset& dataset) const;
  data::EpisodeSplit new_split(const data::Dataset& dataset) const;
  std::uint64_t split_seed() const;
  void require_held_out_windows(bool resumes) const;
  // Of the new recordings: those that RecordedTraining names, else drawn or kept.
  data::EpisodeSplit fresh_split(const data::Dataset& dataset, HeldOut held_out) const;
  // What the bundle that learning goes on from held out stays so: the rest it has learned by heart.
  data::EpisodeSplit kept_split(const data::Dataset& dataset) const;
  std::unique_ptr<data::Loader> training_loader(const Part& part, int64_t batch) const;
  Tensor features_of(const Part& part, const Features& features) const;

  RecordedTraining options_;
  LearnHooks hooks_;
  ReadColumns reads_;
  Part fresh_, old_;
  LearnedFrom learned_from_;
  ActionSpace space_;
  at::Device device_ = at::kCPU;
  double decode_seconds_ = 0;
};

/// For families that look at no actions: mirroring changes none.
RecordedTraining pictures_alone(RecordedTraining options);

/// The bundle that a run goes on from, read once; nothing for a run from new weights.
std::optional<io::Bundle> continued_bundle(const LearnHooks& hooks);

/// The planner settings that a bundle keeps: its origin's if it has any, else `usual`.
nlohmann::json kept_planner(const std::optional<io::Bundle>& origin, nlohmann::json usual);

/// Adds where a run went on from to what its bundle tells.
nlohmann::json continued_provenance(nlohmann::json provenance,
                                    const std::optional<io::Bundle>& origin);

}  // namespace foresight::train
