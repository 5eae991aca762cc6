// SPDX-License-Identifier: Apache-2.0
// Which patches of a picture I-JEPA shows and which it asks for: one large context block, and a few
// target blocks that are cut out of it (arXiv 2301.08243, section 3).
#pragma once

#include <string>
#include <vector>

#include "foresight/models/multiblock_masks.hpp"

namespace foresight::models {

/// Defaults are I-JEPA's.
struct FORESIGHT_API ImageBlockMaskOptions {
  int64_t targets = 4;                              ///< target blocks per picture; may overlap
  std::vector<double> target_scale = {0.15, 0.2};   ///< part of the picture: from, to
  std::vector<double> target_aspect = {0.75, 1.5};  ///< height / width: from, to
  std::vector<double> context_scale = {0.85, 1.0};  ///< part of the picture: from, to
  std::vector<double> context_aspect = {1.0, 1.0};  ///< height / width: from, to

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("targets", self.targets, "target blocks per picture");
    visit("target_scale", self.target_scale, "part of the picture in a target block: from, to");
    visit("target_aspect", self.target_aspect, "height / width of a target block: from, to");
    visit("context_scale", self.context_scale, "part of the picture in the context: from, to");
    visit("context_aspect", self.context_aspect, "height / width of the context: from, to");
  }
  std::vector<std::string> validate() const;
};

/// Patches by number, int64. Target block m of picture b is row m*B+b, all of one size.
struct ImageBlocks {
  Tensor context;  ///< [B,c], ascending
  Tensor targets;  ///< [M*B,m], ascending
};

class FORESIGHT_API ImageBlockMasks {
 public:
  /// `grid`: of pictures, one frame. Throws Error(invalid_option).
  ImageBlockMasks(const ImageBlockMaskOptions& options, const nn::TokenGrid& grid);

  /// Blocks of `batch` pictures: two draws of 3 uniforms give the sizes, one for all targets and
  /// one for all contexts, so that they stack; then for every picture one draw [M+1,2] of their
  /// places, again where the targets leave nothing of the context. Contexts are cut to the
  /// shortest of the batch. Throws Error(invalid_option) if a thousand draws leave nothing.
  ImageBlocks sample(int64_t batch, Noise& noise) const;

 private:
  ImageBlockMaskOptions options_;
  nn::TokenGrid grid_;
  MultiblockMasks target_sizes_, context_sizes_;
};

}  // namespace foresight::models
