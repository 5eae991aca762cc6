// SPDX-License-Identifier: Apache-2.0
// Example 4: a control loop that does not wait for its planner. A cart follows a moving target at
// 50 Hz while planning runs on a thread of its own. After two seconds the planner stalls: the loop
// goes on with what it has, then stands still, and catches up when planning is back.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>

#include "foresight/control/async_mpc.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

using namespace foresight;

namespace {

constexpr double kPeriod = 0.02;                                      // seconds: 50 Hz
constexpr double kStallFrom = 2.0, kStallUntil = 2.8, kLength = 5.0;  // seconds

// State: position of the cart, position and velocity of the target. The action is the cart's
// velocity, at most 2 m/s.
struct Cart final : WorldModel {
  Cart() {
    about.family = "cart";
    about.observation = {{"state", {3}}};
    about.action.low = {-2.0};
    about.action.high = {2.0};
    about.channels = 3;
  }
  const ModelSpec& spec() const override { return about; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 3}));
  }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    return State(1).set("latent", seen.at("state").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& velocity, Noise&) const override {
    // As a garbage collector, a busy GPU or a page fault would.
    while (stalled) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto parts = state.at("latent").unbind(-1);
    const auto next =
        at::stack({parts[0] + kPeriod * velocity, parts[1] + kPeriod * parts[2], parts[2]}, -1);
    return {State(state.batch_dims()).set("latent", next), {}, {}};
  }
  ModelSpec about;
  std::atomic<bool> stalled{false};
};

// Squared distance from the target, over the whole imagined future.
Tensor distance(const Trajectory& future, const Task&) {
  const auto latent = future.states.at("latent");
  return (latent.select(-1, 0) - latent.select(-1, 1)).square().sum({2, 3});
}

char letter(ActionSource source) {
  if (source == ActionSource::safe_action) return '.';
  return source == ActionSource::previous_plan ? 'p' : 'P';
}

}  // namespace

int main() {
  const auto model = std::make_shared<Cart>();
  Objective objective;
  objective.add("distance", 1.0, distance);
  objective.add("effort", 1e-5, control_effort());
  auto search = icem();
  search.samples = 48;
  search.elites = 8;
  search.iterations = 2;
  search.initial_std = {1.0};
  // A plan is made for the moment, two control steps later, when it will have been found. The cart
  // may speed up or brake by 0.2 m/s in each control step, whichever plan it comes from.
  Mpc mpc(model, objective, std::make_shared<SamplingPlanner>(search),
          {.horizon = 25, .replan_steps = 1, .latency_steps = 2, .max_step = {0.2}});
  mpc.warm_up({"state", at::zeros({1, 3})});
  // Plans are good for 0.12 s and their rest for another 0.2 s; then the cart stands still.
  AsyncMpc loop(std::move(mpc), {.period = kPeriod, .max_age = 0.12, .coast = 0.2});

  double cart = 0, before = 0, during = 0, after = 0;
  std::string timeline;
  bool recovered = false;
  const auto begin = std::chrono::steady_clock::now();
  for (int step = 0; step * kPeriod < kLength; ++step) {
    const double time = step * kPeriod;
    std::this_thread::sleep_until(begin + std::chrono::duration<double>(time));
    model->stalled = time >= kStallFrom && time < kStallUntil;
    const double target = std::sin(time), speed = std::cos(time);

    loop.observe({"state", at::tensor({float(cart), float(target), float(speed)}).view({1, 3})},
                 time);
    const auto decision = loop.action(time);
    cart += kPeriod * decision.action.item<double>();

    const double error = std::abs(cart - target);
    if (time > 1 && time < kStallFrom) before = std::max(before, error);
    if (time >= kStallFrom && time < kStallUntil + 0.2) during = std::max(during, error);
    if (time > kLength - 0.2) after = std::max(after, error);
    recovered = recovered || (time > kStallUntil && decision.sources[0] == ActionSource::plan);
    timeline += letter(decision.sources[0]);
    if (step % 50 == 49) {
      std::printf("%2.0f s  %s  %s\n", time + kPeriod, timeline.c_str(), decision.message.c_str());
      timeline.clear();
    }
  }
  loop.stop();

  const auto counted = loop.statistics();
  const auto whole = [](int64_t count) { return static_cast<long long>(count); };
  std::printf("P plan, p rest of an old plan, . safe action; stall from %.1f to %.1f s\n",
              kStallFrom, kStallUntil);
  std::printf("farthest from the target: %.3f m before, %.3f m in the stall, %.3f m at the end\n",
              before, during, after);
  std::printf("%lld plans, %lld observations replaced by newer ones, slowest plan %.0f ms\n",
              whole(counted.plans), whole(counted.dropped), 1000 * counted.worst_plan_seconds);
  std::printf("%lld answers, %lld from a stale plan, %lld safe; slowest answer %.2f ms\n",
              whole(counted.answers), whole(counted.stale_answers), whole(counted.safe_answers),
              1000 * counted.worst_answer_seconds);
  // Not judged by distance: on a busy machine the planner may be slower than this loop allows.
  return recovered && counted.safe_answers > 5 ? 0 : 1;
}
