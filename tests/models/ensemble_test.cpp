// SPDX-License-Identifier: Apache-2.0
// Ensembles: the contract of a world model, and particles against the members they are made of.
#include "foresight/models/ensemble.hpp"

#include "conformance.hpp"
#include "error_message.hpp"
#include "foresight/core/particles.hpp"
#include "foresight/models/mlp_dynamics.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_under_test.hpp"

namespace foresight::ensemble_test {

using models::Ensemble;
using models::TrajectorySampling;

namespace {

/// x' = gain * x + offset + a (+ noise), rewarded for being near zero.
class Drift final : public WorldModel {
 public:
  Drift(double gain, double offset, double noise = 0)
      : gain_(gain), offset_(offset), noise_(noise) {
    spec_.family = "drift";
    spec_.observation = {{"x", {2}, at::kDouble}};
    spec_.action.dim = 2;
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State().set("latent", at::zeros({batch, 1, 2}, at::kDouble));
  }
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise&) const override {
    spec_.check(observation, previous.batch_shape()[0]);
    if (last_action.defined()) check_shape("action", last_action, {kAny, 2}, "[B,A]");
    return State().set("latent", observation.at("x").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    auto shape = state.batch_shape();
    shape.push_back(2);
    check_shape("action", action, shape, "[...,A]");
    auto x = state.at("latent") * gain_ + offset_ + action.unsqueeze(-2);
    if (noise_ > 0) x = x + noise_ * noise.normal(x.sizes(), x.options());
    return {State(state.batch_dims()).set("latent", x).set_filled(1), -x.square().sum({-1, -2}),
            at::full(state.batch_shape(), 0.9, at::kDouble)};
  }
  ModelSpec& mutable_spec() { return spec_; }

 private:
  ModelSpec spec_;
  double gain_, offset_, noise_;
};

Observation position(int64_t batch, std::uint64_t seed) {
  return {"x", PhiloxNoise(seed).normal({batch, 2}, at::kDouble)};
}

std::shared_ptr<const models::EnsembleMembers> drifts(double noise = 0) {
  return models::side_by_side({std::make_shared<Drift>(0.9, 0.1, noise),
                               std::make_shared<Drift>(1.1, -0.2, noise),
                               std::make_shared<Drift>(1.0, 0.3, noise)});
}

State observed(const Ensemble& model, int64_t batch) {
  PhiloxNoise noise(1);
  return model.observe(model.initial(batch), {}, position(batch, 4), noise);
}

}  // namespace

TEST_CASE("ensembles of any members conform", "[device]") {
  for (const int64_t per_member : {1, 2}) {
    INFO(per_member << " particles per member");
    const Ensemble drift(drifts(), {.particles_per_member = per_member});
    check_conformance({drift, position, 1e-12});

    models::MlpDynamicsOptions options;
    options.state = 3;
    options.observation = "x";
    options.action.dim = 2;
    options.members = 3;
    options.mlp.hidden = {8, 8};
    options.step = models::DynamicsStep::mean;
    const auto members = std::make_shared<models::MlpDynamics>(options, 5);
    members->to(test_device());
    const Ensemble learned(members, {.particles_per_member = per_member});
    const auto parameters = [&] {
      std::vector<Tensor> tensors;
      for (const auto& [name, tensor] : nn::state_dict(*members)) tensors.push_back(tensor);
      return tensors;
    };
    check_conformance({learned,
                       [](int64_t batch, std::uint64_t seed) {
                         return Observation("x", PhiloxNoise(seed).normal({batch, 3}));
                       },
                       2e-5, parameters});
  }
  const auto options = tiny_jepa_options(models::EncoderKind::cnn, models::PredictorKind::mlp, 2);
  std::vector<std::shared_ptr<const WorldModel>> jepas;
  for (const double scale : {1.0, 0.8}) {
    const auto model = jepa_under_test(options);
    model->to(at::kDouble);
    at::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.mul_(scale);
    jepas.push_back(model);
  }
  check_conformance({Ensemble(models::side_by_side(jepas)), pixel_observation, 1e-11});
}

TEST_CASE("particles of ts_infinity are the futures that their members imagine alone") {
  const int64_t batch = 2, samples = 3, horizon = 4, per_member = 2;
  const std::vector<Drift> alone{{0.9, 0.1}, {1.1, -0.2}, {1.0, 0.3}};
  const Ensemble model(drifts(), {.particles_per_member = per_member});
  PhiloxNoise noise(2);
  const auto actions = at::randn({batch, samples, horizon, 2}, at::kDouble);
  const auto future = model.rollout(observed(model, batch), actions, noise);
  const auto& particles = future.states.at(particle_field("latent"));
  REQUIRE(particles.sizes() == at::IntArrayRef({batch, samples, horizon, 6, 1, 2}));
  auto mean = at::zeros({batch, samples, horizon, 1, 2}, at::kDouble);
  auto reward = at::zeros({batch, samples, horizon}, at::kDouble);
  for (int64_t m = 0; m < 6; ++m) {
    const auto& member = alone[static_cast<std::size_t>(m / per_member)];
    const auto start = member.observe(member.initial(batch), {}, position(batch, 4), noise);
    const auto own = member.rollout(start, actions, noise);
    CHECK(at::allclose(particles.select(3, m), own.states.at("latent"), 1e-13, 1e-13));
    CHECK(at::allclose(future.states.at(particle_field("reward")).select(3, m), own.rewards));
    mean += own.states.at("latent") / 6;
    reward += own.rewards / 6;
  }
  CHECK(at::allclose(future.states.at("latent"), mean));
  CHECK(at::allclose(future.rewards, reward));
  CHECK(at::allclose(future.discounts, at::full_like(reward, 0.9)));
}

TEST_CASE("ts_1 deals a candidate's particles out to the members anew, in equal shares") {
  // Member k adds 10^k, so that a particle's path tells who advanced it.
  const int64_t batch = 2, samples = 5, horizon = 6, per_member = 4, count = 3;
  const auto members =
      models::side_by_side({std::make_shared<Drift>(1.0, 1.0), std::make_shared<Drift>(1.0, 10.0),
                            std::make_shared<Drift>(1.0, 100.0)});
  for (const auto sampling : {TrajectorySampling::ts_infinity, TrajectorySampling::ts_1}) {
    INFO(enum_name(sampling));
    const Ensemble model(members, {.particles_per_member = per_member, .sampling = sampling});
    PhiloxNoise noise(3);
    auto state = model.initial(batch);
    state.set_filled(1);
    const auto future =
        model.rollout(state, at::zeros({batch, samples, horizon, 2}, at::kDouble), noise);
    auto path = future.states.at(particle_field("latent")).select(-1, 0).squeeze(-1);
    path = at::cat({at::zeros_like(path.narrow(2, 0, 1)), path}, 2);
    const auto who = at::diff(path, 1, 2).log10().round();  // [B,S,H,M]
    for (int64_t k = 0; k < count; ++k)
      CHECK(who.eq(static_cast<double>(k)).sum(3).eq(per_member).all().item<bool>());
    const bool changes = who.ne(who.narrow(2, 0, 1)).any().item<bool>();
    CHECK(changes == (sampling == TrajectorySampling::ts_1));
    if (changes) {  // candidates and problems are dealt independently
      CHECK(who[0].ne(who[1]).any().item<bool>());
      CHECK(who.select(1, 0).ne(who.select(1, 1)).any().item<bool>());
    }
  }
}

TEST_CASE("stochastic ensembles roll out as they step, draw for draw") {
  for (const auto sampling : {TrajectorySampling::ts_infinity, TrajectorySampling::ts_1}) {
    const Ensemble model(drifts(0.5), {.particles_per_member = 3, .sampling = sampling});
    const auto actions = at::randn({2, 4, 5, 2}, at::kDouble);
    PhiloxNoise one(7), other(7);
    const auto state = observed(model, 2);
    const auto fused = model.rollout(state, actions, one);
    const auto looped = model.looped_rollout(state, actions, other);
    CHECK(one.position() == other.position());
    for (const auto& field : model.spec().imagined)
      CHECK(at::allclose(fused.states.at(field), looped.states.at(field), 1e-12, 1e-12));
    CHECK(at::allclose(fused.rewards, looped.rewards));
    CHECK(at::allclose(fused.discounts, looped.discounts));
    // Every particle has draws of its own.
    const auto last = fused.states.at(particle_field("latent")).select(2, 4).flatten(3);
    CHECK(at::var(last, at::IntArrayRef{2}, true).gt(0).all().item<bool>());
  }
}

TEST_CASE("members that do not fit together are refused") {
  auto other = std::make_shared<Drift>(1.0, 0.0);
  other->mutable_spec().action.std = {2.0, 2.0};
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        models::side_by_side({std::make_shared<Drift>(1.0, 0.0), other});
      },
      "member 1", "action space"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { models::side_by_side({}); }, "at least one"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { models::side_by_side({nullptr}); }, "null"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { Ensemble(drifts(), {.particles_per_member = 0}); },
      "particles_per_member"));
  const Ensemble model(drifts());
  PhiloxNoise noise(1);
  const auto foreign = State().set("latent", at::zeros({1, 1, 2}, at::kDouble));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        model.step(foreign, at::zeros({1, 2}, at::kDouble), noise);
      },
      "no particles"));
}

}  // namespace foresight::ensemble_test
