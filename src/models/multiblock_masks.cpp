// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/multiblock_masks.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::models {
namespace {

constexpr int kDraws = 1000;  // before a setting that hides everything is called impossible

}  // namespace

std::vector<std::string> MultiblockMaskOptions::validate() const {
  Rules rules("MultiblockMaskOptions");
  const auto range = [&](const std::vector<double>& values, std::string_view name, double most) {
    rules.check(values.size() == 2, name, static_cast<double>(values.size()),
                "values, expected two: from, to");
    if (values.size() != 2) return;
    rules.check(values[0] > 0 && values[0] <= values[1] && values[1] <= most, name, values[0],
                "and " + std::to_string(values[1]) + " must ascend within (0, " +
                    std::to_string(most) + "]");
  };
  rules.check(blocks >= 1, "blocks", static_cast<double>(blocks), "must be >= 1");
  range(spatial_scale, "spatial_scale", 1.0);
  range(temporal_scale, "temporal_scale", 1.0);
  range(aspect, "aspect", 1e6);
  rules.check(context_frames > 0 && context_frames <= 1, "context_frames", context_frames,
              "must be in (0, 1]");
  rules.check(max_context >= 0, "max_context", static_cast<double>(max_context), "must be >= 0");
  return rules.problems();
}

MultiblockMaskOptions MultiblockMaskOptions::long_range() {
  MultiblockMaskOptions options;
  options.blocks = 2;
  options.spatial_scale = {0.7, 0.7};
  return options;
}

// One clip before the cut.
struct MultiblockMasks::Lists {
  std::vector<int64_t> context, targets;
};

MultiblockMasks::MultiblockMasks(const MultiblockMaskOptions& options, const nn::TokenGrid& grid)
    : options_(options), grid_(grid) {
  require_valid(options);
  require(grid.frames >= 1 && grid.rows >= 1 && grid.columns >= 1, ErrorCategory::invalid_option,
          "MultiblockMasks: the grid has no tokens");
}

BlockSize MultiblockMasks::block_size(const Tensor& uniforms) const {
  check_shape("uniforms", uniforms, {3}, "[3]");
  const auto u = uniforms.to(at::kCPU, at::kFloat).contiguous();
  const auto between = [&](const std::vector<double>& range, int64_t i) {
    return range[0] + static_cast<double>(u[i].item<float>()) * (range[1] - range[0]);
  };
  const auto count = [](double x) { return static_cast<int64_t>(x); };
  const auto frames = static_cast<double>(grid_.frames),
             area = static_cast<double>(grid_.per_frame());
  const auto tokens = static_cast<double>(count(area * between(options_.spatial_scale, 1)));
  const double aspect = between(options_.aspect, 2);
  // std::nearbyint rounds halves to even.
  const auto side = [&](double length, int64_t most) {
    return std::clamp<int64_t>(count(std::nearbyint(length)), 1, most);
  };
  return {std::max<int64_t>(1, count(frames * between(options_.temporal_scale, 0))),
          side(std::sqrt(tokens * aspect), grid_.rows),
          side(std::sqrt(tokens / aspect), grid_.columns)};
}

MultiblockMasks::Lists MultiblockMasks::lists(const BlockSize& size, const Tensor& corners) const {
  auto visible = at::ones({grid_.frames, grid_.rows, grid_.columns}, at::kBool);
  const auto at_corner = corners.to(at::kCPU, at::kLong);
  for (int64_t b = 0; b < at_corner.size(0); ++b) {
    const auto row = at_corner[b][0].item<int64_t>(), column = at_corner[b][1].item<int64_t>(),
               frame = at_corner[b][2].item<int64_t>();
    require(row >= 0 && column >= 0 && frame >= 0 && row + size.rows <= grid_.rows &&
                column + size.columns <= grid_.columns && frame + size.frames <= grid_.frames,
            ErrorCategory::invalid_argument,
            "a block at row " + std::to_string(row) + ", column " + std::to_string(column) +
                ", frame " + std::to_string(frame) + " leaves the grid");
    visible.narrow(0, frame, size.frames)
        .narrow(1, row, size.rows)
        .narrow(2, column, size.columns)
        .fill_(false);
  }
  if (options_.context_frames < 1) {
    const auto kept = std::max<int64_t>(
        1, static_cast<int64_t>(static_cast<double>(grid_.frames) * options_.context_frames));
    visible.slice(0, kept).fill_(false);
  }
  const auto ids = [](const Tensor& mask) {
    const auto found = mask.flatten().nonzero().squeeze(1).contiguous();
    return std::vector<int64_t>(found.data_ptr<int64_t>(),
                                found.data_ptr<int64_t>() + found.numel());
  };
  return {ids(visible), ids(visible.logical_not())};
}

TokenMasks MultiblockMasks::collate(std::vector<Lists> clips) const {
  auto shortest = [&](auto member) {
    auto least = static_cast<std::size_t>(grid_.count());
    for (const auto& clip : clips) least = std::min(least, (clip.*member).size());
    return least;
  };
  auto context = shortest(&Lists::context);
  const auto targets = shortest(&Lists::targets);
  if (options_.max_context > 0)
    context = std::min(context, static_cast<std::size_t>(options_.max_context));
  const auto others = [&](const std::vector<int64_t>& ids) {
    std::vector<int64_t> rest;
    for (int64_t id = 0; id < grid_.count(); ++id)
      if (!std::binary_search(ids.begin(), ids.end(), id)) rest.push_back(id);
    return rest;
  };
  std::vector<Tensor> context_rows, target_rows;
  for (auto& clip : clips) {
    clip.context.resize(context);
    clip.targets.resize(targets);
    if (options_.complement == MaskComplement::targets) clip.targets = others(clip.context);
    if (options_.complement == MaskComplement::context) clip.context = others(clip.targets);
    context_rows.push_back(at::tensor(clip.context, at::kLong));
    target_rows.push_back(at::tensor(clip.targets, at::kLong));
  }
  TokenMasks masks{at::stack(context_rows), at::stack(target_rows)};
  if (options_.meaning == MaskBlocks::context) std::swap(masks.context, masks.targets);
  return masks;
}

TokenMasks MultiblockMasks::masks(const BlockSize& size, const Tensor& corners) const {
  check_shape("corners", corners, {kAny, options_.blocks, 3}, "[B,blocks,3]");
  require(corners.size(0) >= 1, ErrorCategory::invalid_argument, "masks of an empty batch");
  std::vector<Lists> clips;
  for (const auto& clip : corners.unbind(0)) clips.push_back(lists(size, clip));
  return collate(std::move(clips));
}

TokenMasks MultiblockMasks::sample(int64_t batch, Noise& noise) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "sample: batch = " + std::to_string(batch) + " must be >= 1");
  const auto size = block_size(noise.uniform({3}));
  // Corners that keep the block inside: row, column, frame.
  const auto choices = at::tensor({grid_.rows - size.rows + 1, grid_.columns - size.columns + 1,
                                   grid_.frames - size.frames + 1},
                                  at::kDouble);
  std::vector<Lists> clips;
  while (static_cast<int64_t>(clips.size()) < batch) {
    for (int draw = 0;; ++draw) {
      require(draw < kDraws, ErrorCategory::invalid_option,
              "MultiblockMaskOptions hide the whole clip in every one of " +
                  std::to_string(kDraws) + " draws: use fewer or smaller blocks");
      const auto corners =
          (noise.uniform({options_.blocks, 3}).to(at::kDouble) * choices).to(at::kLong);
      auto clip = lists(size, corners);
      if (clip.context.empty()) continue;
      clips.push_back(std::move(clip));
      break;
    }
  }
  return collate(std::move(clips));
}

}  // namespace foresight::models
