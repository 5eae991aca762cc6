// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/image_block_masks.hpp"

#include <algorithm>

namespace foresight::models {
namespace {

constexpr int kPlacements = 1000;  // before a setting that leaves no context is called impossible

MultiblockMaskOptions single_block(const std::vector<double>& scale,
                                   const std::vector<double>& aspect) {
  MultiblockMaskOptions options;
  options.blocks = 1;
  options.spatial_scale = scale;
  options.aspect = aspect;
  return options;
}

// The grid with ones in a block whose place follows from two uniforms.
Tensor block_at(const nn::TokenGrid& grid, const BlockSize& size, const Tensor& uniforms) {
  const auto place = [&](int64_t axis, int64_t choices) {
    const auto u = static_cast<double>(uniforms[axis].item<float>());
    return std::min(static_cast<int64_t>(u * static_cast<double>(choices)), choices - 1);
  };
  auto block = at::zeros({grid.rows, grid.columns}, at::kBool);
  block.narrow(0, place(0, grid.rows - size.rows + 1), size.rows)
      .narrow(1, place(1, grid.columns - size.columns + 1), size.columns)
      .fill_(true);
  return block;
}

Tensor ids_of(const Tensor& block) { return block.flatten().nonzero().squeeze(1); }

}  // namespace

std::vector<std::string> ImageBlockMaskOptions::validate() const {
  return Rules("ImageBlockMaskOptions")
      .at_least("targets", static_cast<double>(targets), 1)
      .nested("targets", single_block(target_scale, target_aspect).validate())
      .nested("context", single_block(context_scale, context_aspect).validate())
      .problems();
}

ImageBlockMasks::ImageBlockMasks(const ImageBlockMaskOptions& options, const nn::TokenGrid& grid)
    : options_((require_valid(options), options)),
      grid_(grid),
      target_sizes_(single_block(options.target_scale, options.target_aspect), grid),
      context_sizes_(single_block(options.context_scale, options.context_aspect), grid) {
  require(grid.frames == 1, ErrorCategory::invalid_argument,
          "ImageBlockMasks: a grid of " + std::to_string(grid.frames) +
              " frames, expected pictures, of one");
}

ImageBlocks ImageBlockMasks::sample(int64_t batch, Noise& noise) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "sample: batch = " + std::to_string(batch) + " must be >= 1");
  const auto target_size = target_sizes_.block_size(noise.uniform({3}));
  const auto context_size = context_sizes_.block_size(noise.uniform({3}));
  std::vector<Tensor> contexts;
  std::vector<std::vector<Tensor>> targets(static_cast<std::size_t>(options_.targets));
  int64_t shortest = grid_.count();
  for (int64_t picture = 0; picture < batch; ++picture) {
    for (int draw = 0;; ++draw) {
      require(draw < kPlacements, ErrorCategory::invalid_option,
              "ImageBlockMaskOptions leave no context in any of " + std::to_string(kPlacements) +
                  " draws: use fewer or smaller targets");
      const auto places = noise.uniform({options_.targets + 1, 2});
      auto context = block_at(grid_, context_size, places[options_.targets]);
      std::vector<Tensor> blocks;
      for (int64_t m = 0; m < options_.targets; ++m) {
        blocks.push_back(block_at(grid_, target_size, places[m]));
        context.logical_and_(blocks.back().logical_not());
      }
      auto visible = ids_of(context);
      if (visible.numel() == 0) continue;
      shortest = std::min(shortest, visible.numel());
      contexts.push_back(std::move(visible));
      for (std::size_t m = 0; m < blocks.size(); ++m) targets[m].push_back(ids_of(blocks[m]));
      break;
    }
  }
  for (auto& context : contexts) context = context.narrow(0, 0, shortest);
  std::vector<Tensor> rows;
  for (const auto& block : targets) rows.insert(rows.end(), block.begin(), block.end());
  return {at::stack(contexts), at::stack(rows)};
}

}  // namespace foresight::models
