// SPDX-License-Identifier: Apache-2.0
// What the sensors deliver: named tensors [B,...]. Goals are observations too.
#pragma once

#include "foresight/core/state.hpp"

namespace foresight {

/// Field names that the library's own models and data sets use.
inline constexpr std::string_view kPixels = "pixels";    ///< RGB image, uint8 [B,H,W,3]
inline constexpr std::string_view kProprio = "proprio";  ///< float [B,N]

/// A batch of observations of one time step: the same container as State with batch shape [B].
class FORESIGHT_API Observation {
 public:
  Observation() = default;
  /// An observation with a single field.
  Observation(std::string_view field, Tensor value) { fields_.set(field, std::move(value)); }
  Observation& set(std::string_view field, Tensor value) {
    fields_.set(field, std::move(value));
    return *this;
  }
  const Tensor& at(std::string_view field) const { return fields_.at(field); }
  bool has(std::string_view field) const { return fields_.has(field); }
  const auto& fields() const noexcept { return fields_.fields(); }
  bool empty() const noexcept { return fields_.empty(); }
  /// B; 0 for an empty observation.
  int64_t batch() const { return empty() ? 0 : fields_.batch_shape()[0]; }
  Observation select(const Tensor& rows) const {
    Observation picked;
    picked.fields_ = fields_.select(rows);
    return picked;
  }

 private:
  State fields_{1};
};

}  // namespace foresight
