// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/masked_video_predictor.hpp"

#include "foresight/nn/init.hpp"
#include "foresight/nn/recompute.hpp"
#include "video_blocks.hpp"

namespace foresight::nn {

std::vector<std::string> MaskedVideoPredictorOptions::validate() const {
  Rules rules("MaskedVideoPredictorOptions");
  check_video_blocks(rules, *this);
  rules.check(mask_tokens >= 1, "mask_tokens", static_cast<double>(mask_tokens), "must be >= 1");
  rules.check(positions != PositionKind::none, "positions", enum_name(positions),
              "must be rope, sincos or sincos_uniform: nothing else tells the hidden places apart");
  return rules.problems();
}

MaskedVideoPredictor::MaskedVideoPredictor(const MaskedVideoPredictorOptions& options,
                                           int64_t token_width, const TokenGrid& grid)
    : options_(options), token_width_(token_width), grid_(grid) {
  require_valid(options);
  const auto width = options.width;
  embed_ = place(*this, "predictor_embed", torch::nn::Linear(token_width, width));
  auto& tokens = scope(*this, "mask_tokens");
  for (int64_t k = 0; k < options.mask_tokens; ++k)
    mask_tokens_.push_back(tokens.register_parameter(std::to_string(k), at::zeros({1, 1, width})));
  if (options.positions != PositionKind::rope) {
    const auto share =
        options.positions == PositionKind::sincos ? AxisShare::time_half : AxisShare::uniform;
    positions_ = register_parameter("predictor_pos_embed",
                                    grid.frames == 1 ? sincos_image_positions(grid, width)
                                                     : sincos_video_positions(grid, width, share),
                                    /*requires_grad=*/false);
  }
  blocks_ = video_blocks(*this, "predictor_blocks", block_sizes(options), options.depth);
  norm_ =
      place(*this, "predictor_norm",
            torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(options.norm_epsilon)));
  proj_ = place(*this, "predictor_proj", torch::nn::Linear(width, token_width));
}

void MaskedVideoPredictor::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  for (const auto& linear : {embed_, proj_}) {
    init_normal(linear->weight, kStd, noise);
    init_constant(linear->bias, 0.0);
  }
  for (const auto& token : mask_tokens_) init_constant(token, 0.0);
  initialise_video_blocks(blocks_, noise);
  init_constant(norm_->weight, 1.0);
  init_constant(norm_->bias, 0.0);
}

// Context and target tokens through the blocks, [B,c+m,width]. Attention does not depend on the
// order of tokens, so they are not sorted by id as in the reference: positions come from the ids.
Tensor MaskedVideoPredictor::run(const Tensor& context, const Tensor& context_ids,
                                 const Tensor& target_ids, int64_t mask_index) const {
  check_shape("context", context, {kAny, kAny, token_width_}, "[B,c,D]");
  check_shape("context ids", context_ids, {context.size(0), context.size(1)}, "[B,c]");
  check_shape("target ids", target_ids, {context.size(0), kAny}, "[B,m]");
  require(mask_index >= 0, ErrorCategory::invalid_argument,
          "mask index = " + std::to_string(mask_index) + " must be >= 0");
  const auto& mask = mask_tokens_[static_cast<std::size_t>(mask_index % options_.mask_tokens)];
  auto x = at::cat({through(embed_, context),
                    mask.expand({target_ids.size(0), target_ids.size(1), options_.width})},
                   1);
  const auto ids = at::cat({context_ids, target_ids}, 1);
  if (positions_.defined())
    x = x + positions_.squeeze(0).index_select(0, ids.flatten().to(x.device())).view(x.sizes());
  std::shared_ptr<const RopeTable> rope;
  if (options_.positions == PositionKind::rope) {
    auto grid = grid_;
    if (options_.grid == PredictorGrid::square) grid.columns = grid.rows;
    rope = std::make_shared<const RopeTable>(grid_rope(ids, grid, options_.width / options_.heads,
                                                       options_.rope,
                                                       x.options().requires_grad(false)));
  }
  for (const auto& block : blocks_)
    x = recomputed(
        [block, rope](const Tensor& u, const Tensor&) {
          Attention attention;
          attention.rope = rope.get();
          return block->forward(u, attention);
        },
        x);
  return x;
}

Tensor MaskedVideoPredictor::forward(const Tensor& context, const Tensor& context_ids,
                                     const Tensor& target_ids, int64_t mask_index) const {
  const auto x = run(context, context_ids, target_ids, mask_index);
  return through(proj_, through(norm_, x.slice(1, context.size(1))));
}

Tensor MaskedVideoPredictor::all_tokens(const Tensor& context, const Tensor& context_ids,
                                        const Tensor& target_ids, int64_t mask_index) const {
  const auto x = run(context, context_ids, target_ids, mask_index);
  const auto order = at::argsort(at::cat({context_ids, target_ids}, 1), /*stable=*/true, 1, false);
  return through(proj_, through(norm_, gather_tokens(x, order)));
}

}  // namespace foresight::nn
