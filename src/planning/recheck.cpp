// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/recheck.hpp"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "cpu_loops.hpp"
#include "foresight/core/error.hpp"
#include "foresight/planning/sampling_options.hpp"

namespace foresight {
namespace {

// One call: what is known of the candidates [B,S] so far.
class Recheck {
 public:
  Recheck(Costs quick, const RecheckOptions& options)
      : options_(options),
        costs_(std::move(quick)),
        quick_(costs_.total.to(at::kFloat)),
        exact_(quick_.clone()),
        known_(at::zeros_like(quick_, at::kBool)),
        offset_(at::zeros({quick_.size(0), 1}, quick_.options())) {
    for (auto& [name, term] : costs_.terms) term = term.to(at::kFloat).clone();
  }

  // Halfway between the last survivor and the first that is none, [B,1].
  Tensor border() const {
    const auto sorted = std::get<0>(estimate().sort(1));
    return sorted.narrow(1, options_.survivors - 1, 2).mean(1, /*keepdim=*/true);
  }

  // The candidates [B,n] that come next: those nearest to the border, as many as are in doubt in
  // the problem where most are, in whole groups. Undefined: none are in doubt.
  Tensor in_doubt() const {
    constexpr double kFar = std::numeric_limits<float>::max(),
                     kKnown = std::numeric_limits<double>::infinity();
    const auto open = quick_.size(1) - known_count_;
    if (open == 0) return {};
    const auto above = estimate() - border();
    const auto distance =
        at::nan_to_num(options_.all_survivors ? above.clamp_min(0) : above.abs(), kFar, kFar, kFar)
            .masked_fill_(known_, kKnown);
    auto count = options_.group;
    if (known_count_ > 0) {
      count = distance.le(options_.deviations * deviation()).sum(1).max().item<int64_t>();
      if (count == 0) return {};
      count = (count + options_.group - 1) / options_.group * options_.group;
    }
    return std::get<1>(
        distance.topk(std::min(count, open), 1, /*largest=*/false, /*sorted=*/false));
  }

  void learn(const Tensor& index, const Costs& exact) {
    exact_.scatter_(1, index, exact.total.to(at::kFloat));
    known_.scatter_(1, index, true);
    known_count_ += index.size(1);
    for (auto& [name, term] : costs_.terms)
      term.scatter_(1, index, find_term(exact.terms, name).to(at::kFloat));
    offset_ = errors().sum(1, /*keepdim=*/true) / counted().sum(1, /*keepdim=*/true).clamp_min(1);
  }

  Costs answer() && {
    costs_.total = estimate();
    if (!costs_.terms.empty())
      costs_.terms.emplace_back(kRecheckOffset, offset_.expand_as(quick_).masked_fill(known_, 0.0));
    return std::move(costs_);
  }

 private:
  Tensor estimate() const { return at::where(known_, exact_, quick_ + offset_); }
  // Of candidates that the exact model refuses nothing is learned.
  Tensor counted() const { return known_.logical_and(exact_.isfinite()); }
  Tensor errors() const { return (exact_ - quick_).masked_fill_(counted().logical_not(), 0.0); }
  // Of the errors that are known, about their mean: [B,1]. A single one tells none.
  Tensor deviation() const {
    const auto about = (errors() - offset_).masked_fill_(counted().logical_not(), 0.0);
    return (about.square().sum(1, /*keepdim=*/true) /
            (counted().sum(1, /*keepdim=*/true) - 1).clamp_min(0))
        .sqrt()
        .nan_to_num(std::numeric_limits<float>::max());
  }

  const RecheckOptions& options_;
  Costs costs_;
  Tensor quick_, exact_, known_, offset_;
  int64_t known_count_ = 0;  // in each problem
};

Costs recheck(const CostFunction& quick, const CostFunction& exact, const RecheckOptions& options,
              const Tensor& actions) {
  if (actions.size(1) <= options.survivors) return exact(actions);
  auto costs = quick(actions);
  check_costs(costs, actions.size(0), actions.size(1));
  require(!costs.constraint.defined(), ErrorCategory::unsupported,
          "recheck_survivors: the costs have constraints, by which a planner ranks first");
  Recheck state(std::move(costs), options);
  if (!state.border().isfinite().all().item<bool>()) return exact(actions);
  for (auto index = state.in_doubt(); index.defined(); index = state.in_doubt()) {
    const auto part = exact(detail::rows_at(actions, index));
    check_costs(part, actions.size(0), index.size(1));
    state.learn(index, part);
  }
  return std::move(state).answer();
}

}  // namespace

std::vector<std::string> RecheckOptions::validate() const {
  Rules rules("RecheckOptions");
  rules.check(survivors >= 1, "survivors", survivors, "must be >= 1");
  rules.check(deviations > 0, "deviations", deviations, "must be > 0");
  rules.check(group >= 8, "group", group, "must be >= 8");
  return rules.problems();
}

CostFunction recheck_survivors(CostFunction quick, CostFunction exact,
                               const RecheckOptions& options) {
  require_valid(options);
  require(quick != nullptr && exact != nullptr, ErrorCategory::invalid_argument,
          "recheck_survivors: a cost function is null");
  return [quick = std::move(quick), exact = std::move(exact), options](const Tensor& actions) {
    if (c10::GradMode::is_enabled() && actions.requires_grad()) return exact(actions);
    c10::NoGradGuard no_grad;
    return recheck(quick, exact, options, actions);
  };
}

RecheckOptions recheck_for(const SamplingOptions& sampling) {
  const auto refuse = [](const std::string& why) {
    throw Error(ErrorCategory::unsupported, "recheck_for: " + why);
  };
  if (sampling.elites < 1 || sampling.elites >= sampling.samples)
    refuse("SamplingOptions.elites = " + std::to_string(sampling.elites) + " of " +
           std::to_string(sampling.samples) +
           " samples: every candidate's cost shapes the update, not the best ones alone");
  if (sampling.control_cost != 0)
    refuse("SamplingOptions.control_cost is added to costs after they were settled");
  if (sampling.max_candidates > 0 && sampling.max_candidates < sampling.samples)
    refuse(
        "SamplingOptions.max_candidates shows candidates in parts, among which the best of all "
        "are not known; RolloutBudget (MpcOptions.candidate_bytes) limits memory");
  RecheckOptions options;
  options.survivors = sampling.elites;
  options.all_survivors = sampling.weights != WeightKind::uniform ||
                          sampling.returned != Returned::mean || sampling.kept_elites > 0 ||
                          sampling.carried_elites > 0;
  return options;
}

}  // namespace foresight
