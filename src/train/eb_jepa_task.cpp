// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/eb_jepa_task.hpp"

#include <algorithm>

#include "foresight/core/replica_part.hpp"
#include "mean_terms.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

// Keeps held-out trajectories apart from those of any training seed that a user would choose.
constexpr std::uint64_t kEbHeldOutSeed = 0x9e3779b97f4a7c15;

std::shared_ptr<models::EbJepa> given_model(std::shared_ptr<models::EbJepa> model) {
  require(model != nullptr, ErrorCategory::invalid_argument, "EbJepaTask needs a model");
  return model;
}

}  // namespace

std::vector<std::string> EbJepaTaskOptions::validate() const {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  return Rules("EbJepaTaskOptions")
      .at_least("batch", number(batch), 1)
      .check(std::isfinite(clip) && clip >= 0, "clip", clip, "must be >= 0")
      .at_least("validation_clips", number(validation_clips), 0)
      .at_least("seed", number(seed), 0)
      .at_least("probe_hidden", number(probe_hidden), 0)
      .problems();
}

EbJepaTask::EbJepaTask(std::shared_ptr<models::EbJepa> model,
                       envs::EbTrajectoryOptions trajectories, const EbJepaTaskOptions& options)
    : model_(given_model(std::move(model))),
      options_(options),
      all_(model_),
      training_(trajectories, static_cast<std::uint64_t>(options.seed)),
      held_out_(trajectories, static_cast<std::uint64_t>(options.seed) ^ kEbHeldOutSeed),
      samples_(options.batch) {
  require_valid(options);
  const auto& expected = model_->options();
  require(trajectories.geometry.image_size == expected.image_size, ErrorCategory::invalid_option,
          "EbTwoRoomsGeometry.image_size = " + std::to_string(trajectories.geometry.image_size) +
              " must be EbJepaOptions.image_size = " + std::to_string(expected.image_size));
  require(
      trajectories.window > expected.predicted_steps, ErrorCategory::invalid_option,
      "EbTrajectoryOptions.window = " + std::to_string(trajectories.window) +
          " must be > EbJepaOptions.predicted_steps = " + std::to_string(expected.predicted_steps));
  if (options_.probe_hidden == 0) return;
  probe_ = std::make_shared<models::PositionProbe>(
      models::PositionProbeOptions{.latent = expected.latent(), .hidden = options_.probe_hidden},
      static_cast<std::uint64_t>(options_.seed));
  probe_->to(model_->parameters().front().device());
  all_ = std::make_shared<torch::nn::Module>();
  all_->register_module("model", model_);
  all_->register_module("probe", probe_);
}

losses::Terms EbJepaTask::batch_loss(const envs::EbBatch& batch) const {
  const auto device = model_->parameters().front().device();
  const int64_t pairs = batch.actions.size(1) - 1;  // the last action leads out of the window
  const auto latents = model_->encode_images(model_->preprocess(batch.pixels.to(device)));
  auto terms = model_->loss_of_latents(
      latents, model_->options().action.normalise(batch.actions.narrow(1, 0, pairs)).to(device));
  if (probe_ == nullptr) return terms;
  const auto places = envs::eb_normalise_positions(batch.positions.select(1, 0)).to(device);
  const auto error = probe_->squared_units(probe_->loss(latents.select(1, 0), places));
  terms.add("probe", 1.0, error, losses::TermRole::probe);
  terms.add("probe_error", 0.0, error.detach().sqrt(), losses::TermRole::probe);
  return terms;
}

losses::Terms EbJepaTask::loss() {
  require(options_.batch % replica_count() == 0, ErrorCategory::invalid_option,
          "EbJepaTaskOptions.batch = " + std::to_string(options_.batch) +
              " must be a multiple of " + std::to_string(replica_count()) +
              ", the number of processes");
  const auto part = replica_part(options_.batch);
  auto terms = batch_loss(training_.batch(next_ + part.first, part.count));
  samples_ = part.count;
  next_ += options_.batch;
  return terms;
}

std::vector<ClippingGroup> EbJepaTask::clipping_groups() const {
  std::vector<ClippingGroup> groups;
  for (auto& parameters : model_->clipping_groups())
    groups.push_back({std::move(parameters), options_.clip});
  return groups;
}

losses::Terms EbJepaTask::held_out_loss(const Replicas* processes) const {
  const auto clips = options_.validation_clips;
  const auto batches = (clips + options_.batch - 1) / options_.batch;
  if (batches == 0) return {};
  const auto part = processes != nullptr ? part_of(batches, processes->rank(), processes->count())
                                         : ReplicaPart{0, batches};
  MeanTerms mean;
  const auto loss_of = [&](int64_t first, int64_t count) {
    return batch_loss(held_out_.batch(first, count));
  };
  const auto past = part.first + part.count;
  bool cut = processes == nullptr && StoppableValidation::is_asked(false);
  for (int64_t i = part.first; i < past && !cut; ++i) {
    const auto first = i * options_.batch, count = std::min(options_.batch, clips - first);
    mean.add(loss_of(first, count), count);
    cut = i + 1 < past && StoppableValidation::is_asked(processes != nullptr);
  }
  if (part.count == 0) mean.add(loss_of(0, 1), 0);  // tells the names of the terms
  if (processes != nullptr) cut = mean.exchange(*processes, cut);
  if (!cut) return mean.terms();
  StoppableValidation::tell_cut();
  return {};
}

std::string EbJepaTask::position() const { return write_position({{"trajectory", next_}}); }

void EbJepaTask::seek(const std::string& position) {
  next_ = read_position(position, {"trajectory"})[0];
}

TrainOptions eb_jepa_training(int64_t steps) {
  return {.steps = steps,
          .optimizer = {.lr = 1e-3, .weight_decay = 1e-5, .decay = Decay::all, .clip = 0},
          .schedule = {.kind = ScheduleKind::cosine,
                       .warmup = steps / 10,
                       .warmup_start = 1e-8,
                       .final_factor = 1e-2}};
}

}  // namespace foresight::train
