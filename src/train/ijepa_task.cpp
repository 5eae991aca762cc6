// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/ijepa_task.hpp"

#include <algorithm>

#include "foresight/core/replica_part.hpp"
#include "foresight/nn/ema.hpp"
#include "foresight/nn/state_dict.hpp"
#include "learned_pictures.hpp"
#include "moved_together.hpp"
#include "online_probe.hpp"
#include "target_encoder.hpp"

namespace foresight::train {
namespace {

// Tokens [B,n,D] after the target encoder's last norm.
Tensor target_tokens(const nn::VideoVit& target, const Tensor& images) {
  at::NoGradGuard no_grad;
  return target.forward(images);
}

std::shared_ptr<models::VJepa2> picture_model(std::shared_ptr<models::VJepa2> model) {
  require(model != nullptr, ErrorCategory::invalid_argument, "IJepaTask needs a model");
  require(model->options().encoder.is_picture(), ErrorCategory::invalid_argument,
          "IJepaTask: VideoVitOptions.frames = " + std::to_string(model->options().encoder.frames) +
              ", expected 1: it learns from pictures");
  return model;
}

}  // namespace

std::vector<std::string> IJepaOptions::validate() const {
  return Rules("IJepaOptions")
      .nested("masks", masks.validate())
      .within("momentum", momentum, 0, 1)
      .within("final_momentum", final_momentum, 0, 1)
      .at_least("momentum_steps", static_cast<double>(momentum_steps), 0)
      .nested("probe", probe.validate())
      .problems();
}

IJepaTask::IJepaTask(std::shared_ptr<models::VJepa2> model, TaskData data,
                     const IJepaOptions& options)
    : LoaderTask("ijepa", std::move(data)),
      model_(picture_model(std::move(model))),
      target_(target_encoder(*model_)),
      options_((require_valid(options), options)),
      masks_(options.masks, model_->options().encoder.grid()),
      probe_(online_probe(model_->options().encoder.width, options_.probe)),
      all_(model_) {
  if (probe_.is_empty()) return;
  all_ = std::make_shared<torch::nn::Module>();
  all_->register_module("model", model_);
  all_->register_module("probe", probe_);
  probe_->to(model_->parameters().front().device());
}

double IJepaTask::momentum() const {
  if (options_.momentum_steps == 0) return options_.momentum;
  const auto progress =
      std::min(1.0, static_cast<double>(updates()) / static_cast<double>(options_.momentum_steps));
  return options_.momentum + (options_.final_momentum - options_.momentum) * progress;
}

losses::Terms IJepaTask::loss_of_blocks(const Tensor& images,
                                        const models::ImageBlocks& blocks) const {
  return block_loss(images, target_tokens(*target_, images), blocks);
}

losses::Terms IJepaTask::block_loss(const Tensor& images, const Tensor& tokens,
                                    const models::ImageBlocks& blocks) const {
  const auto ids = moved_together({blocks.context, blocks.targets}, images.device());
  const auto &context_ids = ids[0], &target_ids = ids[1];
  const auto targets = nn::gather_tokens(nn::normalise_tokens(tokens), target_ids);
  // All target blocks of a picture are predicted from the same context, each on its own.
  const auto per_picture = target_ids.size(0) / images.size(0);
  const auto context = model_->encode_context(images, context_ids);
  const auto predicted = model_->predict_targets(context.repeat({per_picture, 1, 1}),
                                                 context_ids.repeat({per_picture, 1}), target_ids);
  losses::Terms terms;
  terms.add("masked_prediction", 1.0, losses::prediction(predicted, targets, options_.distance));
  return terms;
}

losses::Terms IJepaTask::batch_loss(const data::Batch& batch, Noise& noise) {
  require(batch.pixels.size(1) == 1, ErrorCategory::invalid_argument,
          "IJepaTask: windows of " + std::to_string(batch.pixels.size(1)) +
              " frames, expected WindowOptions.frames = 1");
  const auto truth = online_truth(probe_, batch.states, options_.probe, "IJepaTask");
  const auto device = model_->parameters().front().device();
  // Contexts of all processes' pictures are cut to one length, so blocks are drawn for all of them.
  const auto pictures = batch.pixels.size(0), all = pictures * replica_count();
  auto blocks = masks_.sample(all, noise);
  const auto own = [&](const Tensor& rows) {  // [M * all, n] -> [M * pictures, n]
    return rows.view({-1, all, rows.size(1)})
        .narrow(1, pictures * replica_rank(), pictures)
        .flatten(0, 1);
  };
  blocks = {own(blocks.context), own(blocks.targets)};
  const auto images = learned_pictures(*model_, batch.pixels.to(device), augmentation());
  const auto tokens = target_tokens(*target_, images);
  auto terms = block_loss(images, tokens, blocks);
  if (!probe_.is_empty()) add_online_probe(terms, probe_, tokens.mean(1), truth, options_.probe);
  return terms;
}

void IJepaTask::updated() {
  nn::ema_update(*target_, model_->encoder(), momentum());
  LoaderTask::updated();
}

io::NamedTensors IJepaTask::extra_tensors() { return nn::state_dict(*target_); }

}  // namespace foresight::train
