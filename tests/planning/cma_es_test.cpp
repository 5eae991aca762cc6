// SPDX-License-Identifier: Apache-2.0
// CMA-ES against the Python package cma, generation by generation on its draws, and on functions
// that it is known to minimise.
#include "foresight/planning/cma_es.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/planning/cma_es_planner.hpp"
#include "golden.hpp"

namespace foresight::cma_es_test {
namespace {

// [..., n] -> [...].
Tensor rosenbrock(const Tensor& x) {
  const auto n = x.size(-1);
  const auto a = x.narrow(-1, 0, n - 1), b = x.narrow(-1, 1, n - 1);
  return (100 * (b - a.square()).square() + (1 - a).square()).sum(-1);
}

// Axes of length 1 to 1000.
Tensor ellipsoid(const Tensor& x) {
  const auto n = x.size(-1);
  const auto power = at::arange(n, at::kDouble) * (6.0 / static_cast<double>(n - 1));
  return (at::pow(at::full({}, 10.0, at::kDouble), power).to(x.options()) * x.square()).sum(-1);
}

// Of float64 runs whose numbers span many decades: what is absolute is of the smallest.
void compare_relative(Golden& golden, const std::string& key, const Tensor& actual,
                      double atol = 1e-12) {
  golden.compare_within("outputs64/" + key, actual, {atol, 1e-9, 0},
                        "relative: the numbers span many decades");
}

CmaForm form_of(const Golden& golden, CmaFactor factor = CmaFactor::eigen) {
  return {.factor = factor,
          .constants = CmaConstants::pycma,
          .weights =
              golden.config().at("active").get<bool>() ? CmaWeights::active : CmaWeights::positive};
}

TEST_CASE("strategy constants are those of the package cma", "[parity]") {
  for_each_golden("world_models/cma", [](Golden& golden) {
    const int64_t samples = golden.config().at("popsize");
    const auto n = static_cast<int64_t>(golden.config().at("x0").size());
    const auto p = cma_parameters(n, samples, form_of(golden));
    const auto same = [&](const char* name, double value) {
      compare_relative(golden, std::string("const/") + name, at::full({}, value, at::kDouble));
    };
    same("mueff", p.mu_eff);
    same("cs", p.c_sigma);
    same("damps", p.d_sigma);
    same("cc", p.c_c);
    same("c1", p.c_1);
    same("cmu", p.c_mu);
    same("chi_n", p.chi_n);
    golden.compare("outputs64/const/mu",
                   at::full({},
                            std::count_if(p.weights.begin(), p.weights.end(),
                                          [](double w) { return w > 0; }),
                            at::kLong));
    compare_relative(golden, "const/weights", at::tensor(p.weights, at::kDouble));
  });
}

TEST_CASE("the update follows the package cma in every generation", "[parity][device]") {
  for_each_golden("world_models/cma", [](Golden& golden) {
    const auto& config = golden.config();
    const auto x0 =
        at::tensor(config.at("x0").get<std::vector<double>>(), at::kDouble).to(test_device());
    const auto n = x0.size(0);
    const int64_t samples = config.at("popsize");
    const auto form = form_of(golden);
    // The package starts from a covariance slightly off the identity, so that axes have an order.
    CmaEs search(cma_parameters(n, samples, form), form, x0.unsqueeze(0), config.at("sigma0"),
                 golden.at("outputs64/const/C0").diagonal());
    const auto draws = golden.input("z");
    std::vector<Tensor> x, y, f, order, mean, sigma, covariance, path_sigma, path_covariance;
    std::vector<Tensor> lengths;
    for (int64_t g = 0; g < draws.size(0); ++g) {
      // Our factor is theirs up to the signs of eigenvectors, which are arbitrary: take theirs.
      auto state = search.state();
      const auto axes = golden.at("outputs64/B")[g], axis_lengths = golden.at("outputs64/D")[g];
      const auto theirs = axes * axis_lengths;
      CHECK(at::allclose(at::matmul(state.factor[0], state.factor[0].t()),
                         at::matmul(theirs, theirs.t()), 1e-9, 1e-12));
      lengths.push_back(std::get<0>(state.factor[0].norm(2, {0}).sort()));
      const auto whitening = at::matmul(axes / axis_lengths, axes.t());
      CHECK(at::allclose(state.whitening[0], whitening, 1e-8, 1e-10));
      state.factor = theirs.unsqueeze(0);
      search.set_state(state);

      x.push_back(search.ask(draws[g].unsqueeze(0))[0]);
      y.push_back((x.back() - state.mean[0]) / state.sigma[0]);
      f.push_back(config.at("objective") == "rosenbrock" ? rosenbrock(x.back())
                                                         : ellipsoid(x.back()));
      order.push_back(f.back().argsort());
      search.tell(x.back().index_select(0, order.back()).unsqueeze(0));
      const auto& after = search.state();
      mean.push_back(after.mean[0]);
      sigma.push_back(after.sigma[0][0]);
      covariance.push_back(after.covariance[0]);
      path_sigma.push_back(after.path_sigma[0]);
      path_covariance.push_back(after.path_covariance[0]);
    }
    compare_relative(golden, "D", at::stack(lengths), 1e-10);
    compare_relative(golden, "x", at::stack(x));
    compare_relative(golden, "y", at::stack(y));
    compare_relative(golden, "f", at::stack(f));
    golden.compare("outputs64/order", at::stack(order));
    compare_relative(golden, "mean", at::stack(mean));
    compare_relative(golden, "sigma", at::stack(sigma));
    compare_relative(golden, "C", at::stack(covariance), 1e-10);
    compare_relative(golden, "ps", at::stack(path_sigma), 1e-10);
    compare_relative(golden, "pc", at::stack(path_covariance), 1e-10);
  });
}

TEST_CASE("constants of the tutorial equal its table for a worked size") {
  // n = 10, lambda = 10: mu_eff = 3.1673 (the package's fixture agrees on weights and mu_eff).
  const auto p = cma_parameters(10, 10);
  const double m = p.mu_eff;
  CHECK(m == Approx(3.16729928));
  CHECK(p.c_sigma == Approx((m + 2) / (10 + m + 5)));
  CHECK(p.d_sigma == Approx(1 + p.c_sigma));
  CHECK(p.c_c == Approx((4 + m / 10) / (14 + 2 * m / 10)));
  CHECK(p.c_1 == Approx(2 / (11.3 * 11.3 + m)));
  CHECK(p.c_mu == Approx(2 * (0.25 + m + 1 / m - 2) / (144 + m)));
  CHECK(p.chi_n == Approx(std::sqrt(10.0) * (1 - 1.0 / 40 + 1.0 / 2100)).epsilon(1e-3));
  double positive = 0, negative = 0;
  for (const double w : p.weights) (w > 0 ? positive : negative) += w;
  CHECK(positive == Approx(1.0));
  CHECK(negative ==
        Approx(-std::min({1 + p.c_1 / p.c_mu, (1 - p.c_1 - p.c_mu) / (10 * p.c_mu), 1.6490}))
            .epsilon(1e-3));
  CHECK(cma_default_samples(10) == 10);
}

// Generations until the mean is a solution, at most `most`.
int64_t generations(const CmaForm& form, const std::function<Tensor(const Tensor&)>& f,
                    const Tensor& start, double sigma, int64_t samples, int64_t most) {
  CmaEs search(cma_parameters(start.size(1), samples, form), form, start, sigma);
  PhiloxNoise noise(5);
  for (int64_t g = 1; g <= most; ++g) {
    const auto x = search.ask(noise.normal({1, samples, start.size(1)}, at::kDouble));
    const auto order = std::get<1>(f(x).sort(1));
    search.tell(x.gather(1, order.unsqueeze(-1).expand_as(x)));
    if (f(search.state().mean).max().item<double>() < 1e-9) return g;
  }
  return most + 1;
}

TEST_CASE("the curved valley of Rosenbrock's function is followed to its end, by either factor") {
  const auto start = at::full({1, 6}, -0.5, at::kDouble);
  for (const auto factor : {CmaFactor::cholesky, CmaFactor::eigen}) {
    CHECK(generations({.factor = factor}, rosenbrock, start, 0.5, 12, 600) <= 600);
    CHECK(generations({.factor = factor, .constants = CmaConstants::pycma}, rosenbrock, start, 0.5,
                      12, 600) <= 600);
  }
}

TEST_CASE("negative weights speed up an ill-conditioned search") {
  const auto start = at::full({1, 8}, 1.0, at::kDouble);
  const auto active = generations({}, ellipsoid, start, 0.5, 10, 2000);
  const auto positive =
      generations({.weights = CmaWeights::positive}, ellipsoid, start, 0.5, 10, 2000);
  INFO("active " << active << ", positive " << positive);
  CHECK(active < positive);
  CHECK(positive <= 2000);
}

TEST_CASE("a separable search is faster on separable functions and independent of n in memory") {
  const auto start = at::full({1, 20}, 1.0, at::kDouble);
  const auto full = generations({}, ellipsoid, start, 0.5, 12, 3000);
  const auto separable =
      generations({.covariance = CmaCovariance::separable}, ellipsoid, start, 0.5, 12, 3000);
  INFO("full " << full << ", separable " << separable);
  CHECK(separable < full);
  CmaForm form{.covariance = CmaCovariance::separable};
  const CmaEs large(cma_parameters(100000, 30, form), form, at::zeros({1, 100000}), 1.0);
  CHECK(large.state().covariance.numel() == 100000);
}

TEST_CASE("searches of a batch do not see each other, and one without usable samples stays") {
  const auto start = at::tensor({1.0, -2.0, 0.5, 3.0}, at::kDouble).reshape({2, 2});
  const auto p = cma_parameters(2, 6);
  CmaEs both(p, {}, start, 0.7), first(p, {}, start.narrow(0, 0, 1), 0.7);
  PhiloxNoise noise(1);
  auto usable = at::ones({2, 6}, at::kBool);
  usable[1].fill_(false);
  for (int64_t g = 0; g < 5; ++g) {
    const auto z = noise.normal({1, 6, 2}, at::kDouble);
    const auto sorted = [](const Tensor& x) {
      return x.gather(1, std::get<1>(x.square().sum(-1).sort(1)).unsqueeze(-1).expand_as(x));
    };
    both.tell(sorted(both.ask(z)), usable);
    first.tell(sorted(first.ask(z)));
  }
  CHECK(at::allclose(both.state().mean[0], first.state().mean[0]));
  CHECK(at::allclose(both.state().covariance[0], first.state().covariance[0]));
  CHECK(at::equal(both.state().mean[1], start[1]));
  CHECK(both.state().sigma[1].item<double>() == 0.7);
}

TEST_CASE("injected samples beyond the search distribution are shortened, others kept") {
  const CmaEs search(cma_parameters(3, 8), {}, at::zeros({1, 3}), 0.1);
  auto samples = at::tensor({0.05F, 0.0F, 0.0F, 50.0F, 0.0F, 0.0F}).reshape({1, 2, 3});
  const auto kept = search.injectable(samples);
  CHECK(at::equal(kept[0][0], samples[0][0]));
  CHECK(kept[0][1][0].item<double>() == Approx(0.1 * (std::sqrt(3.0) + 6.0 / 5.0)));
}

TEST_CASE("samples that all coincide leave the state finite") {
  CmaForm separable{.covariance = CmaCovariance::separable};
  for (const auto& form : {CmaForm{}, separable, CmaForm{.factor = CmaFactor::eigen}}) {
    CmaEs search(cma_parameters(3, 8, form), form, at::zeros({1, 3}), 1.0);
    for (int64_t g = 0; g < 600; ++g) search.tell(search.state().mean.expand({8, 3}).unsqueeze(0));
    CHECK(search.state().mean.isfinite().all().item<bool>());
    CHECK(search.ask(at::ones({1, 8, 3})).isfinite().all().item<bool>());
  }
}

// A path in which only the sum of neighbouring actions matters much: correlated, ill-conditioned.
CostFunction ridge() {
  return [](const Tensor& actions) {
    const auto x = actions.flatten(2) - 0.4;
    const auto sums = x.narrow(2, 0, x.size(2) - 1) + x.narrow(2, 1, x.size(2) - 1);
    return Costs{1000 * sums.square().sum(2) + x.square().sum(2), {}, {}};
  };
}

TEST_CASE("planning by CMA-ES follows a ridge on which the diagonal makes little way") {
  Problem problem;
  problem.horizon = 4;
  problem.action.dim = 2;
  problem.cost = ridge();
  CmaEsOptions options{.samples = 24, .iterations = 120};
  PhiloxNoise a(1), b(1);
  const auto full = CmaEsPlanner(options).solve(problem, a);
  options.form.covariance = CmaCovariance::separable;
  const auto separable = CmaEsPlanner(options).solve(problem, b);
  INFO("full " << full.cost.item<double>() << ", separable " << separable.cost.item<double>());
  CHECK(full.cost.item<double>() < 1e-4);
  CHECK(full.cost.item<double>() < 0.1 * separable.cost.item<double>());
}

TEST_CASE("a good proposal is taken up by CMA-ES without blowing up its step size") {
  Problem problem;
  problem.horizon = 3;
  problem.action.dim = 2;
  const auto target = at::full({1, 3, 2}, 20.0);
  problem.cost = [target](const Tensor& actions) {
    return Costs{(actions - target.unsqueeze(1)).square().sum({2, 3}), {}, {}};
  };
  problem.proposals = target.unsqueeze(1);
  CmaEsOptions options{.samples = 16, .iterations = 60, .returned = Returned::best_ever};
  PhiloxNoise noise(1);
  const auto plan = CmaEsPlanner(options).solve(problem, noise);
  CHECK(plan.cost.item<double>() == Approx(0).margin(1e-6));
  CHECK(plan.diagnostics.spread.max().item<double>() < 20);
}

TEST_CASE("CMA-ES options are refused where they make no sense and survive JSON") {
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { CmaEsPlanner({.samples = 1}); }, "samples", ">= 2"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { CmaEsPlanner({.initial_std = {0.0}}); }, "initial_std"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [] { cma_parameters(0, 8); }, "0"));
  CmaEsOptions options{.samples = 9};
  options.form.covariance = CmaCovariance::separable;
  CmaEsOptions again;
  read_options(again, write_options(options), "options");
  CHECK(write_options(again) == write_options(options));
}

}  // namespace
}  // namespace foresight::cma_es_test
