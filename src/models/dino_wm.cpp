// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "constant_row.hpp"
#include "copies.hpp"
#include "dino_wm_sizes.hpp"
#include "foresight/nn/init.hpp"
#include "history.hpp"
#include "preconditions.hpp"
#include "state_names.hpp"

namespace foresight::models {

using nn::ActionConditioning;

namespace {

constexpr const char* kProprioField = "proprio";
constexpr const char* kFrame = "frame";
constexpr const char* kPastFrames = "past_frames";
constexpr const char* kPastBlocks = "past_blocks";

ModelSpec make_spec(const DinoWmOptions& options) {
  ModelSpec spec;
  spec.family = "dino_wm";
  spec.observation = {{std::string(kPixels), {kAny, kAny, 3}, at::kByte}};
  spec.imagined = {kLatent};
  if (options.proprio.dim > 0) {
    spec.observation.push_back({std::string(kProprio), {options.proprio.dim}, at::kFloat});
    spec.imagined.emplace_back(kProprioField);
  }
  spec.action = options.action;
  spec.history = options.history;
  spec.tokens = options.patches();
  spec.channels = options.encoder.width;
  return spec;
}

bool as_tokens(const DinoWmOptions& options) {
  return options.predictor.conditioning == ActionConditioning::token;
}

// Copies of [...,C] beside each other: [...,copies*C].
Tensor repeated(const Tensor& x, int64_t copies) {
  if (copies == 1) return x;
  std::vector<int64_t> times(static_cast<std::size_t>(x.dim()), 1);
  times.back() = copies;
  return x.repeat(times);
}

// A convolution of kernel 1 on every row [...,in].
Tensor per_row(const torch::nn::Conv1d& layer, const Tensor& x) {
  return at::linear(x, layer->weight.squeeze(-1), layer->bias);
}

}  // namespace

DinoWm::DinoWm(const DinoWmOptions& options, std::optional<std::uint64_t> seed)
    : options_(options), spec_(make_spec(options)) {
  require_valid(options);
  encoder_ = register_module(
      "encoder", std::make_shared<nn::Vit>(options.encoder, options.encoder_image_size));
  predictor_ = register_module("predictor", std::make_shared<nn::PatchPredictor>(
                                                options.predictor, predictor_sizes(options)));
  const auto embedding = [&](const char* path, int64_t in, int64_t out) {
    return nn::place(*this, path, torch::nn::Conv1d(torch::nn::Conv1dOptions(in, out, 1)));
  };
  action_encoder_ =
      embedding("action_encoder.patch_embed", options.action.width(), options.action_width);
  if (has_proprio())
    proprio_encoder_ =
        embedding("proprio_encoder.patch_embed", options.proprio.dim, options.proprio.width);
  for (auto& parameter : encoder_->parameters()) parameter.set_requires_grad(false);
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
  nn::init_layers(*action_encoder_, noise);
  if (has_proprio()) nn::init_layers(*proprio_encoder_, noise);
}

at::TensorOptions DinoWm::tensor_options() const {
  return action_encoder_->weight.options().requires_grad(false);
}

Tensor DinoWm::preprocess(const Tensor& pixels) const {
  return preprocess_images(pixels, options_.image, tensor_options());
}

Tensor DinoWm::encode_images(const Tensor& images) const {
  require(images.defined() && images.dim() >= 4, ErrorCategory::invalid_argument,
          "images have shape " +
              (images.defined() ? shape_string(images.sizes()) : std::string("undefined")) +
              ", expected [...,3,h,w]");
  at::NoGradGuard frozen;
  const auto features = encoder_->patch_tokens(images.flatten(0, -4));
  require(features.size(1) == spec_.tokens, ErrorCategory::invalid_argument,
          "images " + shape_string(images.sizes()) + " have " + std::to_string(features.size(1)) +
              " patches, expected " + std::to_string(spec_.tokens));
  auto shape = images.sizes().slice(0, images.sizes().size() - 3).vec();
  shape.insert(shape.end(), {spec_.tokens, spec_.channels});
  return features.reshape(shape);
}

Tensor DinoWm::encode_pixels(const Tensor& pixels) const {
  require(pixels.defined() && pixels.dim() >= 4, ErrorCategory::invalid_argument,
          "pixels have shape " +
              (pixels.defined() ? shape_string(pixels.sizes()) : std::string("undefined")) +
              ", expected [...,H,W,3]");
  auto shape = pixels.sizes().slice(0, pixels.sizes().size() - 3).vec();
  shape.insert(shape.end(), {spec_.tokens, spec_.channels});
  return encode_images(preprocess(pixels.flatten(0, -4))).reshape(shape);
}

Tensor DinoWm::encode(const Observation& observation, Noise&) const {
  auto pixels_only = spec_;
  pixels_only.observation.resize(1);
  pixels_only.check(observation);
  return encode_pixels(observation.at(kPixels));
}

Tensor DinoWm::encode_proprio(const Tensor& proprio) const {
  require(has_proprio(), ErrorCategory::unsupported,
          "this model has no proprioception (DinoWmOptions.proprio.dim = 0)");
  require(proprio.defined() && proprio.dim() >= 1 && proprio.size(-1) == options_.proprio.dim,
          ErrorCategory::invalid_argument,
          "proprio has shape " +
              (proprio.defined() ? shape_string(proprio.sizes()) : std::string("undefined")) +
              ", expected [..., " + std::to_string(options_.proprio.dim) + "]");
  const auto to = tensor_options();
  // In half precision measurements far from zero would not tell neighbours apart.
  const auto wide = to.dtype() == at::kDouble ? to : to.dtype(at::kFloat);
  auto x = proprio.to(wide);
  if (!options_.proprio.mean.empty()) x = x - constant_row(options_.proprio.mean, wide);
  if (!options_.proprio.std.empty()) x = x / constant_row(options_.proprio.std, wide);
  return per_row(proprio_encoder_, x.to(to));
}

Tensor DinoWm::embed_actions(const Tensor& blocks) const {
  require(blocks.defined() && blocks.dim() >= 1 && blocks.size(-1) == options_.action.width(),
          ErrorCategory::invalid_argument,
          "action blocks need a last axis of A = " + std::to_string(options_.action.width()));
  const auto x = blocks.to(tensor_options().dtype());
  return repeated(per_row(action_encoder_, x), options_.action_repeat);
}

Tensor DinoWm::join(const Tensor& features, const Tensor& proprio_embedding) const {
  if (!has_proprio()) return features;
  auto e = repeated(proprio_embedding, options_.proprio.repeat).unsqueeze(-2);
  if (as_tokens(options_)) return at::cat({features, e}, -2);
  auto shape = e.sizes().vec();
  shape[shape.size() - 2] = spec_.tokens;
  return at::cat({features, e.expand(shape)}, -1);
}

DinoWm::Parts DinoWm::separate(const Tensor& frames) const {
  const auto patches = spec_.tokens, width = spec_.channels;
  if (!has_proprio()) return {frames, {}};
  if (as_tokens(options_)) return {frames.narrow(-2, 0, patches), frames.narrow(-2, patches, 1)};
  return {frames.narrow(-1, 0, width),
          frames.narrow(-2, 0, 1).narrow(-1, width, options_.proprio.width)};
}

State DinoWm::state_of(const Tensor& frame, int64_t batch_dims) const {
  const auto parts = separate(frame);
  State state(batch_dims);
  state.set(kLatent, parts.features);
  if (!has_proprio()) return state;
  state.set(kProprioField, parts.proprio);
  return state.set(kFrame, frame);
}

const Tensor& DinoWm::frame_of(const State& state) const {
  return state.at(has_proprio() ? kFrame : kLatent);
}

Tensor DinoWm::checked_actions(const Tensor& actions, at::IntArrayRef batch,
                               const Tensor& like) const {
  return models::checked_actions(actions, batch, options_.action.width(), like.options());
}

State DinoWm::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  const auto& sizes = predictor_->sizes();
  const auto frame = at::zeros({batch, sizes.tokens, sizes.channels}, tensor_options());
  auto state = state_of(frame, 1);
  if (options_.history > 1) {
    const auto past = options_.history - 1;
    state.set(kPastFrames, frame.new_zeros({batch, past, sizes.tokens, sizes.channels}));
    state.set(kPastBlocks, frame.new_zeros({batch, past, options_.action.width()}));
  }
  return state;
}

State DinoWm::observe(const State& previous, const Tensor& last_action,
                      const Observation& observation, Noise&) const {
  check_batch(previous, "observe");
  spec_.check(observation, previous.batch_shape()[0]);
  return observe_features(previous, last_action, encode_pixels(observation.at(kPixels)),
                          has_proprio() ? observation.at(kProprio) : Tensor());
}

State DinoWm::observe_features(const State& previous, const Tensor& last_action,
                               const Tensor& features, const Tensor& proprio) const {
  check_batch(previous, "observe");
  const auto batch = previous.batch_shape();
  check_shape("features", features, {batch[0], spec_.tokens, spec_.channels}, "[B,P,D]");
  if (has_proprio()) check_shape("proprio", proprio, {batch[0], options_.proprio.dim}, "[B,N]");
  auto state = state_of(join(features, has_proprio() ? encode_proprio(proprio) : Tensor()), 1);
  const bool first = previous.filled() == 0;
  Tensor block;
  if (!first || last_action.defined()) block = checked_actions(last_action, batch, features);
  if (options_.history > 1) {
    const auto& frames = previous.at(kPastFrames);
    const auto& blocks = previous.at(kPastBlocks);
    state.set(kPastFrames, first ? frames : pushed(frames, frame_of(previous).unsqueeze(1)));
    state.set(kPastBlocks, first ? blocks : pushed(blocks, block.unsqueeze(1)));
  }
  return state.set_filled(std::min(previous.filled() + 1, options_.history));
}

Transition DinoWm::step(const State& state, const Tensor& action, Noise&) const {
  check_observed(state, "step");
  const auto batch = state.batch_shape();
  const auto flat = state.batch_dims() == 1 ? state : state.flatten();
  const auto frame = frame_of(flat).unsqueeze(1);
  const auto block =
      checked_actions(action, batch, frame).reshape({-1, 1, options_.action.width()});
  const auto before = std::min(state.filled(), options_.history) - 1;
  auto frames = frame, blocks = block;
  if (before > 0) {
    frames = at::cat({newest(flat.at(kPastFrames), before), frame}, 1);
    blocks = at::cat({newest(flat.at(kPastBlocks), before), block}, 1);
  }
  auto next = state_of(predictor_->last(frames, embed_actions(blocks), nn::Mode::infer), 1);
  if (options_.history > 1) {
    next.set(kPastFrames, pushed(flat.at(kPastFrames), frame));
    next.set(kPastBlocks, pushed(flat.at(kPastBlocks), block));
  }
  next.set_filled(std::min(state.filled() + 1, options_.history));
  return {state.batch_dims() == 1 ? std::move(next) : next.unflatten(batch), {}, {}};
}

Trajectory DinoWm::rollout(const State& state, const Tensor& actions, Noise&) const {
  check_observed(state, "rollout");
  const auto batch = state.batch_shape();
  check_rollout(state, actions, options_.action.width());
  auto context = frame_of(state).unsqueeze(1);
  const auto future = embed_actions(checked_actions(actions, actions.sizes().slice(0, 3), context));
  auto past = future.new_zeros({batch[0], 0, future.size(3)});
  const auto before = std::min(state.filled(), options_.history) - 1;
  if (before > 0) {
    context = at::cat({newest(state.at(kPastFrames), before), context}, 1);
    past = embed_actions(newest(state.at(kPastBlocks), before));
  }
  const auto parts = separate(predictor_->rollout(context, past, future));
  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3);
  trajectory.states.set(kLatent, parts.features);
  if (has_proprio()) trajectory.states.set(kProprioField, parts.proprio);
  trajectory.states.set_filled(std::min(state.filled() + 1, options_.history));
  return trajectory;
}

std::shared_ptr<DinoWm> DinoWm::copy() const { return copy_of(*this, tensor_options()); }

std::shared_ptr<torch::nn::Module> DinoWm::clone(const std::optional<torch::Device>& device) const {
  return clone_of(*this, device);
}

}  // namespace foresight::models
