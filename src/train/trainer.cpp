// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/trainer.hpp"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>
#include <torch/nn/module.h>

#include <chrono>
#include <cmath>
#include <mutex>

#include "autocast.hpp"
#include "foresight/core/log.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/train/checkpoint.hpp"
#include "foresight/train/interrupt.hpp"

namespace foresight::train {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::filesystem::path checkpoint_folder(const RunFolder& folder, const std::string& task) {
  return folder.path / "checkpoints" / task;
}

// State of torch's own generator, from which dropout draws.
Tensor random_state() {
  auto generator = at::detail::getDefaultCPUGenerator();
  std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

void set_random_state(const Tensor& state) {
  auto generator = at::detail::getDefaultCPUGenerator();
  std::lock_guard lock(generator.mutex());
  generator.set_state(state.clone());
}

at::DeviceType device_of(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  return parameters.empty() ? at::kCPU : parameters.front().device().type();
}

// Total and term values on the host, in the order of Terms::values().
std::vector<double> host_values(const losses::Terms& terms) {
  const auto values = terms.values().to(at::kCPU, at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

// "sigreg = nan": the first term that is not finite, or the total; empty if all is well.
std::string non_finite_term(const losses::Terms& terms, const std::vector<double>& values) {
  for (std::size_t i = 0; i < terms.terms().size(); ++i)
    if (!std::isfinite(values[i + 1]))
      return fmt::format("loss term '{}' = {}", terms.terms()[i].name, values[i + 1]);
  return std::isfinite(values[0]) ? std::string() : fmt::format("the total loss = {}", values[0]);
}

void add_scalars(Scalars& scalars, const std::string& prefix, const losses::Terms& terms,
                 const std::vector<double>& values) {
  scalars.emplace_back(prefix + "loss", values[0]);
  for (std::size_t i = 0; i < terms.terms().size(); ++i)
    scalars.emplace_back(prefix + terms.terms()[i].name, values[i + 1]);
}

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
        reducer_(hooks.reducer),
        optimizer_(task.module(), options.optimizer),
        device_(device_of(task.module())) {
    if (folder.resume) restore();
    remember();
  }

  TrainResult run(ProgressStyle style);

 private:
  void restore();
  void save();
  // What the next step depends on besides weights, kept from before it starts: a step that fails
  // may have drawn from both.
  void remember() {
    position_ = task_.position();
    random_ = random_state();
  }
  void validate();
  bool writes() const { return reducer_ == nullptr || reducer_->rank() == 0; }
  // Means of the loss values over all processes, and whether any was asked to stop.
  bool agree_to_stop(std::vector<double>& values);
  void log_step(const losses::Terms& terms, const std::vector<double>& values, double factor,
                const Tensor& norm);

  Task& task_;
  const TrainOptions& options_;
  std::filesystem::path folder_;
  int64_t first_step_;
  EventWriter& metrics_;
  GradientReducer* reducer_;
  AdamW optimizer_;
  at::DeviceType device_;
  TrainResult result_;
  Tensor random_;         // state of torch's generator then
  std::string position_;  // of the task after the last whole step
  double earlier_seconds_ = 0, best_ = std::numeric_limits<double>::quiet_NaN();
  int64_t saved_step_ = -1, validated_step_ = -1, logged_step_ = 0;
  Clock::time_point start_ = Clock::now(), logged_at_ = Clock::now();
};

void Run::restore() {
  const auto checkpoint = read_newest_checkpoint(folder_);
  if (!checkpoint) return;
  const auto source = checkpoint_path(folder_, checkpoint->step).string();
  nn::load_state_dict(task_.module(), checkpoint->section("model/"), source);
  optimizer_.load(checkpoint->section("optimizer/"), source);
  const auto extra = task_.extra_tensors();
  if (!extra.empty()) {
    c10::NoGradGuard no_grad;
    const auto saved = checkpoint->section("task/");
    require(saved.size() == extra.size(), ErrorCategory::bad_file,
            fmt::format("{}: holds {} tensors of task '{}', expected {}", source, saved.size(),
                        task_.name(), extra.size()));
    for (const auto& [name, target] : extra)
      for (const auto& [saved_name, value] : saved)
        if (name == saved_name) target.copy_(value);
  }
  for (const auto& [name, state] : checkpoint->section("random/")) set_random_state(state);
  task_.seek(checkpoint->position);
  result_.step = saved_step_ = logged_step_ = checkpoint->step;
  result_.seconds = earlier_seconds_ = checkpoint->seconds;
  best_ = checkpoint->best;
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
  add("task/", task_.extra_tensors());
  add("random/", {{"cpu", random_}});
  // Metrics first: a checkpoint never claims steps whose metrics were lost.
  metrics_.flush();
  write_checkpoint(folder_, checkpoint, options_.keep_checkpoints);
  saved_step_ = result_.step;
}

void Run::validate() {
  if (validated_step_ == result_.step) return;
  validated_step_ = result_.step;
  c10::NoGradGuard no_grad;
  task_.module().eval();
  const auto terms = task_.validate();
  task_.module().train();
  if (terms.empty()) return;
  const auto values = host_values(terms);
  result_.validation_loss = values[0];
  if (!(best_ <= values[0])) best_ = values[0];
  if (!writes()) return;
  Scalars scalars;
  add_scalars(scalars, task_.name() + "/validation/", terms, values);
  metrics_.write(first_step_ + result_.step, scalars);
}

void Run::log_step(const losses::Terms& terms, const std::vector<double>& values, double factor,
                   const Tensor& norm) {
  Scalars scalars;
  const auto prefix = task_.name() + "/";
  add_scalars(scalars, prefix + "train/", terms, values);
  scalars.emplace_back(prefix + "lr", options_.optimizer.lr * factor);
  scalars.emplace_back(prefix + "grad_norm", norm.item<double>());
  const auto elapsed = seconds_since(logged_at_);
  const auto steps = static_cast<double>(result_.step - logged_step_);
  scalars.emplace_back(prefix + "samples_per_second",
                       elapsed > 0 ? steps * static_cast<double>(task_.samples()) / elapsed : 0.0);
  metrics_.write(first_step_ + result_.step, scalars);
  logged_step_ = result_.step;
  logged_at_ = Clock::now();
}

bool Run::agree_to_stop(std::vector<double>& values) {
  const bool here = InterruptGuard::requested();
  if (reducer_ == nullptr) return here;
  values.push_back(here ? 1.0 : 0.0);
  reducer_->average(values);
  const bool anywhere = values.back() > 0;
  values.pop_back();
  return anywhere;
}

TrainResult Run::run(ProgressStyle style) {
  Progress progress(task_.name(), options_.steps, result_.step, style);
  task_.module().train();
  const auto due = [&](int64_t every) { return every > 0 && result_.step % every == 0; };
  double stepping = 0;
  const int64_t first = result_.step;
  result_.outcome = Outcome::finished;
  result_.message = "finished";
  try {
    bool stop = false;
    while (result_.step < options_.steps) {
      if (stop || (reducer_ == nullptr && InterruptGuard::requested())) {
        result_.outcome = Outcome::interrupted;
        result_.message = fmt::format("interrupted after step {}", result_.step);
        break;
      }
      const auto step_start = Clock::now();
      losses::Terms terms;
      {
        Autocast autocast(device_, options_.precision == Precision::bf16);
        terms = task_.loss();
      }
      auto values = host_values(terms);
      stop = agree_to_stop(values);
      if (const auto problem = non_finite_term(terms, values); !problem.empty()) {
        optimizer_.zero_grad();
        result_.outcome = Outcome::diverged;
        result_.message = fmt::format(
            "stopped at step {}: {}. The weights of step {} are kept; a lower learning "
            "rate or a smaller weight of that term may help",
            result_.step + 1, problem, result_.step);
        break;
      }
      terms.total().backward();
      if (reducer_ != nullptr) reducer_->reduce(optimizer_.parameters());
      const auto factor = learning_rate_factor(options_.schedule, result_.step, options_.steps);
      task_.clip_gradients();
      const auto norm = optimizer_.step(factor);
      task_.updated();
      remember();
      ++result_.step;
      result_.loss = values[0];
      stepping += seconds_since(step_start);
      result_.seconds = earlier_seconds_ + seconds_since(start_);
      const bool logs = due(options_.log_every) || result_.step == options_.steps;
      if (writes() && (logs || result_.step == 1)) log_step(terms, values, factor, norm);
      if (due(options_.validate_every)) validate();
      if (due(options_.checkpoint_every)) save();
      progress.update(result_.step, task_.samples(), fmt::format("loss {:.4g}", result_.loss));
    }
  } catch (...) {
    // Keep the last whole step. If that fails too, the first problem is still the one to tell.
    try {
      save();
    } catch (const std::exception& problem) {
      log(LogLevel::error, fmt::format("no checkpoint either: {}", problem.what()));
    }
    throw;
  }
  if (result_.outcome == Outcome::finished) validate();
  result_.seconds = earlier_seconds_ + seconds_since(start_);
  result_.step_ms =
      result_.step > first ? 1e3 * stepping / static_cast<double>(result_.step - first) : 0.0;
  save();
  task_.module().eval();
  return result_;
}

}  // namespace

std::vector<std::string> TrainOptions::validate() const {
  const auto number = [](int64_t v) { return static_cast<double>(v); };
  return Rules("TrainOptions")
      .check(steps >= 0, "steps", number(steps), "must be >= 0")
      .check(log_every >= 1, "log_every", number(log_every), "must be >= 1")
      .check(validate_every >= 0, "validate_every", number(validate_every), "must be >= 0")
      .check(checkpoint_every >= 0, "checkpoint_every", number(checkpoint_every), "must be >= 0")
      .check(keep_checkpoints >= 1, "keep_checkpoints", number(keep_checkpoints), "must be >= 1")
      .nested("optimizer", optimizer.validate())
      .nested("schedule", schedule.validate())
      .problems();
}

TrainResult train(Task& task, const TrainOptions& options, const RunFolder& folder,
                  EventWriter& metrics, ProgressStyle progress, const TrainHooks& hooks) {
  require_valid(options);
  return Run(task, options, folder, metrics, hooks).run(progress);
}

int64_t resume_step(const RunFolder& folder, const std::string& task) {
  if (!folder.resume) return 0;
  const auto checkpoint = read_newest_checkpoint(checkpoint_folder(folder, task));
  return checkpoint ? checkpoint->step : 0;
}

}  // namespace foresight::train
