// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/state.hpp"

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/state_type.hpp"
#include "foresight/core/world_model.hpp"

namespace foresight::state_test {

namespace {

State example() {
  State state(1);
  state.set("latent", at::arange(2 * 1 * 3, at::kFloat).reshape({2, 1, 3}));
  state.set("ring", at::arange(2 * 2, at::kFloat).reshape({2, 2}));
  return state.set_filled(2);
}

// x' = x + a with reward sum(a): small enough to know every number.
class Integrator final : public WorldModel {
 public:
  Integrator() {
    spec_.family = "integrator";
    spec_.observation = {{"position", {2}, at::kFloat}};
    spec_.action.dim = 2;
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 2}));
  }
  State observe(const State&, const Tensor&, const Observation& observation,
                Noise&) const override {
    spec_.check(observation);
    return State(1).set("latent", observation.at("position").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    State next(state.batch_dims());
    next.set("latent", state.at("latent") + action.unsqueeze(-2));
    return {next.set_filled(state.filled() + 1), action.sum(-1), {}};
  }

 private:
  ModelSpec spec_;
};

}  // namespace

TEST_CASE("expanding a state shares storage and repeats every problem") {
  const auto state = example();
  const auto expanded = state.expand(5);
  CHECK(expanded.batch_shape() == std::vector<int64_t>{2, 5});
  CHECK(expanded.at("latent").data_ptr() == state.at("latent").data_ptr());
  CHECK(expanded.filled() == 2);
  for (int64_t s = 0; s < 5; ++s)
    CHECK(at::equal(expanded.at("latent").select(1, s), state.at("latent")));
}

TEST_CASE("selecting rows picks problems, and candidates per problem") {
  const auto state = example();
  const auto picked = state.select(at::tensor({1, 1, 0}, at::kLong));
  CHECK(picked.batch_shape() == std::vector<int64_t>{3});
  CHECK(at::equal(picked.at("ring")[0], state.at("ring")[1]));
  CHECK(at::equal(picked.at("ring")[2], state.at("ring")[0]));

  State candidates(2);
  candidates.set("latent", at::arange(2 * 3 * 4, at::kFloat).reshape({2, 3, 1, 4}));
  const auto rows = at::tensor({2, 0, 1, 1}, at::kLong).reshape({2, 2});
  const auto chosen = candidates.select(rows).at("latent");
  CHECK(chosen.sizes() == at::IntArrayRef({2, 2, 1, 4}));
  CHECK(at::equal(chosen[0][0], candidates.at("latent")[0][2]));
  CHECK(at::equal(chosen[1][1], candidates.at("latent")[1][1]));
}

TEST_CASE("flatten and unflatten are inverse, cat and stack join along the last batch axis") {
  const auto expanded = example().expand(3);
  const auto flat = expanded.flatten();
  CHECK(flat.batch_shape() == std::vector<int64_t>{6});
  CHECK(at::equal(flat.unflatten({2, 3}).at("latent"), expanded.at("latent")));
  CHECK(State::cat({expanded, expanded}).batch_shape() == std::vector<int64_t>{2, 6});
  const auto stacked = State::stack({expanded, expanded, expanded, expanded});
  CHECK(stacked.batch_shape() == std::vector<int64_t>{2, 3, 4});
  CHECK(stacked.at("latent").sizes() == at::IntArrayRef({2, 3, 4, 1, 3}));
  CHECK(at::equal(expanded.narrow(1, 2).at("ring"), expanded.at("ring").narrow(1, 1, 2)));
}

TEST_CASE("unknown fields name the known ones and batch axes must agree") {
  auto state = example();
  CHECK_THROWS_WITH(state.at("latnet"), Catch::Contains("latent") && Catch::Contains("ring"));
  CHECK_THROWS_WITH(state.set("other", at::zeros({3, 1})), Catch::Contains("[3, 1]"));
  CHECK_THROWS_AS(state.set("other", Tensor()), Error);
  state.set("ring", at::zeros({2, 7}));
  CHECK(state.at("ring").size(1) == 7);
}

TEST_CASE("the looped rollout imagines every candidate of every problem") {
  Integrator model;
  PhiloxNoise noise(1);
  const auto start = model.observe(model.initial(2), {}, {"position", at::ones({2, 2})}, noise);
  const auto actions = noise.normal({2, 3, 4, 2});
  const auto imagined = model.rollout(start, actions, noise);
  CHECK(imagined.states.batch_shape() == std::vector<int64_t>{2, 3, 4});
  CHECK(at::allclose(imagined.states.at("latent").squeeze(-2), actions.cumsum(2) + 1.0));
  CHECK(at::allclose(imagined.rewards, actions.sum(-1)));
  CHECK_FALSE(imagined.discounts.defined());
  CHECK_THROWS_WITH(model.rollout(start, actions.narrow(3, 0, 1), noise),
                    Catch::Contains("[B,S,H,A]"));
  CHECK_THROWS_AS(model.rollout(start, actions.narrow(0, 0, 1), noise), Error);
}

TEST_CASE("an observation of the wrong name, shape or dtype is refused with what is expected") {
  Integrator model;
  PhiloxNoise noise(1);
  const auto observe = [&](const Observation& o) { return model.observe({}, {}, o, noise); };
  CHECK_THROWS_WITH(observe({"pixels", at::ones({1, 2})}), Catch::Contains("lacks field"));
  CHECK_THROWS_WITH(observe({"position", at::ones({1, 3})}), Catch::Contains("[*, 2]"));
  CHECK_THROWS_WITH(observe({"position", at::ones({1, 2}, at::kDouble)}), Catch::Contains("Float"));
}

TEST_CASE("the floating type of a state is that of its numbers") {
  CHECK(floating_type(example().to(at::kBFloat16)) == at::kBFloat16);
  CHECK(floating_type(State(1).set("step", at::zeros({2}, at::kLong))) == at::kFloat);
  auto mixed = State(1).set("step", at::zeros({2}, at::kLong));
  CHECK(floating_type(mixed.set("x", at::zeros({2}, at::kDouble))) == at::kDouble);
}

}  // namespace foresight::state_test
