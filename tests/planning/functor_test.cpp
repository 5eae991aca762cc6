// SPDX-License-Identifier: Apache-2.0
// Functor dynamics against the same dynamics composed of tensor operations.
#include "foresight/planning/functor.hpp"

#include <cmath>
#include <numbers>

#include "foresight/core/error.hpp"
#include "foresight/planning/functor_model.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "golden.hpp"
#include "threads.hpp"

namespace foresight::functor_test {
namespace {

constexpr double kPi = std::numbers::pi;

// N coupled pendulums, as in the planner fixtures: angles, then velocities; inputs scaled.
template <int N>
struct Pendulums {
  static constexpr int kState = 2 * N, kAction = N;
  double scale = 1.0;

  template <class T>
  std::array<T, 2 * N> operator()(const std::array<T, 2 * N>& x,
                                  const std::array<T, N>& action) const {
    std::array<T, 2 * N> next;
    for (int i = 0; i < N; ++i) {
      const T u = clamp(action[i] * scale, T(-2), T(2));
      T acceleration = -15 * sin(x[i] + kPi) + 3 * u;
      if constexpr (N == 2) acceleration -= 2 * sin(x[i] - x[1 - i]);
      const T velocity = x[N + i] + 0.05 * acceleration;
      next[i] = x[i] + 0.05 * velocity;
      next[N + i] = clamp(velocity, T(-8), T(8));
    }
    return next;
  }
  template <class T>
  T cost(const std::array<T, 2 * N>& x, const std::array<T, N>& action) const {
    T sum(0);
    for (int i = 0; i < N; ++i) {
      const T angle = floor_mod(x[i] + kPi, 2 * kPi) - kPi;
      const T u = action[i] * scale;
      sum += angle * angle + 0.1 * x[N + i] * x[N + i] + 0.01 * u * u;
    }
    return sum;
  }
};

// A cart that is pulled towards a place and carries a load: both are parameters, with a terminal
// cost.
struct LoadedCart {
  static constexpr int kState = 3, kAction = 2, kParameters = 2;  // goal, mass
  template <class T>
  std::array<T, 3> operator()(const std::array<T, 3>& x, const std::array<T, 2>& u,
                              const std::array<T, 2>& p) const {
    const T v = x[1] + 0.1 * (u[0] - 0.5 * tanh(u[1])) / p[1];
    return {x[0] + 0.1 * v, v, exp(-abs(x[2])) + 0.1 * u[1]};
  }
  template <class T>
  T cost(const std::array<T, 3>& x, const std::array<T, 2>& u, const std::array<T, 2>& p) const {
    return (x[0] - p[0]) * (x[0] - p[0]) + 0.01 * (u[0] * u[0] + u[1] * u[1]) + x[2];
  }
  template <class T>
  T terminal(const std::array<T, 3>& x, const std::array<T, 2>& p) const {
    return p[1] * x[1] * x[1] + log(1 + x[2] * x[2]) + sqrt(abs(x[0] - p[0]));
  }
};

struct Rolled {
  Tensor cost, terminal, rewards, states;  // [B,S], [B,S], [B,S,H], [B,S,H,3]
};

// LoadedCart by tensor operations.
Rolled reference(const Tensor& start, const Tensor& parameters, const Tensor& actions,
                 const ActionSpace& space) {
  const auto raw = space.denormalise(actions);  // [B,S,H,block,2]
  const auto batch = actions.size(0), samples = actions.size(1);
  const auto goal = parameters.select(1, 0).unsqueeze(1),
             mass = parameters.select(1, 1).unsqueeze(1);
  const auto column = [&](int64_t d) {
    return start.select(1, d).unsqueeze(1).expand({batch, samples});
  };
  auto p = column(0), v = column(1), w = column(2);
  std::vector<Tensor> rewards, states;
  for (int64_t h = 0; h < actions.size(2); ++h) {
    auto earned = at::zeros({batch, samples}, actions.options());
    for (int64_t k = 0; k < space.block; ++k) {
      const auto u = raw.select(2, h).select(2, k), u0 = u.select(-1, 0), u1 = u.select(-1, 1);
      w = at::exp(-w.abs()) + 0.1 * u1;
      v = v + 0.1 * (u0 - 0.5 * at::tanh(u1)) / mass;
      p = p + 0.1 * v;
      earned = earned + (p - goal).square() + 0.01 * (u0.square() + u1.square()) + w;
    }
    rewards.push_back(-earned);
    states.push_back(at::stack({p, v, w}, -1));
  }
  Rolled rolled;
  rolled.rewards = at::stack(rewards, 2);
  rolled.states = at::stack(states, 2);
  rolled.cost = -rolled.rewards.sum(2);
  rolled.terminal = mass * v.square() + at::log(1 + w.square()) + at::sqrt((p - goal).abs());
  return rolled;
}

struct Case {
  ActionSpace space;
  Tensor start, parameters, actions;
};

Case random_case(int64_t batch, int64_t samples, int64_t horizon, at::ScalarType type) {
  Case c;
  c.space.dim = 2;
  c.space.block = 3;
  c.space.mean = {0.5, -0.25};
  c.space.std = {2.0, 0.5};
  PhiloxNoise noise(static_cast<std::uint64_t>(samples));
  c.start = noise.normal({batch, 3}, type);
  c.parameters = noise.normal({batch, 2}, type).abs() + 0.5;
  c.actions = noise.normal({batch, samples, horizon, 6}, type);
  return c;
}

ActionSpace actions_of(int64_t dim) {
  ActionSpace space;
  space.dim = dim;
  return space;
}

double difference(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.sizes() == expected.sizes());
  REQUIRE(actual.scalar_type() == expected.scalar_type());
  return ((actual - expected).abs() / (1.0 + expected.abs())).max().item<double>();
}

TEST_CASE("a functor's costs equal those of the same dynamics composed of tensor operations") {
  // Sample counts below, at and beside what a chunk of candidates holds.
  for (const int64_t samples : {1, 3, 8, 16, 33, 64, 100})
    for (const auto& [type, tolerance] :
         {std::pair{at::kFloat, 2e-5}, std::pair{at::kDouble, 1e-12}}) {
      INFO(samples << " candidates in " << c10::toString(type));
      const auto c = random_case(3, samples, 4, type);
      const auto expected = reference(c.start, c.parameters, c.actions, c.space);
      const auto costs =
          functor_cost(make_functor(LoadedCart{}), c.space, c.start, c.parameters)(c.actions);
      CHECK(difference(costs.total, expected.cost + expected.terminal) < tolerance);
      CHECK(difference(find_term(costs.terms, "stage"), expected.cost) < tolerance);
      CHECK(difference(find_term(costs.terms, "terminal"), expected.terminal) < tolerance);
    }
}

TEST_CASE("the world model of a functor imagines the same states, rewards and values") {
  const auto c = random_case(2, 21, 4, at::kDouble);
  const auto expected = reference(c.start, c.parameters, c.actions, c.space);
  const auto model = std::make_shared<FunctorModel>(make_functor(LoadedCart{}), c.space);
  PhiloxNoise noise(1);
  const auto state = State(1).set("latent", c.start.unsqueeze(1)).set("parameters", c.parameters);
  const auto whole = model->rollout(state, c.actions, noise);
  const auto looped = model->looped_rollout(state, c.actions, noise);
  for (const auto& future : {whole, looped}) {
    CHECK(difference(future.states.at("latent").squeeze(3), expected.states) < 1e-12);
    CHECK(difference(future.rewards, expected.rewards) < 1e-12);
    CHECK(difference(model->value(future.states.narrow(3, 1)).squeeze(2), -expected.terminal) <
          1e-12);
  }
  const auto costs = functor_objective(model).cost_function(*model, state, noise)(c.actions);
  CHECK(difference(costs.total, expected.cost + expected.terminal) < 1e-12);
}

TEST_CASE("a functor model observes into memory of its own") {
  const FunctorModel model(make_functor(LoadedCart{}), actions_of(2));
  PhiloxNoise noise(1);
  Observation seen("state", at::ones({1, 3}));
  seen.set("parameters", at::ones({1, 2}));
  const auto state = model.observe(model.initial(1), {}, seen, noise);
  seen.at("state").zero_();
  seen.at("parameters").zero_();
  CHECK(at::equal(state.at("latent"), at::ones({1, 1, 3})));
  CHECK(at::equal(state.at("parameters"), at::ones({1, 2})));
  CHECK(state.filled() == 1);
}

TEST_CASE("threads do not change a bit of a functor's costs") {
  const auto c = random_case(2, 333, 3, at::kFloat);
  const auto cost = [&](int64_t threads) {
    return functor_cost(make_functor(LoadedCart{}), c.space, c.start, c.parameters,
                        {.threads = threads})(c.actions)
        .total;
  };
  const auto alone = cost(1);
  for (const int64_t threads : {0, 2, 3, 7}) CHECK(at::equal(cost(threads), alone));
}

TEST_CASE("LibTorch's threads do not change a bit of what a functor imagines") {
  const auto c = random_case(2, 333, 3, at::kFloat);
  const auto state = State(1).set("latent", c.start.unsqueeze(1)).set("parameters", c.parameters);
  for (const int64_t threads : {0, 3}) {
    INFO("FunctorOptions.threads = " << threads);
    const FunctorModel model(make_functor(LoadedCart{}), c.space, {.threads = threads});
    PhiloxNoise noise(1);
    CHECK(same_on_four_threads([&] {
      const auto imagined = model.rollout(state, c.actions, noise);
      const auto value = model.value(imagined.states.narrow(2, 1));
      return at::cat(
          {imagined.states.at("latent").flatten(), imagined.rewards.flatten(), value.flatten()});
    }));
  }
}

TEST_CASE("one step outside planning is the functor itself") {
  const auto next = functor_step(Pendulums<1>{}, {0.5, -1.0}, {1.5});
  const double velocity = -1.0 + 0.05 * (-15 * std::sin(0.5 + kPi) + 4.5);
  CHECK(next[0] == Approx(0.5 + 0.05 * velocity).epsilon(1e-14));
  CHECK(next[1] == Approx(velocity).epsilon(1e-14));
}

// Fixtures whose costs are those of the pendulums above.
template <int N>
void follow(Golden& golden) {
  const auto& config = golden.config();
  SamplingOptions options = mppi();
  options.samples = config.at("K");
  options.temperature = options.control_cost = config.at("lambda_");
  options.absolute_noise_cost = config.at("noise_abs_cost");
  for (const auto& row : config.at("noise_sigma"))
    for (const auto& value : row) options.covariance.push_back(value);
  options.record = PlannerRecord::everything;
  Problem problem;
  problem.horizon = config.at("T");
  problem.action.dim = N;
  const auto limits = [&](const char* given, const char* mirrored) {
    std::vector<double> values;
    const bool own = !config.at(given).is_null();
    const auto& from = config.at(own ? given : mirrored);
    if (from.is_null()) return values;
    for (const double value : from) values.push_back(own ? value : -value);
    return values;
  };
  problem.action.low = limits("u_min", "u_max");
  problem.action.high = limits("u_max", "u_min");
  problem.cost = functor_cost(make_functor(Pendulums<N>{config.at("u_scale").get<double>()}),
                              problem.action, golden.input("state0").unsqueeze(0));
  // The first command shifts the start plan; its end is u_init.
  const SamplingPlanner planner(options);
  WarmStart start;
  start.mean = golden.output("U_start").unsqueeze(0);
  const bool shift = config.at("commands")[0].value("shift", true);
  problem.warm_start = shift ? planner.advance(start, {1}, 1) : start;
  RecordedNoise noise;
  const std::string own = "inputs/z0";
  noise.push((golden.has(own) ? golden.at(own) : golden.input("z")[0]).unsqueeze(0));
  const auto plan = planner.solve(problem, noise);
  REQUIRE(plan.status == Status::ok);
  golden.compare("command0/cost_total", plan.diagnostics.iteration[0].costs[0]);
  golden.compare("command0/omega", plan.diagnostics.iteration[0].weights[0]);
  golden.compare("command0/U", plan.actions[0]);
}

TEST_CASE("MPPI on functor dynamics follows pytorch_mppi: same draws, same costs, same plan",
          "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("functor dynamics run on the CPU");
  int followed = 0;
  for_each_golden("mppi/mppi", [&](Golden& golden) {
    const auto& config = golden.config();
    const bool representable =
        config.at("kind") == "mppi" && config.at("M") == 1 && !config.at("terminal").get<bool>() &&
        !config.at("step_dependent").get<bool>() && golden.input("state0").dim() == 1 &&
        config.at("noise_mu").is_null() && config.at("u_init").is_null() &&
        !config.at("null_action").get<bool>() && !golden.has("inputs/specific_actions") &&
        !config.at("commands")[0].contains("horizon");
    if (!representable) return;
    ++followed;
    if (golden.input("state0").size(0) == 2) {
      follow<1>(golden);
    } else {
      follow<2>(golden);
    }
  });
  CHECK(followed >= 2);
}

TEST_CASE("what does not fit a functor is refused by name") {
  const auto cart = make_functor(LoadedCart{});
  const auto two = actions_of(2), three = actions_of(3);
  const auto state = at::zeros({1, 3}), parameters = at::zeros({1, 2});
  CHECK_THROWS_WITH(functor_cost(cart, three, state, parameters),
                    Catch::Contains("take 2") && Catch::Contains("3 dimensions"));
  CHECK_THROWS_WITH(functor_cost(cart, two, at::zeros({1, 4}), parameters),
                    Catch::Contains("state") && Catch::Contains("[1, 4]"));
  CHECK_THROWS_WITH(functor_cost(cart, two, state), Catch::Contains("2 parameters"));
  CHECK_THROWS_WITH(functor_cost(cart, two, state, parameters, {.threads = -1}),
                    Catch::Contains("threads = -1"));
  CHECK_THROWS_WITH(functor_cost(nullptr, two, state), Catch::Contains("nothing"));
  const auto cost = functor_cost(cart, two, state, parameters);
  CHECK_THROWS_WITH(cost(at::zeros({2, 5, 3, 2})), Catch::Contains("[2, 5, 3, 2]"));
  CHECK_THROWS_WITH(cost(at::zeros({1, 5, 3, 2}, at::kHalf)), Catch::Contains("Half"));
  CHECK_THROWS_WITH(cost(at::zeros({1, 5, 3, 2}).requires_grad_()), Catch::Contains("gradients"));
}

}  // namespace
}  // namespace foresight::functor_test
