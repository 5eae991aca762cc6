// SPDX-License-Identifier: Apache-2.0
// What the networks made of VideoBlocks share: the rules of their options, the blocks, and how
// these begin.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/video_block.hpp"
#include "foresight/nn/video_vit.hpp"

namespace foresight::nn {

/// Adds what is wrong with width, depth, heads, mlp_width, positions and norm_epsilon of `options`.
template <class Options>
void check_video_blocks(Rules& rules, const Options& options) {
  const auto width = static_cast<double>(options.width);
  for (const auto& [name, value] :
       {std::pair{"width", options.width}, std::pair{"depth", options.depth},
        std::pair{"heads", options.heads}, std::pair{"mlp_width", options.mlp_width}})
    rules.check(value >= 1, name, static_cast<double>(value), "must be >= 1");
  if (options.heads >= 1) {
    rules.check(options.width % options.heads == 0, "width", width,
                "must be a multiple of heads = " + std::to_string(options.heads));
    if (options.positions == PositionKind::rope)
      rules.check(options.width / options.heads >= 6, "width", width,
                  "must give heads of at least 6 channels for rotary positions");
  }
  rules.check(std::isfinite(options.norm_epsilon) && options.norm_epsilon > 0, "norm_epsilon",
              options.norm_epsilon, "must be positive");
}

/// The sizes that a network's options give its blocks.
template <class Options>
VideoBlockSizes block_sizes(const Options& options) {
  return {.width = options.width,
          .heads = options.heads,
          .mlp_width = options.mlp_width,
          .feed_forward = options.feed_forward,
          .qkv_bias = options.qkv_bias,
          .norm_epsilon = options.norm_epsilon};
}

/// `depth` blocks, registered as "<prefix>.0", "<prefix>.1", ... below `root`.
inline std::vector<std::shared_ptr<VideoBlock>> video_blocks(torch::nn::Module& root,
                                                             const std::string& prefix,
                                                             const VideoBlockSizes& sizes,
                                                             int64_t depth) {
  std::vector<std::shared_ptr<VideoBlock>> blocks;
  for (int64_t i = 0; i < depth; ++i)
    blocks.push_back(
        place(root, prefix + "." + std::to_string(i), std::make_shared<VideoBlock>(sizes)));
  return blocks;
}

/// Initial weights of all blocks, by their place.
inline void initialise_video_blocks(const std::vector<std::shared_ptr<VideoBlock>>& blocks,
                                    Noise& noise) {
  for (std::size_t i = 0; i < blocks.size(); ++i)
    blocks[i]->initialise(static_cast<int64_t>(i) + 1, noise);
}

}  // namespace foresight::nn
