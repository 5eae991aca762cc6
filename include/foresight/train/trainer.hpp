// SPDX-License-Identifier: Apache-2.0
// The training loop: optimiser, schedule, accumulation, validation, metrics, checkpoints, resuming,
// and a clean end whatever happens.
#pragma once

#include <filesystem>
#include <functional>
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

/// Which weights a run ends with.
enum class Keep {
  last,
  lowest_loss,      ///< those of the validation with the lowest loss
  highest_success,  ///< those with the most planning problems solved; needs success_every
};

/// What happens to the activations between the forward and the backward pass.
enum class Activations {
  keep,
  recompute,  ///< only what enters a transformer block is kept, and a forward pass more is
              ///< computed: less memory, more time (arXiv 1604.06174)
};

struct FORESIGHT_API TrainOptions {
  int64_t steps = 1500;            ///< optimiser steps
  int64_t accumulate = 1;          ///< batches per step: their losses are averaged
  int64_t log_every = 20;          ///< steps between rows of metrics
  int64_t validate_every = 250;    ///< steps between validations; 0: only at the end
  int64_t success_every = 0;       ///< steps between measurements of planning success, and at
                                   ///< the end; 0: none. Planning costs minutes
  int64_t checkpoint_every = 500;  ///< steps between checkpoints; 0: only at the end
  int64_t keep_checkpoints = 2;    ///< newest ones kept; an older one is gone on from where the
                                   ///< newest is damaged
  Precision precision = Precision::fp32;  ///< bf16 pays on CPUs with AVX512-BF16 or AMX and on GPUs
  Activations activations = Activations::keep;  ///< recompute where memory is short
  AdamWOptions optimizer;
  ScheduleOptions schedule;
  double final_decay = 1.0;  ///< factor on the weight decay at the last step, linear from 1;
                             ///< 1: constant, as most; I-JEPA 10
  std::vector<std::string> freeze =
      {};                  ///< parameters that stay as they are, "*" for any characters
  double average = 0.0;    ///< decay of a moving average of the weights, which is what is
                           ///< validated and kept; 0: none. 0.999 is usual
  Keep keep = Keep::last;  ///< last: validation losses are noisy and collapse lowers them

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("steps", self.steps, "optimiser steps");
    visit("accumulate", self.accumulate, "batches per step: their losses are averaged");
    visit("log_every", self.log_every, "steps between rows of metrics");
    visit("validate_every", self.validate_every, "steps between validations; 0: only at the end");
    visit("success_every", self.success_every,
          "steps between measurements of planning success; 0: none");
    visit("checkpoint_every", self.checkpoint_every,
          "steps between checkpoints; 0: only at the end");
    visit("keep_checkpoints", self.keep_checkpoints, "newest checkpoints that are kept");
    visit("precision", self.precision, "fp32, or bf16 autocast");
    visit("activations", self.activations, "keep, or recompute in the backward pass");
    visit("optimizer", self.optimizer, "AdamW");
    visit("schedule", self.schedule, "learning rate over the steps");
    visit("final_decay", self.final_decay, "factor on the weight decay at the last step");
    visit("freeze", self.freeze, "parameters that stay as they are, e.g. encoder.*");
    visit("average", self.average, "decay of the weights' moving average; 0: none");
    visit("keep", self.keep, "weights to end with: last, lowest_loss or highest_success");
  }
  std::vector<std::string> validate() const;
};

/// How a run ended.
enum class Outcome {
  finished,
  interrupted,  ///< asked to stop (Ctrl-C); a checkpoint of the last step was written
  diverged,     ///< a loss term or the gradient was NaN or infinite; weights are those of the last
                ///< good step
};

struct TrainResult {
  Outcome outcome = Outcome::diverged;
  std::string message = "training was not started";
  int64_t step = 0;                                        ///< steps done, earlier runs included
  double seconds = 0;                                      ///< time trained, earlier runs included
  double loss = std::numeric_limits<double>::quiet_NaN();  ///< last training loss
  double validation_loss = std::numeric_limits<double>::quiet_NaN();  ///< last validation loss
  double success = std::numeric_limits<double>::quiet_NaN();  ///< last part of problems solved
  int64_t kept_step = 0;  ///< step of the weights that the module holds at the end
  /// Validation loss of those weights, and their part of problems solved; NaN where that was not
  /// measured after kept_step. Of a run that did not finish: the last ones.
  double kept_validation_loss = std::numeric_limits<double>::quiet_NaN();
  double kept_success = std::numeric_limits<double>::quiet_NaN();
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
  /// options; only rank 0 writes files. All end with the same weights.
  GradientReducer* reducer = nullptr;
  /// Part of planning problems solved, in [0,1]. Called every TrainOptions.success_every steps with
  /// the task's module in inference mode, holding the weights that would be kept. It may throw
  /// Interrupted (train/interrupt.hpp) where InterruptGuard::requested(), of several processes in
  /// the first: the run then ends as interrupted, and the one that goes on measures.
  std::function<double()> success = nullptr;
};

/// Trains a task. Metrics are named "<task>/train/loss", "<task>/train/<term>",
/// "<task>/validation/loss", "<task>/validation/<term>", "<task>/validation/success",
/// "<task>/lr", "<task>/grad_norm", "<task>/samples_per_second", and of a task that reads data
/// "<task>/data_wait": the part of the steps' time since the last row that this process waited for
/// data. Validation, success and files are no part of a step.
///
/// One step: `accumulate` times a loss of the task and its backward pass, then the mean gradient is
/// reduced over processes, clipped, and applied. Where a loss is a mean over its samples, k batches
/// are exactly one of their sum; where it looks at a batch as a whole (batch norm, SIGReg, VICReg),
/// they are k small ones.
///
/// Resuming restores weights, their average, optimiser, schedule, random state and the task's
/// position: on a CPU the loss curve is that of an uninterrupted run, bit for bit, at the same
/// number of threads, with any of the options. The run stops at a non-finite loss or gradient
/// before the weights are touched, and on SIGINT or SIGTERM while an InterruptGuard exists.
///
/// A finished run leaves the module in inference mode with the weights that `keep` and `average`
/// ask for. Has the C library keep freed memory (core/memory.hpp, keep_all_freed_memory()), without
/// which a step can spend a third of its time on new pages. Frozen layers get no update, but the statistics of a batch norm among them still follow
/// the data. Throws Error for invalid options, unusable files, a pattern of `freeze` that fits no
/// parameter, or what the task throws (a checkpoint of the last whole step is written first).
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
template <>
struct foresight::EnumNames<foresight::train::Keep> {
  using E = foresight::train::Keep;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"last", E::last},
       {"lowest_loss", E::lowest_loss},
       {"highest_success", E::highest_success}}};
};
template <>
struct foresight::EnumNames<foresight::train::Activations> {
  using E = foresight::train::Activations;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"keep", E::keep}, {"recompute", E::recompute}}};
};
