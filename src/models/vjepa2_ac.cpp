// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_ac.hpp"

#include <algorithm>

#include "preconditions.hpp"
#include "vjepa2_ac_state.hpp"

namespace foresight::models {
namespace {

ModelSpec make_spec(const VJepa2AcOptions& options) {
  ModelSpec spec;
  spec.family = "vjepa2_ac";
  spec.observation = {{std::string(kPixels), {kAny, kAny, 3}, at::kByte},
                      {std::string(kProprio), {kPoseWidth}, at::kFloat}};
  if (options.predictor.extrinsics) spec.observation.push_back({ac::kCamera, {6}, at::kFloat});
  spec.action = options.action;
  spec.history = options.history;
  spec.tokens = options.encoder.grid().per_frame();
  spec.channels = options.encoder.width;
  spec.imagined = {kLatent, ac::kPose};
  return spec;
}

}  // namespace

VJepa2Ac::VJepa2Ac(const VJepa2AcOptions& options, std::optional<std::uint64_t> seed)
    : options_(options), spec_(make_spec(options)) {
  require_valid(options);
  encoder_ = register_module("encoder", std::make_shared<nn::VideoVit>(options.encoder));
  predictor_ = register_module(
      "predictor", std::make_shared<nn::FrameCausalPredictor>(
                       options.predictor, options.encoder.width, options.encoder.grid()));
  for (auto& parameter : encoder_->parameters()) parameter.requires_grad_(false);
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
}

at::TensorOptions VJepa2Ac::tensor_options() const {
  return predictor_->parameters().front().options().requires_grad(false);
}

// Poses are added up, and small moves must not vanish: float32 at least.
at::TensorOptions VJepa2Ac::pose_options() const {
  const auto network = tensor_options();
  return network.dtype() == at::kDouble ? network : network.dtype(at::kFloat);
}

Tensor VJepa2Ac::normalised(const Tensor& tokens) const {
  return options_.normalise_latents ? nn::normalise_tokens(tokens) : tokens;
}

State VJepa2Ac::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  const auto zeros = [&](std::vector<int64_t> shape, const at::TensorOptions& like) {
    shape.insert(shape.begin(), batch);
    return at::zeros(shape, like);
  };
  const auto network = tensor_options(), measured = pose_options();
  const auto past = options_.window - 1;
  State state;
  state.set(kLatent, zeros({spec_.tokens, spec_.channels}, network));
  state.set(ac::kPose, zeros({kPoseWidth}, measured));
  if (options_.predictor.extrinsics) state.set(ac::kCamera, zeros({6}, measured));
  if (past == 0) return state;
  state.set(ac::kPastLatents, zeros({past, spec_.tokens, spec_.channels}, network));
  state.set(ac::kPastPoses, zeros({past, kPoseWidth}, measured));
  state.set(ac::kPastActions, zeros({past, kPoseWidth}, measured));
  if (options_.predictor.extrinsics) state.set(ac::kPastCameras, zeros({past, 6}, measured));
  return state;
}

State VJepa2Ac::observe(const State& previous, const Tensor& last_action,
                        const Observation& observation, Noise&) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  spec_.check(observation, batch[0]);
  return observe_latent(previous, last_action, encode_images(preprocess(observation.at(kPixels))),
                        observation.at(kProprio),
                        options_.predictor.extrinsics ? observation.at(ac::kCamera) : Tensor());
}

State VJepa2Ac::observe_latent(const State& previous, const Tensor& last_action,
                               const Tensor& latent, const Tensor& pose,
                               const Tensor& camera) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  check_shape("latent", latent, {batch[0], spec_.tokens, spec_.channels}, "[B,P,D]");
  check_shape("pose", pose, {batch[0], kPoseWidth}, "[B,7]");
  const bool first = previous.filled() == 0;
  auto state = previous;
  if (!first || last_action.defined()) {
    const auto action = checked_actions(last_action, batch);
    if (!first) state = pushed(previous, action);
  }
  state.set(kLatent, latent);
  state.set(ac::kPose, pose.to(pose_options()));
  if (options_.predictor.extrinsics) {
    check_shape("camera", camera, {batch[0], 6}, "[B,6]");
    state.set(ac::kCamera, camera.to(pose_options()));
  }
  return state.set_filled(std::min(previous.filled() + 1, options_.history));
}

Tensor VJepa2Ac::checked_actions(const Tensor& actions, at::IntArrayRef batch) const {
  return models::checked_actions(actions, batch, kPoseWidth, pose_options());
}

// The state [N] whose newest frame and its action have gone into the rings; the newest frame's own
// fields are the caller's to replace.
State VJepa2Ac::pushed(const State& state, const Tensor& action) const {
  auto next = state;
  if (options_.window == 1) return next;
  const auto push = [&](const char* ring, const Tensor& row) {
    next.set(ring, at::cat({state.at(ring).slice(1, 1), row.unsqueeze(1)}, 1));
  };
  push(ac::kPastLatents, state.at(kLatent));
  push(ac::kPastPoses, state.at(ac::kPose));
  push(ac::kPastActions, action);
  if (options_.predictor.extrinsics) push(ac::kPastCameras, state.at(ac::kCamera));
  return next;
}

// What the predictor sees: the frames of the window, oldest first, each with the action that leaves
// it.
nn::FrameSequence VJepa2Ac::window(const State& state, const Tensor& action) const {
  const auto before = std::min(state.filled(), options_.window) - 1;
  const auto frames = [&](const char* ring, const Tensor& newest) {
    const auto row = newest.unsqueeze(1);
    return before > 0 ? at::cat({ac::newest(state, ring, before), row}, 1) : row;
  };
  nn::FrameSequence sequence{frames(ac::kPastLatents, state.at(kLatent)),
                             frames(ac::kPastActions, action),
                             frames(ac::kPastPoses, state.at(ac::kPose)),
                             {}};
  if (options_.predictor.extrinsics)
    sequence.extrinsics = frames(ac::kPastCameras, state.at(ac::kCamera));
  return sequence;
}

Transition VJepa2Ac::step(const State& state, const Tensor& action, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "step");
  const auto flat = state.batch_dims() == 1 ? state : state.flatten();
  const auto given = checked_actions(action, batch).reshape({-1, kPoseWidth});
  auto next = pushed(flat, given);
  next.set(kLatent, normalised(predictor_->next(window(flat, given), 0, nullptr, nullptr)));
  next.set(ac::kPose, integrate_pose(flat.at(ac::kPose), given));
  next.set_filled(std::min(state.filled() + 1, options_.window));
  return {state.batch_dims() == 1 ? std::move(next) : next.unflatten(batch), {}, {}};
}

Tensor VJepa2Ac::encode(const Observation& observation, Noise&) const {
  require(observation.has(kPixels), ErrorCategory::invalid_argument,
          "encode: the observation has no field 'pixels'");
  return encode_images(preprocess(observation.at(kPixels)));
}

Tensor VJepa2Ac::preprocess(const Tensor& pixels) const {
  return preprocess_images(pixels, options_.image, tensor_options());
}

Tensor VJepa2Ac::encode_images(const Tensor& images) const {
  check_shape("images", images, {kAny, options_.encoder.channels, kAny, kAny}, "[N,C,h,w]");
  const auto clips = images.unsqueeze(2).expand({-1, -1, options_.encoder.tubelet, -1, -1});
  const auto tokens = encoder_->forward(clips);
  require(tokens.size(1) == spec_.tokens, ErrorCategory::invalid_argument,
          "pictures " + shape_string(images.sizes()) + " give " + std::to_string(tokens.size(1)) +
              " tokens, expected " + std::to_string(spec_.tokens) +
              ": the model sees pictures of " + std::to_string(options_.encoder.image_height) +
              " by " + std::to_string(options_.encoder.image_width) + " pixels");
  return normalised(tokens);
}

Tensor VJepa2Ac::predict(const nn::FrameSequence& frames) const {
  return normalised(predictor_->forward(frames));
}

}  // namespace foresight::models
