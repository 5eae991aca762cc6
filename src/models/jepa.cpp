// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa.hpp"

#include <algorithm>

#include "copies.hpp"
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/nn/residual_predictor.hpp"
#include "history.hpp"
#include "jepa_sizes.hpp"
#include "preconditions.hpp"
#include "state_names.hpp"

namespace foresight::models {
namespace {

constexpr const char* kPastLatents = "past_latents";
constexpr const char* kPastBlocks = "past_blocks";

std::shared_ptr<nn::ImageEncoder> make_encoder(const JepaOptions& options) {
  if (options.encoder == EncoderKind::cnn)
    return std::make_shared<nn::Cnn>(options.cnn, options.image.size);
  return std::make_shared<nn::Vit>(options.vit, options.image.size);
}

std::shared_ptr<nn::LatentPredictor> make_predictor(const JepaOptions& options) {
  const auto sizes = predictor_sizes(options);
  if (options.predictor == PredictorKind::mlp)
    return std::make_shared<nn::ResidualPredictor>(options.mlp, sizes);
  return std::make_shared<nn::AdaLnPredictor>(options.adaln, sizes);
}

ModelSpec make_spec(const JepaOptions& options) {
  ModelSpec spec;
  spec.family = "jepa";
  spec.observation = {{std::string(kPixels), {kAny, kAny, 3}, at::kByte}};
  spec.action = options.action;
  spec.history = options.history;
  spec.tokens = 1;
  spec.channels = options.latent;
  spec.imagined = {kLatent};
  return spec;
}

}  // namespace

Jepa::Jepa(const JepaOptions& options, std::optional<std::uint64_t> seed)
    : options_(options), spec_(make_spec(options)) {
  require_valid(options);
  encoder_ = register_module("encoder", make_encoder(options));
  predictor_ = register_module("predictor", make_predictor(options));
  if (options.action_encoder.width > 0)
    action_encoder_ = register_module(
        "action_encoder",
        std::make_shared<nn::ActionEncoder>(options.action.width(), options.action_encoder));
  if (options.projector.hidden > 0)
    projector_ = register_module(
        "projector",
        std::make_shared<nn::Projection>(encoder_->width(), options.projector, options.latent));
  if (options.pred_proj.hidden > 0)
    pred_proj_ = register_module(
        "pred_proj", std::make_shared<nn::Projection>(predictor_sizes(options).output,
                                                      options.pred_proj, options.latent));
  if (options.inverse_dynamics_hidden > 0)
    inverse_dynamics_ = register_module(
        "idm", std::make_shared<nn::Projection>(
                   2 * options.latent,
                   nn::ProjectionOptions{options.inverse_dynamics_hidden, nn::NormKind::layer},
                   options.action.width()));
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
  if (action_encoder_) action_encoder_->initialise(noise);
  for (const auto& projection : {projector_, pred_proj_, inverse_dynamics_})
    if (projection) projection->initialise(noise);
}

at::TensorOptions Jepa::tensor_options() const {
  return encoder_->parameters().front().options().requires_grad(false);
}

State Jepa::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  const auto zeros = [&](int64_t rows, int64_t width) {
    return at::zeros({batch, rows, width}, tensor_options());
  };
  State state;
  state.set(kLatent, zeros(1, options_.latent));
  if (options_.history > 1) {
    state.set(kPastLatents, zeros(options_.history - 1, options_.latent));
    state.set(kPastBlocks, zeros(options_.history - 1, options_.action.width()));
  }
  return state;
}

State Jepa::observe(const State& previous, const Tensor& last_action,
                    const Observation& observation, Noise&) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  spec_.check(observation, batch[0]);
  return observe_latent(previous, last_action, encode_pixels(observation.at(kPixels)));
}

State Jepa::observe_latent(const State& previous, const Tensor& last_action,
                           const Tensor& latent) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  check_shape("latent", latent, {batch[0], 1, options_.latent}, "[B,1,D]");
  State state;
  state.set(kLatent, latent);
  const bool first = previous.filled() == 0;
  Tensor block;
  if (!first || last_action.defined()) block = checked_actions(last_action, batch, latent);
  if (options_.history > 1) {
    const auto& latents = previous.at(kPastLatents);
    const auto& blocks = previous.at(kPastBlocks);
    state.set(kPastLatents, first ? latents : pushed(latents, previous.at(kLatent)));
    state.set(kPastBlocks, first ? blocks : pushed(blocks, block.unsqueeze(1)));
  }
  state.set_filled(std::min(previous.filled() + 1, options_.history));
  return state;
}

Tensor Jepa::checked_actions(const Tensor& actions, at::IntArrayRef batch,
                             const Tensor& latent) const {
  return models::checked_actions(actions, batch, options_.action.width(), latent.options());
}

Transition Jepa::step(const State& state, const Tensor& action, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "step");
  const auto flat = state.batch_dims() == 1 ? state : state.flatten();
  const auto& latent = flat.at(kLatent);
  const auto block =
      checked_actions(action, batch, latent).reshape({-1, 1, options_.action.width()});
  const auto before = std::min(state.filled(), options_.history) - 1;
  auto latents = latent, blocks = block;
  if (before > 0) {
    latents = at::cat({newest(flat.at(kPastLatents), before), latent}, 1);
    blocks = at::cat({newest(flat.at(kPastBlocks), before), block}, 1);
  }
  const auto next =
      head(predictor_->last(latents, embed_actions(blocks), nn::Mode::infer), nn::Mode::infer);
  State result;
  result.set(kLatent, next.unsqueeze(1));
  if (options_.history > 1) {
    result.set(kPastLatents, pushed(flat.at(kPastLatents), latent));
    result.set(kPastBlocks, pushed(flat.at(kPastBlocks), block));
  }
  result.set_filled(std::min(state.filled() + 1, options_.history));
  return {state.batch_dims() == 1 ? std::move(result) : result.unflatten(batch), {}, {}};
}

Trajectory Jepa::rollout(const State& state, const Tensor& actions, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "rollout");
  check_rollout(state, actions, options_.action.width());
  const auto& latent = state.at(kLatent);
  const auto future = checked_actions(actions, actions.sizes().slice(0, 3), latent);
  const auto before = std::min(state.filled(), options_.history) - 1;
  auto context = latent;
  auto past = future.new_zeros({batch[0], 0, predictor_sizes(options_).condition});
  if (before > 0) {
    context = at::cat({newest(state.at(kPastLatents), before), latent}, 1);
    past = embed_actions(newest(state.at(kPastBlocks), before));
  }
  nn::PredictionHead to_latent = [](const Tensor& x) { return x; };
  if (pred_proj_)
    to_latent = [folded = pred_proj_->fold()](const Tensor& x) { return folded.forward(x); };
  const auto latents = predictor_->rollout(context, past, embed_actions(future), to_latent);

  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3);
  trajectory.states.set(kLatent, latents.unsqueeze(3));
  trajectory.states.set_filled(std::min(state.filled() + 1, options_.history));
  return trajectory;
}

Tensor Jepa::encode(const Observation& observation, Noise&) const {
  spec_.check(observation);
  return encode_pixels(observation.at(kPixels));
}

Tensor Jepa::encode_pixels(const Tensor& pixels) const {
  require(pixels.defined() && (pixels.dim() == 4 || pixels.dim() == 5),
          ErrorCategory::invalid_argument,
          "pixels have shape " +
              (pixels.defined() ? shape_string(pixels.sizes()) : std::string("undefined")) +
              ", expected [B,H,W,3] or [B,T,H,W,3]");
  const auto clips = pixels.dim() == 4 ? pixels.unsqueeze(1) : pixels;
  const auto latents = encode_images(preprocess(clips.flatten(0, 1)), nn::Mode::infer);
  return latents.view({clips.size(0), clips.size(1), options_.latent});
}

Tensor Jepa::preprocess(const Tensor& pixels) const {
  return preprocess_images(pixels, options_.image, tensor_options());
}

Tensor Jepa::encode_images(const Tensor& images, nn::Mode mode) const {
  require(images.defined() && images.dim() >= 4, ErrorCategory::invalid_argument,
          "images have shape " +
              (images.defined() ? shape_string(images.sizes()) : std::string("undefined")) +
              ", expected [...,3,h,w]");
  auto shape = images.sizes().slice(0, images.sizes().size() - 3).vec();
  shape.push_back(options_.latent);
  auto x = encoder_->encode(images.flatten(0, -4), mode);
  if (projector_) x = projector_->forward(x, mode);
  return x.reshape(shape);
}

Tensor Jepa::embed_actions(const Tensor& blocks) const {
  if (action_encoder_) return action_encoder_->forward(blocks);
  require(blocks.defined() && blocks.dim() >= 1 && blocks.size(-1) == options_.action.width(),
          ErrorCategory::invalid_argument,
          "action blocks need a last axis of A = " + std::to_string(options_.action.width()));
  return blocks.to(tensor_options().dtype());
}

Tensor Jepa::head(const Tensor& predicted, nn::Mode mode) const {
  return pred_proj_ ? pred_proj_->forward(predicted, mode) : predicted;
}

Tensor Jepa::predict(const Tensor& latents, const Tensor& blocks, nn::Mode mode) const {
  return head(predictor_->forward(latents, embed_actions(blocks), mode), mode);
}

Tensor Jepa::infer_actions(const Tensor& latents) const {
  require(inverse_dynamics_ != nullptr, ErrorCategory::unsupported,
          "this model has no inverse-dynamics head (JepaOptions.inverse_dynamics_hidden = 0)");
  return inverse_dynamics_->forward(losses::inverse_dynamics_input(latents), nn::Mode::infer);
}

std::shared_ptr<Jepa> Jepa::copy() const {
  if (fixed_point_) return fixed_point_copy(*fixed_point_);
  auto twin = copy_of(*this, tensor_options());
  if (packed_) twin->pack();
  return twin;
}

void Jepa::pack() {
  if (fixed_point_) return;
  unpack();
  const at::NoGradGuard no_grad;
  if (nn::has_fast_packing()) use_packed({nn::PackedFormat::float32});
  predictor_->use_prepacked();
  packed_ = true;
}

void Jepa::unpack() {
  if (fixed_point_) return;
  predictor_->drop_packed();
  encoder_->drop_packed();
  for (const auto& head : {projector_, pred_proj_})
    if (head) head->drop_packed();
  packed_ = false;
}

void Jepa::use_packed(const nn::Packing& packing) {
  predictor_->use_packed(packing);
  encoder_->use_packed(packing);
  for (const auto& head : {projector_, pred_proj_})
    if (head) head->use_packed(packing);
}

std::shared_ptr<Jepa> Jepa::fixed_point_copy(nn::PackedKernel kernel) const {
  auto twin = copy_of(*this, at::TensorOptions(at::kCPU).dtype(at::kFloat));
  twin->eval();
  for (auto& parameter : twin->parameters()) parameter.set_requires_grad(false);
  at::NoGradGuard no_grad;
  twin->use_packed({nn::PackedFormat::fixed16, kernel});
  twin->fixed_point_ = kernel;
  return twin;
}

std::shared_ptr<torch::nn::Module> Jepa::clone(const std::optional<torch::Device>& device) const {
  return clone_of(*this, device);
}

}  // namespace foresight::models
