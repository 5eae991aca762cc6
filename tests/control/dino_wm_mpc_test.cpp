// SPDX-License-Identifier: Apache-2.0
// Receding horizon, CEM and DinoWm together against DINO-WM's own control loop in a toy
// environment: every plan, what was executed of it, and where that led.
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "dino_wm_golden.hpp"
#include "foresight/control/receding_horizon.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "planning/golden_planner.hpp"

namespace foresight::dino_wm_mpc_test {

namespace {

constexpr const char* kGoalProprio = "goal_proprio";

std::vector<double> doubles(const Tensor& tensor) {
  const auto flat = tensor.to(at::kCPU, at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// The fixture's control loop. The reference also runs every mean of its search in the environment
// and stops searching when that reaches all goals; the file says how many iterations were left, and
// we search as many.
class ControlLoop {
 public:
  ControlLoop(Golden& golden, at::ScalarType type)
      : golden_(golden),
        type_(type),
        config_(golden.config()),
        model_(golden_dino_wm(golden, golden_dino_wm_options(config_.at("model")), type)),
        planner_config_(config_.at("sub_planner")),
        goal_(golden.input("state_goal").cpu()),
        start_(golden.input("state0").cpu()),
        state_(start_) {
    space_.dim = 2;
    space_.block = config_.at("frameskip");
    space_.mean = doubles(golden.input("action_mean"));
    space_.std = doubles(golden.input("action_std"));
    taken_ = config_.at("n_taken_actions");
    horizon_ = planner_config_.at("horizon");
    solved_ = at::zeros({batch()}, at::kBool);
    length_ = at::full({batch()}, INFINITY, at::kDouble);
    for (int64_t b = 0; b < batch(); ++b) rows_.push_back(b);
  }

  void run() {
    RecedingHorizon loop({.horizon = horizon_, .replan_steps = taken_ * space_.block}, space_,
                         batch());
    auto executed = at::full({batch(), space_.dim}, std::nan(""), type_);
    const auto rounds = golden_.output("plans").size(0);
    for (int64_t step = 0; step < rounds * taken_ * space_.block; ++step) {
      loop.record({"proprio", state_.to(type_)}, executed);
      if (const auto due = loop.due(); !due.empty()) {
        REQUIRE(due == rows_);
        const auto round = static_cast<int64_t>(plans_.size());
        loop.accept(rows_, plan(round, loop));
      }
      executed = at::where(solved_.unsqueeze(1), at::zeros({}, type_), loop.next());
      actions_.push_back(executed);
      state_ = moved(state_, executed);
      if ((step + 1) % (taken_ * space_.block) == 0) end_round();
    }
    CHECK(used_ == golden_.output("noise_blocks_used").sum().item<int64_t>());
    compare();
  }

 private:
  int64_t batch() const { return goal_.size(0); }

  Tensor moved(const Tensor& state, const Tensor& raw) const {
    return (state + config_.at("env_gain").get<double>() * raw.to(at::kDouble)).clamp(-1, 1);
  }

  // Where the environment ends after normalised chunks [B,n,A].
  Tensor replayed(Tensor state, const Tensor& chunks) const {
    for (const auto& raw : space_.denormalise(chunks).flatten(1, 2).unbind(1))
      state = moved(state, raw);
    return state;
  }

  Tensor reached(const Tensor& state) const {
    return (state - goal_).norm(2, 1).lt(config_.at("success_threshold").get<double>());
  }

  void evaluate(const Tensor& state) {
    evaluated_.push_back(state);
    success_.push_back(reached(state));
  }

  // Pictures [B,1,h,w,3] and proprioception [B,1,N] as the model takes them.
  Tensor features(const Tensor& pictures) const {
    return golden_features_of_bytes(golden_, pictures, type_);
  }
  Tensor proprio(const Tensor& raw) const { return golden_normalised_proprio(golden_, raw); }

  Plan plan(int64_t round, const RecedingHorizon& loop) {
    INFO("round " << round);
    proprio_.push_back(state_.to(type_).unsqueeze(1));
    const auto state = model_->observe_features(
        model_->initial(batch()), {},
        features(golden_.output("observed_visual")[round]).select(1, 0),
        proprio(golden_.output("observed_proprio", type_)[round]).select(1, 0));
    Task task(1);
    task.set(kGoal, features(golden_.input("goal_visual")).select(1, 0));
    task.set(kGoalProprio, model_->encode_proprio(proprio(golden_.input("goal_proprio", type_))));

    GoalDistance visual;
    visual.reduction = Reduction::mean;
    auto own = visual;
    own.field = "proprio";
    own.goal = kGoalProprio;
    Objective objective;
    objective.add("visual", 1.0, goal_distance(visual));
    objective.add("proprio", config_.at("objective").at("alpha"), goal_distance(own));

    const auto blocks = golden_.output("noise_blocks_used")[round].item<int64_t>();
    auto options = dino_wm_cem();
    options.samples = planner_config_.at("num_samples");
    options.iterations = blocks / batch();
    options.elites = planner_config_.at("topk");
    options.initial_std = {planner_config_.at("var_scale").get<double>()};
    options.noise_sharing = NoiseSharing::per_problem;
    options.record = PlannerRecord::everything;
    const SamplingPlanner planner(options);
    RecordedNoise noise;
    const auto draws = golden_.input("noise", type_).narrow(0, used_, blocks);  // one a problem
    for (const auto& draw : draws.unflatten(0, {-1, batch()}).unbind(0)) noise.push(draw);
    used_ += blocks;

    auto problem = golden_problem(type_);
    problem.batch = batch();
    problem.horizon = horizon_;
    problem.action = model_->spec().action;
    problem.cost = objective.cost_function(*model_, state, noise, task);
    problem.warm_start = loop.warm_start(rows_, planner);
    // The rest of the last plan, then nothing; at first there is none.
    const auto rest = golden_.output("warm_start_length")[round].item<int64_t>();
    CHECK(problem.warm_start.mean.defined() == (rest > 0));
    if (rest > 0) {
      CHECK(at::equal(problem.warm_start.mean.slice(1, 0, rest).cpu(),
                      plans_.back().slice(1, horizon_ - rest)));
      CHECK_FALSE(problem.warm_start.mean.slice(1, rest).any().item<bool>());
    }
    auto result = planner.solve(problem, noise);
    INFO(result.message);
    CHECK(result.status == Status::ok);
    CHECK(noise.remaining() == 0);
    for (const auto& record : result.diagnostics.iteration)
      evaluate(replayed(state_, record.mean.cpu()));
    plans_.push_back(result.actions.cpu());
    return result;
  }

  // Success counts where it is found at the end of a round, and stays.
  void end_round() {
    evaluate(state_);
    const auto fresh = success_.back().logical_and(solved_.logical_not());
    length_ =
        at::where(fresh, static_cast<double>(plans_.size()) * static_cast<double>(taken_), length_);
    solved_ = solved_.logical_or(fresh);
  }

  void compare() {
    const auto chunks = at::stack(actions_, 1).reshape({batch(), -1, space_.width()});
    const auto compare = [&](const char* key, const Tensor& actual) {
      if (type_ == at::kDouble)
        golden_.compare_within("outputs64/" + std::string(key), actual, {1e-6, 1e-6, 0},
                               "what goes to the environment and back is rounded to float32 in the "
                               "original's float64 run too");
      else
        golden_.compare("outputs/" + std::string(key), actual);
    };
    compare("plans", at::stack(plans_));
    compare("executed_actions", space_.normalise(chunks.to(type_)));
    compare("evaluation_last_state", at::stack(evaluated_));
    compare("observed_proprio", at::stack(proprio_));
    compare("action_len", length_);
    golden_.compare("outputs/evaluation_success", at::stack(success_));
    golden_.compare("outputs/is_success", solved_);
    if (type_ == at::kDouble)
      CHECK(golden_.uncompared("outputs64").empty());
    else
      CHECK(golden_.uncompared("outputs") == std::vector<std::string>{"outputs/noise_blocks_used",
                                                                      "outputs/observed_visual",
                                                                      "outputs/warm_start_length"});
  }

  Golden& golden_;
  at::ScalarType type_;
  const nlohmann::json& config_;
  std::shared_ptr<models::DinoWm> model_;
  const nlohmann::json& planner_config_;
  ActionSpace space_;
  int64_t taken_ = 1, horizon_ = 1, used_ = 0;
  std::vector<int64_t> rows_;
  Tensor goal_, start_, state_;                    // [B,2], as all that is the environment's
  Tensor solved_, length_;                         // [B]
  std::vector<Tensor> plans_, actions_, proprio_;  // per round, step, round
  std::vector<Tensor> evaluated_, success_;        // in the order of the reference's evaluations
};

}  // namespace

TEST_CASE("control rounds of DINO-WM equal the reference's, plan by plan", "[parity][device]") {
  at::NoGradGuard no_grad;
  for_each_golden("dino_wm/mpc", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) ControlLoop(golden, type).run();
  });
}

}  // namespace foresight::dino_wm_mpc_test
