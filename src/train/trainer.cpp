// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/trainer.hpp"

#include <fmt/format.h>
#include <torch/nn/module.h>

#include <chrono>
#include <cmath>
#include <optional>

#include "best_weights.hpp"
#include "elapsed.hpp"
#include "foresight/core/log.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/recompute.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/interrupt.hpp"
#include "frozen.hpp"
#include "loss_values.hpp"
#include "random_state.hpp"
#include "weight_average.hpp"

namespace foresight::train {
namespace {

using Clock = std::chrono::steady_clock;

std::filesystem::path checkpoint_folder(const RunFolder& folder, const std::string& task) {
  return folder.path / "checkpoints" / task;
}

at::DeviceType device_of(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  return parameters.empty() ? at::kCPU : parameters.front().device().type();
}

// The loss of one step: names of the terms, and total and values, means over its batches.
struct StepLoss {
  losses::Terms terms;
  std::vector<double> values;
};

// One run of the loop; its members are what a checkpoint holds.
class Run {
 public:
  Run(Task& task, const TrainOptions& options, const RunFolder& folder, EventWriter& metrics,
      const TrainHooks& hooks)
      : task_(task),
        options_(options),
        folder_(checkpoint_folder(folder, task.name())),
        first_step_(folder.first_step),
        metrics_(metrics),
        hooks_(hooks),
        frozen_(task.module(), options.freeze),
        optimizer_(task.module(), options.optimizer),
        best_weights_(folder_),
        device_(device_of(task.module())) {
    if (options.average > 0) average_.emplace(task.module(), options.average);
    if (folder.resume) restore();
    join();
    remember();
  }

  TrainResult run(ProgressStyle style);

 private:
  void restore();
  void restore_task(const Checkpoint& checkpoint, const std::string& source);
  // Everywhere the weights of rank 0, so that equal gradients keep them equal.
  void join();
  void save();
  // What the next step depends on besides weights, kept from before it starts: a step that fails
  // may have drawn from both.
  void remember() {
    position_ = task_.position();
    random_ = random_state();
  }
  bool due(int64_t every) const { return every > 0 && result_.step % every == 0; }
  bool writes() const { return hooks_.reducer == nullptr || hooks_.reducer->rank() == 0; }
  StepLoss accumulate();
  // Means of the loss values over all processes, and whether any was asked to stop.
  bool agree_to_stop(std::vector<double>& values);
  void update(double rate);
  bool diverged(const StepLoss& loss);
  void evaluate(bool loss_due, bool success_due);
  void keep_if_best(Keep measure, double value, double score);
  void log_step(const StepLoss& loss, double factor);
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
  at::DeviceType device_;
  TrainResult result_;
  Tensor norm_;           // of the last gradient
  Tensor random_;         // state of torch's generator then
  std::string position_;  // of the task after the last whole step
  double earlier_seconds_ = 0, best_ = std::numeric_limits<double>::quiet_NaN();
  int64_t saved_step_ = -1, validated_step_ = -1, measured_step_ = -1, logged_step_ = 0;
  Clock::time_point start_ = Clock::now(), logged_at_ = Clock::now();
};

void Run::restore() {
  const auto checkpoint = read_newest_checkpoint(folder_);
  if (!checkpoint) return;
  const auto source = checkpoint_path(folder_, checkpoint->step).string();
  nn::load_state_dict(task_.module(), checkpoint->section("model/"), source);
  optimizer_.load(checkpoint->section("optimizer/"), source);
  if (average_) {
    c10::NoGradGuard no_grad;
    io::load_into(average_->state(), checkpoint->section("average/"), source);
  }
  restore_task(*checkpoint, source);
  for (const auto& [name, state] : checkpoint->section("random/")) set_random_state(state);
  task_.seek(checkpoint->position);
  result_.step = saved_step_ = logged_step_ = checkpoint->step;
  result_.seconds = earlier_seconds_ = checkpoint->seconds;
  best_ = checkpoint->best;
  if (options_.keep != Keep::last && !std::isnan(best_) && !best_weights_.exists()) {
    log(LogLevel::warning, folder_.string() +
                               ": the weights of the best validation are gone; the best of "
                               "the validations to come is kept");
    best_ = std::numeric_limits<double>::quiet_NaN();
  }
}

void Run::restore_task(const Checkpoint& checkpoint, const std::string& source) {
  const auto extra = task_.extra_tensors();
  if (extra.empty()) return;
  c10::NoGradGuard no_grad;
  const auto saved = checkpoint.section("task/");
  require(saved.size() == extra.size(), ErrorCategory::bad_file,
          fmt::format("{}: holds {} tensors of task '{}', expected {}", source, saved.size(),
                      task_.name(), extra.size()));
  for (const auto& [name, target] : extra)
    for (const auto& [saved_name, value] : saved)
      if (name == saved_name) target.copy_(value);
}

void Run::join() {
  if (hooks_.reducer == nullptr) return;
  std::vector<Tensor> state;
  const auto add = [&](const io::NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) state.push_back(tensor.detach());
  };
  add(nn::state_dict(task_.module()));
  add(optimizer_.state());
  if (average_) add(average_->state());
  add(task_.extra_tensors());
  hooks_.reducer->synchronise(result_.step, state);
  // Of the random state a checkpoint holds that of rank 0; other processes drop other units.
  if (!writes()) seed_random_state(hooks_.reducer->rank(), result_.step);
}

void Run::save() {
  if (saved_step_ == result_.step || !writes()) return;
  Checkpoint checkpoint;
  checkpoint.step = result_.step;
  checkpoint.seconds = result_.seconds;
  checkpoint.best = best_;
  checkpoint.position = position_;
  const auto add = [&](const char* prefix, const io::NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors)
      checkpoint.tensors.emplace_back(prefix + name, tensor.detach());
  };
  add("model/", nn::state_dict(task_.module()));
  add("optimizer/", optimizer_.state());
  if (average_) add("average/", average_->state());
  add("task/", task_.extra_tensors());
  add("random/", {{"cpu", random_}});
  // Metrics first: a checkpoint never claims steps whose metrics were lost.
  metrics_.flush();
  write_checkpoint(folder_, checkpoint, options_.keep_checkpoints);
  saved_step_ = result_.step;
}

// The weights that would be kept, on held-out data and on planning problems.
void Run::evaluate(bool loss_due, bool success_due) {
  loss_due = loss_due && validated_step_ != result_.step;
  success_due = success_due && measured_step_ != result_.step;
  if (!loss_due && !success_due) return;
  const KeptRandomState random;
  const AveragedWeights weights(average_ ? &*average_ : nullptr);
  c10::NoGradGuard no_grad;
  task_.module().eval();
  Scalars scalars;
  if (loss_due) {
    validated_step_ = result_.step;
    if (const auto terms = task_.validate(); !terms.empty()) {
      const auto values = host_values(terms);
      result_.validation_loss = values[0];
      add_scalars(scalars, task_.name() + "/validation/", terms, values);
      keep_if_best(Keep::lowest_loss, values[0], -values[0]);
    }
  }
  if (success_due) {
    measured_step_ = result_.step;
    result_.success = hooks_.success();
    scalars.emplace_back(task_.name() + "/validation/success", result_.success);
    keep_if_best(Keep::highest_success, result_.success, result_.success);
  }
  task_.module().train();
  if (writes() && !scalars.empty()) metrics_.write(first_step_ + result_.step, scalars);
}

// `score` grows with what is better; best_ is the value itself, as a user reads it.
void Run::keep_if_best(Keep measure, double value, double score) {
  if (measure != options_.keep || std::isnan(value)) return;
  const double best_score = measure == Keep::lowest_loss ? -best_ : best_;
  if (score <= best_score) return;  // of equals the first: it has seen less of the data by heart
  best_ = value;
  saved_step_ = -1;  // a checkpoint of this step would not know
  if (writes()) best_weights_.write(task_.module(), result_.step, value);
}

void Run::log_step(const StepLoss& loss, double factor) {
  Scalars scalars;
  const auto prefix = task_.name() + "/";
  add_scalars(scalars, prefix + "train/", loss.terms, loss.values);
  scalars.emplace_back(prefix + "lr", options_.optimizer.lr * factor);
  scalars.emplace_back(prefix + "grad_norm", norm_.item<double>());
  const auto elapsed = seconds_since(logged_at_);
  const auto processes = hooks_.reducer == nullptr ? 1 : hooks_.reducer->world_size();
  const auto samples =
      (result_.step - logged_step_) * task_.samples() * options_.accumulate * processes;
  scalars.emplace_back(prefix + "samples_per_second",
                       elapsed > 0 ? static_cast<double>(samples) / elapsed : 0.0);
  metrics_.write(first_step_ + result_.step, scalars);
  logged_step_ = result_.step;
  logged_at_ = Clock::now();
}

bool Run::agree_to_stop(std::vector<double>& values) {
  const bool here = InterruptGuard::requested();
  if (hooks_.reducer == nullptr) return here;
  values.push_back(here ? 1.0 : 0.0);
  hooks_.reducer->average(values);
  const bool anywhere = values.back() > 0;
  values.pop_back();
  return anywhere;
}

// Gradients of the mean loss of `accumulate` batches. Each batch's graph is freed before the next.
StepLoss Run::accumulate() {
  StepLoss loss;
  const auto count = static_cast<double>(options_.accumulate);
  for (int64_t i = 0; i < options_.accumulate; ++i) {
    {
      nn::Autocast autocast(device_, options_.precision == Precision::bf16);
      std::optional<nn::RecomputeScope> recompute;
      if (options_.activations == Activations::recompute) recompute.emplace();
      const ReplicaScope replicas(hooks_.reducer ? hooks_.reducer->replicas() : nullptr);
      loss.terms = task_.loss();
      require(!recompute || recompute->blocks() > 0, ErrorCategory::unsupported,
              fmt::format("TrainOptions.activations = recompute: the network of task '{}' has no "
                          "block that can be recomputed",
                          task_.name()));
    }
    const auto values = host_values(loss.terms);
    loss.values.resize(values.size(), 0.0);
    for (std::size_t v = 0; v < values.size(); ++v) loss.values[v] += values[v] / count;
    if (hooks_.reducer != nullptr && i + 1 == options_.accumulate)
      hooks_.reducer->before_last_backward(optimizer_.parameters());
    // A loss that is not finite spoils gradients only, which are thrown away.
    (options_.accumulate == 1 ? loss.terms.total() : loss.terms.total() / count).backward();
  }
  return loss;
}

void Run::update(double rate) {
  if (hooks_.reducer != nullptr) hooks_.reducer->reduce(optimizer_.parameters());
  task_.clip_gradients();
  const auto progress = static_cast<double>(result_.step) / static_cast<double>(options_.steps);
  norm_ = optimizer_.step(rate, 1 + (options_.final_decay - 1) * progress);
  if (average_) average_->update(result_.step + 1);
  task_.updated();
  remember();
}

bool Run::diverged(const StepLoss& loss) {
  const auto problem = non_finite_term(loss.terms, loss.values);
  if (problem.empty()) return false;
  optimizer_.zero_grad();
  result_.outcome = Outcome::diverged;
  result_.message = fmt::format(
      "stopped at step {}: {}. The weights of step {} are kept; a lower learning "
      "rate or a smaller weight of that term may help",
      result_.step + 1, problem, result_.step);
  return true;
}

void Run::end_with_kept_weights() {
  result_.kept_step = result_.step;
  if (options_.keep != Keep::last && writes() && best_weights_.exists()) {
    result_.kept_step = best_weights_.load(task_.module());
  } else if (average_) {
    average_->exchange();
  }
  if (hooks_.reducer == nullptr) return;
  std::vector<Tensor> weights;
  for (const auto& [name, tensor] : nn::state_dict(task_.module()))
    weights.push_back(tensor.detach());
  hooks_.reducer->synchronise(result_.step, weights);
}

TrainResult Run::run(ProgressStyle style) {
  Progress progress(task_.name(), options_.steps, result_.step,
                    writes() ? style : ProgressStyle::silent);
  task_.module().train();
  double stepping = 0;
  const int64_t first = result_.step;
  result_.outcome = Outcome::finished;
  result_.message = "finished";
  bool stop = false;
  try {
    while (result_.step < options_.steps) {
      if (stop || (hooks_.reducer == nullptr && InterruptGuard::requested())) {
        result_.outcome = Outcome::interrupted;
        result_.message = fmt::format("interrupted after step {}", result_.step);
        break;
      }
      const auto step_start = Clock::now();
      auto loss = accumulate();
      stop = agree_to_stop(loss.values);
      if (diverged(loss)) break;
      const auto factor = learning_rate_factor(options_.schedule, result_.step, options_.steps);
      update(factor);
      ++result_.step;
      result_.loss = loss.values[0];
      stepping += seconds_since(step_start);
      result_.seconds = earlier_seconds_ + seconds_since(start_);
      const bool logs = due(options_.log_every) || result_.step == options_.steps;
      if (writes() && (logs || result_.step == 1)) log_step(loss, factor);
      evaluate(due(options_.validate_every), due(options_.success_every));
      if (due(options_.checkpoint_every)) save();
      progress.update(result_.step, task_.samples(), fmt::format("loss {:.4g}", result_.loss));
    }
    if (result_.outcome == Outcome::finished) evaluate(true, options_.success_every > 0);
  } catch (...) {
    // Keep the last whole step. If that fails too, the first problem is still the one to tell.
    try {
      save();
    } catch (const std::exception& problem) {
      log(LogLevel::error, fmt::format("no checkpoint either: {}", problem.what()));
    }
    throw;
  }
  result_.seconds = earlier_seconds_ + seconds_since(start_);
  result_.step_ms =
      result_.step > first ? 1e3 * stepping / static_cast<double>(result_.step - first) : 0.0;
  save();
  task_.module().eval();
  if (result_.outcome == Outcome::finished) end_with_kept_weights();
  return result_;
}

}  // namespace

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
  return Run(task, options, folder, metrics, hooks).run(progress);
}

int64_t resume_step(const RunFolder& folder, const std::string& task) {
  if (!folder.resume) return 0;
  const auto checkpoint = read_newest_checkpoint(checkpoint_folder(folder, task));
  return checkpoint ? checkpoint->step : 0;
}

}  // namespace foresight::train
