// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa.hpp"

#include "constant_row.hpp"
#include "copies.hpp"
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/widened.hpp"
#include "preconditions.hpp"
#include "state_names.hpp"

namespace foresight::models {
namespace {

constexpr double kScaleGuard = 1e-6;  // upstream's, beside a picture's range and a deviation

ModelSpec eb_jepa_spec(const EbJepaOptions& options) {
  ModelSpec spec;
  spec.family = "eb_jepa";
  spec.observation = {{std::string(kPixels),
                       {options.channels(), options.image_size, options.image_size},
                       at::kByte}};
  spec.action = options.action;
  spec.channels = options.latent();
  spec.imagined = {kLatent};
  return spec;
}

// [C] -> [C,1,1] to broadcast over a picture.
Tensor eb_jepa_planes(const std::vector<double>& values, const at::TensorOptions& to) {
  return constant_row(values, to).view({-1, 1, 1});
}

}  // namespace

EbJepa::EbJepa(const EbJepaOptions& options, std::optional<std::uint64_t> seed)
    : options_(options), spec_(eb_jepa_spec(options)) {
  require_valid(options);
  const auto latent = options.latent(), width = options.action.width();
  encoder_ = register_module(
      "encoder",
      std::make_shared<nn::ImpalaEncoder>(options.encoder, options.image_size, options.channels()));
  predictor_ = register_module(
      "predictor", std::make_shared<nn::GruPredictor>(nn::PredictorSizes{1, latent, width, latent},
                                                      encoder_->final_norm()));
  std::vector<int64_t> projector{latent};
  projector.insert(projector.end(), options.projector.begin(), options.projector.end());
  if (projector.size() > 1)
    projector_ =
        nn::place(*this, "regularizer.projector", std::make_shared<nn::Projector>(projector));
  if (const auto hidden = options.inverse_dynamics_hidden; hidden > 0) {
    const bool projected = options.regulariser.inverse_dynamics_view != losses::LatentView::direct;
    const nn::MlpOptions mlp{.hidden = {hidden, hidden}, .activation = nn::Activation::relu};
    inverse_dynamics_ =
        nn::place(*this, "regularizer.idm_loss_fn.idm",
                  std::make_shared<nn::Mlp>(2 * (projected ? projector.back() : latent), mlp, width,
                                            "model"));
  }
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
  if (inverse_dynamics_) inverse_dynamics_->initialise(noise);
  if (projector_) projector_->initialise(noise);
}

at::TensorOptions EbJepa::tensor_options() const {
  return encoder_->parameters().front().options().requires_grad(false);
}

Tensor EbJepa::preprocess(const Tensor& pixels) const {
  require(pixels.defined() && pixels.dim() >= 3 && pixels.scalar_type() == at::kByte &&
              pixels.size(-3) == options_.channels(),
          ErrorCategory::invalid_argument,
          "pixels have shape " +
              (pixels.defined()
                   ? shape_string(pixels.sizes()) + " of " + c10::toString(pixels.scalar_type())
                   : std::string("undefined")) +
              ", expected bytes [..., " + std::to_string(options_.channels()) + ", S, S]");
  const auto to = tensor_options();
  // Statistics of a picture in half precision would not tell neighbouring bytes apart.
  const auto wide = to.dtype() == at::kDouble ? to : to.dtype(at::kFloat);
  const auto x = pixels.to(wide.device()).to(wide);  // bytes travel, not floats
  const auto shifted = x - x.amin({-2, -1}, /*keepdim=*/true);
  const auto scaled = shifted / (shifted.amax({-2, -1}, /*keepdim=*/true) + kScaleGuard);
  const auto std = eb_jepa_planes(options_.image_std, wide) + kScaleGuard;
  return ((scaled - eb_jepa_planes(options_.image_mean, wide)) / std).to(to);
}

Tensor EbJepa::encode_images(const Tensor& images) const {
  require(images.defined() && images.dim() >= 4, ErrorCategory::invalid_argument,
          "images have shape " +
              (images.defined() ? shape_string(images.sizes()) : std::string("undefined")) +
              ", expected [...,C,S,S]");
  auto shape = images.sizes().slice(0, images.sizes().size() - 3).vec();
  shape.push_back(options_.latent());
  return encoder_->encode(images.flatten(0, -4), nn::mode_of(*this)).reshape(shape);
}

Tensor EbJepa::encode(const Observation& observation, Noise&) const {
  spec_.check(observation);
  return encode_images(preprocess(observation.at(kPixels))).unsqueeze(1);
}

State EbJepa::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  return State().set(kLatent, at::zeros({batch, 1, options_.latent()}, tensor_options()));
}

State EbJepa::observe(const State& previous, const Tensor& last_action,
                      const Observation& observation, Noise& noise) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  spec_.check(observation, batch[0]);
  // The latent forgets the action that led to it; a wrong one is still an error.
  if (last_action.defined()) checked_actions(last_action, batch, previous.at(kLatent));
  return observe_latent(encode(observation, noise));
}

State EbJepa::observe_images(const Tensor& images) const {
  return observe_latent(encode_images(images).unsqueeze(1));
}

State EbJepa::observe_latent(const Tensor& latent) const {
  check_shape("latent", latent, {kAny, 1, options_.latent()}, "[B,1,D]");
  return State().set(kLatent, latent).set_filled(1);
}

Tensor EbJepa::checked_actions(const Tensor& actions, at::IntArrayRef batch,
                               const Tensor& latent) const {
  return models::checked_actions(actions, batch, options_.action.width(), latent.options());
}

Transition EbJepa::step(const State& state, const Tensor& action, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "step");
  const auto& latent = state.at(kLatent);
  const auto block = checked_actions(action, batch, latent);
  const auto next = predict(latent.reshape({-1, 1, options_.latent()}),
                            block.reshape({-1, 1, options_.action.width()}));
  State after(state.batch_dims());
  after.set(kLatent, next.reshape(latent.sizes())).set_filled(1);
  return {std::move(after), {}, {}};
}

Trajectory EbJepa::rollout(const State& state, const Tensor& actions, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "rollout");
  check_rollout(state, actions, options_.action.width());
  const auto& latent = state.at(kLatent);
  const auto future = checked_actions(actions, actions.sizes().slice(0, 3), latent);
  const auto past = future.new_zeros({batch[0], 0, future.size(3)});
  const auto imagined =
      predictor_->rollout(latent, past, future, [](const Tensor& z) { return z; });
  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3);
  trajectory.states.set(kLatent, imagined.unsqueeze(3)).set_filled(1);
  return trajectory;
}

Tensor EbJepa::predict(const Tensor& latents, const Tensor& blocks) const {
  return predictor_->forward(latents, blocks, nn::Mode::infer);
}

Tensor EbJepa::unroll(const Tensor& latent, const Tensor& blocks) const {
  check_shape("latent", latent, {kAny, options_.latent()}, "[N,D]");
  check_shape("blocks", blocks, {latent.size(0), kAny, options_.action.width()}, "[N,H,A]");
  const auto past = blocks.new_zeros({latent.size(0), 0, blocks.size(2)});
  return predictor_
      ->rollout(latent.unsqueeze(1), past, blocks.unsqueeze(1), [](const Tensor& z) { return z; })
      .squeeze(1);
}

Tensor EbJepa::infer_actions(const Tensor& latents) const {
  require(inverse_dynamics_ != nullptr, ErrorCategory::unsupported,
          "this model has no inverse-dynamics head (EbJepaOptions.inverse_dynamics_hidden = 0)");
  const bool projected =
      projector_ && options_.regulariser.inverse_dynamics_view != losses::LatentView::direct;
  const auto seen = projected ? projector_->forward(latents, nn::Mode::infer) : latents;
  return inverse_dynamics_->forward(
      losses::inverse_dynamics_input(seen, losses::PairOrder::current_first));
}

losses::Terms EbJepa::loss(const Tensor& pixels, const Tensor& blocks) const {
  check_shape("pixels", pixels,
              {kAny, kAny, options_.channels(), options_.image_size, options_.image_size},
              "[B,T,C,S,S]");
  return loss_of_images(preprocess(pixels), blocks);
}

losses::Terms EbJepa::loss_of_images(const Tensor& images, const Tensor& blocks) const {
  check_shape("images", images,
              {kAny, kAny, options_.channels(), options_.image_size, options_.image_size},
              "[B,T,C,S,S]");
  return loss_of_latents(encode_images(images), blocks);
}

losses::Terms EbJepa::loss_of_latents(const Tensor& latents, const Tensor& blocks) const {
  check_shape("latents", latents, {kAny, kAny, options_.latent()}, "[B,T,D]");
  const auto steps = options_.predicted_steps;
  require(
      latents.size(1) > steps, ErrorCategory::invalid_argument,
      "clips of T = " + std::to_string(latents.size(1)) +
          " frames, expected more than EbJepaOptions.predicted_steps = " + std::to_string(steps));
  const auto given = checked_actions(blocks, {latents.size(0), latents.size(1) - 1}, latents);
  const auto targets = blocks.to(losses::widened_type(latents));
  losses::Terms terms;
  terms.add("prediction", options_.prediction,
            losses::prediction(unroll(latents.select(1, 0), given.narrow(1, 0, steps)),
                               latents.narrow(1, 1, steps)));
  losses::RegulariserHeads heads;
  if (projector_)
    heads.projector = [this](const Tensor& z) {
      return projector_->forward(z, nn::mode_of(*this));
    };
  if (inverse_dynamics_)
    heads.inverse_dynamics = [this](const Tensor& pairs) {
      return inverse_dynamics_->forward(pairs);
    };
  const auto regulariser =
      losses::latent_regulariser(latents.unsqueeze(2), targets, options_.regulariser, heads);
  for (const auto& term : regulariser.terms()) terms.add(term.name, term.weight, term.value);
  return terms;
}

std::vector<std::vector<Tensor>> EbJepa::clipping_groups() const {
  auto predictor = predictor_->parameters();
  if (const auto& norm = encoder_->final_norm())
    predictor.insert(predictor.end(), {norm->weight, norm->bias});
  return {encoder_->parameters(), std::move(predictor)};
}

std::shared_ptr<EbJepa> EbJepa::copy() const { return copy_of(*this, tensor_options()); }

std::shared_ptr<torch::nn::Module> EbJepa::clone(const std::optional<torch::Device>& device) const {
  return clone_of(*this, device);
}

}  // namespace foresight::models
