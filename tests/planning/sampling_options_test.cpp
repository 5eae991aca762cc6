// SPDX-License-Identifier: Apache-2.0
// Options and presets: refused where they make no sense, kept through JSON.
#include <array>
#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "planner_conformance.hpp"

namespace foresight::sampling_options_test {
namespace {

using testing::quadratic_problem;

TEST_CASE("bad options are refused with the field, value and rule") {
  SamplingOptions options;
  options.elites = 400;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { SamplingPlanner{options}; }, "elites", "400", "300"));
  options = {};
  options.temperature = -1;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { SamplingPlanner{options}; }, "temperature"));
  options = {};
  options.initial_std = {1.0, 2.0, 3.0};
  PhiloxNoise noise(1);
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] { SamplingPlanner(options).solve(quadratic_problem(1, 1), noise); }, "initial_std",
      "3 values"));
}

TEST_CASE("options that would silently do nothing are refused") {
  const auto refused = [](const SamplingOptions& options, const char* field) {
    INFO(field);
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { SamplingPlanner{options}; }, field));
  };
  refused({.elites = 0, .kept_elites = 3}, "kept_elites");
  refused({.elites = 0, .carried_elites = 3}, "carried_elites");
  auto symbols = categorical_cem();
  symbols.dead_zone = {1.5};
  refused(symbols, "dead_zone");
  refused({.covariance = {1.0}, .bound = BoundKind::truncated, .std_update = StdUpdate::fixed},
          "covariance");
}

TEST_CASE("a search that would draw no candidate is refused") {
  const auto refused = [](const SamplingOptions& options, const char* least) {
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { SamplingPlanner{options}; }, "samples", least,
        "mean_candidate"));
  };
  refused({.samples = 1, .elites = 1}, "> 1");
  refused({.samples = 2, .elites = 1, .zero_candidate = true}, "> 2");
  refused({.samples = 4, .elites = 3, .kept_elites = 3}, "> 4");
  refused(
      {.samples = 1, .iterations = 1, .elites = 1, .mean_candidate = MeanCandidate::last_iteration},
      "> 1");
  CHECK_NOTHROW(SamplingPlanner({.samples = 2, .elites = 1}));
  CHECK_NOTHROW(
      SamplingPlanner({.samples = 1, .elites = 1, .mean_candidate = MeanCandidate::never}));
  CHECK_NOTHROW(SamplingPlanner({.samples = 1,
                                 .iterations = 2,
                                 .elites = 1,
                                 .mean_candidate = MeanCandidate::last_iteration}));
}

TEST_CASE("every preset is valid and survives a round trip through JSON") {
  for (const auto& name : sampling_preset_names()) {
    INFO("preset " << name);
    const auto options = sampling_preset(name);
    CHECK(options.validate().empty());
    const auto json = write_options(options);
    SamplingOptions again;
    read_options(again, json, name);
    CHECK(write_options(again) == json);
  }
  CHECK(fails_with(
      ErrorCategory::not_found, [] { sampling_preset("lewm_cen"); }, "lewm_cem"));
}

TEST_CASE("presets have the published budgets") {
  struct Budget {
    const char* name;
    int64_t samples, elites, iterations;
    double std, temperature;
  };
  // Samples, elites (0: all), iterations, first std, temperature where weights are soft.
  const std::array<Budget, 8> published{{{"lewm", 300, 30, 30, 1.0, 0},
                                         {"dino_wm", 300, 30, 30, 1.0, 0},
                                         {"vjepa2_ac", 400, 10, 10, 0.075, 0},
                                         {"eb_jepa_cem", 200, 20, 20, 1.5, 0},
                                         {"eb_jepa_mppi", 200, 20, 20, 2.0, 0.005},
                                         {"pldm", 2000, 0, 1, 3.4641016, 0.005},
                                         {"tdmpc2", 512, 64, 6, 2.0, 0.5},
                                         {"pytorch_mppi", 100, 0, 1, 1.0, 1.0}}};
  for (const auto& budget : published) {
    INFO("preset " << budget.name);
    const auto options = sampling_preset(budget.name);
    CHECK(options.samples == budget.samples);
    CHECK(options.elites == budget.elites);
    CHECK(options.iterations == budget.iterations);
    CHECK(options.initial_std.front() == Approx(budget.std));
    CHECK((options.weights == WeightKind::softmax) == (budget.temperature > 0));
    if (budget.temperature > 0) CHECK(options.temperature == budget.temperature);
  }
  CHECK(tdmpc2(20).iterations == 8);
}

TEST_CASE("PLDM's MPPI is information-theoretic MPPI in a ball, computed by hand") {
  auto options = pldm();
  options.samples = 64;
  options.temperature = options.control_cost = 0.5;
  auto problem = quadratic_problem(1, 3);
  problem.warm_start.mean = at::full({1, 3, 2}, 0.4);
  const auto draws = at::randn({1, 64, 3, 2});
  RecordedNoise noise;
  noise.push(draws);
  const auto plan = SamplingPlanner(options).solve(problem, noise);
  REQUIRE(plan.status == Status::ok);
  // U <- U + sum_k w_k e_k with w ~ exp(-(c + lambda U' Sigma^-1 e) / lambda), in double.
  const auto u = at::full({3, 2}, 0.4, at::kDouble);
  auto v = u + draws[0].to(at::kDouble) * std::sqrt(12.0);
  const auto length = v.norm(2, {-1}, true);
  v = v * length.clamp_max(2.45) / (length + 1e-6);
  const auto cost = (v - testing::quadratic_target(1, 3)[0]).square().sum({1, 2}) +
                    0.5 * ((v - u) * u / 12.0).sum({1, 2});
  const auto weight = at::softmax(-cost / 0.5, 0);
  const auto expected = (weight.reshape({64, 1, 1}) * v).sum(0);
  CHECK(at::allclose(plan.actions[0].to(at::kDouble), expected, 1e-4, 1e-5));
}

}  // namespace
}  // namespace foresight::sampling_options_test
