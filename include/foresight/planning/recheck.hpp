// SPDX-License-Identifier: Apache-2.0
// The search of an exact model at nearly the price of a quick one. A planner that averages its K
// best candidates asks one thing of their costs: which K are the best. A quick model (bfloat16,
// fewer layers) tells that of all candidates but those near the K-th cost; those alone are
// evaluated exactly, until none is left whose place rounding could decide.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/planning/costs.hpp"

namespace foresight {

/// Name of the term that a recheck adds to the quick costs: how far the exact ones lie above them,
/// on average.
inline constexpr std::string_view kRecheckOffset = "recheck_offset";

struct FORESIGHT_API RecheckOptions {
  /// How many of the best candidates the planner goes on with: SamplingOptions::elites.
  int64_t survivors = 30;
  /// A candidate is in doubt as long as its cost lies nearer to the border between the survivors
  /// and the rest than this many standard deviations of the quick costs' errors, which the
  /// candidates that were evaluated exactly tell. 3: of LeWM's 300 candidates in bfloat16 about
  /// 25 are in doubt in an iteration, and one in 700 of those just beyond is misplaced. More is
  /// safer and slower.
  double deviations = 3.0;
  /// So many candidates are evaluated exactly at a time, at least 8, so that the first of them tell
  /// a deviation. Fewer waste less, more keep the processor busier.
  int64_t group = 16;
  /// The survivors are evaluated exactly as well, not only those in doubt: for planners that weigh
  /// them by cost, keep some of them or return the best. Off: CEM asks for the set alone.
  bool all_survivors = false;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("survivors", self.survivors, "best candidates that the planner goes on with");
    visit("deviations", self.deviations,
          "deviations of the quick costs' errors within which a candidate is evaluated exactly");
    visit("group", self.group, "candidates evaluated exactly at a time");
    visit("all_survivors", self.all_survivors,
          "evaluate the survivors exactly as well, not only candidates in doubt");
  }
  std::vector<std::string> validate() const;
};

/// Costs by which the `survivors` best of the candidates are those of `exact`, most of which
/// `quick` evaluated. Candidates that were evaluated exactly have those costs and terms; the others
/// the quick ones plus kRecheckOffset (a term, where there are terms). No more candidates than
/// `survivors`, and a border that is not finite in some problem: all are evaluated exactly.
///
/// Right for planners whose result depends on the survivors alone; see recheck_for(). Both
/// functions must be deterministic, and their errors near the border alike. A candidate whose quick
/// cost is not finite stays out. Actions that require gradients go to `exact` alone. Each call sees
/// all candidates: limits of memory belong into the two functions (RolloutBudget), not around this
/// one (SamplingOptions::max_candidates), and so does shard_candidates().
///
/// Throws Error(invalid_option); when called, Error(unsupported) for costs with constraints, by
/// which a planner ranks first.
FORESIGHT_API CostFunction recheck_survivors(CostFunction quick, CostFunction exact,
                                             const RecheckOptions& options = {});

struct SamplingOptions;
/// What a planner with `sampling` needs: its elites, and all of them exactly where their order or
/// costs count. Throws Error(unsupported) where all candidates shape the update, and where the
/// planner adds a cost of its own or shows them to the cost in parts.
FORESIGHT_API RecheckOptions recheck_for(const SamplingOptions& sampling);

}  // namespace foresight
