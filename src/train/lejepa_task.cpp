// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/lejepa_task.hpp"

#include "foresight/core/replica_part.hpp"
#include "foresight/losses/widened.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::train {
namespace {

using losses::TermRole;

constexpr std::uint64_t kProbeStream = 7;  // of the task's seed: the probe's first weights

}  // namespace

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
  for (const auto side : {options_.views.global_size, options_.views.local_size})
    require(side % patch == 0, ErrorCategory::invalid_argument,
            "LeJepaTask: views of " + std::to_string(side) + " pixels, expected a multiple of " +
                std::to_string(patch));
  all_->register_module("model", model_);
  if (const auto outputs = options_.probe.outputs(); outputs > 0) {
    probe_ =
        all_->register_module("probe", torch::nn::Linear(model_->options().encoder.width, outputs));
    PhiloxNoise noise(0, kProbeStream);
    nn::init_normal(probe_->weight, 0.01, noise);
    nn::init_constant(probe_->bias, 0.0);
    probe_->to(model_->parameters().front().device());
  }
}

losses::Terms LeJepaTask::batch_loss(const data::Batch& batch, Noise& noise) {
  require(batch.pixels.size(1) == 1, ErrorCategory::invalid_argument,
          "LeJepaTask: windows of " + std::to_string(batch.pixels.size(1)) +
              " frames, expected WindowOptions.frames = 1");
  Tensor truth;
  if (!probe_.is_empty())
    truth = probe_truth(batch.states.defined() ? batch.states.select(1, 0) : Tensor(),
                        options_.probe, "LeJepaTask");
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
  if (!probe_.is_empty()) add_probe(terms, pixels, truth);
  return terms;
}

void LeJepaTask::add_probe(losses::Terms& terms, const Tensor& pixels, const Tensor& truth) const {
  Tensor features;
  {
    c10::NoGradGuard no_grad;
    const auto view = centre_view(pixels, model_->options().image.size);
    features = model_->encode(model_->normalise(view));
    features = at::layer_norm(features, {features.size(1)});
  }
  const auto read = losses::widened(nn::through(probe_, features));
  const auto [loss, error] = probe_loss(read, truth, options_.probe);
  terms.add("probe", 1.0, loss, TermRole::probe);
  terms.add("probe_error", 0.0, error, TermRole::probe);
}

}  // namespace foresight::train
