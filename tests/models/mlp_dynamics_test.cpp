// SPDX-License-Identifier: Apache-2.0
// Probabilistic ensembles: the stack against its members alone, the loss against its formula, and
// what is learned against a world whose noise is known.
#include "foresight/models/mlp_dynamics.hpp"

#include <torch/optim/adam.h>

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/particles.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::mlp_dynamics_test {

using models::MlpDynamics;
using models::MlpDynamicsOptions;
using models::Transitions;

namespace {

MlpDynamicsOptions small_options(int64_t members) {
  MlpDynamicsOptions options;
  options.state = 3;
  options.action.dim = 2;
  options.members = members;
  options.mlp.hidden = {6, 5};
  return options;
}

Transitions random_transitions(int64_t n) {
  const auto states = at::randn({n, 3}, at::kDouble);
  const auto actions = at::randn({n, 2}, at::kDouble);
  return {states, actions, states * 0.9 + at::randn({n, 3}, at::kDouble)};
}

}  // namespace

TEST_CASE("the stack predicts, and learns, as its members would alone") {
  constexpr int64_t kMembers = 4, kRows = 7;
  MlpDynamics stack(small_options(kMembers), 3);
  stack.to(at::kDouble);
  const auto data = random_transitions(50);
  stack.fit_scales(data);
  const auto states = at::randn({kMembers, kRows, 3}, at::kDouble);
  const auto actions = at::randn({kMembers, kRows, 2}, at::kDouble);
  const auto next = at::randn({kMembers, kRows, 3}, at::kDouble);
  const auto change = stack.predict(states, actions);
  auto loss = stack.loss(states, actions, next);
  loss.total().backward();

  Tensor sum;
  for (int64_t k = 0; k < kMembers; ++k) {
    MlpDynamics alone(small_options(1), 8);
    alone.to(at::kDouble);
    io::NamedTensors weights;
    for (const auto& [name, tensor] : nn::state_dict(stack))
      weights.emplace_back(
          name, tensor.dim() == 3 ? tensor.detach().narrow(0, k, 1).contiguous() : tensor.detach());
    nn::load_state_dict(alone, weights, "member");
    const auto one = [k](const Tensor& tensor) { return tensor.narrow(0, k, 1); };
    const auto own = alone.predict(one(states), one(actions));
    CHECK(at::allclose(one(change.mean), own.mean, 1e-12, 1e-13));
    CHECK(at::allclose(one(change.log_variance), own.log_variance, 1e-12, 1e-13));
    auto own_loss = alone.loss(one(states), one(actions), one(next));
    own_loss.total().backward();
    sum = sum.defined() ? sum + own_loss.total() : own_loss.total();
    for (const auto& item : alone.named_parameters()) {
      INFO(item.key());
      CHECK(at::allclose(one(stack.named_parameters()[item.key()].grad()), item.value().grad(),
                         1e-10, 1e-12));
    }
  }
  CHECK(at::allclose(loss.total(), sum));
}

TEST_CASE("the loss is the Gaussian negative log-likelihood with soft bounds") {
  MlpDynamics dynamics(small_options(2), 3);
  dynamics.to(at::kDouble);
  const auto data = random_transitions(30);
  dynamics.fit_scales(data);
  PhiloxNoise noise(4);
  const auto rows = models::bootstrap_rows(30, 2, noise);
  const auto pick = [&](const Tensor& t) {
    return t.index_select(0, rows.flatten()).view({2, 30, -1});
  };
  const auto states = pick(data.states), next = pick(data.next);
  const auto change = dynamics.predict(states, pick(data.actions));
  const auto moved = data.next - data.states;
  const auto mean = moved.mean(0), std = moved.std(0, /*unbiased=*/false);
  double expected = 0;
  for (int64_t k = 0; k < 2; ++k)
    for (int64_t i = 0; i < 30; ++i)
      for (int64_t d = 0; d < 3; ++d) {
        const auto at = [&](const Tensor& t) { return t[k][i][d].item<double>(); };
        const double target =
            (at(next) - at(states) - mean[d].item<double>()) / std[d].item<double>();
        const double variance = std::exp(at(change.log_variance));
        expected +=
            (std::pow(at(change.mean) - target, 2) / variance + std::log(variance)) / (30 * 3);
      }
  const auto terms = dynamics.loss(data, rows);
  CHECK(terms.at("nll").value.item<double>() == Approx(expected).epsilon(1e-10));
  CHECK(terms.at("bounds").value.item<double>() == Approx(2 * 3 * 10.5));
  CHECK(terms.total().item<double>() == Approx(expected + 0.01 * 63.0).epsilon(1e-10));

  // Whatever the network says, the variance stays between its bounds.
  const auto wild = dynamics.predict(1e4 * at::randn({2, 40, 3}, at::kDouble),
                                     1e4 * at::randn({2, 40, 2}, at::kDouble));
  CHECK(wild.log_variance.ge(-10.0).all().item<bool>());
  CHECK(wild.log_variance.le(0.5 + 1e-4).all().item<bool>());

  // Applying what was scaled gives back the next state.
  const auto back = dynamics.apply(states, (next - states - mean) / std);
  CHECK(at::allclose(back, next));
}

TEST_CASE("bootstrap samples differ between members and leave out a third of the rows") {
  PhiloxNoise noise(2);
  const auto rows = models::bootstrap_rows(2000, 4, noise);
  REQUIRE(rows.sizes() == at::IntArrayRef({4, 2000}));
  CHECK(rows.ge(0).all().item<bool>());
  CHECK(rows.lt(2000).all().item<bool>());
  CHECK_FALSE(rows[0].equal(rows[1]));
  for (int64_t k = 0; k < 4; ++k) {  // 1 - (1 - 1/n)^n is 0.632
    const auto distinct = std::get<0>(at::_unique(rows[k])).numel();
    CHECK(static_cast<double>(distinct) / 2000 == Approx(0.632).margin(0.03));
  }
}

TEST_CASE("an ensemble learns a noisy world, knows its noise, and disagrees where it never was") {
  constexpr double kNoise = 0.1;
  MlpDynamicsOptions options;
  options.state = 1;
  options.action.dim = 1;
  options.members = 3;
  options.mlp.hidden = {24, 24};
  const auto dynamics = std::make_shared<MlpDynamics>(options, 6);
  PhiloxNoise noise(1);
  // x' = 0.8 x + sin(2 a) + N(0, 0.1^2), seen for x and a in [-1, 1].
  Transitions data;
  data.states = noise.uniform({600, 1}) * 2 - 1;
  data.actions = noise.uniform({600, 1}) * 2 - 1;
  data.next = 0.8 * data.states + at::sin(2 * data.actions) + kNoise * noise.normal({600, 1});
  dynamics->fit_scales(data);
  const auto rows = models::bootstrap_rows(600, 3, noise);
  torch::optim::Adam optimizer(dynamics->parameters(), torch::optim::AdamOptions(5e-3));
  const auto before = dynamics->error(data);
  for (int step = 0; step < 600; ++step) {
    const auto batch = rows.gather(1, noise.integers(600, {3, 128}));
    optimizer.zero_grad();
    dynamics->loss(data, batch).total().backward();
    optimizer.step();
  }
  c10::NoGradGuard no_grad;
  CHECK(dynamics->error(data).max().item<double>() < 0.1 * before.min().item<double>());
  const auto grid = at::linspace(-0.9, 0.9, 50).view({1, 50, 1}).expand({3, 50, 1});
  const auto change = dynamics->predict(grid, -grid);
  const auto truth = 0.8 * grid + at::sin(-2 * grid);
  CHECK((dynamics->apply(grid, change.mean) - truth).square().mean().sqrt().item<double>() < 0.05);
  const auto scale = (data.next - data.states).std(0, false);
  const auto deviation = (0.5 * change.log_variance).exp().mean() * scale;
  CHECK(deviation.item<double>() == Approx(kNoise).epsilon(0.25));

  // As a world model: sampled particles spread by that noise, and far away by disagreement.
  const models::Ensemble sampled(dynamics, {.particles_per_member = 200});
  const auto imagine = [&](double x) {
    const auto state =
        sampled.observe(sampled.initial(1), {}, {"state", at::full({1, 1}, x)}, noise);
    return sampled.rollout(state, at::zeros({1, 1, 1, 1}), noise)
        .states.at(particle_field("latent"))
        .flatten();
  };
  CHECK(imagine(0.2).std().item<double>() == Approx(kNoise).epsilon(0.3));
  CHECK(imagine(0.2).mean().item<double>() == Approx(0.16).margin(0.05));
  const auto members_apart = [&](double x) {
    const auto at = dynamics->predict(at::full({3, 1, 1}, x), at::zeros({3, 1, 1}));
    return at.mean.flatten().var(false).item<double>();
  };
  CHECK(members_apart(5.0) > 20 * members_apart(0.2));
}

TEST_CASE("point output learns by squared error and steps without a draw") {
  auto options = small_options(2);
  options.output = models::DynamicsOutput::point;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { MlpDynamics dynamics(options); }, "step", "mean"));
  options.step = models::DynamicsStep::mean;
  MlpDynamics dynamics(options);
  dynamics.to(at::kDouble);
  const auto data = random_transitions(20);
  const auto all = at::arange(20, at::kLong).expand({2, 20});
  const auto terms = dynamics.loss(data, all);
  CHECK(terms.terms().size() == 1);
  CHECK(terms.at("mse").value.item<double>() == Approx(dynamics.error(data).sum().item<double>()));
  RecordedNoise none;
  const models::Ensemble model(
      std::shared_ptr<const models::EnsembleMembers>(&dynamics, [](const auto*) {}));
  CHECK_NOTHROW(model.step(model.initial(2), at::zeros({2, 2}, at::kDouble), none));
}

TEST_CASE("dynamics refuse data and options that make no sense") {
  auto options = small_options(2);
  options.min_log_variance = 1.0;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { MlpDynamics dynamics(options); }, "min_log_variance"));
  MlpDynamics dynamics(small_options(2));
  Transitions data{at::zeros({1, 3}), at::zeros({1, 2}), at::zeros({1, 3})};
  const auto refused = [&](ErrorCategory category, auto... words) {
    return fails_with(
        category, [&] { dynamics.fit_scales(data); }, words...);
  };
  CHECK(refused(ErrorCategory::invalid_argument, "at least two", "1"));
  data = {at::zeros({4, 3}), at::zeros({4, 1}), at::zeros({4, 3})};
  CHECK(refused(ErrorCategory::invalid_argument, "actions", "[N,A]"));
  data = {at::zeros({4, 3}), at::zeros({4, 2}), at::full({4, 3}, std::nan(""))};
  CHECK(refused(ErrorCategory::non_finite, "next"));
  data.next = at::ones({4, 3});  // constant columns keep scale 1
  dynamics.fit_scales(data);
  CHECK(dynamics.predict(at::zeros({2, 1, 3}), at::zeros({2, 1, 2}))
            .mean.isfinite()
            .all()
            .item<bool>());
}

}  // namespace foresight::mlp_dynamics_test
