// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/dynamics_task.hpp"

#include <c10/core/GradMode.h>

#include "foresight/core/replica_part.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

constexpr std::uint64_t kOrderStream = 5, kBootstrapStream = 6;

// Where the dynamics computes.
models::Transitions brought_to(at::Device device, models::Transitions data) {
  for (auto* tensor : {&data.states, &data.actions, &data.next})
    if (tensor->defined()) *tensor = tensor->to(device);
  return data;
}

}  // namespace

DynamicsTask::DynamicsTask(std::shared_ptr<models::MlpDynamics> dynamics,
                           models::Transitions training, models::Transitions validation,
                           int64_t batch, std::uint64_t seed)
    : dynamics_(std::move(dynamics)), batch_(batch), noise_(seed, kOrderStream) {
  require(dynamics_ != nullptr, ErrorCategory::invalid_argument, "DynamicsTask needs dynamics");
  require(batch >= 1, ErrorCategory::invalid_option,
          "DynamicsTask: batch = " + std::to_string(batch) + " must be >= 1");
  const auto device = dynamics_->parameters().front().device();
  training_ = brought_to(device, std::move(training));
  validation_ = brought_to(device, std::move(validation));
  samples_ = batch * dynamics_->count();
  dynamics_->fit_scales(training_);
  PhiloxNoise bootstrap(seed, kBootstrapStream);
  rows_ = models::bootstrap_rows(training_.size(), dynamics_->count(), bootstrap).to(device);
}

losses::Terms DynamicsTask::loss() {
  const auto picked = noise_.integers(training_.size(), {dynamics_->count(), batch_});
  require(batch_ % replica_count() == 0, ErrorCategory::invalid_option,
          "DynamicsTask: batch = " + std::to_string(batch_) + " must be a multiple of " +
              std::to_string(replica_count()) + ", the number of processes");
  const auto part = replica_part(batch_);
  samples_ = part.count * dynamics_->count();
  const auto own = picked.narrow(1, part.first, part.count).to(rows_.device());
  return dynamics_->loss(training_, rows_.gather(1, own));
}

losses::Terms DynamicsTask::validate() {
  if (validation_.size() == 0) return {};
  c10::NoGradGuard no_grad;
  losses::Terms terms;
  terms.add("mse", 1.0, dynamics_->error(validation_).mean());
  return terms;
}

std::string DynamicsTask::position() const {
  return write_position({{"noise", static_cast<int64_t>(noise_.position())}});
}

void DynamicsTask::seek(const std::string& position) {
  noise_.seek(static_cast<std::uint64_t>(read_position(position, {"noise"})[0]));
}

}  // namespace foresight::train
