// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/lejepa_task.hpp"

#include "foresight/core/replica_part.hpp"
#include "online_probe.hpp"

namespace foresight::train {

std::vector<std::string> LeJepaTaskOptions::validate() const {
  return Rules("LeJepaTaskOptions")
      .nested("views", views.validate())
      .nested("probe", probe.validate())
      .problems();
}

LeJepaTask::LeJepaTask(std::shared_ptr<models::LeJepa> model, TaskData data,
                       const LeJepaTaskOptions& options)
    : LoaderTask("lejepa", std::move(data)),
      model_(std::move(model)),
      options_((require_valid(options), options)),
      all_(std::make_shared<torch::nn::Module>()) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "LeJepaTask needs a model");
  const auto patch = model_->options().encoder.patch;
  std::vector<int64_t> sides{options_.views.global_size};
  if (options_.views.local_views > 0) sides.push_back(options_.views.local_size);
  for (const auto side : sides)
    require(side % patch == 0, ErrorCategory::invalid_argument,
            "LeJepaTask: views of " + std::to_string(side) + " pixels, expected a multiple of " +
                std::to_string(patch));
  all_->register_module("model", model_);
  probe_ = online_probe(model_->options().encoder.width, options_.probe);
  if (probe_.is_empty()) return;
  all_->register_module("probe", probe_);
  probe_->to(model_->parameters().front().device());
}

losses::Terms LeJepaTask::batch_loss(const data::Batch& batch, Noise& noise) {
  require(batch.pixels.size(1) == 1, ErrorCategory::invalid_argument,
          "LeJepaTask: windows of " + std::to_string(batch.pixels.size(1)) +
              " frames, expected WindowOptions.frames = 1");
  const auto truth = online_truth(probe_, batch.states, options_.probe, "LeJepaTask");
  const auto device = model_->parameters().front().device();
  const auto pixels = batch.pixels.squeeze(1).to(device);
  const auto count = pixels.size(0);
  // Views of one size go through the encoder together.
  SampleNoise own(noise);
  const auto views = image_views(pixels, options_.views, own);
  const auto features = [&](std::size_t first, std::size_t past) {
    const std::vector<Tensor> part(views.begin() + static_cast<std::ptrdiff_t>(first),
                                   views.begin() + static_cast<std::ptrdiff_t>(past));
    return model_->encode(model_->normalise(at::cat(part)));
  };
  const auto large = static_cast<std::size_t>(options_.views.global_views);
  auto encoded = features(0, large);
  if (views.size() > large) encoded = at::cat({encoded, features(large, views.size())});
  const auto projected = model_->project(encoded, nn::mode_of(*model_));
  auto terms =
      model_->loss_of_projections(projected.view({static_cast<int64_t>(views.size()), count, -1}),
                                  options_.views.global_views, noise);
  if (!probe_.is_empty())
    add_online_probe(terms, probe_, probe_features(pixels), truth, options_.probe);
  return terms;
}

Tensor LeJepaTask::probe_features(const Tensor& pixels) const {
  c10::NoGradGuard no_grad;
  return model_->encode(model_->normalise(centre_view(pixels, model_->options().image.size)));
}

}  // namespace foresight::train
