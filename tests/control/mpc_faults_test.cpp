// SPDX-License-Identifier: Apache-2.0
// 100,000 control steps among faults of every kind: not one exception out of act(), not one action
// that is not finite or out of its limits. What was injected and which rung answered is printed.
#include <cstdio>
#include <map>
#include <random>
#include <stdexcept>

#include "control/storm.hpp"

namespace foresight::mpc_faults_test {
namespace {

using std::chrono::milliseconds;

struct Setting {
  const char* name;
  int64_t steps;
  int64_t block = 1;
  int64_t iterations = 1;
  bool discrete = false;
  bool constrained = false;
  MpcOptions options;
};

// Counts over all settings.
struct Counts {
  std::array<int64_t, kTroubles.size()> injected{};
  std::map<std::string_view, int64_t> sources, faults, statuses;
  int64_t steps = 0, decisions = 0, exceptions = 0, bad_actions = 0, untold = 0;
  int64_t& of(Trouble trouble) { return injected[static_cast<std::size_t>(trouble)]; }
};

class Run {
 public:
  Run(const Setting& setting, std::uint32_t seed, Counts& counts)
      : setting_(setting),
        batch_(setting.options.batch),
        counts_(counts),
        random_(seed),
        mpc_(std::make_shared<StormyModel>(storm_, setting.block, setting.discrete),
             stormy_objective(storm_, setting.constrained), planner(setting), setting.options,
             [this] {
               if (storm_.is(Trouble::clock_throws)) throw std::runtime_error("no time");
               return storm_.clock();
             }) {
    mpc_.set_goal(observation(at::full({batch_, 2}, 0.5)));
    last_ = at::full({batch_, 2}, std::nan(""));
    // Under latency the safe action precedes the first answer.
    if (setting.options.latency_steps > 0) last_.zero_();
  }

  void run() {
    for (int64_t t = 0; t < setting_.steps; ++t) control_step();
    storm_.now = Trouble::none;
    // Whatever happened before: two calm steps, and it plans again.
    const auto calm = observation(world_);
    mpc_.act(calm);
    const auto decision = mpc_.act(calm);
    INFO(setting_.name << ": " << decision.message);
    CHECK(decision.status == Status::ok);
    for (const auto fault : decision.faults) CHECK(fault == Fault::none);
  }

 private:
  // As little search as makes plans: what is tested is the loop around it.
  static std::shared_ptr<const Planner> planner(const Setting& setting) {
    auto options = setting.discrete ? categorical_cem() : lewm_cem();
    options.samples = 4;
    options.elites = 2;
    options.iterations = setting.iterations;
    options.bound = setting.discrete ? BoundKind::none : BoundKind::box;
    options.evaluate_result = false;
    return std::make_shared<SamplingPlanner>(options);
  }
  static Observation observation(const Tensor& state) { return {kProprio, state}; }

  int64_t pick(int64_t count) {
    return static_cast<int64_t>(random_() % static_cast<std::uint32_t>(count));
  }
  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }

  // Half of the steps are calm, so that there are plans to lose.
  Trouble draw() {
    return chance(0.5) ? Trouble::none
                       : static_cast<Trouble>(1 + pick(static_cast<int64_t>(kTroubles.size()) - 1));
  }

  Observation sense() {
    switch (storm_.now) {
      case Trouble::observation_nan:
      case Trouble::observation_infinite: {
        auto seen = world_.clone();
        seen[pick(batch_)][pick(2)] = storm_.is(Trouble::observation_nan) ? NAN : -INFINITY;
        return observation(seen);
      }
      case Trouble::observation_shape:
        return observation(at::zeros({batch_, 3}));
      case Trouble::observation_batch:
        return observation(at::zeros({batch_ + 1, 2}));
      case Trouble::observation_dtype:
        return observation(world_.to(chance(0.5) ? at::kDouble : at::kLong));
      case Trouble::observation_missing:
        return {"camera", world_};
      case Trouble::observation_empty:
        return {};
      default:
        return observation(world_);
    }
  }

  // What is reported as executed, and from where the rate then counts.
  Tensor report() {
    const auto width = mpc_.action_space().dim;
    const auto finite = [&](const Tensor& executed) {
      if (setting_.options.latency_steps == 0 && width == 2)
        last_ = at::where(executed.isfinite(), executed.clamp(kLow, kHigh), last_);
      return executed;
    };
    switch (storm_.now) {
      case Trouble::executed_nan:
        return finite(at::full({batch_, width}, NAN));
      case Trouble::executed_infinite: {
        auto executed = at::full({batch_, width}, 0.25);
        executed[pick(batch_)][pick(width)] = INFINITY;
        return finite(executed);
      }
      case Trouble::executed_elsewhere:
        return finite(at::full({batch_, width}, chance(0.5) ? -0.75 : 0.3));
      case Trouble::executed_outside_limits:
        return finite(at::full({batch_, width}, chance(0.5) ? -1e30 : 1.1));
      case Trouble::executed_wrong_shape:
        return chance(0.5) ? at::zeros({7}) : at::zeros({batch_ + 1, width});
      case Trouble::executed_wrong_dtype:
        return at::zeros({batch_, width}, at::kComplexFloat);
      default:
        return {};
    }
  }

  void disturb() {
    const std::vector<int64_t> row{pick(batch_)};
    try {
      if (storm_.is(Trouble::clock_forwards)) storm_.jump = std::chrono::hours(1 + pick(1000));
      if (storm_.is(Trouble::clock_backwards)) storm_.jump = -std::chrono::hours(1 + pick(100));
      if (storm_.is(Trouble::goal_changes))
        mpc_.set_goal(observation(at::full({1, 2}, chance(0.5) ? 1.0 : -1.0)), row);
      if (storm_.is(Trouble::goal_nan)) mpc_.set_goal(observation(at::full({batch_, 2}, NAN)));
      if (storm_.is(Trouble::goal_wrong_shape)) mpc_.set_goal(observation(at::zeros({1, 9})), row);
      if (storm_.is(Trouble::goal_encoder_fails))
        mpc_.set_goal(observation(at::zeros({1, 2})), row);
      if (storm_.is(Trouble::task_changes)) mpc_.set_task("unused", at::zeros({batch_, 1}));
    } catch (const std::exception&) {  // a goal that is refused: the old one stays
    }
    if (!storm_.is(Trouble::reset_some) && !storm_.is(Trouble::reset_all)) return;
    const bool all = storm_.is(Trouble::reset_all);
    all ? mpc_.reset() : mpc_.reset(row);
    const double before = setting_.options.latency_steps > 0 ? 0.0 : std::nan("");
    all ? last_.fill_(before) : last_[row[0]].fill_(before);
  }

  void control_step() {
    storm_.now = draw();
    storm_.thrown = false;
    ++counts_.of(storm_.now);
    storm_.clock.pass(milliseconds(1));
    disturb();
    const auto seen = sense();
    const auto executed = report();
    ++counts_.steps;
    try {
      const auto decision = mpc_.act(seen, executed);
      check(decision);
      move(decision);
    } catch (...) {
      ++counts_.exceptions;
    }
  }

  bool admissible(const Tensor& action) const {
    if (!action.defined()) return false;
    if (setting_.discrete)
      return action.scalar_type() == at::kLong && action.sizes() == at::IntArrayRef({batch_, 1}) &&
             action.ge(0).all().item<bool>() && action.lt(3).all().item<bool>();
    if (action.scalar_type() != at::kFloat || action.sizes() != at::IntArrayRef({batch_, 2}))
      return false;
    const auto* value = action.data_ptr<float>();
    const auto* before = last_.data_ptr<float>();
    for (int64_t i = 0; i < batch_ * 2; ++i) {
      const double now = value[i], last = before[i];
      if (!std::isfinite(now) || now < kLow || now > kHigh) return false;
      const auto& most = setting_.options.max_step;
      if (!most.empty() && std::isfinite(last) &&
          std::abs(now - last) > most[static_cast<std::size_t>(i % 2)])
        return false;
    }
    return true;
  }

  void check(const Decision& decision) {
    if (!admissible(decision.action)) ++counts_.bad_actions;
    const auto rows = static_cast<std::size_t>(batch_);
    bool told = decision.statuses.size() == rows && decision.sources.size() == rows &&
                decision.faults.size() == rows && !decision.message.empty() &&
                decision.total_seconds >= 0;
    for (std::size_t b = 0; told && b < rows; ++b) {
      ++counts_.decisions;
      ++counts_.sources[enum_name(decision.sources[b])];
      ++counts_.faults[enum_name(decision.faults[b])];
      ++counts_.statuses[to_string(decision.statuses[b])];
      // A lower rung has a reason, and without a fault all is well.
      const bool fell = decision.sources[b] == ActionSource::previous_plan ||
                        decision.sources[b] == ActionSource::safe_action;
      const bool usable = is_usable(decision.statuses[b]);
      told = fell ? decision.faults[b] != Fault::none && !usable
                  : usable || decision.faults[b] != Fault::none;
    }
    if (!told) ++counts_.untold;
  }

  void move(const Decision& decision) {
    if (setting_.discrete) {
      world_ = (world_ + (decision.action.to(at::kFloat) - 1) * 0.1).clamp(-3, 3);
      return;
    }
    last_ = decision.action.clone();
    world_ = (world_ + decision.action * 0.1).clamp(-3, 3);
  }

  const Setting& setting_;
  int64_t batch_;
  Counts& counts_;
  std::mt19937 random_;
  Storm storm_;
  Mpc mpc_;
  Tensor last_;  // [B,2]: from where the rate counts
  Tensor world_ = at::zeros({batch_, 2});
};

void print(const std::string& title, const std::map<std::string_view, int64_t>& counts) {
  std::printf("  %s:", title.c_str());
  for (const auto& [name, count] : counts)
    std::printf(" %s %lld", std::string(name).c_str(), static_cast<long long>(count));
  std::printf("\n");
}

TEST_CASE("a hundred thousand control steps among faults: no exception and no bad action") {
  const std::vector<Setting> settings{
      {.name = "replanned at every step",
       .steps = 10000,
       .iterations = 2,
       .constrained = true,
       .options = {.horizon = 3, .replan_steps = 1, .deadline_ms = 10, .max_step = {0.11, 0.37}}},
      {.name = "blocks of two, latency",
       .steps = 25000,
       .block = 2,
       .options = {.batch = 2,
                   .horizon = 3,
                   .replan_steps = 3,
                   .latency_steps = 3,
                   .deadline_ms = 10,
                   .max_step = {0.2, 0.05}}},
      {.name = "window of three observations, latency",
       .steps = 20000,
       .block = 2,
       .constrained = true,
       .options = {.batch = 2,
                   .horizon = 3,
                   .replan_steps = 4,
                   .latency_steps = 1,
                   .history_mode = HistoryMode::window,
                   .history = 3,
                   .deadline_ms = 10}},
      {.name = "interpolated at four times the rate of the model",
       .steps = 25000,
       .options = {.batch = 2,
                   .horizon = 3,
                   .replan_steps = 5,
                   .steps_per_action = 4,
                   .interpolation = Interpolation::linear,
                   .latency_steps = 2,
                   .deadline_ms = 10,
                   .retries = 2,
                   .max_step = {0.1, 0.1}}},
      {.name = "symbols",
       .steps = 20000,
       .block = 2,
       .discrete = true,
       .options = {
           .batch = 2, .horizon = 3, .replan_steps = 3, .deadline_ms = 10, .safe_action = {1}}}};
  Counts counts;
  std::uint32_t seed = 2026;
  for (const auto& setting : settings) Run(setting, seed++, counts).run();

  std::printf("fault injection: %lld control steps, %lld decisions\n",
              static_cast<long long>(counts.steps), static_cast<long long>(counts.decisions));
  for (const auto& [trouble, name] : kTroubles)
    std::printf("  %-32s %6lld\n", name, static_cast<long long>(counts.of(trouble)));
  print("rungs", counts.sources);
  print("faults told", counts.faults);
  print("statuses", counts.statuses);
  std::printf(
      "  exceptions out of act() %lld, bad actions %lld, decisions that do not add up %lld\n",
      static_cast<long long>(counts.exceptions), static_cast<long long>(counts.bad_actions),
      static_cast<long long>(counts.untold));

  CHECK(counts.steps == 100000);
  CHECK(counts.exceptions == 0);
  CHECK(counts.bad_actions == 0);
  CHECK(counts.untold == 0);
  for (const auto& [trouble, name] : kTroubles) {
    INFO(name);
    CHECK(counts.of(trouble) > 500);
  }
  for (const auto& [name, source] : EnumNames<ActionSource>::names) {
    INFO(name);
    CHECK(counts.sources[name] > 500);
  }
  for (const auto fault :
       {Fault::none, Fault::executed_rejected, Fault::observation_rejected,
        Fault::observation_non_finite, Fault::observe_failed, Fault::state_non_finite,
        Fault::solve_failed, Fault::cost_non_finite, Fault::infeasible, Fault::deadline}) {
    INFO(enum_name(fault));
    CHECK(counts.faults[enum_name(fault)] > 100);
  }
  CHECK(counts.faults[enum_name(Fault::internal)] == 0);  // the loop itself never stumbled
}

}  // namespace
}  // namespace foresight::mpc_faults_test
