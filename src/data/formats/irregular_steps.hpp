// SPDX-License-Identifier: Apache-2.0
// Whether rows follow each other at the rate that the recording tells. Private to the data folder.
#pragma once

#include <cmath>

#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// The column in which recordings keep the time of a row.
inline constexpr const char* kTimeColumn = "timestamp";

/// Steps in time of an episode that differ from 1/fps by more than the share `clock` of it; to and
/// from a missing time counts too. The data set tells its rate and has the column of times.
inline int64_t irregular_steps(const Dataset& dataset, int64_t episode, double clock) {
  const double step = 1 / dataset.fps();
  const Tensor times = dataset.read_all_rows({kTimeColumn}, episode).flatten().contiguous();
  const auto* time = times.const_data_ptr<double>();
  int64_t irregular = 0;
  for (int64_t t = 1; t < times.numel(); ++t)
    // Not "> clock": a missing time counts too.
    if (!(std::abs(time[t] - time[t - 1] - step) <= clock * step)) ++irregular;
  return irregular;
}

}  // namespace foresight::data
