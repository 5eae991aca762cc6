// SPDX-License-Identifier: Apache-2.0
// Planning with a Jepa in fixed point: the same costs and plan as in float32 up to the format's
// error, refusals, copies.
#include <ATen/Parallel.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "models/jepa_under_test.hpp"

namespace foresight::jepa_fixed_point_test {

using models::EncoderKind;
using models::PredictorKind;

namespace {

std::shared_ptr<models::Jepa> float_jepa() {
  return jepa_under_test(tiny_jepa_options(EncoderKind::vit, PredictorKind::adaln, 3));
}

State seen(const models::Jepa& model) {
  PhiloxNoise noise(5);
  return model.observe(model.initial(1), {}, pixel_observation(1, 1), noise);
}

// The candidates' costs, and the plan, with the same draws.
Plan plan_with(const models::Jepa& model, const Tensor& goal) {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(7), draws(8);
  auto options = lewm_cem();
  options.samples = 60, options.elites = 6, options.iterations = 3;
  options.record = PlannerRecord::everything;
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  Problem problem;
  problem.horizon = 4;
  problem.action = model.spec().action;
  problem.cost = objective.cost_function(model, seen(model), noise, Task(1).set("goal", goal));
  return SamplingPlanner(options).solve(problem, draws);
}

std::vector<int64_t> elites_of(const Tensor& costs, int64_t count) {
  const auto order = std::get<0>(costs.argsort().narrow(0, 0, count).sort());
  return {order.const_data_ptr<int64_t>(), order.const_data_ptr<int64_t>() + count};
}

}  // namespace

TEST_CASE("CEM in fixed point finds the float32 plan: the same elites, or a tie") {
  const auto wide = float_jepa();
  const auto fixed = wide->fixed_point_copy();
  const auto goal = PhiloxNoise(9).normal({1, 1, wide->options().latent});
  const auto expected = plan_with(*wide, goal), plan = plan_with(*fixed, goal);
  REQUIRE(plan.status == Status::ok);
  constexpr int64_t kElites = 6;
  for (std::size_t i = 0; i < expected.diagnostics.iteration.size(); ++i) {
    const auto a = plan.diagnostics.iteration[i].costs[0];
    const auto b = expected.diagnostics.iteration[i].costs[0];
    INFO("iteration " << i);
    const double error = (a - b).abs().max().item<double>();
    CHECK(error > 0);  // it is another arithmetic
    CHECK(error < 2e-3 * b.max().item<double>());
    if (elites_of(a, kElites) == elites_of(b, kElites)) continue;
    const auto sorted = std::get<0>(b.sort());
    CHECK((sorted[kElites] - sorted[kElites - 1]).item<double>() <= 2 * error);
    return;  // from here on the two searches draw around different means
  }
  CHECK(at::allclose(plan.actions, expected.actions, 0, 5e-3));
}

TEST_CASE("a fixed-point copy computes the same with the portable kernel and any threads") {
  at::NoGradGuard no_grad;
  const auto wide = float_jepa();
  const auto actions = PhiloxNoise(3).normal({1, 50, 5, wide->options().action.width()});
  const auto imagined = [&](const models::Jepa& model) {
    PhiloxNoise noise(4);
    return model.rollout(seen(model), actions, noise).states.at("latent");
  };
  const auto fixed = wide->fixed_point_copy();
  const auto expected = imagined(*fixed);
  CHECK(at::equal(imagined(*wide->fixed_point_copy(nn::PackedKernel::portable)), expected));
  CHECK(at::equal(imagined(*fixed->copy()), expected));
  const auto threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 3 : 1);
  CHECK(at::equal(imagined(*fixed), expected));
  at::set_num_threads(threads);
  CHECK_FALSE(at::equal(imagined(*wide), expected));
}

TEST_CASE("a fixed-point copy of a bfloat16 model computes in float32 from the same weights") {
  at::NoGradGuard no_grad;
  const auto narrow = float_jepa();
  narrow->to(at::kBFloat16);
  const auto fixed = narrow->fixed_point_copy();
  CHECK(fixed->parameters().front().scalar_type() == at::kFloat);
  CHECK(at::equal(fixed->parameters().front(), narrow->parameters().front().to(at::kFloat)));
}

TEST_CASE("a fixed-point copy refuses training, gradients, changed weights, and other predictors") {
  const auto wide = float_jepa();
  const auto fixed = wide->fixed_point_copy();
  for (const auto& parameter : fixed->parameters()) CHECK_FALSE(parameter.requires_grad());
  for (const auto& parameter : wide->parameters()) CHECK(parameter.requires_grad());
  const auto latents = PhiloxNoise(1).normal({2, 5, wide->options().latent});
  const auto blocks = PhiloxNoise(2).normal({2, 4, wide->options().action.width()});
  PhiloxNoise noise(3);
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { fixed->loss_of_latents(latents, blocks, noise); },
      "only infers"));
  CHECK_NOTHROW(fixed->step(seen(*fixed), blocks[0][0].unsqueeze(0), noise));
  auto asked = blocks[0][0].unsqueeze(0).clone().requires_grad_();
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { fixed->step(seen(*fixed), asked, noise); },
      "no gradients"));
  const auto before = seen(*fixed);
  {
    at::NoGradGuard no_grad;
    for (auto& [name, parameter] : nn::state_dict(*fixed))
      if (name.starts_with("predictor.transformer.layers.0.attn.to_qkv")) parameter.add_(1);
  }
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { fixed->step(before, blocks[0][0].unsqueeze(0), noise); }, "fixed-point copy"));
  const auto other = jepa_under_test(tiny_jepa_options(EncoderKind::cnn, PredictorKind::mlp, 1));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { other->fixed_point_copy(); }, "AdaLN"));
}

}  // namespace foresight::jepa_fixed_point_test
