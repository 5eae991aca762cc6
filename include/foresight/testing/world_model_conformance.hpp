// SPDX-License-Identifier: Apache-2.0
// What every WorldModel must hold to, whatever is inside: run check_conformance() on a model of
// your own, in a Catch2 test case (Catch2 2 or 3):
//
//   #include <foresight/core/world_model.hpp>  // LibTorch defines a CHECK too: its headers first,
//   #include <catch2/catch_all.hpp>            // then Catch2,
//   #include <foresight/testing/world_model_conformance.hpp>  // then this
//
//   TEST_CASE("my model keeps the promises of a world model") {
//     const MyModel model;
//     foresight::testing::check_conformance({.model = model, .observation = make_observation});
//   }
#pragma once

#ifndef SECTION
#error "include Catch2 before foresight/testing/world_model_conformance.hpp"
#endif
// Catch's CHECK stays what it is if LibTorch's logging is first included here.
#pragma push_macro("CHECK")
#undef CHECK
#include <ATen/core/grad_mode.h>

#include "foresight/core/error.hpp"
#include "foresight/core/world_model.hpp"
#pragma pop_macro("CHECK")

#include <functional>
#include <thread>
#include <vector>

namespace foresight::testing {

/// What happens where a rollout's gradient is asked for.
enum class Gradients {
  flow,     ///< they reach every action
  refused,  ///< Error(unsupported): a model for inference only
};

/// A model under test and how to feed it.
struct Conformance {
  const WorldModel& model;
  /// An observation of `batch` rows, different for every seed.
  std::function<Observation(int64_t batch, std::uint64_t seed)> observation;
  /// Largest difference, relative to the largest value, between two ways of computing one thing.
  double tolerance = 1e-5;
  /// The model's parameters and buffers, to check that nothing changes them; empty for a model
  /// without.
  std::function<std::vector<Tensor>()> parameters = [] { return std::vector<Tensor>(); };
  Gradients gradients = Gradients::flow;
};

namespace conformance {

inline Tensor random_blocks(const Conformance& c, std::vector<int64_t> shape, std::uint64_t seed) {
  const auto latent = c.model.initial(1).at(c.model.spec().imagined.front());
  shape.push_back(c.model.spec().action.width());
  return PhiloxNoise(seed).normal(shape, latent.options().requires_grad(false));
}

/// The state after `frames` observations.
inline State observed(const Conformance& c, int64_t batch, int64_t frames) {
  PhiloxNoise noise(1);
  auto state = c.model.initial(batch);
  for (int64_t t = 0; t < frames; ++t) {
    const auto seed = static_cast<std::uint64_t>(t);
    const auto last = t == 0 ? Tensor() : random_blocks(c, {batch}, 100 + seed);
    state = c.model.observe(state, last, c.observation(batch, 10 + seed), noise);
  }
  return state;
}

inline void check_close(const Conformance& c, const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.defined() == expected.defined());
  if (!actual.defined()) return;
  REQUIRE(actual.sizes() == expected.sizes());
  const auto scale = expected.detach().abs().max().item<double>() + 1e-30;
  const auto error = (actual - expected).detach().abs().max().item<double>();
  INFO("difference " << error << " of " << scale);
  CHECK(error <= c.tolerance * scale);
}

inline void check_close(const Conformance& c, const State& actual, const State& expected) {
  REQUIRE(actual.fields().size() == expected.fields().size());
  CHECK(actual.filled() == expected.filled());
  for (const auto& [name, value] : expected.fields()) {
    INFO("state field " << name);
    check_close(c, actual.at(name), value);
  }
}

inline void check_rollout(const Conformance& c, int64_t frames) {
  const int64_t batch = 2, samples = 3, horizon = 5;
  const auto state = observed(c, batch, frames);
  const auto blocks = random_blocks(c, {batch, samples, horizon}, 7);
  const auto imagine = [&](bool fused) {
    PhiloxNoise noise(3);
    return fused ? c.model.rollout(state, blocks, noise)
                 : c.model.looped_rollout(state, blocks, noise);
  };
  const auto fused = imagine(true), looped = imagine(false);
  CHECK((fused.states.batch_shape() == std::vector<int64_t>{batch, samples, horizon}));
  CHECK(at::equal(fused.actions, blocks));
  for (const auto& field : c.model.spec().imagined) {
    INFO("imagined field " << field);
    check_close(c, fused.states.at(field), looped.states.at(field));
  }
  check_close(c, fused.rewards, looped.rewards);
  check_close(c, fused.discounts, looped.discounts);
}

inline void check_gradients(const Conformance& c, int64_t frames) {
  const int64_t batch = 2, samples = 2, horizon = 4;
  State state;
  {
    at::NoGradGuard no_grad;
    state = observed(c, batch, frames);
  }
  const auto gradient = [&](bool fused) {
    PhiloxNoise noise(3);
    auto blocks = random_blocks(c, {batch, samples, horizon}, 7).requires_grad_();
    const auto future = fused ? c.model.rollout(state, blocks, noise)
                              : c.model.looped_rollout(state, blocks, noise);
    const auto latents = future.states.at(c.model.spec().imagined.front());
    latents.select(2, -1).square().sum().backward();
    return blocks.grad();
  };
  if (c.gradients == Gradients::refused) {
    for (const bool fused : {true, false}) {
      auto category = ErrorCategory::bad_file;
      try {
        gradient(fused);
      } catch (const Error& error) {
        category = error.category();
      }
      CHECK(category == ErrorCategory::unsupported);
    }
    return;
  }
  const auto looped = gradient(false);
  REQUIRE(looped.defined());
  INFO("the last state must depend on every action");
  CHECK(looped.abs().amax({-1}).gt(0).all().item<bool>());
  check_close(c, gradient(true), looped);
}

inline void check_batching(const Conformance& c, int64_t frames) {
  const int64_t batch = 3;
  PhiloxNoise noise(3);
  const auto state = observed(c, batch, frames);
  const auto block = random_blocks(c, {batch}, 8);
  const auto next = c.model.step(state, block, noise).next;
  CHECK(next.batch_shape() == state.batch_shape());
  for (const auto& [name, value] : state.fields()) {
    INFO("a step keeps the shape of " << name);
    CHECK(next.at(name).sizes() == value.sizes());
  }
  // Row by row, and reordered: each row is its own problem.
  const auto index = block.options().dtype(at::kLong);
  const auto rows = at::tensor(std::vector<int64_t>{2, 0, 2}, index);
  check_close(c, c.model.step(state.select(rows), block.index_select(0, rows), noise).next,
              next.select(rows));
  for (int64_t b = 0; b < batch; ++b) {
    const auto row = at::tensor(std::vector<int64_t>{b}, index);
    check_close(c, c.model.step(state.select(row), block.index_select(0, row), noise).next,
                next.select(row));
    const auto alone =
        c.model.observe(c.model.initial(1), {}, c.observation(batch, 10).select(row), noise);
    check_close(c, alone, observed(c, batch, 1).select(row));
  }
  // Candidates of one problem with one action agree with the problem itself.
  check_close(c,
              c.model.step(state.expand(2), block.unsqueeze(1).expand({batch, 2, -1}), noise).next,
              next.expand(2));
}

inline void check_errors(const Conformance& c) {
  PhiloxNoise noise(3);
  const auto state = observed(c, 2, 1);
  const auto width = c.model.spec().action.width();
  const auto options = random_blocks(c, {1}, 1).options();
  const auto blocks = [&](std::vector<int64_t> shape) { return at::zeros(shape, options); };
  CHECK_THROWS_AS(c.model.step(state, blocks({2, width + 1}), noise), Error);
  CHECK_THROWS_AS(c.model.step(state, blocks({3, width}), noise), Error);
  CHECK_THROWS_AS(c.model.step(state, Tensor(), noise), Error);
  CHECK_THROWS_AS(c.model.rollout(state, blocks({2, 3, 4, width + 1}), noise), Error);
  CHECK_THROWS_AS(c.model.rollout(state, blocks({3, 3, 4, width}), noise), Error);
  CHECK_THROWS_AS(c.model.rollout(state, blocks({2, 3, width}), noise), Error);
  CHECK_THROWS_AS(c.model.rollout(state, blocks({2, 3, 0, width}), noise), Error);
  CHECK_THROWS_AS(c.model.observe(c.model.initial(2), {}, Observation(), noise), Error);
  CHECK_THROWS_AS(c.model.observe(c.model.initial(2), {}, c.observation(3, 1), noise), Error);
  CHECK_THROWS_AS(c.model.observe(state, blocks({2, width + 1}), c.observation(2, 1), noise),
                  Error);
}

inline void check_threads(const Conformance& c) {
  const auto state = observed(c, 1, 1);
  const auto blocks = random_blocks(c, {1, 4, 3}, 7);
  const auto imagine = [&] {
    at::NoGradGuard no_grad;
    PhiloxNoise noise(3);
    return c.model.rollout(state, blocks, noise).states.at(c.model.spec().imagined.front());
  };
  const auto expected = imagine();
  std::vector<Tensor> results(4);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = imagine(); });
  for (auto& thread : threads) thread.join();
  for (const auto& result : results) check_close(c, result, expected);
}

}  // namespace conformance

/// CHECKs that a model keeps the contract of core/world_model.hpp.
inline void check_conformance(const Conformance& c) {
  const auto& spec = c.model.spec();
  std::vector<Tensor> before;
  for (const auto& parameter : c.parameters()) before.push_back(parameter.detach().clone());

  REQUIRE_FALSE(spec.imagined.empty());
  CHECK(c.model.initial(2).filled() == 0);
  CHECK(c.model.initial(2).at(spec.imagined.front()).sizes() ==
        at::IntArrayRef({2, spec.tokens, spec.channels}));
  {
    PhiloxNoise noise(1);
    conformance::check_close(c, c.model.encode(c.observation(2, 10), noise),
                             conformance::observed(c, 2, 1).at(spec.imagined.front()));
  }
  for (int64_t frames = 1; frames <= spec.history + 1; ++frames) {
    INFO("after " << frames << " observations, history " << spec.history);
    conformance::check_rollout(c, frames);
    conformance::check_gradients(c, frames);
    conformance::check_batching(c, frames);
  }
  conformance::check_errors(c);
  conformance::check_threads(c);

  const auto after = c.parameters();
  REQUIRE(after.size() == before.size());
  for (std::size_t i = 0; i < after.size(); ++i) CHECK(at::equal(after[i], before[i]));
}

}  // namespace foresight::testing
