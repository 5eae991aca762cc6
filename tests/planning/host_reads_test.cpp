// SPDX-License-Identifier: Apache-2.0
// No planner reads a tensor on the host inside its iterations: such a read stops an accelerator and
// cannot be captured in a graph. The operations that read are counted: more iterations must not
// mean more of them.
#include <ATen/record_function.h>

#include <array>
#include <atomic>

#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/refined_planner.hpp"
#include "planner_conformance.hpp"

namespace foresight::host_reads_test {
namespace {

using testing::Actions;
using testing::quadratic_problem;

std::atomic<int64_t> reads{0};

// Operations whose result the host must know: a number, or a size that depends on data.
constexpr std::array<std::string_view, 9> kReading = {
    "aten::_local_scalar_dense", "aten::nonzero",  "aten::masked_select", "aten::equal",
    "aten::is_nonzero",          "aten::_unique2", "aten::allclose",      "aten::unique_dim",
    "aten::_linalg_check_errors"};

std::unique_ptr<at::ObserverContext> count_read(const at::RecordFunction& function) {
  for (const auto name : kReading)
    if (name == function.name()) ++reads;
  return nullptr;
}

class ReadCounter {
 public:
  ReadCounter() {
    reads = 0;
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(count_read).scopes({at::RecordScope::FUNCTION}));
  }
  ~ReadCounter() { at::removeCallback(handle_); }
  ReadCounter(const ReadCounter&) = delete;
  ReadCounter& operator=(const ReadCounter&) = delete;
  int64_t count() const { return reads; }

 private:
  at::CallbackHandle handle_{};
};

TEST_CASE("the counter sees what reads, and nothing else") {
  const auto x = at::ones({3});
  const ReadCounter counter;
  const auto y = at::where(x > 0, x + 1, x).sum();
  CHECK(counter.count() == 0);
  (void)y.item<float>();
  CHECK(counter.count() == 1);
  (void)at::nonzero(x);
  (void)x.index({x > 0});
  CHECK(counter.count() >= 3);
}

Problem limited(Problem problem) {
  if (problem.action.discrete) return problem;
  problem.max_step = at::full({2}, 0.5);
  problem.previous_action = at::zeros({problem.batch, 2});
  problem.pinned = at::full({problem.horizon, 2}, std::nan(""));
  problem.pinned[0][0] = 0.1;
  return problem;
}

// Everything at once: limits, rates, pins, proposals, constraints.
Problem laden(Actions actions) {
  auto problem = limited(quadratic_problem(2, 3, 1.0, actions));
  problem.proposals = testing::quadratic_target(2, 3, actions).unsqueeze(1);
  problem.cost = [inner = problem.cost](const Tensor& candidates) {
    auto costs = inner(candidates);
    costs.constraint = candidates.sum({2, 3}).unsqueeze(2) - 3;
    return costs;
  };
  return problem;
}

template <class Make>
void check_reads(Make&& make, Actions actions = Actions::continuous) {
  const auto reads_of = [&](int64_t iterations) {
    const auto planner = make(iterations);
    const auto problem = laden(actions);
    PhiloxNoise noise(1);
    const ReadCounter counter;
    const auto plan = planner.solve(problem, noise);
    CHECK(plan.status != Status::failed);
    CHECK(plan.diagnostics.iterations >= iterations);
    return counter.count();
  };
  const auto few = reads_of(2), many = reads_of(9);
  CHECK(few == many);
}

auto sampling(const SamplingOptions& options) {
  return [options](int64_t iterations) {
    auto chosen = options;
    chosen.iterations = iterations;
    chosen.samples = 32;
    chosen.elites = std::min<int64_t>(chosen.elites, 8);
    chosen.kept_elites = std::min<int64_t>(chosen.kept_elites, 4);
    chosen.carried_elites = std::min<int64_t>(chosen.carried_elites, 4);
    return SamplingPlanner(chosen);
  };
}

TEST_CASE("no sampling preset reads on the host inside an iteration") {
  for (const auto& name : sampling_preset_names()) {
    INFO("preset " << name);
    auto options = sampling_preset(name);
    if (options.initial_std.size() > 1) options.initial_std = {1.0};  // another action space
    if (options.dead_zone.size() > 1) options.dead_zone = {0.1};
    check_reads(sampling(options), options.proposal == ProposalKind::categorical
                                       ? Actions::discrete
                                       : Actions::continuous);
  }
}

TEST_CASE("CMA-ES reads on the host only for an eigendecomposition's error code") {
  const auto planner = [](CmaForm form) {
    return [form](int64_t iterations) {
      return CmaEsPlanner({.samples = 8, .iterations = iterations, .form = form});
    };
  };
  check_reads(planner({}));
  check_reads(planner({.covariance = CmaCovariance::separable}));
}

TEST_CASE("gradient planners do not read on the host inside an iteration") {
  check_reads([](int64_t iterations) {
    return GradientPlanner({.samples = 4, .iterations = iterations, .clip_norm = 1.0});
  });
  check_reads([](int64_t iterations) {
    LagrangianOptions options;
    options.inner = {.samples = 4, .iterations = iterations};
    return LagrangianPlanner(options);
  });
  check_reads(
      [](int64_t iterations) {
        auto options = pgd();
        options.samples = 4;
        options.iterations = iterations;
        return GradientPlanner(options);
      },
      Actions::discrete);
  check_reads([](int64_t iterations) {
    RefinedOptions options{.search = lewm_cem()};
    options.search.samples = 32;
    options.search.iterations = options.polish.iterations = iterations;
    return RefinedPlanner(options);
  });
}

}  // namespace
}  // namespace foresight::host_reads_test
