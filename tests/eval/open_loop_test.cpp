// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/open_loop.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/core/error.hpp"

namespace foresight::eval::open_loop_test {
namespace {

// A point in the plane that its action moves: the latent is the position, seen exactly. The model
// believes that an action moves the point `gain` times as far as it does.
class PointModel final : public WorldModel {
 public:
  explicit PointModel(double gain) : gain_(gain) {
    spec_.family = "point";
    spec_.observation = {{"proprio", {2}}};
    spec_.action.dim = 2;
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    State state(1);
    state.set("latent", at::zeros({batch, 1, 2}));
    return state;
  }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    State state(1);
    state.set("latent", seen.at("proprio").unsqueeze(1));
    return state;
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    State next(state.batch_dims());
    next.set("latent", state.at("latent") + gain_ * action.unsqueeze(-2));
    return {next, {}, {}};
  }

 private:
  ModelSpec spec_;
  double gain_;
};

// Stands for a model on another device than the recordings: as every family does, it takes actions
// from its own alone. Its numbers stay on the CPU, where this test can compute.
class DistantPointModel final : public WorldModel {
 public:
  const ModelSpec& spec() const override { return point_.spec(); }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::empty({batch, 1, 2}, at::kMeta));
  }
  State observe(const State& previous, const Tensor& action, const Observation& seen,
                Noise& noise) const override {
    if (action.defined()) require_here(action);
    return point_.observe(previous, {}, seen, noise);
  }
  Transition step(const State& state, const Tensor&, Noise&) const override {
    return {state, {}, {}};
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise&) const override {
    require_here(actions);
    const auto latents = state.at("latent").unsqueeze(1).unsqueeze(1);
    Trajectory still;
    still.states = State(3);
    still.states.set("latent", latents.expand({-1, -1, actions.size(2), -1, -1}));
    return still;
  }

 private:
  static void require_here(const Tensor& actions) {
    require(actions.device().is_meta(), ErrorCategory::invalid_argument,
            "actions are on " + actions.device().str());
  }
  PointModel point_{1.0};
};

// Windows of a true point that moves by its actions.
OpenLoopWindows true_windows(int64_t batch, int64_t steps, std::uint64_t seed) {
  PhiloxNoise noise(seed);
  OpenLoopWindows windows;
  windows.actions = noise.normal({batch, steps - 1, 2});
  auto position = noise.normal({batch, 2});
  for (int64_t t = 0; t < steps; ++t) {
    if (t > 0) position = position + windows.actions.select(1, t - 1);
    windows.observations.emplace_back("proprio", position.clone());
  }
  return windows;
}

}  // namespace

TEST_CASE("A perfect model has no open-loop error") {
  PhiloxNoise noise(0);
  OpenLoopError error(1, 5);
  error.add(PointModel(1.0), true_windows(16, 6, 1), noise);
  const auto report = error.report();
  REQUIRE(report.model_mse.size() == 5);
  for (const double value : report.model_mse) CHECK(value < 1e-12);
  for (const double value : report.ratio) CHECK(value < 1e-12);
}

TEST_CASE(
    "A wrong gain gives the closed-form error at every horizon, over all batches and contexts") {
  for (const int64_t context : {1, 3}) {
    PhiloxNoise noise(0);
    constexpr int64_t kHorizon = 4;
    OpenLoopError error(context, kHorizon);
    // After h steps the point moved by s = the sum of h actions: the model is off by 0.25 s,
    // copying by s.
    auto moved = at::zeros({kHorizon}, at::kDouble);
    for (const std::uint64_t seed : {1, 2}) {
      const auto windows = true_windows(10, context + kHorizon, seed);
      error.add(PointModel(1.25), windows, noise);
      const auto future = windows.actions.narrow(1, context - 1, kHorizon).to(at::kDouble);
      moved += future.cumsum(1).square().mean(at::IntArrayRef{0, 2}) / 2;
    }
    const auto report = error.report();
    CHECK(report.windows == 20);
    CHECK(report.context == context);
    for (int64_t h = 0; h < kHorizon; ++h) {
      const auto at = static_cast<std::size_t>(h);
      CHECK(report.copy_mse[at] == Approx(moved[h].item<double>()).epsilon(1e-5));
      CHECK(report.model_mse[at] == Approx(0.0625 * moved[h].item<double>()).epsilon(1e-5));
      CHECK(report.ratio[at] == Approx(0.0625).epsilon(1e-5));
    }
  }
}

TEST_CASE("Recorded actions are brought to the model's device") {
  PhiloxNoise noise(0);
  OpenLoopError error(2, 3);
  error.add(DistantPointModel(), true_windows(6, 5, 1), noise);
  for (const double value : error.report().ratio) CHECK(value == Approx(1));
}

TEST_CASE("The latent variance is that of the observed targets") {
  PhiloxNoise noise(0);
  OpenLoopError error(1, 3);
  const auto windows = true_windows(500, 4, 3);
  error.add(PointModel(1.0), windows, noise);
  std::vector<Tensor> targets;
  for (std::size_t t = 1; t < 4; ++t) targets.push_back(windows.observations[t].at("proprio"));
  const auto expected = at::cat(targets).to(at::kDouble).var(0, /*unbiased=*/false).mean();
  CHECK(error.report().latent_variance == Approx(expected.item<double>()).epsilon(1e-6));
}

TEST_CASE("Nothing moving makes the ratio undefined, not infinite or zero") {
  PhiloxNoise noise(0);
  OpenLoopError error(1, 2);
  OpenLoopWindows windows;
  windows.actions = at::zeros({4, 2, 2});
  for (int t = 0; t < 3; ++t) windows.observations.emplace_back("proprio", at::ones({4, 2}));
  error.add(PointModel(1.0), windows, noise);
  CHECK(std::isnan(error.report().ratio[0]));
  CHECK(to_json(error.report()).at("ratio")[0].is_null());
}

TEST_CASE("Open-loop evaluation refuses windows that do not fit") {
  PhiloxNoise noise(0);
  const PointModel model(1.0);
  CHECK_THROWS_AS(OpenLoopError(0, 3), Error);
  CHECK_THROWS_AS(OpenLoopError(1, 0), Error);
  OpenLoopError error(1, 3);
  CHECK_THROWS_AS(error.report(), Error);
  CHECK_THROWS_AS(error.add(model, true_windows(4, 5, 0), noise), Error);
  auto windows = true_windows(4, 4, 0);
  windows.actions = windows.actions.narrow(1, 0, 2);
  CHECK_THROWS_AS(error.add(model, windows, noise), Error);
  windows = true_windows(4, 4, 0);
  windows.observations[2] = Observation("proprio", at::full({4, 2}, NAN));
  CHECK_THROWS_AS(error.add(model, windows, noise), Error);
}

}  // namespace foresight::eval::open_loop_test
