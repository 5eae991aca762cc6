// SPDX-License-Identifier: Apache-2.0
// How far predicted latents are from the encoded ones, one or several steps ahead.
#pragma once

#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::losses {

enum class Distance {
  l2,         ///< squared difference
  l1,         ///< absolute difference
  smooth_l1,  ///< squared below 1, absolute above
};

/// Mean distance over all elements; both tensors have one shape. The target carries gradient:
/// detach it for a stop-gradient.
FORESIGHT_API Tensor prediction(const Tensor& predicted, const Tensor& target,
                                Distance distance = Distance::l2);

/// Several steps ahead: sum_k discount^k prediction_k / sum_k discount^k over predicted[k],
/// target[k]. Every step counts the same for discount 1.
FORESIGHT_API Tensor multi_step_prediction(const std::vector<Tensor>& predicted,
                                           const std::vector<Tensor>& target,
                                           Distance distance = Distance::l2, double discount = 1.0);

}  // namespace foresight::losses

template <>
struct foresight::EnumNames<foresight::losses::Distance> {
  using E = foresight::losses::Distance;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"l2", E::l2}, {"l1", E::l1}, {"smooth_l1", E::smooth_l1}}};
};
