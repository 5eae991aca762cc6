// SPDX-License-Identifier: Apache-2.0
// What a run is made of: from a checkpoint, from rank 0, into a checkpoint.
#include <fmt/format.h>

#include "../io/temporary.hpp"
#include "agreement.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/nn/state_dict.hpp"
#include "training_run.hpp"

namespace foresight::train {
namespace {

at::Device device_of(const torch::nn::Module& module) {
  const auto parameters = module.parameters();
  return parameters.empty() ? at::Device(at::kCPU) : parameters.front().device();
}

}  // namespace

std::filesystem::path checkpoint_folder(const RunFolder& folder, const std::string& task) {
  return folder.path / "checkpoints" / task;
}

TrainingRun::TrainingRun(Task& task, const TrainOptions& options, const RunFolder& folder,
                         EventWriter& metrics, const TrainHooks& hooks)
    : task_(task),
      options_(options),
      folder_(checkpoint_folder(folder, task.name())),
      first_step_(folder.first_step),
      metrics_(metrics),
      hooks_(hooks),
      frozen_(task.module(), options.freeze),
      optimizer_(task.module(), options.optimizer, task.clipping_groups()),
      best_weights_(folder_),
      device_(device_of(task.module())) {
  if (options.average > 0) average_.emplace(task.module(), options.average);
  // Whatever this process drew before; a checkpoint brings a state of its own.
  if (task.seed()) seed_generator(at::kCPU, {*task.seed(), task.name()});
  // Of a process that was killed while it wrote one.
  if (folder.resume && writes()) io::remove_abandoned_in(folder_);
  if (folder.resume) restore(folder.path / "metrics.jsonl");
  if (folder.resume && writes()) drop_unknown_rows();
  task_.module().zero_grad();  // what an earlier run, or the caller, left
  join();
  remember();
}

void TrainingRun::restore(const std::filesystem::path& metrics) {
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
  result_.loss = checkpoint->loss;
  result_.validation_loss = checkpoint->validation.value;
  result_.success = checkpoint->success.value;
  validated_step_ = checkpoint->validation.step;
  measured_step_ = checkpoint->success.step;
  if (result_.step > 0 && std::isnan(result_.loss)) recall(metrics);
  best_ = checkpoint->best;
  kept_validation_ = checkpoint->kept_validation;
  kept_success_ = checkpoint->kept_success;
  if (options_.keep == Keep::last || std::isnan(best_)) return;
  const auto lost = best_weights_.exists()
                        ? best_weights_.damage()
                        : folder_.string() + ": the weights of the best validation are gone";
  if (!lost.empty()) {
    log(LogLevel::warning, lost + "; the best of the validations to come is kept");
    validated_step_ = measured_step_ = -1;  // this step's may be it
    best_ = std::numeric_limits<double>::quiet_NaN();
    kept_validation_ = kept_success_ = {};
  }
}

// Checkpoints of format 1 do not tell what was measured after their last step. The run's metrics
// do, which were on the disk before.
void TrainingRun::recall(const std::filesystem::path& metrics) {
  if (!std::filesystem::exists(metrics)) return;
  for (const auto& row : read_metrics(metrics)) {
    if (row.step != first_step_ + result_.step) continue;
    for (const auto& [name, value] : row.scalars) {
      if (name == task_.name() + "/train/loss") result_.loss = value;
      if (name == task_.name() + "/validation/loss") {
        result_.validation_loss = value;
        validated_step_ = result_.step;
      }
      if (name == task_.name() + "/validation/success") {
        result_.success = value;
        measured_step_ = result_.step;
      }
    }
  }
}

// A process that is killed between a row of its last step and the checkpoint after it leaves both.
void TrainingRun::drop_unknown_rows() {
  std::vector<std::string> unknown;
  const auto prefix = task_.name() + "/validation/";
  if (validated_step_ != result_.step) unknown.push_back(prefix + "loss");
  if (measured_step_ != result_.step) unknown.push_back(prefix + "success");
  metrics_.drop(first_step_ + result_.step, unknown);
}

void TrainingRun::restore_task(const Checkpoint& checkpoint, const std::string& source) {
  const auto extra = task_.extra_tensors();
  if (extra.empty()) return;
  c10::NoGradGuard no_grad;
  io::load_into(extra, checkpoint.section("task/"), source);
}

void TrainingRun::join() {
  if (hooks_.reducer == nullptr) return;
  require_agreement(write_options(options_), hooks_.reducer->replicas().get());
  std::vector<Tensor> state;
  const auto add = [&](const io::NamedTensors& tensors) {
    for (const auto& [name, tensor] : tensors) state.push_back(tensor.detach());
  };
  add(nn::state_dict(task_.module()));
  add(optimizer_.state());
  if (average_) add(average_->state());
  add(task_.extra_tensors());
  hooks_.reducer->synchronise(result_.step, state);
}

void TrainingRun::remember() {
  position_ = task_.position();
  random_ = random_state();
  buffers_.clear();
  for (const auto& buffer : task_.module().buffers())
    if (buffer.defined()) buffers_.emplace_back(buffer, buffer.detach().clone());
}

void TrainingRun::restore_buffers() {
  c10::NoGradGuard no_grad;
  for (auto& [buffer, value] : buffers_) buffer.copy_(value);
}

// Before the first step there is nothing to go on from that a new start would not make.
void TrainingRun::save() {
  if (saved_step_ == result_.step || result_.step == 0 || !writes()) return;
  Checkpoint checkpoint;
  checkpoint.step = result_.step;
  checkpoint.seconds = result_.seconds;
  checkpoint.best = best_;
  checkpoint.loss = result_.loss;
  checkpoint.validation = {validated_step_, result_.validation_loss};
  checkpoint.success = {measured_step_, result_.success};
  checkpoint.kept_validation = kept_validation_;
  checkpoint.kept_success = kept_success_;
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

}  // namespace foresight::train
