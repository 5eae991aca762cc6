// SPDX-License-Identifier: Apache-2.0
// What a probe learns to read off features: a class, or numbers, from the recordings' state
// columns.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::train {

struct FORESIGHT_API ProbeTargetOptions {
  int64_t classes = 0;            ///< > 0: the first state column is a class number below it
  int64_t columns = 0;            ///< > 0: that many state columns are regressed; both 0: no probe
  std::vector<double> mean = {};  ///< of each regressed column; empty: zeros
  std::vector<double> std = {};   ///< of each regressed column; empty: ones

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("classes", self.classes, "> 0: the first state column is a class number below it");
    visit("columns", self.columns, "> 0: that many state columns are regressed");
    visit("mean", self.mean, "of each regressed column; empty: zeros");
    visit("std", self.std, "of each regressed column; empty: ones");
  }
  std::vector<std::string> validate() const;

  /// Numbers that a probe must give.
  int64_t outputs() const { return classes > 0 ? classes : columns; }
  /// State columns that are read.
  int64_t states() const { return classes > 0 ? 1 : columns; }
};

/// The loss of what a probe read, and how wrong it is without gradient.
struct ProbeLoss {
  Tensor loss;   ///< mean cross-entropy, or mean squared error of standardised columns
  Tensor error;  ///< part that is classed wrongly, or root mean squared error, standardised
};

/// What is to be read off frames with `states` [B,N]: [B,target.states()]. Waits for the states'
/// device: call it before a GPU is given the work of a step. Throws Error that opens with
/// `reader`: invalid_argument for fewer state columns than are read; bad_file for a class number
/// that is none of 0..classes-1 and for a value that is not finite.
FORESIGHT_API Tensor probe_truth(const Tensor& states, const ProbeTargetOptions& target,
                                 std::string_view reader);

/// `read` [B,outputs] against probe_truth(). Waits for no device where `truth` is on `read`'s.
FORESIGHT_API ProbeLoss probe_loss(const Tensor& read, const Tensor& truth,
                                   const ProbeTargetOptions& target);

/// The same checks of all rows from `first_row` on of all episodes, but for
/// Dataset::unreadable_episodes(), before anything is trained; messages name episode and row.
/// Throws Error(invalid_option) for too few state columns.
FORESIGHT_API void check_probe_target(const data::Dataset& dataset,
                                      const ProbeTargetOptions& target, int64_t first_row);

}  // namespace foresight::train
