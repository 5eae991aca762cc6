// SPDX-License-Identifier: Apache-2.0
// The numbers of a loss: on the host, checked, under their names in the metrics.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "foresight/losses/terms.hpp"
#include "foresight/train/event_writer.hpp"

namespace foresight::train {

/// Total and term values on the host, in the order of Terms::values().
inline std::vector<double> host_values(const losses::Terms& terms) {
  const auto values = terms.values().to(at::kCPU, at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

/// "sigreg = nan": the first term that is not finite, or the total; empty if all is well.
inline std::string non_finite_term(const losses::Terms& terms, const std::vector<double>& values) {
  for (std::size_t i = 0; i < terms.terms().size(); ++i)
    if (!std::isfinite(values[i + 1]))
      return fmt::format("loss term '{}' = {}", terms.terms()[i].name, values[i + 1]);
  return std::isfinite(values[0]) ? std::string() : fmt::format("the total loss = {}", values[0]);
}

/// "<prefix>loss" and "<prefix><term>".
inline void add_scalars(Scalars& scalars, const std::string& prefix, const losses::Terms& terms,
                        const std::vector<double>& values) {
  scalars.emplace_back(prefix + "loss", values[0]);
  for (std::size_t i = 0; i < terms.terms().size(); ++i)
    scalars.emplace_back(prefix + terms.terms()[i].name, values[i + 1]);
}

}  // namespace foresight::train
