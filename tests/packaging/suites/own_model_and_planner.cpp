// SPDX-License-Identifier: Apache-2.0
// A user's tests: a model and a planner of their own keep what foresight expects of them.
#include <memory>

#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
#endif
#include "foresight/testing/planner_conformance.hpp"
#include "foresight/testing/world_model_conformance.hpp"

namespace {

using foresight::Noise;
using foresight::State;
using foresight::Tensor;

/// Position and velocity of a cart that accelerates by the action, 0.1 s a step.
class Cart final : public foresight::WorldModel {
 public:
  Cart() {
    spec_.family = "cart";
    spec_.observation = {{"state", {2}}};
    spec_.channels = 2;
  }
  const foresight::ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override { return latent(1, at::zeros({batch, 1, 2})); }
  State observe(const State& previous, const Tensor& last_action,
                const foresight::Observation& observation, Noise&) const override {
    const auto batch = previous.batch_shape().front();
    spec_.check(observation, batch);
    if (last_action.defined())
      foresight::check_shape("last_action", last_action, {batch, 1}, "[B,A]");
    return latent(1, observation.at("state").unsqueeze(1)).set_filled(1);
  }
  foresight::Transition step(const State& state, const Tensor& action, Noise&) const override {
    auto expected = state.batch_shape();
    expected.push_back(1);
    foresight::require(action.defined(), foresight::ErrorCategory::invalid_argument, "no action");
    foresight::check_shape("action", action, expected, "[N...,A]");
    const Tensor velocity = state.at("latent").select(-1, 1) + 0.1 * action;
    const Tensor position = state.at("latent").select(-1, 0) + 0.1 * velocity;
    return {latent(state.batch_dims(), at::stack({position, velocity}, -1)).set_filled(1), {}, {}};
  }

 private:
  static State latent(int64_t batch_dims, Tensor value) {
    return State(batch_dims).set("latent", std::move(value));
  }
  foresight::ModelSpec spec_;
};

/// Predictive sampling with a budget of its own.
class Searcher final : public foresight::Planner {
 public:
  foresight::Plan solve(const foresight::Problem& problem, Noise& noise) const override {
    auto options = foresight::predictive_sampling();
    options.samples = 512;
    options.iterations = 30;
    options.initial_std = {0.3};
    return foresight::SamplingPlanner(options).solve(problem, noise);
  }
};

foresight::Observation observe(int64_t batch, std::uint64_t seed) {
  return {"state", foresight::PhiloxNoise(seed).normal({batch, 2})};
}

}  // namespace

TEST_CASE("the cart keeps the promises of a world model") {
  const Cart model;
  foresight::testing::check_conformance({.model = model, .observation = observe});
}

TEST_CASE("the searcher keeps the promises of a planner") {
  foresight::testing::planner_conformance(Searcher(), {.accuracy = 0.4});
}
