// SPDX-License-Identifier: Apache-2.0
// The frame of a control step: what it was given, in which order it goes, and that nothing escapes.
#include "mpc_loop.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"

namespace foresight {

using detail::all_rows;
using detail::append;
using detail::current_error;
using detail::finite_rows;
using detail::index_tensor;

namespace detail {

std::string current_error() {
  try {
    throw;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something that is not a std::exception was thrown";
  }
}

std::vector<bool> finite_rows(const std::vector<std::pair<std::string, Tensor>>& fields) {
  Tensor finite;  // where the fields are: one copy to the host tells of all
  for (const auto& [name, value] : fields) {
    if (!value.is_floating_point() && !value.is_complex()) continue;
    const auto own = value.isfinite().reshape({value.size(0), -1}).all(1);
    finite = finite.defined() ? finite.to(own.device()).logical_and(own) : own;
  }
  if (!finite.defined())
    return std::vector<bool>(
        fields.empty() ? 0 : static_cast<std::size_t>(fields.front().second.size(0)), true);
  finite = finite.cpu().contiguous();
  const auto* row = finite.data_ptr<bool>();
  return std::vector<bool>(row, row + finite.numel());
}

Tensor checked_task_value(std::string_view field, const Tensor& value, int64_t batch) {
  require(value.defined() && value.dim() >= 1 && value.size(0) == batch,
          ErrorCategory::invalid_argument,
          fmt::format("task field '{}' must have a first axis of B = {}", field, batch));
  if (at::isFloatingType(value.scalar_type()))
    check_finite(fmt::format("task field '{}'", field), value);
  WithoutGradients no_gradients;
  return value.clone();
}

Tensor checked_pinned(const Tensor& pinned, const MpcOptions& options, const ActionSpace& space) {
  if (!pinned.defined()) return {};
  WithoutGradients no_gradients;
  const bool shared = pinned.dim() == 2;
  const auto rows = shared ? pinned.unsqueeze(0) : pinned;
  check_shape("pinned", rows, {shared ? 1 : options.batch, options.horizon, space.width()},
              shared ? "[H,A]" : "[B,H,A]");
  require(at::isFloatingType(pinned.scalar_type()) && !pinned.isinf().any().item<bool>(),
          ErrorCategory::non_finite, "pinned must be floating, finite where it is not NaN");
  return rows.to(at::kCPU).expand({options.batch, -1, -1}).clone();  // rows are picked there
}

}  // namespace detail

namespace {

void check_row_list(const std::vector<int64_t>& rows, int64_t batch) {
  for (const auto row : rows)
    require(row >= 0 && row < batch, ErrorCategory::invalid_argument,
            fmt::format("Mpc: row {} is out of range 0..{}", row, batch - 1));
}

}  // namespace

Mpc::Loop::Loop(std::shared_ptr<const WorldModel> model, Objective objective,
                std::shared_ptr<const Planner> planner, MpcOptions options, TimeSource now)
    : model_(std::move(model)),
      objective_(std::move(objective)),
      planner_(std::move(planner)),
      options_(std::move(options)),
      now_(std::move(now)),
      limits_(ActionSpace()),
      noise_(static_cast<std::uint64_t>(options_.seed)) {
  require(model_ && planner_ && now_, ErrorCategory::invalid_argument,
          "Mpc needs a model, a planner and a clock");
  WithoutGradients no_gradients;
  require(!objective_.empty(), ErrorCategory::invalid_argument, "Mpc needs an objective");
  require_valid(options_);
  require_valid(space());
  const auto wanted = space().discrete ? 1 : space().dim;
  require(
      options_.safe_action.empty() || static_cast<int64_t>(options_.safe_action.size()) == wanted,
      ErrorCategory::invalid_option,
      fmt::format("MpcOptions.safe_action has {} values, expected {} or none",
                  options_.safe_action.size(), wanted));
  limits_ = ActionLimits(space(), options_.max_step);
  safe_ = safe_action();
  const bool windowed = options_.history_mode == HistoryMode::window;
  RecedingHorizonOptions horizon;
  horizon.horizon = options_.horizon;
  horizon.replan_steps = options_.replan_steps;
  horizon.warm_start = options_.warm_start;
  horizon.steps_per_action = options_.steps_per_action;
  horizon.interpolation = options_.interpolation;
  if (windowed) horizon.history = options_.history > 0 ? options_.history : model_->spec().history;
  plans_.emplace(horizon, space(), options_.batch);
  const auto block_steps = plans_->block_steps();
  lag_ = (block_steps - options_.latency_steps % block_steps) % block_steps;
  if (windowed && lag_ > 0) {
    horizon.lag = lag_;
    plans_.emplace(horizon, space(), options_.batch);
  }
  // Plans start from observations at every multiple of the greatest common divisor of replanning
  // time, block and latency, modulo the block: that many interleaved histories, each advancing in
  // whole blocks.
  grid_ = std::gcd(std::gcd(plans_->replan_steps(), block_steps), options_.latency_steps);
  ages_.resize(static_cast<std::size_t>(options_.batch));
  states_.resize(static_cast<std::size_t>(options_.batch));
  rungs_.resize(static_cast<std::size_t>(options_.batch));
  last_action_ = at::empty({options_.batch, space().dim}, at::kFloat);
  in_effect_ = at::empty_like(last_action_);
  committed_ = at::empty({options_.batch, options_.latency_steps, space().dim}, at::kFloat);
  reset_rows(all_rows(options_.batch));
}

Tensor Mpc::Loop::safe_action() const {
  const auto dim = space().dim;
  if (space().discrete) {
    const auto symbol = options_.safe_action.empty() ? 0.0 : options_.safe_action.front();
    require(symbol >= 0 && symbol < static_cast<double>(dim) && symbol == std::floor(symbol),
            ErrorCategory::invalid_option,
            fmt::format("MpcOptions.safe_action = {} must be a symbol 0..{}", symbol, dim - 1));
    auto row = at::zeros({1, dim}, at::kFloat);
    row[0][static_cast<int64_t>(symbol)] = 1.0;
    return row;
  }
  return limits_.apply(options_.safe_action.empty()
                           ? at::zeros({1, dim}, at::kFloat)
                           : at::tensor(options_.safe_action, at::kDouble).unsqueeze(0));
}

void Mpc::Loop::set_goal(const Observation& goal, const std::vector<int64_t>& rows) {
  WithoutGradients no_gradients;
  check_row_list(rows, options_.batch);
  const auto count = static_cast<int64_t>(rows.size());
  model_->spec().check(goal, count);
  const auto all_finite = [](const std::vector<std::pair<std::string, Tensor>>& fields) {
    const auto finite = finite_rows(fields);
    return std::all_of(finite.begin(), finite.end(), [](bool ok) { return ok; });
  };
  require(all_finite(goal.fields()), ErrorCategory::non_finite,
          "goal observation holds NaN or infinity");
  const auto latent = model_->encode(goal, noise_);
  require(latent.defined() && latent.dim() >= 1 && latent.size(0) == count,
          ErrorCategory::invalid_argument,
          fmt::format("the model's encode() must return a first axis of {}", count));
  require(all_finite({{"goal", latent}}), ErrorCategory::non_finite,
          "the model makes NaN or infinity of the goal");
  auto fields = objective_.goal_fields(*model_, goal, noise_);
  require(all_finite(fields), ErrorCategory::non_finite,
          "the model makes NaN or infinity of the goal");
  fields.emplace_back(kGoal, latent);
  const bool whole = rows == all_rows(options_.batch);
  require(whole || has_goal(), ErrorCategory::invalid_argument,
          "set_goal for some problems needs a first goal for all");
  for (const auto& [name, value] : fields)
    task_.set(
        name,
        whole ? value : task_.at(name).index_copy(0, index_tensor(rows).to(value.device()), value));
  for (const auto row : rows) plans_->request_plan(row);
}

void Mpc::Loop::set_task(std::string_view field, const Tensor& value) {
  task_.set(field, detail::checked_task_value(field, value, options_.batch));
  replan();
}

void Mpc::Loop::set_pinned(const Tensor& pinned) {
  pinned_ = detail::checked_pinned(pinned, options_, space());
  replan();
}

void Mpc::Loop::set_proposals(Proposals proposals) {
  proposals_ = std::move(proposals);
  replan();
}

void Mpc::Loop::replan() {
  for (const auto row : all_rows(options_.batch)) plans_->request_plan(row);
}

void Mpc::Loop::clear_goal() {
  Task rest(1);
  const auto lent = objective_.fields_from_goal();
  for (const auto& [name, value] : task_.fields())
    if (name != kGoal && std::find(lent.begin(), lent.end(), name) == lent.end())
      rest.set(name, value);
  task_ = rest;
}

void Mpc::Loop::reset_rows(const std::vector<int64_t>& rows) {
  WithoutGradients no_gradients;
  check_row_list(rows, options_.batch);
  if (monitor_) monitor_->reset(rows);
  for (const auto row : rows) {
    plans_->flush(row);
    forget(row);
    rungs_[static_cast<std::size_t>(row)] = ActionSource::plan;
    in_effect_[row].fill_(std::nan(""));
    committed_[row].copy_(safe_.expand_as(committed_[row]));
    // Under latency the safe action is what comes before the first answer.
    if (options_.latency_steps > 0)
      last_action_[row].copy_(safe_[0]);
    else
      last_action_[row].fill_(std::nan(""));
  }
}

Decision Mpc::Loop::warm_up(const Observation& example, int64_t repetitions) {
  require(repetitions >= 1, ErrorCategory::invalid_argument,
          fmt::format("warm_up: repetitions = {} must be >= 1", repetitions));
  WithoutGradients no_gradients;
  const auto position = noise_.position();
  const bool lent_goal = !has_goal();
  if (lent_goal) set_goal(example, all_rows(options_.batch));
  hurried_ = false;
  auto monitor = std::exchange(monitor_, nullptr);  // nothing is executed: all would surprise it
  // Two plans at least, so that the warm-started shapes are met as well, and until a full history
  // has moved on.
  const auto fill = lag_ + model_->spec().history * plans_->block_steps();
  Decision last;
  for (int64_t i = 0; i <= std::max(repetitions * plans_->replan_steps(), fill); ++i) {
    auto decision = act(example, {}, Planning::when_due);
    if (decision.replanned() || decision.status != Status::ok) last = std::move(decision);
  }
  hurried_ = true;
  monitor_ = std::move(monitor);
  reset_rows(all_rows(options_.batch));
  if (lent_goal) clear_goal();
  noise_.seek(position);
  return last;
}

Mpc::Loop::Step::Step(int64_t batch) : failed(static_cast<std::size_t>(batch), false) {
  decision.statuses.assign(failed.size(), Status::ok);
  decision.sources.assign(failed.size(), ActionSource::plan);
  decision.faults.assign(failed.size(), Fault::none);
  decision.planned.assign(failed.size(), false);
  decision.message.clear();
}

void Mpc::Loop::Step::blame(int64_t row, Status status, Fault fault) {
  const auto b = static_cast<std::size_t>(row);
  auto& told = decision.faults[b];
  if (told == Fault::none || told == Fault::executed_rejected) told = fault;
  decision.statuses[b] = status;
}

void Mpc::Loop::Step::blame(const std::vector<int64_t>& rows, Status status, Fault fault,
                            const std::string& why) {
  append(decision.message, why);
  for (const auto row : rows) blame(row, status, fault);
}

Decision Mpc::Loop::act(const Observation& observation, const Tensor& executed, Planning planning) {
  WithoutGradients no_gradients;
  start_ = now();
  Step step(options_.batch);
  const auto stopped = [&] {
    step.blame(all_rows(options_.batch), Status::failed, Fault::internal,
               "control step stopped: " + current_error());
    step.failed.assign(step.failed.size(), true);
  };
  try {
    decide(observation, executed, planning, step);
  } catch (...) {
    stopped();
  }
  auto& decision = step.decision;
  try {
    answer(step);
  } catch (...) {
    stopped();
    decision.sources.assign(step.failed.size(), ActionSource::safe_action);
    const auto safe = safe_.expand({options_.batch, -1}).contiguous();
    decision.action = space().discrete ? as_symbols(safe) : limits_.apply(safe, last_action_);
  }
  decision.status = worst(decision.statuses);
  if (decision.message.empty()) decision.message = "ok";
  if (incidents_) record_incidents(observation, decision);
  decision.total_seconds = seconds_since(start_);
  return std::move(step.decision);
}

void Mpc::Loop::decide(const Observation& observation, const Tensor& executed, Planning planning,
                       Step& step) {
  const auto usable = accept_observation(observation, executed, step);
  if (options_.history_mode == HistoryMode::incremental) take_in(observation, usable, step);
  std::vector<int64_t> due;
  for (const auto row : plans_->due()) {
    if (step.well(row))
      due.push_back(row);
    else
      step.failed[static_cast<std::size_t>(row)] = true;
  }
  step.decision.observe_seconds = seconds_since(start_);
  if (planning == Planning::not_now) return;
  auto groups = groups_of(due);
  for (auto left = groups.size(); left > 0; --left) {
    auto& group = groups[groups.size() - left];
    const auto begin = now();
    const auto state = start_of(group, step);
    step.decision.observe_seconds += seconds_since(begin);
    group.deadline = share_of_time(left);
    if (!group.rows.empty()) plan_group(group, state, step);
  }
}

Mpc::Loop::Clock::time_point Mpc::Loop::now() const {
  try {
    return now_();
  } catch (...) {
    return start_;  // a broken clock must not stop the robot: time stands still
  }
}

double Mpc::Loop::seconds_since(Clock::time_point start) const {
  return std::max(0.0, std::chrono::duration<double>(now() - start).count());
}

std::optional<Mpc::Loop::Clock::time_point> Mpc::Loop::deadline() const {
  if (options_.deadline_ms <= 0 || !hurried_) return std::nullopt;
  return start_ + std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double, std::milli>(options_.deadline_ms));
}

std::optional<Mpc::Loop::Clock::time_point> Mpc::Loop::share_of_time(std::size_t groups) const {
  const auto end = deadline();
  if (!end || groups == 1) return end;
  const auto begin = now();
  return begin + (*end - begin) / static_cast<int64_t>(groups);
}

}  // namespace foresight
