// SPDX-License-Identifier: Apache-2.0
// Imagining with V-JEPA 2-AC without computing anything twice. No frame sees a later one, so keys
// and values of the frames that were observed before the newest are the same for all candidates of
// a problem, and those of a candidate's own frames stay valid while the sequence starts at one
// frame.
#include <algorithm>

#include "foresight/models/vjepa2_ac.hpp"
#include "preconditions.hpp"
#include "vjepa2_ac_state.hpp"

namespace foresight::models {
namespace {

// [B,S,...] -> [B*S,...]
Tensor flat(const Tensor& x) { return x.flatten(0, 1); }

nn::FrameSequence narrowed(const nn::FrameSequence& frames, int64_t first, int64_t count) {
  const auto part = [&](const Tensor& x) {
    return x.defined() ? x.narrow(1, first, count) : Tensor();
  };
  return {part(frames.tokens), part(frames.actions), part(frames.states), part(frames.extrinsics)};
}

}  // namespace

// Frames are numbered from the oldest observed one; the newest is number observed-1, imagined ones
// follow.
struct VJepa2Ac::Imagination {
  const VJepa2Ac& model;
  int64_t observed;
  nn::FrameSequence shared;               // frames 0..observed-2, [B,...]
  Tensor newest, camera;                  // frame observed-1 [B,P,D]; [B,6] or undefined
  std::vector<nn::FrameMemory> prefixes;  // by the shared frame that the window starts with

  // Keys and values of frames first..observed-2, computed when first asked for.
  const nn::FrameMemory* prefix(int64_t first) {
    const auto count = observed - 1 - first;
    if (count <= 0) return nullptr;
    auto& memory = prefixes[static_cast<std::size_t>(first)];
    if (memory.empty()) memory = model.predictor_->remember(narrowed(shared, first, count));
    return &memory;
  }

  // Latents [B,s,H,P,D] that s candidates lead to: actions [B,s,H,7], poses [B,s,H,7] before them.
  Tensor imagine(const Tensor& actions, const Tensor& poses) {
    const auto batch = actions.size(0), samples = actions.size(1), horizon = actions.size(2);
    const auto per_candidate = [&](const Tensor& x) {
      auto shape = x.sizes().vec();
      shape.insert(shape.begin() + 1, samples);
      return flat(x.unsqueeze(1).expand(shape));
    };
    nn::FrameSequence own{{}, flat(actions), flat(poses), {}};
    if (camera.defined())
      own.extrinsics = per_candidate(camera).unsqueeze(1).expand({-1, horizon, -1});
    std::vector<Tensor> latents{per_candidate(newest)};  // of frame observed-1 and imagined ones
    nn::FrameMemory memory;
    for (int64_t t = 0; t < horizon; ++t) {
      const auto first = std::max<int64_t>(0, observed + t - model.options_.window);
      const bool grows = first == 0;
      // A window that has moved has no valid keys: all of its own frames again.
      const auto begin = grows ? t : std::max<int64_t>(0, first - (observed - 1));
      auto frames = narrowed(own, begin, t + 1 - begin);
      frames.tokens = at::stack(at::TensorList(latents).slice(static_cast<std::size_t>(begin)), 1);
      const auto earlier = grows ? observed - 1 + t : std::max<int64_t>(0, observed - 1 - first);
      if (!grows) memory.clear();
      latents.push_back(model.normalised(
          model.predictor_->next(frames, earlier, prefix(first), grows ? &memory : nullptr)));
    }
    latents.erase(latents.begin());
    return at::stack(latents, 1).unflatten(0, {batch, samples});
  }

  // How many candidates of each problem fit the budget.
  int64_t slice(int64_t batch, int64_t samples, int64_t horizon, int64_t element) const {
    const auto& o = model.options_;
    if (o.rollout_bytes == 0) return samples;
    const auto tokens = model.spec_.tokens + o.predictor.condition_tokens();
    const auto frames = std::min(observed - 1 + horizon, o.window);
    const auto keys = 2 * o.predictor.depth * o.predictor.width * frames;
    const auto activations =
        o.predictor.mlp_width + 10 * o.predictor.width + 2 * frames * o.predictor.width;
    const auto bytes = element * tokens * (keys + activations) * batch;
    return std::clamp<int64_t>(o.rollout_bytes / bytes, 1, samples);
  }
};

Trajectory VJepa2Ac::rollout(const State& state, const Tensor& actions, Noise&) const {
  const auto batch = state.batch_shape();
  check_observed(state, "rollout");
  check_rollout(state, actions, kPoseWidth);
  const auto samples = actions.size(1), horizon = actions.size(2);
  const auto given = checked_actions(actions, actions.sizes().slice(0, 3));

  // Poses do not depend on the pictures: all of them first.
  std::vector<Tensor> poses{state.at(ac::kPose).unsqueeze(1).expand({-1, samples, -1})};
  for (int64_t t = 0; t < horizon; ++t)
    poses.push_back(integrate_pose(poses.back(), given.select(2, t)));
  const auto reached = at::stack(at::TensorList(poses).slice(1), 2);
  const auto before = at::stack(at::TensorList(poses).slice(0, poses.size() - 1), 2);

  const auto observed = std::min(state.filled(), options_.window);
  Imagination imagination{*this, observed, {}, state.at(kLatent), {}, {}};
  imagination.prefixes.resize(static_cast<std::size_t>(observed));
  if (options_.predictor.extrinsics) imagination.camera = state.at(ac::kCamera);
  if (observed > 1) {
    imagination.shared = {ac::newest(state, ac::kPastLatents, observed - 1),
                          ac::newest(state, ac::kPastActions, observed - 1),
                          ac::newest(state, ac::kPastPoses, observed - 1),
                          {}};
    if (options_.predictor.extrinsics)
      imagination.shared.extrinsics = ac::newest(state, ac::kPastCameras, observed - 1);
  }
  const auto slice = imagination.slice(batch[0], samples, horizon,
                                       static_cast<int64_t>(imagination.newest.element_size()));
  std::vector<Tensor> latents;
  for (int64_t first = 0; first < samples; first += slice) {
    const auto count = std::min(slice, samples - first);
    latents.push_back(
        imagination.imagine(given.narrow(1, first, count), before.narrow(1, first, count)));
  }

  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3);
  trajectory.states.set(kLatent, latents.size() == 1 ? latents[0] : at::cat(latents, 1));
  trajectory.states.set(ac::kPose, reached);
  trajectory.states.set_filled(std::min(state.filled() + 1, options_.window));
  return trajectory;
}

}  // namespace foresight::models
