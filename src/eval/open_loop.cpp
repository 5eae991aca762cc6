// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/open_loop.hpp"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"

namespace foresight::eval {

OpenLoopError::OpenLoopError(int64_t context, int64_t horizon)
    : context_(context), horizon_(horizon) {
  require(context >= 1 && horizon >= 1, ErrorCategory::invalid_argument,
          "OpenLoopError: context = " + std::to_string(context) +
              ", horizon = " + std::to_string(horizon) + ", both must be >= 1");
  model_sum_ = at::zeros({horizon}, at::kDouble);
  copy_sum_ = at::zeros({horizon}, at::kDouble);
}

void OpenLoopError::add(const WorldModel& model, const OpenLoopWindows& windows, Noise& noise) {
  const at::NoGradGuard no_grad;
  const int64_t steps = context_ + horizon_;
  require(static_cast<int64_t>(windows.observations.size()) == steps,
          ErrorCategory::invalid_argument,
          "OpenLoopError: windows of " + std::to_string(windows.observations.size()) +
              " steps, expected context + horizon = " + std::to_string(steps));
  const int64_t batch = windows.observations.front().batch();
  require(batch >= 1, ErrorCategory::invalid_argument, "OpenLoopError: an empty batch");
  check_shape("OpenLoopError: actions", windows.actions,
              {batch, steps - 1, model.spec().action.width()}, "[B,steps-1,A]");

  const std::string latent = model.spec().imagined.front();
  auto latent_of = [&](const State& state) {
    return state.at(latent).detach().to(at::kDouble).reshape({batch, -1});
  };
  State state = model.initial(batch), last_observed;
  // Models bring observations to their device, but not actions.
  const auto actions = windows.actions.to(state.at(latent).device());
  Tensor last;
  std::vector<Tensor> targets;
  for (int64_t t = 0; t < steps; ++t) {
    const auto action = t == 0 ? Tensor() : actions.select(1, t - 1);
    state = model.observe(state, action, windows.observations[static_cast<std::size_t>(t)], noise);
    if (t == context_ - 1) {
      last_observed = state;
      last = latent_of(state);
    }
    if (t >= context_) targets.push_back(latent_of(state));
  }
  const auto future = actions.narrow(1, context_ - 1, horizon_).unsqueeze(1);
  const auto imagined = model.rollout(last_observed, future, noise).states.at(latent);
  const auto predicted = imagined.detach().to(at::kDouble).reshape({batch, horizon_, -1});
  const auto target = at::stack(targets, 1);
  check_shape("OpenLoopError: imagined latent", predicted, target.sizes(), "[B,H,P*D]");
  check_finite("OpenLoopError: imagined latent", predicted);
  check_finite("OpenLoopError: observed latent", target);
  require(windows_ == 0 || values_ == target.size(2), ErrorCategory::invalid_argument,
          "OpenLoopError: latents of " + std::to_string(target.size(2)) +
              " elements after latents of " + std::to_string(values_));

  model_sum_ += (predicted - target).square().sum(at::IntArrayRef{0, 2}).cpu();
  copy_sum_ += (last.unsqueeze(1) - target).square().sum(at::IntArrayRef{0, 2}).cpu();
  const auto sum = target.sum(at::IntArrayRef{0, 1}).cpu(),
             square_sum = target.square().sum(at::IntArrayRef{0, 1}).cpu();
  sum_ = sum_.defined() ? sum_ + sum : sum;
  square_sum_ = square_sum_.defined() ? square_sum_ + square_sum : square_sum;
  windows_ += batch;
  values_ = target.size(2);
}

OpenLoopReport OpenLoopError::report() const {
  require(windows_ > 0, ErrorCategory::invalid_argument,
          "OpenLoopError: no windows were added, nothing to report");
  OpenLoopReport report;
  report.windows = windows_;
  report.context = context_;
  const auto count = static_cast<double>(windows_ * values_);
  for (int64_t h = 0; h < horizon_; ++h) {
    report.model_mse.push_back(model_sum_[h].item<double>() / count);
    report.copy_mse.push_back(copy_sum_[h].item<double>() / count);
    report.ratio.push_back(report.model_mse.back() / report.copy_mse.back());
  }
  const auto samples = static_cast<double>(windows_ * horizon_);
  const auto variance = square_sum_ / samples - (sum_ / samples).square();
  report.latent_variance = variance.clamp_min(0).mean().item<double>();
  return report;
}

nlohmann::json to_json(const OpenLoopReport& report) {
  auto ratio = nlohmann::json::array();
  for (const double value : report.ratio)
    ratio.push_back(std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr));
  return {{"windows", report.windows},
          {"context", report.context},
          {"model_mse", report.model_mse},
          {"copy_mse", report.copy_mse},
          {"ratio", ratio},
          {"latent_variance", report.latent_variance}};
}

}  // namespace foresight::eval
