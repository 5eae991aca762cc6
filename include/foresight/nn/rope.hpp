// SPDX-License-Identifier: Apache-2.0
// Rotary positions on several axes (time, rows, columns): queries and keys are turned by angles
// that grow with their token's position, each axis in its own part of a head (Su et al., arXiv
// 2104.09864; three axes as in V-JEPA 2, arXiv 2506.09985).
#pragma once

#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// How the angles theta_i, i < d/2, of an axis of d channels meet its channel pairs (2i, 2i+1).
enum class RopeConvention {
  tiled,  ///< channel c takes theta_{c mod d/2}: not a rotation and not shift invariant, but what
          ///< every released V-JEPA 2 weight was trained with
  interleaved,  ///< both channels of pair i take theta_i: the rotation that was meant
};

/// Factors for a set of tokens: out = x * cosine + partner(x) * sine, where partner swaps the
/// channels of each pair and the sign of the first is in `sine`. [n,R] or [B,1,n,R], R channels
/// from the front of a head.
struct RopeTable {
  Tensor cosine, sine;
};

/// Channels of a head that one of three axes turns: 2 * floor(floor(head_width / 3) / 2). The rest
/// of the head is left alone.
inline int64_t rope_axis_width(int64_t head_width) { return 2 * (head_width / 3 / 2); }

/// The table of one or more axes, in order from the front of the head. `positions`: one tensor [n]
/// or [B,n] an axis, integer or real. Frequencies 10000^(-i/(d/2)), angles and factors are computed
/// in the dtype of `options`, as the reference does it (bfloat16 included). `axis_width` d is even.
FORESIGHT_API RopeTable rope_table(const std::vector<Tensor>& positions, int64_t axis_width,
                                   RopeConvention convention, const at::TensorOptions& options);

/// Tokens `first`..`first+count-1` of a table.
FORESIGHT_API RopeTable narrow(const RopeTable& table, int64_t first, int64_t count);

/// Queries or keys [B,heads,n,head_width], turned.
FORESIGHT_API Tensor rotate(const Tensor& x, const RopeTable& table);

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::RopeConvention> {
  using E = foresight::nn::RopeConvention;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"tiled", E::tiled}, {"interleaved", E::interleaved}}};
};
