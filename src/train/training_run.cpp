// SPDX-License-Identifier: Apache-2.0
#include "training_run.hpp"

#include <fmt/format.h>

#include <exception>

#include "elapsed.hpp"
#include "foresight/core/log.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/recompute.hpp"
#include "foresight/train/interrupt.hpp"
#include "loss_values.hpp"

namespace foresight::train {
namespace {

// ", first in 'encoder.norm.weight'"; nothing where each is finite and their squares are not.
std::string first_non_finite_gradient(const torch::nn::Module& module) {
  for (const auto& item : module.named_parameters()) {
    const auto& gradient = item.value().grad();
    if (gradient.defined() && !at::isfinite(gradient).all().item<bool>())
      return fmt::format(", first in '{}'", item.key());
  }
  return "";
}

std::string message_of(const std::exception_ptr& problem) {
  try {
    std::rethrow_exception(problem);
  } catch (const std::exception& told) {
    return told.what();
  } catch (...) {
    return "";
  }
}

}  // namespace

void TrainingRun::log_step(const StepLoss& loss, double factor) {
  Scalars scalars;
  const auto prefix = task_.name() + "/";
  add_scalars(scalars, prefix + "train/", loss.terms, loss.values);
  scalars.emplace_back(prefix + "lr", options_.optimizer.lr * factor);
  for (const auto& [name, value] : task_.counters()) scalars.emplace_back(prefix + name, value);
  scalars.emplace_back(prefix + "grad_norm", norm_.item<double>());
  const auto elapsed = stepping_ - logged_stepping_;
  if (const auto waited = task_.seconds_waited(); waited && elapsed > 0) {
    scalars.emplace_back(prefix + "data_wait", (*waited - logged_waited_) / elapsed);
    logged_waited_ = *waited;
  }
  const auto samples = (result_.step - logged_step_) * samples_per_step();
  scalars.emplace_back(prefix + "samples_per_second",
                       elapsed > 0 ? static_cast<double>(samples) / elapsed : 0.0);
  scalars.emplace_back(prefix + "processes", static_cast<double>(processes()));
  metrics_.write(first_step_ + result_.step, scalars);
  logged_step_ = result_.step;
  logged_stepping_ = stepping_;
}

int64_t TrainingRun::processes() const {
  return hooks_.reducer == nullptr ? 1 : hooks_.reducer->world_size();
}

int64_t TrainingRun::samples_per_step() const {
  return task_.samples() * options_.accumulate * processes();
}

bool TrainingRun::agree_to_stop(std::vector<double>& values) {
  const bool here = InterruptGuard::requested();
  const auto skipped = task_.take_skipped();
  if (hooks_.reducer == nullptr) {
    task_.add_skipped(skipped, nullptr);
    return here;
  }
  values.push_back(static_cast<double>(skipped));
  values.push_back(here ? 1.0 : 0.0);
  hooks_.reducer->average(values);
  const bool anywhere = values.back() > 0;
  values.pop_back();
  task_.add_skipped(std::llround(values.back() * static_cast<double>(hooks_.reducer->world_size())),
                    hooks_.reducer->replicas().get());
  values.pop_back();
  return anywhere;
}

// Of the random state a checkpoint holds that of rank 0's CPU. All else starts anew at every step,
// from seed, rank and step: other processes drop other units, and go on exactly.
void TrainingRun::seed_step() {
  const auto rank = hooks_.reducer == nullptr ? 0 : hooks_.reducer->rank();
  const auto seed = task_.seed().value_or(0);
  if (rank > 0) seed_generator(at::kCPU, {seed, task_.name(), rank, result_.step});
  if (device_.is_cuda()) seed_generator(device_, {seed, task_.name(), rank, result_.step});
}

// Gradients of the mean loss of `accumulate` batches. Each batch's graph is freed before the next.
StepLoss TrainingRun::accumulate() {
  seed_step();
  StepLoss loss;
  const auto count = static_cast<double>(options_.accumulate);
  for (int64_t i = 0; i < options_.accumulate; ++i) {
    {
      nn::Autocast autocast(device_.type(), options_.precision == Precision::bf16);
      std::optional<nn::RecomputeScope> recompute;
      if (options_.activations == Activations::recompute) recompute.emplace();
      const ReplicaScope replicas(hooks_.reducer ? hooks_.reducer->replicas() : nullptr);
      loss.terms = task_.loss();
      require(!recompute || recompute->blocks() > 0, ErrorCategory::unsupported,
              fmt::format("TrainOptions.activations = recompute: the network of task '{}' has no "
                          "block that can be recomputed",
                          task_.name()));
    }
    if (hooks_.reducer != nullptr && i + 1 == options_.accumulate)
      hooks_.reducer->before_last_backward(optimizer_.parameters());
    // A loss that is not finite spoils gradients only, which are thrown away.
    const auto followed = loss.terms.trained();
    (options_.accumulate == 1 ? followed : followed / count).backward();
    // Read now: a GPU has been given its backward pass before this waits for it.
    const auto values = host_values(loss.terms);
    loss.values.resize(values.size(), 0.0);
    for (std::size_t v = 0; v < values.size(); ++v) loss.values[v] += values[v] / count;
  }
  return loss;
}

// Equal in all processes, as the mean gradient is.
std::string TrainingRun::update(double rate) {
  if (hooks_.reducer != nullptr) hooks_.reducer->reduce(optimizer_.parameters());
  const auto progress = static_cast<double>(result_.step) / static_cast<double>(options_.steps);
  norm_ = optimizer_.step(rate, 1 + (options_.final_decay - 1) * progress);
  if (const auto norm = norm_.item<double>(); !std::isfinite(norm))
    return fmt::format("the loss is finite, its gradient is not (norm {}{})", norm,
                       first_non_finite_gradient(task_.module()));
  if (average_) average_->update(result_.step + 1);
  task_.updated();
  remember();
  return {};
}

bool TrainingRun::diverged(const std::string& problem) {
  if (problem.empty()) return false;
  optimizer_.zero_grad();
  restore_buffers();
  result_.outcome = Outcome::diverged;
  result_.message = fmt::format(
      "stopped at step {}: {}. The weights of step {} are kept; a lower learning "
      "rate or a smaller weight of the term to blame may help",
      result_.step + 1, problem, result_.step);
  return true;
}

TrainResult TrainingRun::run(ProgressStyle style) {
  Progress progress(task_.name(), options_.steps, result_.step,
                    writes() ? style : ProgressStyle::silent);
#if defined(__x86_64__)  // of others it is not known
  if (writes() && device_.is_cpu() && options_.precision == Precision::bf16 &&
      !nn::cpu_multiplies_bfloat16())
    log(LogLevel::warning,
        "training.precision = bf16: this CPU has no instructions for it (AVX512-BF16 or AMX); "
        "--training.precision fp32 is faster here");
#endif
  task_.module().train();
  logged_waited_ = task_.seconds_waited().value_or(0);
  const int64_t first = result_.step;
  result_.outcome = Outcome::finished;
  result_.message = "finished";
  const auto end_interrupted = [this] {
    result_.outcome = Outcome::interrupted;
    result_.message = fmt::format("interrupted after step {}", result_.step);
  };
  try {
    // What an earlier run had still to measure when it ended.
    if (first > 0) evaluate(due(options_.validate_every), due(options_.success_every));
    while (result_.step < options_.steps) {
      if (stop_ || evaluation_cut_ || (hooks_.reducer == nullptr && InterruptGuard::requested())) {
        end_interrupted();
        break;
      }
      const auto step_start = Clock::now();
      auto loss = accumulate();
      stop_ = agree_to_stop(loss.values);
      if (diverged(non_finite_term(loss.terms, loss.values))) break;
      const auto factor = learning_rate_factor(options_.schedule, result_.step, options_.steps);
      if (diverged(update(factor))) break;
      ++result_.step;
      result_.loss = loss.values[0];
      stepping_ += seconds_since(step_start);
      result_.seconds = earlier_seconds_ + seconds_since(start_);
      const bool logs = due(options_.log_every) || result_.step == options_.steps;
      if (writes() && (logs || result_.step == 1)) log_step(loss, factor);
      evaluate(due(options_.validate_every), due(options_.success_every));
      if (due(options_.checkpoint_every)) save();
      progress.update(result_.step, samples_per_step(), fmt::format("loss {:.4g}", result_.loss));
    }
    if (result_.outcome == Outcome::finished) evaluate(true, options_.success_every > 0);
    if (evaluation_cut_) end_interrupted();
  } catch (...) {
    task_.module().zero_grad();
    // Keep the last whole step. If that fails too, the first problem is still the one to tell, and
    // the second where it is another one: a disk is full twice.
    const auto first_problem = message_of(std::current_exception());
    try {
      restore_buffers();
      save();
    } catch (const std::exception& problem) {
      if (problem.what() != first_problem)
        log(LogLevel::error, fmt::format("no checkpoint either: {}", problem.what()));
    }
    throw;
  }
  result_.seconds = earlier_seconds_ + seconds_since(start_);
  result_.step_ms =
      result_.step > first ? 1e3 * stepping_ / static_cast<double>(result_.step - first) : 0.0;
  save();
  task_.module().eval();
  result_.kept_validation_loss = result_.validation_loss;
  result_.kept_success = result_.success;
  if (result_.outcome == Outcome::finished) end_with_kept_weights();
  return result_;
}

}  // namespace foresight::train
