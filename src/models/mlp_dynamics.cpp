// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/mlp_dynamics.hpp"

#include <cmath>

#include "state_names.hpp"

namespace foresight::models {
namespace {

// Mean and population deviation over rows; 1 where a column is constant.
std::pair<Tensor, Tensor> scales(const Tensor& rows) {
  const auto [variance, mean] = at::var_mean(rows, at::IntArrayRef{0}, /*unbiased=*/false);
  const auto std = variance.sqrt();
  constexpr double kConstant = 1e-8;
  return {mean, at::where(std > kConstant, std, at::ones_like(std))};
}

}  // namespace

std::vector<std::string> MlpDynamicsOptions::validate() const {
  Rules rules("MlpDynamicsOptions");
  rules.check(state >= 1, "state", static_cast<double>(state), "must be >= 1");
  rules.check(!observation.empty(), "observation", observation, "must name a field");
  rules.check(members >= 1, "members", static_cast<double>(members), "must be >= 1");
  rules.check(mlp.norm == nn::NormKind::none, "mlp.norm", enum_name(mlp.norm), "must be none");
  rules.check(std::isfinite(min_log_variance) && min_log_variance < max_log_variance,
              "min_log_variance", min_log_variance, "must be below max_log_variance");
  rules.check(std::isfinite(max_log_variance), "max_log_variance", max_log_variance,
              "must be finite");
  rules.check(std::isfinite(bound_weight) && bound_weight >= 0, "bound_weight", bound_weight,
              "must be >= 0");
  rules.check(output == DynamicsOutput::gaussian || step == DynamicsStep::mean, "step",
              enum_name(step), "must be mean for point output, which has no variance");
  return rules.nested("action", action.validate()).nested("mlp", mlp.validate()).problems();
}

Tensor bootstrap_rows(int64_t rows, int64_t members, PhiloxNoise& noise) {
  require(rows >= 1 && members >= 1, ErrorCategory::invalid_argument,
          "bootstrap_rows: rows = " + std::to_string(rows) +
              " and members = " + std::to_string(members) + " must be >= 1");
  return noise.integers(rows, {members, rows});
}

MlpDynamics::MlpDynamics(const MlpDynamicsOptions& options, std::uint64_t seed)
    : options_(options) {
  require_valid(options);
  const auto d = options.state, width = options.action.width();
  spec_.family = "mlp_dynamics";
  spec_.observation = {{options.observation, {d}}};
  spec_.action = options.action;
  spec_.channels = d;
  const bool gaussian = options.output == DynamicsOutput::gaussian;
  mlp_ = register_module("mlp", std::make_shared<nn::StackedMlp>(
                                    options.members, d + width, options.mlp, gaussian ? 2 * d : d));
  if (gaussian) {
    const auto bound = [&](double value) { return at::full({options.members, 1, d}, value); };
    min_log_variance_ = register_parameter("min_log_variance", bound(options.min_log_variance));
    max_log_variance_ = register_parameter("max_log_variance", bound(options.max_log_variance));
  }
  input_mean_ = register_buffer("input_mean", at::zeros({d + width}));
  input_std_ = register_buffer("input_std", at::ones({d + width}));
  change_mean_ = register_buffer("change_mean", at::zeros({d}));
  change_std_ = register_buffer("change_std", at::ones({d}));
  PhiloxNoise noise(seed);
  mlp_->initialise(noise);
}

void MlpDynamics::fit_scales(const Transitions& data) {
  const auto n = data.size();
  require(n >= 2, ErrorCategory::invalid_argument,
          "fit_scales needs at least two transitions, got " + std::to_string(n));
  check_shape("transitions: states", data.states, {n, options_.state}, "[N,D]");
  check_shape("transitions: actions", data.actions, {n, options_.action.width()}, "[N,A]");
  check_shape("transitions: next", data.next, {n, options_.state}, "[N,D]");
  check_finite("transitions: states", data.states);
  check_finite("transitions: actions", data.actions);
  check_finite("transitions: next", data.next);
  at::NoGradGuard no_grad;
  const auto [input_mean, input_std] = scales(at::cat({data.states, data.actions}, 1));
  const auto [change_mean, change_std] = scales(data.next - data.states);
  input_mean_.copy_(input_mean);
  input_std_.copy_(input_std);
  change_mean_.copy_(change_mean);
  change_std_.copy_(change_std);
}

MlpDynamics::Change MlpDynamics::predict(const Tensor& states, const Tensor& actions) const {
  const auto input = (at::cat({states, actions}, 2) - input_mean_) / input_std_;
  const auto output = mlp_->forward(input);
  if (options_.output == DynamicsOutput::point) return {output, {}};
  const auto d = options_.state;
  // PETS, appendix A.1: bounds that saturate softly, so that the variance far from the data neither
  // explodes nor collapses.
  auto log_variance = max_log_variance_ - at::softplus(max_log_variance_ - output.narrow(2, d, d));
  log_variance = min_log_variance_ + at::softplus(log_variance - min_log_variance_);
  return {output.narrow(2, 0, d), log_variance};
}

Tensor MlpDynamics::apply(const Tensor& states, const Tensor& scaled_change) const {
  return states + (change_mean_ + change_std_ * scaled_change);
}

Tensor MlpDynamics::scaled_change(const Tensor& states, const Tensor& next) const {
  return (next - states - change_mean_) / change_std_;
}

losses::Terms MlpDynamics::loss(const Tensor& states, const Tensor& actions,
                                const Tensor& next) const {
  check_shape("states", states, {count(), kAny, options_.state}, "[K,n,D]");
  check_shape("actions", actions, {count(), states.size(1), options_.action.width()}, "[K,n,A]");
  check_shape("next", next, {count(), states.size(1), options_.state}, "[K,n,D]");
  const auto change = predict(states, actions);
  const auto squared = (change.mean - scaled_change(states, next)).square();
  losses::Terms terms;
  if (options_.output == DynamicsOutput::point) {
    terms.add("mse", 1.0, squared.mean({1, 2}).sum());
    return terms;
  }
  const auto nll = squared * at::exp(-change.log_variance) + change.log_variance;
  terms.add("nll", 1.0, nll.mean({1, 2}).sum());
  terms.add("bounds", options_.bound_weight, (max_log_variance_ - min_log_variance_).sum());
  return terms;
}

losses::Terms MlpDynamics::loss(const Transitions& data, const Tensor& rows) const {
  check_shape("rows", rows, {count(), kAny}, "[K,n]");
  const auto pick = [&](const Tensor& tensor) {
    return tensor.index_select(0, rows.flatten().to(tensor.device()))
        .view({count(), rows.size(1), tensor.size(1)});
  };
  return loss(pick(data.states), pick(data.actions), pick(data.next));
}

Tensor MlpDynamics::error(const Transitions& data) const {
  at::NoGradGuard no_grad;
  const auto all = [&](const Tensor& tensor) {
    return tensor.unsqueeze(0).expand({count(), tensor.size(0), tensor.size(1)});
  };
  const auto states = all(data.states);
  const auto change = predict(states, all(data.actions));
  return (change.mean - scaled_change(states, all(data.next))).square().mean({1, 2});
}

State MlpDynamics::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  State state(2);
  state.set(kLatent, at::zeros({count(), batch, 1, options_.state}, input_mean_.options()));
  return state;
}

State MlpDynamics::observe(const State& previous, const Tensor& last_action,
                           const Observation& observation, Noise&) const {
  const auto batch = previous.batch_shape().at(1);
  spec_.check(observation, batch);
  if (last_action.defined())
    check_shape("action", last_action, {batch, options_.action.width()}, "[B,A]");
  State state(2);
  state.set(kLatent, observation.at(options_.observation)
                         .to(input_mean_.options())
                         .view({1, batch, 1, options_.state})
                         .expand({count(), batch, 1, options_.state}));
  state.set_filled(1);
  return state;
}

Transition MlpDynamics::step(const State& state, const Tensor& action, Noise& noise) const {
  const auto& latent = state.at(kLatent);
  check_shape("action", action, {count(), latent.size(1), options_.action.width()}, "[K,N,A]");
  const auto states = latent.squeeze(2);
  auto change = predict(states, action.to(latent.scalar_type()));
  if (options_.step == DynamicsStep::sample)
    change.mean = change.mean + at::exp(0.5 * change.log_variance) *
                                    noise.normal(change.mean.sizes(), change.mean.options());
  State next(2);
  next.set(kLatent, apply(states, change.mean).unsqueeze(2)).set_filled(1);
  return {std::move(next), {}, {}};
}

}  // namespace foresight::models
