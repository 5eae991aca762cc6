// SPDX-License-Identifier: Apache-2.0
// Losses on held-out recordings before and after learning on.
#pragma once

#include <cstddef>
#include <vector>

#include "foresight/losses/terms.hpp"
#include "foresight/train/continual.hpp"

namespace foresight::train {

/// "loss" and its terms, before; fill_after() adds the rest. Nothing of no terms. A probe starts
/// anew, so that it tells nothing of what was forgotten.
inline std::vector<BeforeAfter> measured_before(const losses::Terms& terms) {
  std::vector<BeforeAfter> result;
  if (terms.empty()) return result;
  result.push_back({"loss", terms.total().item<double>(), 0});
  for (const auto& term : terms.terms())
    if (term.role == losses::TermRole::objective)
      result.push_back({term.name, term.value.item<double>(), 0});
  return result;
}

/// The same terms again, after.
inline void fill_after(std::vector<BeforeAfter>& losses, const losses::Terms& terms) {
  const auto after = measured_before(terms);
  for (std::size_t i = 0; i < losses.size(); ++i) losses[i].after = after.at(i).before;
}

}  // namespace foresight::train
