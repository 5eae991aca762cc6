// SPDX-License-Identifier: Apache-2.0
// MPPI, SMPPI and KMPPI against pytorch_mppi over consecutive commands on swinging pendulums.
#include <numbers>

#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "reference_costs.hpp"

namespace foresight::golden_mppi_test {
namespace {

Tensor wrapped(const Tensor& angle) {
  return at::remainder(angle + std::numbers::pi, 2 * std::numbers::pi) - std::numbers::pi;
}

// One or two pendulums, states [...,2n] = angles then velocities, inputs [...,n].
Tensor pendulum_step(const Tensor& state, const Tensor& input) {
  const auto n = input.size(-1);
  const auto u = input.clamp(-2.0, 2.0);
  const auto theta = state.narrow(-1, 0, n), omega = state.narrow(-1, n, n);
  auto acceleration = -15 * at::sin(theta + std::numbers::pi) + 3 * u;
  if (n == 2) {
    const auto pull = 2 * at::sin(theta.narrow(-1, 0, 1) - theta.narrow(-1, 1, 1));
    acceleration = acceleration + at::cat({-pull, pull}, -1);
  }
  const auto next = omega + 0.05 * acceleration;
  return at::cat({theta + 0.05 * next, next.clamp(-8.0, 8.0)}, -1);
}

struct Command {
  const nlohmann::json& config;
  Tensor state;                                                  // [N,nx] or [N,K,nx]
  Tensor process_noise;                                          // [T,M*K,nx] or undefined
  std::shared_ptr<Tensor> visited = std::make_shared<Tensor>();  // [M,N,K,T,nx], by the last cost
};

// Cost [N,K] of candidates [N,K,T,nu]: the reference's rollout, M particles and terminal cost
// included.
Tensor swing_up_cost(const Command& command, const Tensor& actions) {
  const auto& config = command.config;
  const int64_t particles = config.at("M");
  const auto n = actions.size(0), k = actions.size(1), horizon = actions.size(2),
             nu = actions.size(3);
  const double scale = config.at("u_scale");
  const auto scaled = actions * scale;
  auto x = command.state.dim() == 2 ? command.state.unsqueeze(1).expand({n, k, -1}) : command.state;
  x = x.unsqueeze(0).expand({particles, n, k, -1});
  auto total = at::zeros({particles, n, k}, actions.options());
  auto variance = at::zeros({n, k}, actions.options());
  std::vector<Tensor> visited;
  for (int64_t t = 0; t < horizon; ++t) {
    const auto u = scaled.select(2, t);
    x = pendulum_step(x, u.unsqueeze(0).expand({particles, n, k, nu}));
    if (command.process_noise.defined())
      x = x + command.process_noise[t].reshape({particles, 1, k, -1});
    visited.push_back(x);
    const auto theta = x.narrow(-1, 0, nu), omega = x.narrow(-1, nu, nu);
    auto cost = wrapped(theta).square().sum(-1) + 0.1 * omega.square().sum(-1) +
                0.01 * u.square().sum(-1).unsqueeze(0);
    if (config.at("step_dependent").get<bool>()) cost = cost * (1 + 0.1 * static_cast<double>(t));
    total = total + cost;
    if (particles > 1)
      variance = variance + cost.var(0, /*unbiased=*/true) *
                                std::pow(config.at("var_discount").get<double>(), t);
  }
  *command.visited = at::stack(visited, 3);
  if (config.at("terminal").get<bool>()) {
    const auto theta = x.narrow(-1, 0, nu), omega = x.narrow(-1, nu, nu);
    total = total + 5 * wrapped(theta).square().sum(-1) + omega.square().sum(-1) +
            0.3 * scaled.square().mean({2, 3}).unsqueeze(0);
  }
  auto cost = total.mean(0) + variance * config.at("var_cost").get<double>();
  if (config.at("kind") == "smppi")
    cost = cost + config.at("w_action_seq_cost").get<double>() *
                      (at::diff(scaled, 1, 2)).square().sum({2, 3});
  return cost;
}

std::vector<double> list(const nlohmann::json& value) {
  return value.is_null() ? std::vector<double>{} : value.get<std::vector<double>>();
}

// A missing side mirrors the other.
void set_limits(Problem& problem, const nlohmann::json& low, const nlohmann::json& high) {
  problem.action.low = list(low);
  problem.action.high = list(high);
  if (problem.action.low.empty())
    for (const double value : problem.action.high) problem.action.low.push_back(-value);
  if (problem.action.high.empty())
    for (const double value : problem.action.low) problem.action.high.push_back(-value);
}

SamplingOptions settings(const nlohmann::json& config) {
  const std::string kind = config.at("kind");
  auto options = kind == "smppi" ? smppi() : (kind == "kmppi" ? kmppi() : pytorch_mppi());
  options.samples = config.at("K");
  options.temperature = options.control_cost = config.at("lambda_");
  options.absolute_noise_cost = config.at("noise_abs_cost");
  for (const auto& row : config.at("noise_sigma"))
    for (const auto& value : row) options.covariance.push_back(value);
  options.noise_mean = list(config.at("noise_mu"));
  // In the reference's float64 run as well, rows that are filled with u_init have float32's digits.
  if (!config.at("u_init").is_null()) {
    options.initial_mean.clear();
    for (const double value : config.at("u_init"))
      options.initial_mean.push_back(static_cast<float>(value));
  }
  options.zero_candidate = config.at("null_action");
  options.rate_step = config.value("delta_t", 1.0);
  options.knots = config.value("num_support_pts", int64_t{0});
  options.kernel_width = config.value("rbf_sigma", 1.0);
  options.record = PlannerRecord::everything;
  options.evaluate_result = false;
  return options;
}

class Commands {
 public:
  Commands(Golden& golden, at::ScalarType type)
      : golden_(golden),
        type_(type),
        config_(golden.config()),
        kind_(config_.at("kind")),
        options_(settings(config_)),
        planner_(options_) {
    batched_ = kind_ == "batched";
    horizon_ = config_.at("T");
    state_ = golden.input("state0", type);
    if (!batched_) state_ = state_.unsqueeze(0);  // [1,nx] or [1,K,nx]
    const auto start = golden.output("U_start", type);
    const auto nu = start.size(-1);
    last_.mean = batched_ ? start : start.unsqueeze(0);
    const auto zeros = [&](int64_t rows) { return at::zeros({1, rows, nu}, start.options()); };
    if (kind_ == "kmppi") last_.memory = {{"knots", zeros(options_.knots)}};
    if (kind_ == "smppi") {
      // The reference lifts: its U is the rate, which starts at zero; the plan starts at a given U.
      last_.memory = {{"rates", zeros(horizon_)}};
      last_.mean =
          golden.has("inputs/U_init") ? golden.input("U_init", type).unsqueeze(0) : zeros(horizon_);
    }
  }

  void run() {
    const auto count = config_.at("commands").size();
    for (std::size_t c = 0; c < count; ++c) {
      INFO("command " << c);
      issue(static_cast<int64_t>(c), config_.at("commands")[c]);
    }
    if (golden_.has("outputs/get_rollouts")) compare_rollouts();
  }

 private:
  Tensor draws(int64_t c) const {
    const auto own = "z" + std::to_string(c);
    return golden_.has("inputs/" + own) ? golden_.input(own, type_) : golden_.input("z", type_)[c];
  }

  void change_horizon(int64_t horizon) {
    const auto rows = std::min(horizon, horizon_);
    auto mean = last_.mean.narrow(1, 0, rows);
    if (horizon > rows)
      mean = at::cat({mean, at::tensor(options_.initial_mean, at::kDouble)
                                .to(mean.options())
                                .expand({1, horizon - rows, -1})},
                     1);
    last_.mean = mean;
    horizon_ = horizon;
  }

  void issue(int64_t c, const nlohmann::json& command) {
    if (command.contains("horizon")) change_horizon(command.at("horizon"));
    auto problem = golden_problem(type_);
    problem.batch = last_.mean.size(0);
    problem.horizon = horizon_;
    problem.action.dim = last_.mean.size(2);
    if (kind_ == "smppi")
      set_limits(problem, config_.at("action_min"), config_.at("action_max"));
    else
      set_limits(problem, config_.at("u_min"), config_.at("u_max"));
    Command now{config_, state_, {}};
    if (golden_.has("inputs/process_noise"))
      now.process_noise = golden_.input("process_noise", type_)[c];
    problem.cost = [now](const Tensor& actions) {
      return Costs{swing_up_cost(now, actions), {}, {}};
    };
    if (golden_.has("inputs/specific_actions"))
      problem.proposals = golden_.input("specific_actions", type_)[c].unsqueeze(0);
    problem.warm_start =
        command.value("shift", true)
            ? planner_.advance(last_,
                               std::vector<int64_t>(static_cast<std::size_t>(problem.batch), 1), 1)
            : last_;
    RecordedNoise noise;
    noise.push(draws(c).unsqueeze(0));
    const auto plan = planner_.solve(problem, noise);
    INFO(plan.message);
    REQUIRE(plan.status == Status::ok);
    compare(c, problem, plan, *now.visited);
    last_ = plan.warm_start;
    advance_state();
  }

  void check(const std::string& key, const Tensor& actual) {
    if (type_ == at::kDouble && !config_.at("u_init").is_null())
      golden_.compare_within("outputs64/" + key, actual, {1e-7, 1e-7, 0},
                             "not all that the original makes of u_init in float64 is rounded to "
                             "float32");
    else
      golden_.compare_run(key, actual);
  }

  void compare(int64_t c, const Problem& problem, const Plan& plan, const Tensor& visited) {
    const auto key = "command" + std::to_string(c) + "/";
    const auto one = [&](const Tensor& tensor) { return batched_ ? tensor : tensor[0]; };
    check(key + "state", one(state_));
    const auto sequence = plan.warm_start.mean;  // [N,T,nu]
    const auto& record = plan.diagnostics.iteration[0];
    check(key + "U", one(kind_ == "smppi" ? record.mean : sequence));
    const int64_t per_command = config_.at("u_per_command");
    const auto action =
        per_command == 1 ? sequence.select(1, 0) : sequence.narrow(1, 0, per_command);
    check(key + "action", one(action));
    if (kind_ == "smppi") check(key + "action_sequence", one(sequence));
    if (kind_ == "kmppi") check(key + "theta", find_term(plan.warm_start.memory, "knots")[0]);
    if (batched_) return;
    check(key + "perturbed_action", record.candidates[0]);
    check(key + "cost_total", record.costs[0]);
    check(key + "omega", record.weights[0]);
    // What candidates differ from the start of the command by, limits applied.
    const auto prior = at::tensor(options_.initial_mean, at::kDouble).to(problem.options);
    auto start = complete_warm_start(problem, prior.expand({problem.width()}), options_.tail);
    auto noise = record.candidates[0] - start;
    if (kind_ == "smppi")
      noise = noise / options_.rate_step - find_term(problem.warm_start.memory, "rates");
    check(key + "noise", noise);
    if (kind_ == "kmppi")
      check(key + "noise_theta",
            record.variables[0] - find_term(problem.warm_start.memory, "knots"));
    const std::string run = type_ == at::kDouble ? "outputs64/" : "outputs/";
    if (!golden_.has(run + key + "states")) return;  // some float64 runs were recorded without
    check(key + "states", visited.select(1, 0));
    check(key + "actions", record.candidates.expand({config_.at("M").get<int64_t>(), -1, -1, -1}));
  }

  // Two copies of the last sequence, from the first state.
  void compare_rollouts() {
    const auto sequence = last_.mean[0] * config_.at("u_scale").get<double>();
    auto x = golden_.input("state0", type_);
    std::vector<Tensor> states;
    for (const auto& u : sequence.unbind(0)) states.push_back(x = pendulum_step(x, u));
    check("get_rollouts", at::stack(states).unsqueeze(0).expand({2, -1, -1}));
  }

  // The plant takes the first returned action, scaled, without noise.
  void advance_state() {
    auto u = last_.mean.select(1, 0) * config_.at("u_scale").get<double>();
    if (state_.dim() == 3) u = u.unsqueeze(1).expand({1, state_.size(1), u.size(1)});
    state_ = pendulum_step(state_, u);
  }

  Golden& golden_;
  at::ScalarType type_;
  const nlohmann::json& config_;
  std::string kind_;
  bool batched_ = false;
  SamplingOptions options_;
  SamplingPlanner planner_;
  int64_t horizon_ = 1;
  Tensor state_;
  WarmStart last_;
};

TEST_CASE("MPPI and its smooth and kernel variants follow pytorch_mppi command by command",
          "[parity][device]") {
  for (const auto* kind : {"mppi/mppi", "mppi/smppi", "mppi/kmppi", "mppi/batched"})
    for_each_golden_run(kind,
                        [](Golden& golden, at::ScalarType type) { Commands(golden, type).run(); });
}

TEST_CASE("KMPPI's interpolation equals the reference's", "[parity]") {
  for_each_golden("mppi/kmppi", [](Golden& golden) {
    const auto matrix = knot_matrix(golden.config().at("T"), golden.config().at("num_support_pts"),
                                    KnotKernel::rbf, golden.config().at("rbf_sigma"));
    golden.compare("outputs/interp_matrix", matrix.to(at::kFloat));
    golden.compare("outputs64/interp_matrix", matrix);
  });
}

TEST_CASE("linear and held knots interpolate as their names say") {
  const auto knots = at::tensor({0.0, 4.0, 2.0}, at::kDouble).unsqueeze(1);
  CHECK(at::allclose(at::matmul(knot_matrix(5, 3, KnotKernel::linear, 1), knots).flatten(),
                     at::tensor({0.0, 2.0, 4.0, 3.0, 2.0}, at::kDouble)));
  CHECK(at::allclose(at::matmul(knot_matrix(5, 3, KnotKernel::hold, 1), knots).flatten(),
                     at::tensor({0.0, 0.0, 4.0, 4.0, 2.0}, at::kDouble)));
}

TEST_CASE("cubic knots follow parabolas inside, lines everywhere, and have no kinks") {
  const auto weights = knot_matrix(13, 5, KnotKernel::cubic, 1);  // a knot every 3 blocks
  const auto knot = at::arange(0, 13, 3, at::kDouble), time = at::arange(13, at::kDouble);
  const auto line = [](const Tensor& t) { return 2.0 - 0.7 * t; };
  CHECK(at::allclose(at::mv(weights, line(knot)), line(time)));
  const auto curve = [](const Tensor& t) { return 1.0 + t - 0.3 * t * t; };
  CHECK(at::allclose(at::mv(weights, curve(knot)).slice(0, 3, 10), curve(time).slice(0, 3, 10)));
  // Any values: every knot is met, and the slopes on both sides of it are the same. A cubic through
  // four points tells its slope at the first exactly.
  const auto fine = knot_matrix(241, 5, KnotKernel::cubic, 1);  // 60 blocks between knots
  const auto values = at::tensor({0.3, -1.0, 2.0, 2.0, -0.4}, at::kDouble);
  const auto plan = at::mv(fine, values);
  const auto slope = [&](int64_t at, int64_t step) {
    const auto y = [&](int64_t i) { return plan[at + i * step].item<double>(); };
    return (-11 * y(0) + 18 * y(1) - 9 * y(2) + 2 * y(3)) / (6.0 * static_cast<double>(step));
  };
  for (int64_t k = 0; k < 5; ++k)
    CHECK(plan[60 * k].item<double>() == Approx(values[k].item<double>()).margin(1e-12));
  for (int64_t k = 1; k < 4; ++k) {
    CHECK(slope(60 * k, 10) == Approx(slope(60 * k, -10)).margin(1e-10));
    CHECK(slope(60 * k, 10) ==
          Approx((values[k + 1] - values[k - 1]).item<double>() / 120).margin(1e-10));
  }
}

}  // namespace
}  // namespace foresight::golden_mppi_test
