// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/trainer.hpp"

#include "foresight/core/memory.hpp"
#include "training_run.hpp"

namespace foresight::train {

std::vector<std::string> TrainOptions::validate() const {
  const auto number = [](int64_t v) { return static_cast<double>(v); };
  return Rules("TrainOptions")
      .at_least("steps", number(steps), 0)
      .at_least("accumulate", number(accumulate), 1)
      .at_least("log_every", number(log_every), 1)
      .at_least("validate_every", number(validate_every), 0)
      .at_least("success_every", number(success_every), 0)
      .at_least("checkpoint_every", number(checkpoint_every), 0)
      .at_least("keep_checkpoints", number(keep_checkpoints), 1)
      .within("final_decay", final_decay, 0)
      .check(average >= 0 && average < 1, "average", average, "must be in [0, 1)")
      .check(keep != Keep::highest_success || success_every > 0, "success_every",
             number(success_every), "must be >= 1 for keep = highest_success")
      .nested("optimizer", optimizer.validate())
      .nested("schedule", schedule.validate())
      .problems();
}

TrainResult train(Task& task, const TrainOptions& options, const RunFolder& folder,
                  EventWriter& metrics, ProgressStyle progress, const TrainHooks& hooks) {
  require_valid(options);
  require(options.success_every == 0 || hooks.success, ErrorCategory::invalid_argument,
          "TrainOptions.success_every = " + std::to_string(options.success_every) +
              ", but no function measures planning success (TrainHooks.success)");
  keep_all_freed_memory();
  return TrainingRun(task, options, folder, metrics, hooks).run(progress);
}

int64_t resume_step(const RunFolder& folder, const std::string& task) {
  if (!folder.resume) return 0;
  // train() warns of those that are damaged.
  const auto checkpoint =
      read_newest_checkpoint(checkpoint_folder(folder, task), OnDamage::say_nothing);
  return checkpoint ? checkpoint->step : 0;
}

}  // namespace foresight::train
