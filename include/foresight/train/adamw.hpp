// SPDX-License-Identifier: Apache-2.0
// AdamW (Loshchilov & Hutter, arXiv 1711.05101) over named parameters. torch::optim::AdamW launches
// about ten operations per parameter and hides its state; this one updates all parameters in one
// fused call, clips without reading the norm back to the host, and hands its state out under names
// for checkpoints.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"
#include "foresight/io/safetensors.hpp"
#include "foresight/train/gradient_norm.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::train {

/// Which parameters weight decay pulls towards zero.
enum class Decay {
  all,       ///< every parameter, as LeWM does
  matrices,  ///< parameters with at least two axes: biases and norms are left alone
};

struct FORESIGHT_API AdamWOptions {
  double lr = 1e-3;            ///< base learning rate; small CPU models take 1e-3, LeWM 5e-5
  double weight_decay = 1e-3;  ///< decoupled; LeWM's value
  double beta1 = 0.9;          ///< decay of the first moment
  double beta2 = 0.999;        ///< decay of the second moment
  double epsilon = 1e-8;       ///< added to the root of the second moment
  Decay decay = Decay::all;    ///< which parameters decay
  double clip = 1.0;           ///< largest gradient norm, of all parameters together or, where a
                               ///< task has several, of each group; 0: no clipping. LeWM's value

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("lr", self.lr, "base learning rate");
    visit("weight_decay", self.weight_decay, "decoupled weight decay");
    visit("beta1", self.beta1, "decay of the first moment");
    visit("beta2", self.beta2, "decay of the second moment");
    visit("epsilon", self.epsilon, "added to the root of the second moment");
    visit("decay", self.decay, "what decays: all, or matrices (no biases and norms)");
    visit("clip", self.clip, "largest global gradient norm, or each group's; 0: no clipping");
  }
  std::vector<std::string> validate() const;
};

/// Optimiser state for the trainable parameters of one module. Parameters that require no gradient
/// when it is made are left alone; a parameter registered twice is updated once.
class FORESIGHT_API AdamW {
 public:
  /// `clipping_groups`: as Task::clipping_groups(). Throws Error(invalid_option);
  /// Error(invalid_argument) when there is nothing to train, or for a group with a limit below 0.
  AdamW(const torch::nn::Module& module, const AdamWOptions& options,
        std::vector<ClippingGroup> clipping_groups = {});

  /// Clips the gradients of one group after the other to its norm, without groups all together to
  /// options.clip (factor clip/(norm + 1e-6) where below 1), applies one update with the rate lr *
  /// `factor` and the decay weight_decay * `decay_factor`, and clears the gradients. Returns the
  /// norm of all gradients before clipping, a scalar on the CPU. A parameter without gradient keeps
  /// its value and moments. Where the norm is not finite nothing is changed, and the gradients stay
  /// as they are.
  Tensor step(double factor, double decay_factor = 1.0);
  void zero_grad();

  const AdamWOptions& options() const noexcept { return options_; }
  /// What it trains.
  const std::vector<Tensor>& parameters() const noexcept { return parameters_; }
  int64_t steps_done() const noexcept { return steps_; }

  /// Moments under "<parameter>.first" and "<parameter>.second", and "steps" per parameter.
  io::NamedTensors state() const;
  /// Continues from state(). Strict: Error(bad_file) opening with `source` unless every name and
  /// shape fits.
  void load(const io::NamedTensors& state, std::string_view source);

 private:
  AdamWOptions options_;
  std::vector<std::string> names_;
  std::vector<Tensor> parameters_, first_, second_, parameter_steps_;
  std::vector<ClippingGroup> clipping_groups_;
  int64_t steps_ = 0;
};

}  // namespace foresight::train

template <>
struct foresight::EnumNames<foresight::train::Decay> {
  using E = foresight::train::Decay;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"all", E::all}, {"matrices", E::matrices}}};
};
