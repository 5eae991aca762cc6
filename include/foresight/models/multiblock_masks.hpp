// SPDX-License-Identifier: Apache-2.0
// Which tokens of a clip are hidden: a few blocks of space and time, as V-JEPA draws them (arXiv
// 2404.08471, section 3.2). Short-range masks hide eight small blocks, long-range ones two large.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/nn/sincos_positions.hpp"

namespace foresight::models {

/// What a cut to a common length does to the other list.
enum class MaskComplement {
  none,     ///< both lists are cut on their own; some tokens are in neither
  targets,  ///< targets are whatever the cut context leaves
  context,  ///< the context is whatever the cut targets leave
};
/// What the blocks are.
enum class MaskBlocks {
  targets,  ///< blocks are hidden, the rest is visible
  context,  ///< blocks are visible, the rest is hidden
};

/// Defaults are V-JEPA 2's short-range masks; long_range() has the others.
struct FORESIGHT_API MultiblockMaskOptions {
  int64_t blocks = 8;                                ///< blocks per clip; they may overlap
  std::vector<double> spatial_scale = {0.15, 0.15};  ///< part of a frame in a block: from, to
  std::vector<double> temporal_scale = {1.0, 1.0};   ///< part of the frames in a block: from, to
  std::vector<double> aspect = {0.75, 1.5};          ///< height / width of a block: from, to
  double context_frames = 1.0;  ///< later frames than this part of the clip are never visible
  int64_t max_context = 0;      ///< visible tokens at most; 0: no limit
  MaskComplement complement = MaskComplement::none;
  MaskBlocks meaning = MaskBlocks::targets;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("blocks", self.blocks, "blocks per clip");
    visit("spatial_scale", self.spatial_scale, "part of a frame in a block: from, to");
    visit("temporal_scale", self.temporal_scale, "part of the frames in a block: from, to");
    visit("aspect", self.aspect, "height / width of a block: from, to");
    visit("context_frames", self.context_frames, "part of the clip that may be visible");
    visit("max_context", self.max_context, "visible tokens at most; 0: no limit");
    visit("complement", self.complement, "none, targets or context");
    visit("meaning", self.meaning, "blocks are targets or context");
  }
  std::vector<std::string> validate() const;

  static MultiblockMaskOptions short_range() { return {}; }
  static MultiblockMaskOptions long_range();
};

/// Visible and hidden tokens of each clip, ids ascending: [B,c] and [B,m], int64.
struct TokenMasks {
  Tensor context, targets;
};

/// Tokens of a block along time, rows and columns.
struct BlockSize {
  int64_t frames = 1, rows = 1, columns = 1;
  bool operator==(const BlockSize&) const = default;
};

class FORESIGHT_API MultiblockMasks {
 public:
  /// Throws Error(invalid_option).
  MultiblockMasks(const MultiblockMaskOptions& options, const nn::TokenGrid& grid);

  /// Masks of `batch` clips: one block size for all (one draw of 3 uniforms), then for every clip
  /// one draw [blocks,3] that places its blocks, again where nothing would remain visible.
  /// Lists are cut to the shortest of the batch, so that they stack. Throws Error(invalid_option)
  /// if a thousand draws leave nothing visible.
  TokenMasks sample(int64_t batch, Noise& noise) const;

  /// Size from three uniforms in [0,1): time, area, aspect. float32 arithmetic, as drawn.
  BlockSize block_size(const Tensor& uniforms) const;
  /// Masks from given first corners, int64 [B,blocks,3]: row, column, frame.
  TokenMasks masks(const BlockSize& size, const Tensor& corners) const;

 private:
  struct Lists;
  Lists lists(const BlockSize& size, const Tensor& corners) const;
  TokenMasks collate(std::vector<Lists> clips) const;

  MultiblockMaskOptions options_;
  nn::TokenGrid grid_;
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::MaskComplement> {
  using E = foresight::models::MaskComplement;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"none", E::none}, {"targets", E::targets}, {"context", E::context}}};
};
template <>
struct foresight::EnumNames<foresight::models::MaskBlocks> {
  using E = foresight::models::MaskBlocks;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"targets", E::targets}, {"context", E::context}}};
};
