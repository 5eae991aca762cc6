// SPDX-License-Identifier: Apache-2.0
// A loss as a list of named, weighted terms. Values stay on the device: training reads them when it
// logs, not at every step.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// What a term is for.
enum class TermRole {
  objective,  ///< part of the loss
  probe,      ///< of a probe that watches: learns along from values without gradient, but says
              ///< nothing of how good weights are by the model's own measure
};

/// One term: its value before weighting.
struct Term {
  std::string name;
  double weight = 1.0;
  Tensor value;  ///< scalar
  TermRole role = TermRole::objective;
};

/// The terms of one loss and their weighted sum, in the order in which they were added.
class FORESIGHT_API Terms {
 public:
  /// Adds weight * value to the total, or, of a probe, to trained() alone. Throws
  /// Error(invalid_argument) for a value that is not a scalar, a name in use, or a weight that is
  /// not finite.
  Terms& add(std::string_view name, double weight, Tensor value,
             TermRole role = TermRole::objective);

  /// The weighted sum without probes, a scalar with gradient: the loss. Throws
  /// Error(invalid_argument) if there are no terms.
  const Tensor& total() const;
  /// The weighted sum of everything: what a training step follows.
  Tensor trained() const;
  /// One term; an unknown name is an Error(not_found) that lists the known ones.
  const Term& at(std::string_view name) const;
  bool has(std::string_view name) const noexcept;
  const std::vector<Term>& terms() const noexcept { return terms_; }
  bool empty() const noexcept { return terms_.empty(); }

  /// Total and then every term's unweighted value, detached, [1 + terms]: one transfer for a log
  /// line.
  Tensor values() const;

 private:
  std::vector<Term> terms_;
  Tensor total_, probes_;
};

}  // namespace foresight::losses
