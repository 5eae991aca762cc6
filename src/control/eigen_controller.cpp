// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/eigen_controller.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "eigen_bridge.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight {
namespace {

constexpr std::string_view kParameters = "parameters";

// What EigenControllerOptions::settings may change.
struct FunctorSettings {
  SamplingOptions sampling;
  MpcOptions control;
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("sampling", self.sampling, "the sampling planner");
    visit("control", self.control, "the control loop");
  }
};

template <class Settings>
void change(Settings& settings, const std::string& json) {
  if (json.empty()) return;
  auto parsed = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  require(!parsed.is_discarded(), ErrorCategory::invalid_option,
          "EigenController settings are not valid JSON: " + json);
  read_options(settings, parsed, "EigenController settings");
}

// Limits give the units of the search: the middle is 0, a quarter of the range is 1.
ActionSpace action_space(const FunctorDynamics& dynamics, const EigenControllerOptions& options) {
  ActionSpace space;
  space.dim = dynamics.action_size();
  space.block = options.block;
  space.low = options.low;
  space.high = options.high;
  require_valid(space);
  for (std::size_t d = 0; d < space.low.size() && d < space.high.size(); ++d) {
    const double range = space.high[d] - space.low[d];
    const bool usable = std::isfinite(range) && range > 0;
    space.mean.push_back(usable ? space.low[d] + range / 2 : 0.0);
    space.std.push_back(usable ? range / 4 : 1.0);
  }
  return space;
}

}  // namespace

std::vector<std::string> EigenControllerOptions::validate() const {
  const auto real = [](std::int64_t value) { return static_cast<double>(value); };
  return Rules("EigenControllerOptions")
      .at_least("block", real(block), 1)
      .at_least("horizon", real(horizon), 1)
      .at_least("replan_steps", real(replan_steps), 1)
      .at_least("threads", real(threads), 0)
      .within("deadline_ms", deadline_ms, 0)
      .problems();
}

struct EigenController::Body {
  Body(Mpc controller, const ModelSpec& model)
      : spec(model), mpc(std::move(controller)), input(model), goal(model) {
    require(mpc.options().batch == 1, ErrorCategory::invalid_option,
            fmt::format("EigenController controls one robot: MpcOptions.batch = {} must be 1",
                        mpc.options().batch));
    const auto& space = spec.action;
    told.action = Eigen::VectorXd::Zero(space.discrete ? 1 : space.dim);
    parameters = input.find(kParameters);
    takes_parameters = spec.family == "functor" && parameters >= 0;
  }

  // What does not fit is told by act(): a control loop goes on.
  template <class Values>
  void observe(int field, const Values& values) noexcept {
    if (!input.write(field, values)) fits = false;
  }

  void decide() noexcept {
    const auto start = Problem::Clock::now();
    // Mpc itself refuses an empty observation, and answers from its ladder.
    static const Observation nothing;
    try {
      const auto missing = input.unwritten();
      if (!fits || !missing.empty()) {
        decision = mpc.act(nothing, executed);
        if (fits) decision.message = fmt::format("field '{}' was not observed", missing);
      } else if (mpc.options().history_mode == HistoryMode::window) {
        decision = mpc.act(copied(), executed);  // kept there, and so may not share our memory
      } else {
        decision = mpc.act(input.observation(), executed);
      }
    } catch (...) {
      // Only out of memory can bring us here; the last action stands.
      told.status = Status::failed;
      told.message = "out of memory";
      return;
    }
    executed = Tensor();
    fits = true;
    detail::tell(decision, told);
    told.total_seconds = std::chrono::duration<double>(Problem::Clock::now() - start).count();
  }

  Observation copied() const {
    Observation copy;
    for (const auto& [name, value] : input.observation().fields()) copy.set(name, value.clone());
    return copy;
  }

  // The observation that is a goal, for trained models.
  void take_goal(const detail::EigenInput& from) {
    Observation observation;
    for (const auto& [name, value] : from.observation().fields())
      observation.set(name, value.clone());
    mpc.set_goal(observation);
  }

  template <class Values>
  void set_goal(const Values& values, std::string_view what) {
    const int field = takes_parameters ? parameters : 0;
    require(takes_parameters || spec.family != "functor", ErrorCategory::unsupported,
            "set_goal: the functor has no parameters that could be its goal");
    require(takes_parameters || spec.observation.size() == 1, ErrorCategory::unsupported,
            "set_goal: the model observes several fields; write them with observe() and call "
            "set_observed_goal()");
    require(goal.write(field, values), ErrorCategory::invalid_argument,
            fmt::format("set_goal: {} does not fit field '{}' of shape {}", what,
                        spec.observation[static_cast<std::size_t>(field)].name,
                        shape_string(spec.observation[static_cast<std::size_t>(field)].shape)));
    const auto& name = spec.observation[static_cast<std::size_t>(field)].name;
    check_finite(fmt::format("set_goal: field '{}'", name), goal.observation().at(name));
    if (!takes_parameters) {
      take_goal(goal);
      return;
    }
    observe(field, values);
    // As a task field as well, which makes the next act() plan anew.
    mpc.set_task(kParameters, goal.observation().at(kParameters).clone());
  }

  ModelSpec spec;
  Mpc mpc;
  detail::EigenInput input, goal;
  int parameters = -1;
  bool takes_parameters = false, fits = true;
  Tensor executed;
  Decision decision;
  EigenDecision told;
};

EigenController::EigenController(std::unique_ptr<Body> body) : body_(std::move(body)) {}
EigenController::~EigenController() = default;
EigenController::EigenController(EigenController&&) noexcept = default;
EigenController& EigenController::operator=(EigenController&&) noexcept = default;

EigenController EigenController::load(const std::filesystem::path& bundle,
                                      const std::string& settings) {
  auto agent = Agent::load(bundle);
  change(agent.options, settings);
  require_valid(agent.options);
  return EigenController(std::make_unique<Body>(agent.controller(), agent.model().spec()));
}

EigenController::EigenController(std::shared_ptr<const FunctorDynamics> dynamics,
                                 EigenControllerOptions options) {
  require(dynamics != nullptr, ErrorCategory::invalid_argument,
          "EigenController: no dynamics were given");
  require_valid(options);
  FunctorSettings settings;
  settings.sampling = sampling_preset(options.planner);
  settings.control.horizon = options.horizon;
  settings.control.replan_steps = options.replan_steps;
  settings.control.deadline_ms = options.deadline_ms;
  settings.control.max_step = options.max_step;
  settings.control.safe_action = options.safe_action;
  settings.control.seed = options.seed;
  change(settings, options.settings);
  const auto space = action_space(*dynamics, options);
  auto model = std::make_shared<FunctorModel>(std::move(dynamics), space,
                                              FunctorOptions{.threads = options.threads});
  Mpc mpc(model, functor_objective(model), std::make_shared<SamplingPlanner>(settings.sampling),
          settings.control);
  body_ = std::make_unique<Body>(std::move(mpc), model->spec());
}

std::int64_t EigenController::action_size() const noexcept { return body_->told.action.size(); }

std::vector<std::string> EigenController::fields() const {
  std::vector<std::string> names;
  for (const auto& field : body_->spec.observation) names.push_back(field.name);
  return names;
}

std::int64_t EigenController::field_size(std::string_view field) const {
  const int index = body_->input.find(field);
  if (index < 0) {
    const auto suggestion = nearest_name(field, fields());
    throw Error(ErrorCategory::not_found,
                fmt::format("the model observes no field '{}'{}", field,
                            suggestion.empty() ? "" : ", did you mean '" + suggestion + "'?"));
  }
  return body_->input.size(index);
}

void EigenController::set_goal(const EigenVectorIn& goal) {
  body_->set_goal(goal, fmt::format("a vector of {}", goal.size()));
}
void EigenController::set_goal(const EigenImageIn& goal) {
  body_->set_goal(goal, fmt::format("an image of {} x {} bytes", goal.rows(), goal.cols()));
}
void EigenController::set_observed_goal() {
  require(body_->spec.family != "functor", ErrorCategory::unsupported,
          "set_observed_goal: a functor's goal are its parameters, see set_goal()");
  const auto missing = body_->input.unwritten();
  require(missing.empty(), ErrorCategory::invalid_argument,
          fmt::format("set_observed_goal: field '{}' was not observed", missing));
  body_->take_goal(body_->input);
}

void EigenController::observe(std::string_view field, const EigenVectorIn& values) noexcept {
  body_->observe(body_->input.find(field), values);
}
void EigenController::observe(std::string_view field, const EigenImageIn& image) noexcept {
  body_->observe(body_->input.find(field), image);
}

const EigenDecision& EigenController::act() noexcept {
  body_->decide();
  return body_->told;
}
const EigenDecision& EigenController::act(const EigenVectorIn& state) noexcept {
  body_->observe(0, state);
  return act();
}
const EigenDecision& EigenController::act(const EigenImageIn& image) noexcept {
  body_->observe(0, image);
  return act();
}
const EigenDecision& EigenController::decision() const noexcept { return body_->told; }

void EigenController::applied(const EigenVectorIn& action) {
  const auto size = body_->told.action.size();
  require(action.size() == size, ErrorCategory::invalid_argument,
          fmt::format("applied: the action has {} values, expected {}", action.size(), size));
  body_->executed = at::empty({1, size}, at::kFloat);
  Eigen::Map<Eigen::VectorXf>(body_->executed.data_ptr<float>(), size) = action.cast<float>();
  if (body_->spec.action.discrete) body_->executed = body_->executed.to(at::kLong);
}

const EigenDecision& EigenController::warm_up() {
  body_->decision = body_->mpc.warm_up(body_->copied());
  detail::tell(body_->decision, body_->told);
  body_->told.total_seconds = body_->decision.total_seconds;
  return body_->told;
}

void EigenController::reset() {
  body_->mpc.reset();
  body_->executed = Tensor();
  body_->input.forget(body_->takes_parameters ? body_->parameters : -1);
}

}  // namespace foresight
