// SPDX-License-Identifier: Apache-2.0
// Validation, by loss and by planning success, and the weights that are kept for it.
#include <fmt/format.h>

#include "foresight/core/log.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/interrupt.hpp"
#include "loss_values.hpp"
#include "stoppable_validation.hpp"
#include "training_run.hpp"

namespace foresight::train {

// The weights that would be kept, on held-out data and on planning problems.
void TrainingRun::evaluate(bool loss_due, bool success_due) {
  loss_due = loss_due && validated_step_ != result_.step;
  success_due = success_due && measured_step_ != result_.step;
  if (!loss_due && !success_due) return;
  // Planning takes minutes, in which a process may be killed: what was trained comes first.
  if (success_due && (due(options_.checkpoint_every) || result_.step == options_.steps)) save();
  const KeptRandomState random;
  const AveragedWeights weights(average_ ? &*average_ : nullptr);
  c10::NoGradGuard no_grad;
  task_.module().eval();
  saved_step_ = -1;  // a checkpoint of this step does not know what comes now
  Scalars scalars;
  bool validated = false;  // there may be nothing to validate on
  if (loss_due) {
    const auto processes = hooks_.reducer ? hooks_.reducer->replicas() : nullptr;
    const StoppableValidation stoppable(hooks_.reducer != nullptr);
    const auto terms = processes ? task_.validate_together(*processes) : task_.validate();
    evaluation_cut_ = stoppable.was_cut();
    validated = !terms.empty();
    if (validated) {
      const auto values = host_values(terms);
      result_.validation_loss = values[0];
      add_scalars(scalars, task_.name() + "/validation/", terms, values);
    }
  }
  if (evaluation_cut_) {  // the run that goes on does it
    task_.module().train();
    return;
  }
  const bool measured = success_due && measure_success();
  evaluation_cut_ = success_due && !measured;
  if (measured) scalars.emplace_back(task_.name() + "/validation/success", result_.success);
  const auto loss = result_.validation_loss;
  if (validated) keep_if_best(Keep::lowest_loss, loss, -loss);
  if (measured) keep_if_best(Keep::highest_success, result_.success, result_.success);
  tell_kept(validated, measured);
  task_.module().train();
  if (writes() && !scalars.empty()) metrics_.write(first_step_ + result_.step, scalars);
  // Only now: what failed on the way is to be done again by the run that goes on.
  if (loss_due) {
    validated_step_ = result_.step;
    position_ = task_.position();  // which knows what was skipped on the way
  }
  if (measured) measured_step_ = result_.step;
}

bool TrainingRun::measure_success() {
  const bool alone = hooks_.reducer == nullptr;
  if (stop_ || (alone && InterruptGuard::requested())) return false;
  std::vector<double> cut{0.0};
  const auto measure = [&] {
    try {
      result_.success = hooks_.success();
    } catch (const Interrupted&) {
      cut[0] = 1.0;
    }
  };
  alone ? measure() : hooks_.reducer->long_work(measure);
  if (!alone) hooks_.reducer->average(cut);
  return cut[0] == 0;
}

// `score` grows with what is better; best_ is the value itself, as a user reads it.
void TrainingRun::keep_if_best(Keep measure, double value, double score) {
  if (measure != options_.keep || std::isnan(value)) return;
  const double best_score = measure == Keep::lowest_loss ? -best_ : best_;
  if (score <= best_score) return;  // of equals the first: it has seen less of the data by heart
  // In this order: if they cannot be written, the run that goes on must not take them for kept.
  if (writes()) best_weights_.write(task_.module(), result_.step, value);
  best_ = value;
  kept_validation_ = kept_success_ = {.step = result_.step};
  // By an earlier call, of the same weights.
  if (validated_step_ == result_.step) kept_validation_.value = result_.validation_loss;
  if (measured_step_ == result_.step) kept_success_.value = result_.success;
}

void TrainingRun::tell_kept(bool validated, bool measured) {
  if (kept_validation_.step != result_.step) return;
  if (validated) kept_validation_.value = result_.validation_loss;
  if (measured) kept_success_.value = result_.success;
}

void TrainingRun::end_with_kept_weights() {
  result_.kept_step = result_.step;
  if (options_.keep != Keep::last && writes() && best_weights_.exists()) {
    result_.kept_step = best_weights_.load(task_.module());
    result_.kept_validation_loss = kept_validation_.value;
    result_.kept_success = kept_success_.value;
    if (kept_validation_.step != result_.kept_step)  // a checkpoint of an earlier version
      (options_.keep == Keep::lowest_loss ? result_.kept_validation_loss : result_.kept_success) =
          best_;
  } else {
    if (options_.keep != Keep::last && writes())
      log(LogLevel::warning,
          fmt::format(
              "TrainOptions.keep = {}: task '{}' has nothing to choose by, so that the last "
              "weights are kept",
              enum_name(options_.keep), task_.name()));
    if (average_) average_->exchange();
  }
  if (hooks_.reducer == nullptr) return;
  std::vector<Tensor> kept{
      at::full({}, result_.kept_step, at::dtype(at::kLong).device(device_)),
      at::tensor({result_.kept_validation_loss, result_.kept_success}, at::kDouble).to(device_)};
  for (const auto& [name, tensor] : nn::state_dict(task_.module())) kept.push_back(tensor.detach());
  hooks_.reducer->synchronise(result_.step, kept);
  result_.kept_step = kept[0].item<int64_t>();
  result_.kept_validation_loss = kept[1][0].item<double>();
  result_.kept_success = kept[1][1].item<double>();
}

}  // namespace foresight::train
