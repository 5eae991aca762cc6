// SPDX-License-Identifier: Apache-2.0
// Rollouts as CUDA graphs. A planner imagines the same shapes again and again, and on a GPU the
// hundreds of small kernels of one rollout take longer to launch than to run. Recorded once, all of
// them are launched as one.
#pragma once

#include <cstdint>
#include <memory>

#include "foresight/core/world_model.hpp"

namespace foresight::models {

/// What a GraphedModel records.
struct FORESIGHT_API GraphOptions {
  /// Most shapes that are kept as graphs; further ones are computed as usual. 16: those of a
  /// planner whose candidates grow fewer (iCEM) in a controller, and of its last evaluation.
  int64_t shapes = 16;
  /// Most bytes that the imagined futures of all graphs may take, which stay on the GPU; further
  /// shapes are computed as usual. A graph also keeps the memory of its rollout's intermediate
  /// values, mostly less. 1 GiB: a LeWM's plan of 300 candidates takes 1 MB.
  int64_t bytes = int64_t{1} << 30;
};

/// A model whose rollouts on CUDA devices are recorded at their second call with the same shapes
/// and replayed from then on. Replays compute what the model's own rollout does, by the same
/// kernels. Everything else is the model's own, and so are rollouts
///  - on other devices, and where foresight was built without CUDA's headers;
///  - that are differentiated: gradients need the operations themselves;
///  - of models that draw noise in them;
///  - of models whose rollouts wait for the device: found out when they are recorded, told as a
///    warning, and not tried again.
/// Weights may change in place; a model that was moved or converted (Module::to(), of a model that
/// is a torch::nn::Module) is recorded anew. Serves several threads, each of its replays after the
/// other.
class FORESIGHT_API GraphedModel final : public WorldModel {
 public:
  explicit GraphedModel(std::shared_ptr<const WorldModel> model, GraphOptions options = {});
  ~GraphedModel() override;

  /// Whether rollouts can be recorded here at all: foresight was built with CUDA's headers.
  static bool is_built_in();
  /// Rollouts that were replayed so far.
  int64_t replays() const;

  const ModelSpec& spec() const override { return model_->spec(); }
  State initial(int64_t batch) const override { return model_->initial(batch); }
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override {
    return model_->observe(previous, last_action, observation, noise);
  }
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    return model_->step(state, action, noise);
  }
  Tensor encode(const Observation& observation, Noise& noise) const override {
    return model_->encode(observation, noise);
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;

 private:
  struct Recordings;
  std::shared_ptr<const WorldModel> model_;
  std::unique_ptr<Recordings> recordings_;
};

}  // namespace foresight::models
