// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/functor_model.hpp"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "foresight/core/error.hpp"
#include "foresight/planning/terms.hpp"

namespace foresight {
namespace {

constexpr std::string_view kState = "state", kLatent = "latent", kParameters = "parameters";

void check_dynamics(const std::shared_ptr<const FunctorDynamics>& dynamics,
                    const ActionSpace& action, const FunctorOptions& options) {
  require(dynamics != nullptr, ErrorCategory::invalid_argument,
          "functor dynamics: nothing was given");
  require_valid(action);
  require_valid(options);
  require(
      !action.discrete && action.dim == dynamics->action_size(), ErrorCategory::invalid_argument,
      fmt::format("functor dynamics take {} real actions, the action space has {} {}",
                  dynamics->action_size(), action.dim, action.discrete ? "symbols" : "dimensions"));
}

void check_numbers(std::string_view name, const Tensor& tensor) {
  require(tensor.device().is_cpu(), ErrorCategory::unsupported,
          fmt::format("functor dynamics run on the CPU, {} is on {}", name, tensor.device().str()));
  require(tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble,
          ErrorCategory::unsupported,
          fmt::format("functor dynamics compute in float or double, {} is {}", name,
                      c10::toString(tensor.scalar_type())));
  require(!(c10::GradMode::is_enabled() && tensor.requires_grad()), ErrorCategory::unsupported,
          fmt::format("gradients do not pass through functor dynamics, {} requires them", name));
}

Tensor numbers(const Tensor& tensor, at::ScalarType type) { return tensor.to(type).contiguous(); }

// What one call of the dynamics reads and writes. The tensors outlive the job.
struct Call {
  Tensor state, parameters, actions;  // [B,NX] or [B,S,NX]; [B,S,H,A]
  bool own_states = false;
  Tensor cost, terminal, states, rewards;  // outputs wanted, defined
};

template <class Scalar>
Scalar* pointer(const Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<Scalar>() : nullptr;
}

template <class Scalar>
std::vector<Scalar> per_dimension(const std::vector<double>& values, int64_t dim, double standard) {
  if (values.empty()) return std::vector<Scalar>(static_cast<std::size_t>(dim), Scalar(standard));
  return {values.begin(), values.end()};
}

template <class Scalar>
void run(const FunctorDynamics& dynamics, const ActionSpace& action, const FunctorOptions& options,
         const Call& call) {
  const auto mean = per_dimension<Scalar>(action.mean, action.dim, 0.0);
  const auto std = per_dimension<Scalar>(action.std, action.dim, 1.0);
  FunctorRollout<Scalar> job;
  job.batch = call.actions.size(0);
  job.samples = call.actions.size(1);
  job.horizon = call.actions.size(2);
  job.block = action.block;
  job.states_before = pointer<Scalar>(call.state);
  job.own_states = call.own_states;
  job.parameters = pointer<Scalar>(call.parameters);
  job.actions = pointer<Scalar>(call.actions);
  job.mean = mean.data();
  job.std = std.data();
  job.cost = pointer<Scalar>(call.cost);
  job.terminal = pointer<Scalar>(call.terminal);
  job.states = pointer<Scalar>(call.states);
  job.rewards = pointer<Scalar>(call.rewards);
  const auto rows = job.batch * job.samples;
  const auto threads = options.threads > 0 ? options.threads : at::get_num_threads();
  if (threads == 1) {
    dynamics.roll(job, 0, rows);
    return;
  }
  at::parallel_for(0, rows, std::max<int64_t>(1, (rows + threads - 1) / threads),
                   [&](int64_t first, int64_t last) { dynamics.roll(job, first, last); });
}

void run(const FunctorDynamics& dynamics, const ActionSpace& action, const FunctorOptions& options,
         const Call& call) {
  if (call.actions.scalar_type() == at::kFloat) {
    run<float>(dynamics, action, options, call);
  } else {
    run<double>(dynamics, action, options, call);
  }
}

}  // namespace

std::vector<std::string> FunctorOptions::validate() const {
  return Rules("FunctorOptions")
      .check(threads >= 0, "threads", static_cast<double>(threads), "must be >= 0")
      .problems();
}

CostFunction functor_cost(std::shared_ptr<const FunctorDynamics> dynamics, ActionSpace action,
                          const Tensor& state, const Tensor& parameters, FunctorOptions options) {
  check_dynamics(dynamics, action, options);
  check_shape("state", state, {kAny, dynamics->state_size()}, "[B,NX]");
  check_numbers("state", state);
  const auto batch = state.size(0);
  if (dynamics->parameter_size() > 0) {
    require(parameters.defined(), ErrorCategory::invalid_argument,
            fmt::format("the functor takes {} parameters, none were given",
                        dynamics->parameter_size()));
    check_shape("parameters", parameters, {batch, dynamics->parameter_size()}, "[B,NP]");
    check_numbers("parameters", parameters);
  }
  return [dynamics = std::move(dynamics), action = std::move(action), options,
          // A copy: the caller may go on writing into its own.
          state = state.detach().clone(),
          parameters = parameters.defined() ? parameters.detach().clone() : Tensor(),
          batch](const Tensor& actions) {
    check_shape("actions", actions, {batch, kAny, kAny, action.width()}, "[B,S,H,A]");
    check_numbers("actions", actions);
    const auto type = actions.scalar_type();
    Call call;
    call.state = numbers(state, type);
    if (parameters.defined()) call.parameters = numbers(parameters, type);
    call.actions = actions.contiguous();
    Costs costs;
    costs.total = call.cost = at::empty({batch, actions.size(1)}, actions.options());
    if (dynamics->has_terminal()) call.terminal = at::empty_like(call.cost);
    run(*dynamics, action, options, call);
    if (dynamics->has_terminal()) {
      costs.terms = {{"stage", call.cost}, {"terminal", call.terminal}};
      costs.total = call.cost + call.terminal;
    }
    return costs;
  };
}

FunctorModel::FunctorModel(std::shared_ptr<const FunctorDynamics> dynamics, ActionSpace action,
                           FunctorOptions options)
    : dynamics_(std::move(dynamics)), options_(options) {
  check_dynamics(dynamics_, action, options);
  spec_.family = "functor";
  spec_.observation = {{std::string(kState), {dynamics_->state_size()}}};
  if (dynamics_->parameter_size() > 0) {
    spec_.observation.push_back({std::string(kParameters), {dynamics_->parameter_size()}});
    spec_.imagined.emplace_back(kParameters);  // the terminal cost may depend on them
  }
  spec_.action = std::move(action);
  spec_.channels = dynamics_->state_size();
}

State FunctorModel::state_of(Tensor latent, Tensor parameters) const {
  State state(latent.dim() - 2);
  state.set(kLatent, std::move(latent));
  if (parameters.defined()) state.set(kParameters, std::move(parameters));
  return state.set_filled(1);
}

State FunctorModel::initial(int64_t batch) const {
  return state_of(at::zeros({batch, 1, dynamics_->state_size()}),
                  dynamics_->parameter_size() > 0 ? at::zeros({batch, dynamics_->parameter_size()})
                                                  : Tensor())
      .set_filled(0);
}

State FunctorModel::observe(const State&, const Tensor&, const Observation& observation,
                            Noise&) const {
  spec_.check(observation);
  // Copies: whoever observes may reuse its buffers.
  return state_of(observation.at(kState).clone().unsqueeze(1),
                  dynamics_->parameter_size() > 0 ? observation.at(kParameters).clone() : Tensor());
}

Transition FunctorModel::step(const State& state, const Tensor& action, Noise&) const {
  const auto& latent = state.at(kLatent);
  check_numbers("latent", latent);
  check_numbers("action", action);
  const auto batch = state.batch_shape();
  auto shape = batch;
  shape.push_back(spec_.action.width());
  check_shape("action", action, shape, "[N...,A]");
  const auto type = action.scalar_type();
  const auto nx = dynamics_->state_size();
  const auto rows = action.numel() / spec_.action.width();
  Call call;
  call.own_states = true;
  call.state = numbers(latent, type).reshape({1, rows, nx});
  if (dynamics_->parameter_size() > 0)
    call.parameters = numbers(state.at(kParameters), type).reshape({1, rows, -1});
  call.actions = action.contiguous().reshape({1, rows, 1, spec_.action.width()});
  call.states = at::empty({1, rows, 1, nx}, call.actions.options());
  call.rewards = at::empty({1, rows, 1}, call.actions.options());
  run(*dynamics_, spec_.action, options_, call);
  return {state_of(call.states.reshape(latent.sizes()),
                   dynamics_->parameter_size() > 0 ? state.at(kParameters) : Tensor()),
          call.rewards.reshape(batch),
          {}};
}

Trajectory FunctorModel::rollout(const State& state, const Tensor& actions, Noise&) const {
  const auto& latent = state.at(kLatent);
  check_shape("latent", latent, {kAny, 1, dynamics_->state_size()}, "[B,1,NX]");
  const auto batch = latent.size(0);
  check_shape("actions", actions, {batch, kAny, kAny, spec_.action.width()}, "[B,S,H,A]");
  check_numbers("latent", latent);
  check_numbers("actions", actions);
  const auto type = actions.scalar_type();
  const auto samples = actions.size(1), horizon = actions.size(2);
  Call call;
  call.state = numbers(latent, type);
  if (dynamics_->parameter_size() > 0) call.parameters = numbers(state.at(kParameters), type);
  call.actions = actions.contiguous();
  call.states = at::empty({batch, samples, horizon, 1, dynamics_->state_size()}, actions.options());
  call.rewards = at::empty({batch, samples, horizon}, actions.options());
  run(*dynamics_, spec_.action, options_, call);
  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3).set(kLatent, call.states).set_filled(1);
  if (dynamics_->parameter_size() > 0)
    trajectory.states.set(
        kParameters,
        state.at(kParameters).unsqueeze(1).unsqueeze(1).expand({batch, samples, horizon, -1}));
  trajectory.rewards = call.rewards;
  return trajectory;
}

Tensor FunctorModel::value(const State& state) const {
  const auto& latent = state.at(kLatent);
  const auto batch = state.batch_shape();
  if (!dynamics_->has_terminal()) return at::zeros(batch, latent.options());
  check_numbers("latent", latent);
  const auto rows = latent.numel() / dynamics_->state_size();
  Call call;
  call.own_states = true;
  call.state = latent.contiguous().reshape({1, rows, dynamics_->state_size()});
  if (dynamics_->parameter_size() > 0)
    call.parameters = numbers(state.at(kParameters), latent.scalar_type()).reshape({1, rows, -1});
  call.actions = at::empty({1, rows, 0, spec_.action.width()}, latent.options());
  call.terminal = at::empty({1, rows}, latent.options());
  run(*dynamics_, spec_.action, options_, call);
  return -call.terminal.reshape(batch);
}

Objective functor_objective(const std::shared_ptr<const FunctorModel>& model) {
  require(model != nullptr, ErrorCategory::invalid_argument,
          "functor_objective: no model was given");
  Objective objective;
  objective.add("stage", 1.0, negative_return());
  if (model->has_terminal()) objective.add("terminal", 1.0, terminal_value(model));
  return objective;
}

}  // namespace foresight
