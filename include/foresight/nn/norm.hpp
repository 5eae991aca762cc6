// SPDX-License-Identifier: Apache-2.0
// Which normalisation follows a layer, as an option value.
#pragma once

#include "foresight/core/options.hpp"

namespace foresight::nn {

enum class NormKind {
  none,
  layer,  ///< per sample
  batch,  ///< per channel over the batch; running statistics at inference
};

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::NormKind> {
  using E = foresight::nn::NormKind;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"none", E::none}, {"layer", E::layer}, {"batch", E::batch}}};
};
