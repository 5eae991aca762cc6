// SPDX-License-Identifier: Apache-2.0
// One run of the training loop (training_run.cpp), what of it a checkpoint holds
// (training_state.cpp), and how it is evaluated (training_evaluation.cpp).
#pragma once

#include <torch/nn/module.h>

#include <chrono>
#include <cmath>
#include <optional>

#include "best_weights.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/trainer.hpp"
#include "frozen.hpp"
#include "random_state.hpp"
#include "weight_average.hpp"

namespace foresight::train {

/// Where the checkpoints of a task lie.
std::filesystem::path checkpoint_folder(const RunFolder& folder, const std::string& task);

/// The loss of one step: names of the terms, and total and values, means over its batches.
struct StepLoss {
  losses::Terms terms;
  std::vector<double> values;
};

/// One run of the loop; its members are what a checkpoint holds.
class TrainingRun {
 public:
  TrainingRun(Task& task, const TrainOptions& options, const RunFolder& folder,
              EventWriter& metrics, const TrainHooks& hooks);

  TrainResult run(ProgressStyle style);

 private:
  using Clock = std::chrono::steady_clock;

  void restore(const std::filesystem::path& metrics);
  void recall(const std::filesystem::path& metrics);
  void restore_task(const Checkpoint& checkpoint, const std::string& source);
  // Rows of this step that the checkpoint does not know: what they tell is measured again.
  void drop_unknown_rows();
  // Everywhere the weights of rank 0, so that equal gradients keep them equal.
  void join();
  void save();
  // What the next step depends on besides weights, kept from before it starts: a step that fails
  // may have drawn from all of them.
  void remember();
  // The module's buffers as the last whole step left them: a forward pass moves the statistics of
  // a batch norm, and those of a batch that is not finite are lost.
  void restore_buffers();
  bool due(int64_t every) const { return every > 0 && result_.step % every == 0; }
  bool writes() const { return hooks_.reducer == nullptr || hooks_.reducer->rank() == 0; }
  // Numbers of its own for dropout in every process, which no checkpoint needs to hold.
  void seed_step();
  StepLoss accumulate();
  // Means of the loss values over all processes, and whether any was asked to stop. Counts the
  // windows that they skipped.
  bool agree_to_stop(std::vector<double>& values);
  // What keeps the gradient from being applied; empty: it was.
  std::string update(double rate);
  // Ends the run at the last good step, unless `problem` is empty.
  bool diverged(const std::string& problem);
  void evaluate(bool loss_due, bool success_due);
  // By the hook; false, in all processes, where a wish to stop came before or meanwhile.
  bool measure_success();
  void keep_if_best(Keep measure, double value, double score);
  // What was measured after this step, of the weights that are kept if they are its.
  void tell_kept(bool validated, bool measured);
  void log_step(const StepLoss& loss, double factor);
  int64_t processes() const;
  // Of all processes.
  int64_t samples_per_step() const;
  void end_with_kept_weights();

  Task& task_;
  const TrainOptions& options_;
  std::filesystem::path folder_;
  int64_t first_step_;
  EventWriter& metrics_;
  const TrainHooks& hooks_;
  FrozenParameters frozen_;  // before the optimiser, which takes what is left
  AdamW optimizer_;
  std::optional<WeightAverage> average_;
  BestWeights best_weights_;
  at::Device device_;
  TrainResult result_;
  Tensor norm_;                                     // of the last gradient
  Tensor random_;                                   // state of torch's generator then
  std::string position_;                            // of the task after the last whole step
  std::vector<std::pair<Tensor, Tensor>> buffers_;  // of the module, and their values then
  double earlier_seconds_ = 0, best_ = std::numeric_limits<double>::quiet_NaN();
  Measured kept_validation_, kept_success_;  // of the weights of best_
  bool stop_ = false;                        // as all processes agreed in the last step
  bool evaluation_cut_ = false;              // by a wish to stop, in all processes
  int64_t saved_step_ = -1, validated_step_ = -1, measured_step_ = -1, logged_step_ = 0;
  double stepping_ = 0, logged_stepping_ = 0;  // seconds of steps, nothing else
  double logged_waited_ = 0;                   // Task::seconds_waited() then
  Clock::time_point start_ = Clock::now();
};

}  // namespace foresight::train
