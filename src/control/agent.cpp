// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/agent.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "foresight/models/graphed_model.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight {
namespace {

// Of imagined candidates at once, where each takes megabytes: latents of patches.
constexpr int64_t kPatchBytes = int64_t{1} << 30;
constexpr const char* kProprioGoal = "goal_proprio";

}  // namespace

std::vector<std::string> ObjectiveOptions::validate() const {
  Rules rules("ObjectiveOptions");
  for (const auto& [name, weight] :
       {std::pair{"cost_to_go", cost_to_go}, std::pair{"goal_distance", goal_distance},
        std::pair{"proprio_distance", proprio_distance},
        std::pair{"control_effort", control_effort}, std::pair{"action_rate", action_rate}})
    rules.check(weight >= 0, name, weight, "must be >= 0");
  rules.check(cost_to_go + goal_distance + proprio_distance > 0, "goal_distance", goal_distance,
              "or cost_to_go or proprio_distance must be > 0: without any there is no goal");
  rules.check(cost_to_go_steps != Steps::discounted, "cost_to_go_steps",
              enum_name(cost_to_go_steps), "must be last or sum");
  return rules.nested("distance", distance.validate()).problems();
}

std::vector<std::string> AgentOptions::validate() const {
  return Rules("AgentOptions")
      .nested("sampling", sampling.validate())
      .nested("objective", objective.validate())
      .nested("control", control.validate())
      .problems();
}

AgentOptions AgentOptions::lewm() {
  AgentOptions options;
  options.sampling = lewm_cem();
  options.control.horizon = 5;
  return options;
}

AgentOptions AgentOptions::cost_to_go() {
  AgentOptions options;
  options.sampling.samples = 128;
  options.sampling.elites = 16;
  options.sampling.iterations = 4;
  options.sampling.initial_std = {1.2};
  options.sampling.bound = BoundKind::box;
  options.objective.cost_to_go = 1.0;
  options.objective.goal_distance = 0.0;
  options.control.horizon = 3;
  return options;
}

AgentOptions AgentOptions::eb_jepa() {
  AgentOptions options;
  options.sampling = eb_jepa_mppi();
  options.objective.distance = {.steps = Steps::sum, .reduction = Reduction::mean};
  options.control.horizon = 90;
  options.control.replan_steps = 1;
  options.control.warm_start = false;
  return options;
}

AgentOptions AgentOptions::dino_wm(bool proprio) {
  AgentOptions options;
  options.sampling = dino_wm_cem();
  options.objective.distance = {.reduction = Reduction::mean};
  options.objective.proprio_distance = proprio ? 1.0 : 0.0;
  options.control.horizon = 5;
  options.control.candidate_bytes = kPatchBytes;
  return options;
}

AgentOptions AgentOptions::vjepa2_ac() {
  AgentOptions options;
  options.sampling = vjepa2_ac_cem();
  options.objective.distance = {.distance = Distance::l1, .reduction = Reduction::mean};
  options.control.horizon = 2;
  options.control.replan_steps = 1;
  options.control.warm_start = false;
  options.control.candidate_bytes = kPatchBytes;
  return options;
}

Agent Agent::load(const std::filesystem::path& folder, io::Placement placement,
                  io::ChecksumRule checksum) {
  auto bundle = io::read_bundle(folder);
  bundle.checksum = checksum;
  Agent agent;
  agent.config_ = bundle.config;
  agent.loaded_ = models::read_world_model(bundle, placement);
  agent.critic_ = models::read_value_critic(bundle);
  // Planning needs gradients with respect to actions at most.
  for (auto& parameter : agent.loaded_.module->parameters()) parameter.set_requires_grad(false);
  if (agent.critic_)
    for (auto& parameter : agent.critic_->parameters()) parameter.set_requires_grad(false);
  agent.options = AgentOptions::lewm();
  if (!agent.config_.planner.empty())
    read_options(agent.options, agent.config_.planner, folder.string() + ": planner");
  require_valid(agent.options);
  if (const auto head = agent.config_.heads.find(kSurpriseHead);
      head != agent.config_.heads.end()) {
    read_options(agent.calibration_.emplace(), *head,
                 folder.string() + ": heads." + std::string(kSurpriseHead));
    require_valid(*agent.calibration_);
  }
  return agent;
}

std::shared_ptr<const WorldModel> Agent::planning_model() const {
  return lend(loaded_, &Lent::model);
}

std::shared_ptr<const WorldModel> Agent::lend(const models::LoadedWorldModel& loaded,
                                              std::weak_ptr<const WorldModel> Lent::* place) const {
  std::lock_guard lock(lent_->mutex);
  auto& lent = (*lent_).*place;
  if (auto model = lent.lock()) return model;
  const auto on_gpu = loaded.module->parameters().front().is_cuda();
  const auto owner = std::make_shared<std::shared_ptr<const WorldModel>>(
      on_gpu && options.cuda_graphs ? std::make_shared<models::GraphedModel>(loaded.model)
                                    : loaded.model);
  std::shared_ptr<const WorldModel> model(owner, owner->get());
  lent = model;
  return model;
}

void Agent::require_nothing_lent(const char* change) const {
  std::lock_guard lock(lent_->mutex);
  require(lent_->model.expired() && lent_->quick.expired(), ErrorCategory::invalid_argument,
          std::string(change) +
              " would change the weights under a controller, monitor or objective that was made "
              "from this agent or a copy of it: call it before they are made, or load the bundle "
              "anew");
}

void Agent::to(const at::Device& device) {
  // A device without its number stands for the current one, and is equal to none that weights tell.
  const auto place = at::empty({0}, at::TensorOptions().device(device)).device();
  if (loaded_.module->parameters().front().device() == place) return;
  require_nothing_lent("Agent::to");
  models::move_to(loaded_, place);
  if (quick_.module) models::move_to(quick_, place);
  if (critic_) critic_->to(place);
}

void Agent::compute_in(models::InferencePrecision precision) {
  const bool copies = precision == models::InferencePrecision::fixed16;
  const bool rechecks = precision == models::InferencePrecision::bfloat16_rechecked;
  auto quick = !rechecks      ? models::LoadedWorldModel{}
               : quick_.model ? quick_
                              : models::bfloat16_copy(loaded_);
  const auto critic_type =
      precision == models::InferencePrecision::bfloat16 ? at::kBFloat16 : at::kFloat;
  const bool converts_critic =
      critic_ && critic_->parameters().front().scalar_type() != critic_type;
  const bool converts_model = loaded_.module->parameters().front().scalar_type() != critic_type;
  if (!copies && (converts_model || converts_critic)) require_nothing_lent("Agent::compute_in");
  loaded_ = models::in_precision(loaded_, precision);
  if (copies) {  // nothing is shared with copies of this agent from here on
    lent_ = std::make_shared<Lent>();
    if (critic_) critic_ = critic_->copy();
  }
  if (converts_critic) critic_->to(critic_type);
  quick_ = std::move(quick);
}

Objective Agent::objective() const {
  require_valid(options);
  const auto& weights = options.objective;
  Objective objective;
  if (weights.cost_to_go > 0) {
    require(critic_ != nullptr, ErrorCategory::unsupported,
            "objective.cost_to_go needs a bundle with a critic; this one has none");
    objective.add(
        "cost_to_go", weights.cost_to_go,
        foresight::cost_to_go([critic = critic_, lent = planning_model()](
                                  const Tensor& latents,
                                  const Tensor& goals) { return critic->forward(latents, goals); },
                              {.steps = weights.cost_to_go_steps}));
  }
  if (weights.goal_distance > 0)
    objective.add("goal_distance", weights.goal_distance, goal_distance(weights.distance));
  if (weights.proprio_distance > 0) {
    const auto& imagined = model().spec().imagined;
    require(std::find(imagined.begin(), imagined.end(), kProprio) != imagined.end(),
            ErrorCategory::unsupported,
            "objective.proprio_distance needs a model that imagines proprioception; this one of "
            "family '" +
                model().spec().family + "' does not");
    auto distance = weights.distance;
    distance.field = kProprio;
    distance.goal = kProprioGoal;
    objective.add("proprio_distance", weights.proprio_distance, goal_distance(distance))
        .take_from_goal(distance.goal, distance.field);
  }
  if (weights.control_effort > 0)
    objective.add("control_effort", weights.control_effort, control_effort());
  if (weights.action_rate > 0)
    objective.add("action_rate", weights.action_rate, action_rate(model().spec().action.block));
  if (quick_.model)
    objective.set_quick_model(lend(quick_, &Lent::quick), at::kBFloat16,
                              recheck_for(options.sampling));
  return objective;
}

Mpc Agent::controller() const {
  return Mpc(planning_model(), objective(), std::make_shared<SamplingPlanner>(options.sampling),
             options.control);
}

std::shared_ptr<SafetyMonitor> Agent::monitor(const SafetyMonitorOptions& settings) const {
  require(calibration_.has_value(), ErrorCategory::unsupported,
          "Agent::monitor: this bundle has no head 'surprise': calibrate_surprise() makes one from "
          "recorded episodes, and SafetyMonitor takes it");
  return std::make_shared<SafetyMonitor>(planning_model(), *calibration_, settings);
}

}  // namespace foresight
