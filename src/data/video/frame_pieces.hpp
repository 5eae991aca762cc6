// SPDX-License-Identifier: Apache-2.0
// Long episodes in pieces: ten minutes of full HD are 110 GB decoded, and what is done to frames,
// one after the other, needs a few of them. Private to the data folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// Bytes of decoded frames that one thread holds at once.
inline constexpr int64_t kPieceBytes = int64_t{64} << 20;
/// Frames of a piece at least, however large they are: of so many in a row the decoder goes on
/// where it stands (see PacketDecoder), instead of from the key frame.
inline constexpr int64_t kPieceFrames = 24;

/// Rows first..first+count-1.
inline std::vector<int64_t> row_range(int64_t first, int64_t count) {
  std::vector<int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

/// Calls visit(first, count) for the pieces of `frames` frames of `frame_bytes` bytes, in order.
template <class Visit>
void visit_pieces(int64_t frames, int64_t frame_bytes, Visit&& visit) {
  const int64_t most = std::max(kPieceFrames, kPieceBytes / std::max<int64_t>(1, frame_bytes));
  for (int64_t first = 0; first < frames; first += most)
    visit(first, std::min(most, frames - first));
}

/// One tensor [frames,...] of the pieces [count,...] that `shrink(first, count)` makes of frames of
/// `frame_bytes` bytes.
template <class Shrink>
Tensor in_pieces(int64_t frames, int64_t frame_bytes, Shrink&& shrink) {
  if (frames == 0) return shrink(int64_t{0}, int64_t{0});
  Tensor all;
  visit_pieces(frames, frame_bytes, [&](int64_t first, int64_t count) {
    Tensor piece = shrink(first, count);
    if (count == frames) {
      all = std::move(piece);
      return;
    }
    if (!all.defined()) {
      auto shape = piece.sizes().vec();
      shape.front() = frames;
      all = at::empty(shape, piece.options());
    }
    all.narrow(0, first, count).copy_(piece);
  });
  return all;
}

}  // namespace foresight::data
