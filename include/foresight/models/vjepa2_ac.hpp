// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2-AC (arXiv 2506.09985, section 3): a world model of a robot arm. A frozen V-JEPA 2
// encoder turns each camera picture into patch tokens; a transformer predicts the tokens of the
// next picture from those so far, the gripper's poses and the actions. Actions are changes of the
// pose, so the imagined poses are integrated.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "foresight/core/world_model.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/vjepa2_ac_options.hpp"
#include "foresight/nn/frame_causal_predictor.hpp"
#include "foresight/nn/video_vit.hpp"

namespace foresight::models {

/// State fields: "latent" [B,P,D] (normalised tokens of the newest frame), "pose" [B,7], with
/// extrinsics "camera" [B,6]; with window W > 1 also the rings "past_latents" [B,W-1,P,D],
/// "past_poses" and "past_actions" [B,W-1,7] ("past_cameras"), oldest first, of which the last
/// filled()-1 count. Poses, actions and cameras are kept in float32 at least, whatever the network
/// computes in. filled() is the number of frames in the window.
///
/// The WorldModel functions change nothing, so one model serves several threads. They record
/// gradients as the caller's grad mode says. State-dict keys: encoder.*, predictor.*, below them
/// those of the original checkpoints.
class FORESIGHT_API VJepa2Ac : public WorldModel, public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. The encoder requires no gradient. Throws Error(invalid_option).
  explicit VJepa2Ac(const VJepa2AcOptions& options, std::optional<std::uint64_t> seed = 0);

  const ModelSpec& spec() const override { return spec_; }
  const VJepa2AcOptions& options() const noexcept { return options_; }

  State initial(int64_t batch) const override;
  /// Needs "pixels", RGB bytes [B,H,W,3], and "proprio", the pose [B,7] (radians; opening in
  /// [0,1]); with extrinsics also "camera" [B,6].
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  /// observe() for a frame whose latent [B,P,D] is known already. `camera` may be undefined.
  State observe_latent(const State& previous, const Tensor& last_action, const Tensor& latent,
                       const Tensor& pose, const Tensor& camera = {}) const;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  /// Equal to looped_rollout() up to rounding. Frames that all candidates share are computed once a
  /// problem, and every candidate keeps its keys and values while its window only grows. Candidates
  /// are imagined in slices that keep within options().rollout_bytes.
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;
  Tensor encode(const Observation& observation, Noise& noise) const override;

  /// RGB bytes [N,H,W,3] -> encoder input [N,3,h,w].
  Tensor preprocess(const Tensor& pixels) const;
  /// Encoder input [N,3,h,w] -> latents [N,P,D]: each picture doubled into a tubelet, encoded,
  /// normalised over channels.
  Tensor encode_images(const Tensor& images) const;
  /// Latents of the frames after each of a sequence, [N,F,P,D], normalised as options say.
  Tensor predict(const nn::FrameSequence& frames) const;

  /// Loss terms "teacher_forced" and "rollout" of clips: latents [B,T,P,D], actions [B,T-1,7]
  /// (action t leads from frame t to t+1), poses [B,T,7], cameras [B,T,6] or undefined; T >
  /// auto_steps.
  losses::Terms loss_of_latents(const Tensor& latents, const Tensor& actions, const Tensor& poses,
                                const Tensor& cameras = {}) const;
  /// The predictions behind the two terms: of frames 1..T-1 from true ones, [B,T-1,P,D], and of
  /// frames 1..auto_steps fed back, [B,auto_steps,P,D].
  struct Predictions {
    Tensor teacher_forced, rollout;
  };
  Predictions training_predictions(const nn::FrameSequence& frames) const;

  const nn::FrameCausalPredictor& predictor() const { return *predictor_; }

 private:
  struct Imagination;
  at::TensorOptions tensor_options() const;
  at::TensorOptions pose_options() const;
  Tensor checked_actions(const Tensor& actions, at::IntArrayRef batch) const;
  Tensor normalised(const Tensor& tokens) const;
  nn::FrameSequence window(const State& state, const Tensor& action) const;
  State pushed(const State& state, const Tensor& action) const;

  VJepa2AcOptions options_;
  ModelSpec spec_;
  std::shared_ptr<nn::VideoVit> encoder_;
  std::shared_ptr<nn::FrameCausalPredictor> predictor_;
};

}  // namespace foresight::models
