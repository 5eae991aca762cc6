// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/planning_evaluation.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "foresight/core/error.hpp"

namespace foresight::eval {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The problems of one batch while they run.
class Batch {
 public:
  Batch(const envs::EnvFactory& factory, const PlanningProtocol& protocol, int64_t first,
        int64_t count, const FrameLookup& frames, const EvaluationOptions& options)
      : protocol_(protocol), image_size_(options.image_size) {
    problems_.first = first;
    std::vector<Tensor> starts, goals;
    for (int64_t i = 0; i < count; ++i) {
      const auto& instance = protocol.instances[static_cast<std::size_t>(first + i)];
      auto env = factory();
      require(env != nullptr, ErrorCategory::invalid_argument,
              "evaluate_planning: the environment factory returned nothing");
      const auto start = state_tensor(*env, instance.start_state);
      const auto goal = state_tensor(*env, instance.goal_state);
      if (frames) {
        starts.push_back(recorded(frames, instance.episode, instance.start_step));
        goals.push_back(recorded(frames, instance.episode, instance.goal_step));
      } else {
        for (const auto& [pictures, state] :
             {std::pair{&starts, &start}, std::pair{&goals, &goal}}) {
          env->reset_to(*state, goal);
          pictures->push_back(env->render(image_size_));
        }
      }
      env->reset_to(start, goal);
      records_.push_back({instance, false, 0, env->goal_distance(), env->goal_distance(), {}});
      paths_.push_back({env->state().to(at::kDouble)});
      problems_.instances.push_back(&instance);
      problems_.simulators.push_back(env.get());
      goal_states_.push_back(goal);
      envs_.push_back(std::move(env));
    }
    problems_.start = observation(starts, current_states());
    problems_.goal = observation(goals, at::stack(goal_states_));
    active_.assign(static_cast<std::size_t>(count), true);
  }

  const EvalProblems& problems() const { return problems_; }
  const envs::EnvSpec& env_spec() const { return envs_.front()->spec(); }
  bool running() const { return std::find(active_.begin(), active_.end(), true) != active_.end(); }
  Tensor active() const {
    auto mask = at::empty({static_cast<int64_t>(active_.size())}, at::kBool);
    for (std::size_t i = 0; i < active_.size(); ++i) mask.data_ptr<bool>()[i] = active_[i];
    return mask;
  }

  // Problems that are solved keep their last picture: nobody looks at it, but the batch keeps its
  // shape.
  Observation observe() {
    if (pictures_.empty()) pictures_.resize(envs_.size());
    for (std::size_t i = 0; i < envs_.size(); ++i)
      if (active_[i] || !pictures_[i].defined()) pictures_[i] = envs_[i]->render(image_size_);
    return observation(pictures_, current_states());
  }

  void step(const Tensor& actions) {
    for (std::size_t i = 0; i < envs_.size(); ++i) {
      if (!active_[i]) continue;
      auto& record = records_[i];
      const auto result = envs_[i]->step(actions[static_cast<int64_t>(i)]);
      ++record.steps;
      record.final_distance = envs_[i]->goal_distance();
      const bool last = record.steps == protocol_.budget;
      record.success = protocol_.solved_when == SolvedWhen::terminated
                           ? result.terminated
                           : last && record.final_distance < protocol_.success_distance;
      paths_[i].push_back(envs_[i]->state().to(at::kDouble));
      active_[i] = !record.success && !last;
    }
  }

  std::vector<InstanceRecord> take_records() {
    for (std::size_t i = 0; i < records_.size(); ++i) records_[i].path = at::stack(paths_[i]);
    return std::move(records_);
  }

 private:
  static Tensor state_tensor(const envs::Env& env, const std::vector<double>& values) {
    require(values.size() == env.spec().state_names.size(), ErrorCategory::invalid_argument,
            "evaluate_planning: a problem's state has " + std::to_string(values.size()) +
                " elements, environment '" + env.spec().name + "' has " +
                std::to_string(env.spec().state_names.size()));
    return at::tensor(values, at::kDouble).to(env.spec().state_dtype);
  }

  Tensor recorded(const FrameLookup& frames, int64_t episode, int64_t step) const {
    auto frame = frames(episode, step);
    check_shape("evaluate_planning: recorded frame", frame, {image_size_, image_size_, 3},
                "[image_size,image_size,3]");
    require(frame.scalar_type() == at::kByte, ErrorCategory::invalid_argument,
            "evaluate_planning: recorded frames must be uint8");
    return frame.cpu();
  }

  Tensor current_states() const {
    std::vector<Tensor> states;
    for (const auto& env : envs_) states.push_back(env->state());
    return at::stack(states);
  }

  static Observation observation(const std::vector<Tensor>& pictures, const Tensor& states) {
    Observation result;
    result.set(kPixels, at::stack(pictures));
    result.set(kProprio, states.to(at::kFloat));
    return result;
  }

  const PlanningProtocol& protocol_;
  int64_t image_size_;
  EvalProblems problems_;
  std::vector<std::unique_ptr<envs::Env>> envs_;
  std::vector<Tensor> goal_states_, pictures_;
  std::vector<std::vector<Tensor>> paths_;
  std::vector<InstanceRecord> records_;
  std::vector<bool> active_;
};

void check_actions(const EvalPolicy& policy, const Tensor& actions, const Tensor& active,
                   int64_t dim) {
  const std::string name = "policy '" + policy.name() + "': actions";
  check_shape(name, actions, {active.size(0), dim}, "[N,dim]");
  check_finite(name, actions.index({active}));
}

void summarise(PlanningReport& report, std::vector<double> per_problem,
               std::vector<double> per_call) {
  std::vector<double> steps;
  for (const auto& record : report.records)
    if (record.success) steps.push_back(static_cast<double>(record.steps));
  report.trials = static_cast<int64_t>(report.records.size());
  report.successes = static_cast<int64_t>(steps.size());
  report.rate = static_cast<double>(report.successes) / static_cast<double>(report.trials);
  report.interval = wilson_interval(report.successes, report.trials, report.confidence);
  if (!steps.empty()) {
    report.median_steps = quantile(steps, 0.5);
    report.mean_steps =
        std::accumulate(steps.begin(), steps.end(), 0.0) / static_cast<double>(steps.size());
  }
  if (per_call.empty()) return;
  report.first_call_seconds = per_call.front();
  per_call.erase(per_call.begin());
  per_problem.erase(per_problem.begin());
  report.seconds_per_call = summarise_durations(per_call);
  report.seconds_per_problem = summarise_durations(per_problem);
}

}  // namespace

std::vector<std::string> EvaluationOptions::validate() const {
  Rules rules("EvaluationOptions");
  rules.check(image_size >= 1, "image_size", static_cast<double>(image_size), "must be >= 1");
  rules.check(batch >= 1, "batch", static_cast<double>(batch), "must be >= 1");
  rules.check(confidence > 0 && confidence < 1, "confidence", confidence, "must be in (0, 1)");
  return rules.problems();
}

PlanningReport evaluate_planning(EvalPolicy& policy, const envs::EnvFactory& factory,
                                 const PlanningProtocol& protocol, const FrameLookup& frames,
                                 const EvaluationOptions& options) {
  require_valid(options);
  require(!protocol.instances.empty() && protocol.budget >= 1, ErrorCategory::invalid_argument,
          "evaluate_planning: protocol '" + protocol.name + "' has no problems or no budget");
  require(protocol.solved_when == SolvedWhen::terminated || protocol.success_distance > 0,
          ErrorCategory::invalid_argument,
          "evaluate_planning: protocol '" + protocol.name +
              "': success_distance = " + std::to_string(protocol.success_distance) +
              " must be > 0 where problems are solved near the goal at the end");
  const at::NoGradGuard no_grad;
  const auto begin = Clock::now();
  PlanningReport report;
  std::vector<double> per_problem, per_call;
  const auto total = static_cast<int64_t>(protocol.instances.size());
  for (int64_t first = 0; first < total; first += options.batch) {
    Batch batch(factory, protocol, first, std::min(options.batch, total - first), frames, options);
    report.environment = batch.env_spec().name;
    policy.begin(batch.problems());
    for (bool at_start = true; batch.running(); at_start = false) {
      Observation observation;
      if (policy.wants_observation())
        observation = at_start ? batch.problems().start : batch.observe();
      const auto active = batch.active();
      const auto call = Clock::now();
      const auto answer = policy.act(observation, active);
      // Waits for the device: belongs to planning.
      const auto actions = answer.actions.defined() ? answer.actions.cpu() : answer.actions;
      if (answer.planned > 0) {
        per_call.push_back(seconds_since(call));
        per_problem.push_back(per_call.back() / static_cast<double>(answer.planned));
      }
      if (answer.fallbacks > 0 && report.fallbacks == 0) report.fallback_message = answer.message;
      report.fallbacks += answer.fallbacks;
      check_actions(policy, actions, active, batch.env_spec().action.dim);
      batch.step(actions);
    }
    for (auto& record : batch.take_records()) report.records.push_back(std::move(record));
  }
  report.protocol = protocol.name;
  report.policy = policy.name();
  report.goal_offset = protocol.goal_offset;
  report.budget = protocol.budget;
  report.solved_when = protocol.solved_when;
  report.success_distance = protocol.success_distance;
  report.confidence = options.confidence;
  report.frames = frames ? "recorded" : "rendered";
  summarise(report, std::move(per_problem), std::move(per_call));
  report.total_seconds = seconds_since(begin);
  return report;
}

ScriptedEvalPolicy::ScriptedEvalPolicy(envs::ScriptedPolicyFactory factory, std::uint64_t seed)
    : factory_(std::move(factory)), seed_(seed) {
  require(factory_ != nullptr, ErrorCategory::invalid_argument,
          "ScriptedEvalPolicy: a policy factory is needed");
  name_ = factory_()->name();
}

void ScriptedEvalPolicy::begin(const EvalProblems& problems) {
  simulators_ = problems.simulators;
  policies_.clear();
  noises_.clear();
  for (std::size_t i = 0; i < simulators_.size(); ++i) {
    policies_.push_back(factory_());
    policies_.back()->begin_episode();
    noises_.emplace_back(seed_, static_cast<std::uint64_t>(problems.first) + i);
  }
}

EvalActions ScriptedEvalPolicy::act(const Observation&, const Tensor& active) {
  const auto mask = active.cpu();
  const auto count = static_cast<int64_t>(simulators_.size());
  auto actions = at::zeros({count, simulators_.front()->spec().action.dim});
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (mask[i].item<bool>()) actions[i].copy_(policies_[at]->act(*simulators_[at], noises_[at]));
  }
  return {actions, 0, 0, {}};
}

void ReplayEvalPolicy::begin(const EvalProblems& problems) {
  require(actions_ != nullptr, ErrorCategory::invalid_argument,
          "ReplayEvalPolicy: a source of recorded actions is needed");
  instances_ = problems.instances;
  dim_ = problems.simulators.front()->spec().action.dim;
  step_ = 0;
}

EvalActions ReplayEvalPolicy::act(const Observation&, const Tensor& active) {
  const auto mask = active.cpu();
  auto actions = at::zeros({static_cast<int64_t>(instances_.size()), dim_});
  for (std::size_t i = 0; i < instances_.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const int64_t step = instances_[i]->start_step + step_;
    if (!mask[row].item<bool>() || step >= instances_[i]->goal_step) continue;
    const auto recorded = actions_(instances_[i]->episode, step);
    check_shape("ReplayEvalPolicy: recorded action", recorded, {dim_}, "[dim]");
    actions[row].copy_(recorded);
  }
  ++step_;
  return {actions, 0, 0, {}};
}

}  // namespace foresight::eval
