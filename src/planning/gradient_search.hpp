// SPDX-License-Identifier: Apache-2.0
// Candidates that follow their own gradients: what the gradient and Lagrangian planners share.
#pragma once

#include <functional>
#include <optional>

#include "admissible.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/planning/gradient_planner.hpp"

namespace foresight::detail {

/// One solve. The scalar to descend is a function of a slice's costs; candidates must enter it as a
/// sum.
class GradientSearch {
 public:
  using Loss = std::function<Tensor(const Costs& costs)>;

  GradientSearch(const GradientOptions& options, const Problem& problem, Noise& noise);

  /// One gradient step on all candidates.
  void step(const Loss& loss);
  /// Forgets the optimizer's moments.
  void restart_optimizer();
  /// Costs of the candidates as they are, without gradients.
  Costs evaluate();
  /// Whether another step(), or evaluate(), fits before the deadline together with the evaluations
  /// that finish() makes.
  bool time_to_step();
  bool time_to_evaluate();

  /// Chooses, rounds, evaluates and judges. `by_violation` ranks feasible candidates first.
  void finish(Plan& plan, bool by_violation, bool complete, int64_t planned);
  Tensor fallback() const { return rounded(start_); }

  const Tensor& candidates() const { return candidates_; }
  double cost_seconds() const { return cost_seconds_; }
  double slowest() const { return slowest_; }

 private:
  double seconds_left();
  double finishing() const;
  Tensor noise_like(at::IntArrayRef sizes);
  Tensor clipped(Tensor gradient) const;
  Tensor direction(const Tensor& gradient);
  Tensor projected(const Tensor& actions) const;
  Tensor rounded(const Tensor& plans) const;
  void summarise(const Costs& costs, const Tensor& gradient);
  void stack(Diagnostics& diagnostics) const;

  const GradientOptions& options_;
  const Problem& problem_;
  Noise& noise_;
  Admissible admissible_;
  Tensor start_;           // [B,H,A]
  Tensor candidates_;      // [B,S,H,A]
  Tensor first_, second_;  // Adam's moments
  int64_t steps_ = 0;      // since the optimizer started
  int64_t total_steps_ = 0;
  std::vector<Tensor> best_, mean_, spread_, non_finite_;
  std::vector<IterationRecord> records_;
  double cost_seconds_ = 0, slowest_ = 0;
  double slowest_forward_ = 0;  // the costs of all candidates, without gradients
  std::optional<Problem::Clock::time_point> step_start_;
};

}  // namespace foresight::detail
