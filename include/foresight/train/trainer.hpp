// SPDX-License-Identifier: Apache-2.0
// The training loop: optimiser, schedule, validation, metrics, checkpoints, resuming, and a clean
// end whatever happens.
#pragma once

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "foresight/train/adamw.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/train/gradient_reducer.hpp"
#include "foresight/train/progress.hpp"
#include "foresight/train/schedule.hpp"
#include "foresight/train/task.hpp"

namespace foresight::train {

enum class Precision {
  fp32,
  bf16,  ///< autocast: matrix products and convolutions in bfloat16, weights and losses in float32
};

struct FORESIGHT_API TrainOptions {
  int64_t steps = 1500;                   ///< optimiser steps
  int64_t log_every = 20;                 ///< steps between rows of metrics
  int64_t validate_every = 250;           ///< steps between validations; 0: only at the end
  int64_t checkpoint_every = 500;         ///< steps between checkpoints; 0: only at the end
  int64_t keep_checkpoints = 2;           ///< newest ones kept; two survive a damaged disk block
  Precision precision = Precision::fp32;  ///< bf16 pays on CPUs with AVX512-BF16 or AMX and on GPUs
  AdamWOptions optimizer;
  ScheduleOptions schedule;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("steps", self.steps, "optimiser steps");
    visit("log_every", self.log_every, "steps between rows of metrics");
    visit("validate_every", self.validate_every, "steps between validations; 0: only at the end");
    visit("checkpoint_every", self.checkpoint_every,
          "steps between checkpoints; 0: only at the end");
    visit("keep_checkpoints", self.keep_checkpoints, "newest checkpoints that are kept");
    visit("precision", self.precision, "fp32, or bf16 autocast");
    visit("optimizer", self.optimizer, "AdamW");
    visit("schedule", self.schedule, "learning rate over the steps");
  }
  std::vector<std::string> validate() const;
};

/// How a run ended.
enum class Outcome {
  finished,
  interrupted,  ///< asked to stop (Ctrl-C); a checkpoint of the last step was written
  diverged,     ///< a loss term was NaN or infinite; weights are those of the last good step
};

struct TrainResult {
  Outcome outcome = Outcome::diverged;
  std::string message = "training was not started";
  int64_t step = 0;                                        ///< steps done, earlier runs included
  double seconds = 0;                                      ///< time trained, earlier runs included
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< last training loss
  double validation_loss = std::numeric_limits<double>::quiet_NaN();  ///< last validation loss
  double step_ms = 0;  ///< mean time of a step of this run, validation and files excluded
};

/// Where a run keeps its files, and whether it goes on.
struct RunFolder {
  std::filesystem::path
      path;             ///< metrics.jsonl and TensorBoard events; one folder a task in checkpoints/
  bool resume = false;  ///< continue from the newest readable checkpoint, if there is one
  int64_t first_step =
      0;  ///< added to steps in the metrics, so that stages of one run follow each other
};

/// What the caller adds to the loop.
struct FORESIGHT_API TrainHooks {
  /// Other processes that train the same model; null: none. All must call train() with the same
  /// options; only rank 0 writes files.
  GradientReducer* reducer = nullptr;
};

/// Trains a task. Metrics are named "<task>/train/loss", "<task>/train/<term>",
/// "<task>/validation/loss",
/// "<task>/lr", "<task>/grad_norm", "<task>/samples_per_second".
///
/// Resuming restores weights, optimiser, schedule, random state and the task's position: on a CPU
/// the loss curve is that of an uninterrupted run, bit for bit, at the same number of threads. The
/// run stops at a non-finite loss before the weights are touched, and on SIGINT or SIGTERM while an
/// InterruptGuard exists. Throws Error for invalid options, unusable files, or what the task throws
/// (a checkpoint of the last whole step is written first).
FORESIGHT_API TrainResult train(Task& task, const TrainOptions& options, const RunFolder& folder,
                                EventWriter& metrics,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const TrainHooks& hooks = {});

/// Step at which train() would start: with `resume` the newest readable checkpoint's, else 0;
/// first_step not added.
FORESIGHT_API int64_t resume_step(const RunFolder& folder, const std::string& task);

}  // namespace foresight::train

template <>
struct foresight::EnumNames<foresight::train::Precision> {
  using E = foresight::train::Precision;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"fp32", E::fp32}, {"bf16", E::bf16}}};
};
