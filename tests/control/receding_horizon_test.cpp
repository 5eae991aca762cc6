// SPDX-License-Identifier: Apache-2.0
// The bookkeeping against stable-worldmodel's policy traces, and its own rules.
#include "foresight/control/receding_horizon.hpp"

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "golden.hpp"

namespace foresight::receding_horizon_test {
namespace {

// Hands out recorded plans; advances warm starts as any planner does.
class ScriptedPlanner final : public Planner {
 public:
  Plan solve(const Problem&, Noise&) const override { return {}; }
};

Plan plan_of(const Tensor& actions) {
  Plan plan;
  plan.status = Status::ok;
  plan.actions = actions;
  return plan;
}

class Trace {
 public:
  Trace(Golden& golden, const nlohmann::json& item) : golden_(golden) {
    name_ = item.at("name");
    const int64_t block = item.at("action_block");
    space_.block = block;
    if (item.contains("discrete")) {
      space_.dim = item.at("discrete");
      space_.discrete = true;
    } else {
      space_.dim = item.at("action_dim");
      space_.mean = item.at("action_mean").get<std::vector<double>>();
      space_.std = item.at("action_scale").get<std::vector<double>>();
    }
    RecedingHorizonOptions options;
    options.horizon = item.at("horizon");
    options.replan_steps = item.at("receding_horizon").get<int64_t>() * block;
    options.history = item.at("history_len");
    options.warm_start = item.at("warm_start");
    batch_ = item.at("n_envs");
    horizon_.emplace(options, space_, batch_);
  }

  void run() {
    const auto flush = input("flush"), dead = input("dead"), frame = input("frame"),
               executed = input("info_action");
    std::vector<Tensor> actions, replan_steps, masks;
    for (int64_t t = 0; t < frame.size(0); ++t) {
      std::vector<bool> skip;
      for (int64_t b = 0; b < batch_; ++b) {
        if (flush[t][b].item<bool>()) horizon_->flush(b);
        skip.push_back(dead[t][b].item<bool>());
      }
      horizon_->record(Observation("frame", frame[t]), raw(executed[t]));
      const auto due = horizon_->due(skip);
      if (!due.empty()) {
        replan_steps.push_back(at::scalar_tensor(t, at::kLong));
        auto mask = at::zeros({batch_}, at::kByte);
        for (const auto row : due) mask[row] = 1;
        masks.push_back(mask);
        replan(due, static_cast<int64_t>(masks.size()) - 1);
      }
      actions.push_back(horizon_->next(skip));
    }
    golden_.compare(name_ + "_replan_step", at::stack(replan_steps));
    golden_.compare(name_ + "_replan_mask", at::stack(masks));
    const auto all = at::stack(actions);
    golden_.compare(name_ + "_policy_actions", space_.discrete ? all.argmax(-1) : all);
    const auto key = "outputs/" + name_ + "_final_next_init";
    if (golden_.has(key))
      compare_blocks(name_ + "_final_next_init",
                     planner_
                         .advance(horizon_->last(),
                                  std::vector<int64_t>(static_cast<std::size_t>(batch_),
                                                       horizon_->replan_steps()),
                                  space_.block)
                         .mean);
  }

 private:
  Tensor input(const std::string& key) const { return golden_.input(name_ + "_" + key); }

  // Symbols become one-hot rows; continuous values pass.
  Tensor raw(const Tensor& executed) const {
    if (!space_.discrete) return executed;
    return at::one_hot(executed.to(at::kLong).clamp(0, space_.dim - 1), space_.dim).to(at::kFloat);
  }

  void replan(const std::vector<int64_t>& due, int64_t r) {
    const auto prefix = name_ + "_replan" + std::to_string(r);
    INFO("replan " << r);
    const auto warm = horizon_->warm_start(due, planner_);
    CHECK(warm.mean.defined() == golden_.has("outputs/" + prefix + "_init_action"));
    if (warm.mean.defined()) compare_blocks(prefix + "_init_action", warm.mean);

    const auto window = horizon_->window(due);
    std::vector<Tensor> frames;
    for (const auto& frame : window.frames) frames.push_back(frame.at("frame"));
    golden_.compare(prefix + "_frames", at::stack(frames, 1));
    CHECK(window.blocks.empty() != golden_.has("outputs/" + prefix + "_action_history"));
    if (!window.blocks.empty())
      golden_.compare(prefix + "_action_history", at::stack(window.blocks, 1));

    const auto plan = input("plan_" + std::to_string(r));
    horizon_->accept(due, plan_of(space_.discrete ? raw(plan).flatten(-2) : plan));
  }

  void compare_blocks(const std::string& key, const Tensor& blocks) {
    if (!space_.discrete) return golden_.compare(key, blocks);
    golden_.compare(key, blocks.unflatten(-1, {space_.block, space_.dim}).argmax(-1));
  }

  Golden& golden_;
  std::string name_;
  ActionSpace space_;
  int64_t batch_ = 1;
  std::optional<RecedingHorizon> horizon_;
  ScriptedPlanner planner_;
};

TEST_CASE("the receding horizon keeps stable-worldmodel's books step by step", "[parity]") {
  for_each_golden("planners/mpc_trace", [](Golden& golden) {
    for (const auto& item : golden.config().at("cases")) {
      INFO("case " << item.at("name").get<std::string>());
      Trace(golden, item).run();
    }
    const auto missed = golden.uncompared();
    INFO("first uncompared key: " << (missed.empty() ? "none" : missed.front()));
    CHECK(missed.empty());
  });
}

RecedingHorizon counting(int64_t replan_steps, int64_t block, int64_t batch = 1) {
  ActionSpace space;
  space.block = block;
  return {{.horizon = 3, .replan_steps = replan_steps}, space, batch};
}

void step(RecedingHorizon& horizon) {
  const auto batch = horizon.last().mean.defined() ? horizon.last().mean.size(0) : 1;
  horizon.record(Observation("x", at::zeros({batch, 1})), at::zeros({batch, 1}));
}

TEST_CASE("replanning inside a block shifts the warm start by raw actions") {
  auto horizon = counting(1, 2);
  const SamplingPlanner planner;
  step(horizon);
  horizon.accept({0}, plan_of(at::arange(6, at::kFloat).reshape({1, 3, 2})));
  CHECK(horizon.next().item<double>() == 0.0);
  step(horizon);
  CHECK(horizon.due() == std::vector<int64_t>{0});
  const auto warm = horizon.warm_start({0}, planner);
  CHECK(at::equal(warm.mean.flatten(), at::tensor({1.F, 2.F, 3.F, 4.F, 5.F, 0.F})));
}

TEST_CASE("without a new plan the queue runs on beyond the replanning time, then is empty") {
  auto horizon = counting(2, 2);
  step(horizon);
  horizon.accept({0}, plan_of(at::arange(6, at::kFloat).reshape({1, 3, 2})));
  for (int64_t t = 0; t < 6; ++t) {
    CHECK(horizon.due().empty() == (t < 2));
    CHECK(horizon.next().item<double>() == static_cast<double>(t));
  }
  CHECK(horizon.remaining(0) == 0);
  CHECK(std::isnan(horizon.next().item<double>()));
}

TEST_CASE("rows that were executed for different lengths are shifted each by their own") {
  auto horizon = counting(4, 2, 2);
  const SamplingPlanner planner;
  horizon.record(Observation("x", at::zeros({2, 1})), at::zeros({2, 1}));
  const auto plan = at::arange(12, at::kFloat).reshape({2, 3, 2});
  horizon.accept({0, 1}, plan_of(plan));
  horizon.next({false, true});
  horizon.next();
  horizon.request_plan(0);
  horizon.request_plan(1);
  const auto warm = horizon.warm_start({0, 1}, planner).mean;
  CHECK(at::equal(warm[0].flatten(), at::tensor({2.F, 3.F, 4.F, 5.F, 0.F, 0.F})));
  CHECK(at::equal(warm[1].flatten(), at::tensor({7.F, 8.F, 9.F, 10.F, 11.F, 0.F})));
}

// Two problems whose plans [2,3,1] were executed for one step; the second was then reset.
RecedingHorizon half_reset(const Plan& plan) {
  auto horizon = counting(1, 1, 2);
  horizon.record(Observation("x", at::zeros({2, 1})), at::zeros({2, 1}));
  horizon.accept({0, 1}, plan);
  horizon.next();
  horizon.flush(1);
  return horizon;
}

TEST_CASE("a problem that was reset starts from the planner's prior beside one that was not") {
  const auto plan = plan_of(at::arange(6, at::kFloat).reshape({2, 3, 1}));
  for (const auto tail : {Tail::prior, Tail::repeat_last}) {
    INFO(enum_name(tail));
    const SamplingPlanner planner({.initial_mean = {0.5}, .tail = tail});
    const auto horizon = half_reset(plan);
    const auto warm = horizon.warm_start({1, 0}, planner).mean;
    CHECK(warm[0].eq(0.5).all().item<bool>());
    CHECK(at::equal(warm[1].flatten().narrow(0, 0, 2), at::tensor({1.F, 2.F})));
    // Also alone, while its neighbour goes on.
    const auto own = horizon.warm_start({1}, planner).mean;
    CHECK(own.eq(0.5).all().item<bool>());
  }
}

TEST_CASE("what a planner remembers of a problem that was reset is what it would start with") {
  auto plan = plan_of(at::arange(6, at::kFloat).reshape({2, 3, 1}));
  plan.warm_start.mean = plan.actions;
  plan.warm_start.memory.emplace_back("rates", at::full({2, 3, 1}, 7.0));
  plan.warm_start.memory.emplace_back("knots", at::full({2, 2, 1}, 7.0));
  plan.warm_start.memory.emplace_back("elites", at::full({2, 4, 3, 1}, 7.0));
  const auto warm = half_reset(plan).warm_start(
      {0, 1}, SamplingPlanner({.initial_mean = {0.5}, .knot_kernel = KnotKernel::linear}));
  for (const char* name : {"rates", "knots"}) {
    INFO(name);
    const auto value = find_term(warm.memory, name);
    REQUIRE(value.defined());
    CHECK(value[0][0].item<double>() == 7.0);
    CHECK(value[1].eq(0.5).all().item<bool>());
  }
  const auto elites = find_term(warm.memory, "elites");
  CHECK(elites[0].eq(7.0).all().item<bool>());
  CHECK(elites[1].isnan().all().item<bool>());
}

TEST_CASE("recorded frames are copies") {
  ActionSpace space;
  RecedingHorizon horizon({.horizon = 2, .history = 2}, space, 1);
  auto camera = at::ones({1, 1});
  horizon.record(Observation("x", camera), at::zeros({1, 1}));
  camera.fill_(9.0);
  horizon.record(Observation("x", camera), at::zeros({1, 1}));
  CHECK(horizon.window({0}).frames.front().at("x").item<double>() == 1.0);
}

TEST_CASE("impossible horizons and wrong shapes are refused") {
  ActionSpace space;
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { RecedingHorizon({.horizon = 2, .replan_steps = 3}, space, 1); }, "replan_steps", "3"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { RecedingHorizon({.horizon = 0}, space, 1); },
      "horizon"));
  RecedingHorizon horizon({.horizon = 2}, space, 2);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        horizon.record(Observation("x", at::zeros({1, 1})), at::zeros({2, 1}));
      },
      "batch 1"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { horizon.flush(2); }, "row 2"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { horizon.window({0}); }, "no observation"));
}

}  // namespace
}  // namespace foresight::receding_horizon_test
