// SPDX-License-Identifier: Apache-2.0
// Particles of a candidate are found, told apart as candidates of their own, and put together
// again.
#include "foresight/core/particles.hpp"

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::particles_test {

namespace {

// B, S, M, H all different, so that no two axes can be mistaken for each other.
constexpr int64_t kB = 2, kS = 3, kM = 5, kH = 4;

Trajectory with_particles() {
  Trajectory trajectory;
  trajectory.actions = at::randn({kB, kS, kH, 2});
  trajectory.states = State(3);
  trajectory.states.set(particle_field("latent"), at::randn({kB, kS, kH, kM, 1, 7}));
  trajectory.states.set("latent", at::randn({kB, kS, kH, 1, 7}));
  trajectory.states.set("clock", at::randn({kB, kS, kH}));
  trajectory.states.set(particle_field("reward"), at::randn({kB, kS, kH, kM}));
  trajectory.rewards = trajectory.states.at(particle_field("reward")).mean(3);
  trajectory.states.set_filled(2);
  return trajectory;
}

}  // namespace

TEST_CASE("every particle becomes a candidate with its own fields") {
  const auto whole = with_particles();
  const auto each = spread_particles(whole);
  REQUIRE((each.states.batch_shape() == std::vector<int64_t>{kB, kS * kM, kH}));
  CHECK(particle_count(whole.states) == kM);
  CHECK(particle_count(each.states) == 1);
  CHECK(each.states.filled() == 2);
  for (int64_t b = 0; b < kB; ++b)
    for (int64_t s = 0; s < kS; ++s)
      for (int64_t m = 0; m < kM; ++m) {
        const auto at = s * kM + m;
        CHECK(at::equal(each.actions[b][at], whole.actions[b][s]));
        CHECK(at::equal(each.states.at("clock")[b][at], whole.states.at("clock")[b][s]));
        for (int64_t h = 0; h < kH; ++h) {
          CHECK(at::equal(each.states.at("latent")[b][at][h],
                          whole.states.at(particle_field("latent"))[b][s][h][m]));
          CHECK(at::equal(each.rewards[b][at][h],
                          whole.states.at(particle_field("reward"))[b][s][h][m]));
        }
      }
  CHECK_FALSE(each.discounts.defined());
  CHECK_FALSE(each.states.has("reward"));
}

TEST_CASE("repeated rollouts are gathered into particles, and spread to what they were") {
  auto rolled_out = with_particles();  // 3 rollouts of one candidate, each with 5 particles
  const auto whole = gather_particles(rolled_out, kS);
  REQUIRE((whole.states.batch_shape() == std::vector<int64_t>{kB, 1, kH}));
  CHECK(particle_count(whole.states) == kS * kM);
  CHECK(at::equal(whole.actions, rolled_out.actions.narrow(1, 0, 1)));
  CHECK(at::allclose(whole.states.at("clock"), rolled_out.states.at("clock").mean(1, true)));
  CHECK(at::allclose(whole.rewards, rolled_out.rewards.mean(1, true)));
  const auto direct = spread_particles(rolled_out), round = spread_particles(whole);
  CHECK(at::equal(round.states.at("latent"), direct.states.at("latent")));
  CHECK(at::equal(round.rewards, direct.rewards));
  CHECK(
      at::equal(round.states.at("clock"), rolled_out.states.at("clock").repeat_interleave(kM, 1)));

  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { gather_particles(rolled_out, 2); }, "3 candidates",
      "2 times"));
}

TEST_CASE("a trajectory without particles stays what it is, and counts must agree") {
  Trajectory plain;
  plain.actions = at::randn({1, 2, 3, 1});
  plain.states = State(3).set("latent", at::randn({1, 2, 3, 4}));
  CHECK(spread_particles(plain).states.at("latent").is_same(plain.states.at("latent")));
  CHECK(gather_particles(plain, 1).actions.is_same(plain.actions));
  plain.states.set(particle_field("a"), at::zeros({1, 2, 3, 2}));
  plain.states.set(particle_field("b"), at::zeros({1, 2, 3, 3}));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { particle_count(plain.states); }, "particles.b", "3",
      "2"));
}

}  // namespace foresight::particles_test
