// SPDX-License-Identifier: Apache-2.0
// The planner conformance suite that is installed for users, with the Catch2 of this build, for
// planners that search on the test_device().
#pragma once

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/testing/planner_conformance.hpp"
#include "test_device.hpp"

namespace foresight {

/// Searches on the test_device() what is posed and answered on the CPU.
class OnTestDevice final : public Planner {
 public:
  explicit OnTestDevice(const Planner& planner) : planner_(planner) {}

  Plan solve(const Problem& problem, Noise& noise) const override {
    auto there = problem;
    there.options = problem.options.device(test_device());
    if (problem.cost) there.cost = moved(problem.cost);
    auto plan = planner_.solve(there, noise);
    if (plan.actions.defined()) CHECK(plan.actions.device() == test_device());
    for (Tensor* tensor : {&plan.actions, &plan.cost, &plan.constraint})
      if (tensor->defined()) *tensor = tensor->cpu();
    for (auto& [name, term] : plan.terms) term = term.cpu();
    return plan;
  }
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override {
    return planner_.advance(last, raw_steps, block);
  }

 private:
  // Costs computed on the CPU; gradients flow through the copies.
  static CostFunction moved(const CostFunction& cost) {
    return [cost](const Tensor& actions) {
      auto costs = cost(actions.cpu());
      const auto there = [](Tensor& tensor) {
        if (tensor.defined()) tensor = tensor.to(test_device());
      };
      there(costs.total);
      there(costs.constraint);
      for (auto& [name, term] : costs.terms) there(term);
      return costs;
    };
  }

  const Planner& planner_;
};

}  // namespace foresight
