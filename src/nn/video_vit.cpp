// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/video_vit.hpp"

#include <optional>
#include <utility>

#include "foresight/nn/init.hpp"
#include "foresight/nn/recompute.hpp"
#include "video_blocks.hpp"

namespace foresight::nn {

TokenGrid VideoVitOptions::grid() const {
  return {is_picture() ? 1 : frames / tubelet, image_height / patch, image_width / patch};
}

std::vector<std::string> VideoVitOptions::validate() const {
  Rules rules("VideoVitOptions");
  check_video_blocks(rules, *this);
  const auto positive = [&](int64_t value, std::string_view name) {
    rules.check(value >= 1, name, static_cast<double>(value), "must be >= 1");
  };
  positive(patch, "patch");
  positive(tubelet, "tubelet");
  positive(frames, "frames");
  positive(channels, "channels");
  if (tubelet >= 1 && frames > 1)
    rules.check(frames % tubelet == 0, "frames", static_cast<double>(frames),
                "must be 1 or a multiple of tubelet = " + std::to_string(tubelet));
  rules.check(image_height >= patch, "image_height", static_cast<double>(image_height),
              "must be >= patch = " + std::to_string(patch));
  rules.check(image_width >= patch, "image_width", static_cast<double>(image_width),
              "must be >= patch = " + std::to_string(patch));
  return rules.problems();
}

VideoVitOptions VideoVitOptions::huge() {
  VideoVitOptions options;
  options.width = 1280;
  options.depth = 32;
  options.mlp_width = 5120;
  return options;
}

VideoVitOptions VideoVitOptions::giant() {
  VideoVitOptions options;
  options.width = 1408;
  options.depth = 40;
  options.heads = 22;
  options.mlp_width = 6144;
  return options;
}

VideoVitOptions VideoVitOptions::tiny() {
  VideoVitOptions options;
  options.width = 96;
  options.depth = 4;
  options.heads = 4;
  options.mlp_width = 384;
  options.patch = 8;
  options.frames = 8;
  options.image_height = 64;
  options.image_width = 64;
  options.rope = RopeConvention::interleaved;  // no checkpoint to be compatible with
  return options;
}

RopeTable grid_rope(const Tensor& ids, const TokenGrid& grid, int64_t head_width,
                    RopeConvention convention, const at::TensorOptions& options) {
  const auto in_frame = ids.remainder(grid.per_frame());
  return rope_table({ids.floor_divide(grid.per_frame()), in_frame.floor_divide(grid.columns),
                     in_frame.remainder(grid.columns)},
                    rope_axis_width(head_width), convention, options);
}

Tensor gather_tokens(const Tensor& tokens, const Tensor& ids) {
  check_shape("token ids", ids, {kAny, kAny}, "[M*B,n]");
  require(
      ids.scalar_type() == at::kLong, ErrorCategory::invalid_argument,
      std::string("token ids have dtype ") + c10::toString(ids.scalar_type()) + ", expected Long");
  const auto batch = tokens.size(0);
  require(batch > 0 && ids.size(0) % batch == 0, ErrorCategory::invalid_argument,
          "token ids " + shape_string(ids.sizes()) + ": rows must be a multiple of the " +
              std::to_string(batch) + " clips");
  // A GPU cannot say which of its ids is none: it stops for good.
  if (ids.is_cpu() && !tokens.is_cpu() && ids.numel() > 0) {
    const auto [least, most] = at::aminmax(ids);
    require(least.item<int64_t>() >= 0 && most.item<int64_t>() < tokens.size(1),
            ErrorCategory::invalid_argument,
            "token ids reach from " + std::to_string(least.item<int64_t>()) + " to " +
                std::to_string(most.item<int64_t>()) + ", expected within the " +
                std::to_string(tokens.size(1)) + " tokens");
  }
  const auto groups = ids.size(0) / batch;
  const auto repeated = groups == 1 ? tokens : tokens.repeat({groups, 1, 1});
  return repeated.gather(1, ids.to(tokens.device()).unsqueeze(-1).expand({-1, -1, tokens.size(2)}));
}

Tensor normalise_tokens(const Tensor& tokens) {
  constexpr double kEpsilon = 1e-5;
  return at::layer_norm(tokens, {tokens.size(-1)}, {}, {}, kEpsilon);
}

VideoVit::VideoVit(const VideoVitOptions& options) : options_(options) {
  require_valid(options);
  const auto width = options.width, patch = options.patch;
  if (options.is_picture())
    patches_ = place(
        *this, "patch_embed.proj",
        torch::nn::Conv2d(torch::nn::Conv2dOptions(options.channels, width, patch).stride(patch)));
  else
    tubelets_ = place(*this, "patch_embed.proj",
                      torch::nn::Conv3d(torch::nn::Conv3dOptions(options.channels, width,
                                                                 {options.tubelet, patch, patch})
                                            .stride({options.tubelet, patch, patch})));
  if (options.positions == PositionKind::sincos ||
      options.positions == PositionKind::sincos_uniform) {
    const auto share =
        options.positions == PositionKind::sincos ? AxisShare::time_half : AxisShare::uniform;
    const auto table = options.is_picture() ? sincos_image_positions(options.grid(), width)
                                            : sincos_video_positions(options.grid(), width, share);
    positions_ = register_parameter("pos_embed", table, /*requires_grad=*/false);
  }
  blocks_ = video_blocks(*this, "blocks", block_sizes(options), options.depth);
  norm_ =
      place(*this, "norm",
            torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(options.norm_epsilon)));
}

void VideoVit::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  const auto& weight = patches_ ? patches_->weight : tubelets_->weight;
  init_normal(weight, kStd, noise);
  init_constant(patches_ ? patches_->bias : tubelets_->bias, 0.0);
  initialise_video_blocks(blocks_, noise);
  init_constant(norm_->weight, 1.0);
  init_constant(norm_->bias, 0.0);
}

TokenGrid VideoVit::grid(const Tensor& clips) const {
  const auto& o = options_;
  if (o.is_picture())
    check_shape("images", clips, {kAny, o.channels, kAny, kAny}, "[B,C,h,w]");
  else
    check_shape("clips", clips, {kAny, o.channels, kAny, kAny, kAny}, "[B,C,T,h,w]");
  const TokenGrid grid{o.is_picture() ? 1 : clips.size(2) / o.tubelet, clips.size(-2) / o.patch,
                       clips.size(-1) / o.patch};
  require(grid.count() >= 1 && (o.is_picture() || clips.size(2) % o.tubelet == 0),
          ErrorCategory::invalid_argument,
          "clips " + shape_string(clips.sizes()) + " do not fill tubelets of " +
              std::to_string(o.tubelet) + " frames by " + std::to_string(o.patch) + " pixels");
  return grid;
}

Tensor VideoVit::embed(const Tensor& clips) const {
  const auto p = options_.patch;
  const auto x =
      patches_ ? at::conv2d(clips, patches_->weight, patches_->bias, {p, p})
               : at::conv3d(clips, tubelets_->weight, tubelets_->bias, {options_.tubelet, p, p});
  return x.flatten(2).transpose(1, 2);
}

// Tokens as the first block takes them, and their rotation.
struct VideoVit::Input {
  Tensor tokens;
  std::optional<RopeTable> rope;
  Attention attention() const {
    Attention attention;
    attention.rope = rope ? &*rope : nullptr;
    return attention;
  }
};

VideoVit::Input VideoVit::prepare(const Tensor& clips, const Tensor& ids) const {
  const auto shape = grid(clips);
  Input input{embed(clips), std::nullopt};
  if (positions_.defined())
    input.tokens = input.tokens + resized_positions(positions_, options_.grid(), shape,
                                                    options_.is_picture() ? Resampling::bicubic
                                                                          : Resampling::trilinear);
  if (ids.defined()) input.tokens = gather_tokens(input.tokens, ids);
  if (options_.positions == PositionKind::rope) {
    const auto which =
        ids.defined() ? ids : at::arange(shape.count(), clips.options().dtype(at::kLong));
    input.rope = grid_rope(which, shape, options_.width / options_.heads, options_.rope,
                           input.tokens.options().requires_grad(false));
  }
  return input;
}

Tensor VideoVit::forward(const Tensor& clips, const Tensor& ids) const {
  const auto input = std::make_shared<Input>(prepare(clips, ids));
  auto x = std::exchange(input->tokens, {});
  for (const auto& block : blocks_)
    x = recomputed([block, input](const Tensor& u,
                                  const Tensor&) { return block->forward(u, input->attention()); },
                   x);
  return through(norm_, x);
}

std::vector<Tensor> VideoVit::hidden_states(const Tensor& clips) const {
  const auto input = prepare(clips, {});
  std::vector<Tensor> states{input.tokens};
  for (const auto& block : blocks_)
    states.push_back(block->forward(states.back(), input.attention()));
  return states;
}

std::vector<Tensor> VideoVit::layers(const Tensor& clips,
                                     const std::vector<int64_t>& blocks) const {
  for (const auto block : blocks)
    require(block >= 0 && block < options_.depth, ErrorCategory::invalid_argument,
            "block " + std::to_string(block) + " of an encoder with " +
                std::to_string(options_.depth) + " blocks");
  const auto states = hidden_states(clips);
  std::vector<Tensor> outputs;
  for (const auto block : blocks)
    outputs.push_back(through(norm_, states[static_cast<std::size_t>(block) + 1]));
  return outputs;
}

}  // namespace foresight::nn
