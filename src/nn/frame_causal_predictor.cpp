// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/frame_causal_predictor.hpp"

#include "foresight/nn/init.hpp"
#include "foresight/nn/recompute.hpp"
#include "video_blocks.hpp"

namespace foresight::nn {

std::vector<std::string> FrameCausalPredictorOptions::validate() const {
  Rules rules("FrameCausalPredictorOptions");
  check_video_blocks(rules, *this);
  rules.check(action_width >= 2, "action_width", static_cast<double>(action_width), "must be >= 2");
  rules.check(positions == PositionKind::rope || positions == PositionKind::none, "positions",
              enum_name(positions), "must be rope or none");
  return rules.problems();
}

Tensor frame_causal_mask(int64_t frames, int64_t earlier, int64_t tokens_per_frame,
                         const at::TensorOptions& options) {
  const auto count = options.dtype(at::kLong).requires_grad(false);
  const auto frame_of =
      at::arange((earlier + frames) * tokens_per_frame, count).floor_divide(tokens_per_frame);
  return frame_of.slice(0, earlier * tokens_per_frame).unsqueeze(1).ge(frame_of.unsqueeze(0));
}

RopeTable frame_rope(int64_t first, int64_t count, const TokenGrid& grid, int64_t conditions,
                     int64_t head_width, double scale_rows, double scale_columns,
                     RopeConvention convention, const at::TensorOptions& options) {
  // float32 even in a float64 network, because the reference scales its positions so.
  const auto real = options.dtype(at::kFloat);
  const auto patch = at::arange(grid.per_frame(), real);
  const auto row = patch.floor_divide(grid.columns), column = patch.remainder(grid.columns);
  const auto frame = at::arange(first, first + count, real).unsqueeze(1);
  const auto per_frame = conditions + grid.per_frame();
  // A condition token stands at the origin of its frame: angle 0 leaves rows and columns alone.
  const auto with_conditions = [&](const Tensor& axis, double scale) {
    return at::cat({at::zeros({conditions}, real), axis * scale})
        .unsqueeze(0)
        .expand({count, per_frame})
        .flatten();
  };
  return rope_table({frame.expand({count, per_frame}).flatten(), with_conditions(row, scale_rows),
                     with_conditions(column, scale_columns)},
                    rope_axis_width(head_width), convention, options);
}

FrameCausalPredictor::FrameCausalPredictor(const FrameCausalPredictorOptions& options,
                                           int64_t token_width, const TokenGrid& grid)
    : options_(options), token_width_(token_width), grid_(grid) {
  require_valid(options);
  const auto width = options.width;
  const auto linear = [&](const char* path, int64_t in, int64_t out) {
    return place(*this, path, torch::nn::Linear(in, out));
  };
  embed_ = linear("predictor_embed", token_width, width);
  action_ = linear("action_encoder", options.action_width, width);
  state_ = linear("state_encoder", options.action_width, width);
  extrinsics_ = linear("extrinsics_encoder", options.action_width - 1, width);
  blocks_ = video_blocks(*this, "predictor_blocks", block_sizes(options), options.depth);
  norm_ =
      place(*this, "predictor_norm",
            torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(options.norm_epsilon)));
  proj_ = linear("predictor_proj", width, token_width);
}

void FrameCausalPredictor::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  for (const auto& linear : {embed_, action_, state_, extrinsics_, proj_}) {
    init_normal(linear->weight, kStd, noise);
    init_constant(linear->bias, 0.0);
  }
  initialise_video_blocks(blocks_, noise);
  init_constant(norm_->weight, 1.0);
  init_constant(norm_->bias, 0.0);
}

// [N,F*L,width]: the tokens of every frame behind its conditions.
Tensor FrameCausalPredictor::assemble(const FrameSequence& frames) const {
  check_shape("tokens", frames.tokens, {kAny, kAny, grid_.per_frame(), token_width_}, "[N,F,P,D]");
  const auto rows = frames.tokens.size(0), length = frames.length(), a = options_.action_width;
  check_shape("actions", frames.actions, {rows, length, a}, "[N,F,A]");
  check_shape("states", frames.states, {rows, length, a}, "[N,F,A]");
  const auto condition = [](const torch::nn::Linear& embedding, const Tensor& numbers) {
    return through(embedding, numbers.to(embedding->weight.scalar_type())).unsqueeze(2);
  };
  std::vector<Tensor> parts{condition(action_, frames.actions), condition(state_, frames.states)};
  if (options_.extrinsics) {
    check_shape("extrinsics", frames.extrinsics, {rows, length, a - 1}, "[N,F,A-1]");
    parts.push_back(condition(extrinsics_, frames.extrinsics));
  }
  parts.push_back(through(embed_, frames.tokens));
  return at::cat(parts, 2).flatten(1, 2);
}

// Rows and columns are measured in the model's patch *rows*, as in the reference: on a grid that is
// not square the columns are compressed.
RopeTable FrameCausalPredictor::positions(int64_t first, int64_t count,
                                          const at::TensorOptions& options) const {
  const double side = static_cast<double>(grid_.rows);
  return frame_rope(first, count, grid_, options_.condition_tokens(),
                    options_.width / options_.heads, side / static_cast<double>(grid_.rows),
                    side / static_cast<double>(grid_.columns), options_.rope, options);
}

// Through all blocks; the last one computes only the last `wanted_frames` frames (0: keys and
// values only). `trace` (may be null) receives every block's input and the last one's output.
Tensor FrameCausalPredictor::run(const FrameSequence& frames, const Past& past,
                                 int64_t wanted_frames, std::vector<Tensor>* trace) const {
  auto x = assemble(frames);
  const auto length = frames.length(), per_frame = x.size(1) / length;
  const auto options = x.options().requires_grad(false);
  std::shared_ptr<const RopeTable> rope;
  Attention attention;
  if (options_.positions == PositionKind::rope) {
    rope = std::make_shared<const RopeTable>(positions(past.frames, length, options));
    attention.rope = rope.get();
  }
  if (length > 1) attention.mask = frame_causal_mask(length, past.frames, per_frame, options);
  if (past.memory && past.memory->empty()) past.memory->resize(blocks_.size());
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (trace) trace->push_back(x);
    attention.shared = past.shared ? &(*past.shared)[i] : nullptr;
    attention.past = attention.present = past.memory ? &(*past.memory)[i] : nullptr;
    if (i + 1 == blocks_.size()) attention.wanted = wanted_frames * per_frame;
    const auto block = [block = blocks_[i], rope, attention](const Tensor& u, const Tensor&) {
      return block->forward(u, attention);
    };
    const bool alone = !past.shared && !past.memory;  // keys and values must not come twice
    x = alone ? recomputed(block, x) : block(x, {});
  }
  if (trace) trace->push_back(x);
  return x;
}

// [N,F*L,width] -> predicted tokens [N,F,P,D].
Tensor FrameCausalPredictor::finish(const Tensor& x) const {
  const auto conditions = options_.condition_tokens();
  const auto per_frame = conditions + grid_.per_frame();
  const auto patches = x.unflatten(1, {-1, per_frame}).slice(2, conditions);
  return through(proj_, through(norm_, patches));
}

Tensor FrameCausalPredictor::forward(const FrameSequence& frames) const {
  return finish(run(frames, {}, frames.length(), nullptr));
}

std::vector<Tensor> FrameCausalPredictor::hidden_states(const FrameSequence& frames) const {
  std::vector<Tensor> trace;
  run(frames, {}, frames.length(), &trace);
  return trace;
}

Tensor FrameCausalPredictor::next(const FrameSequence& frames, int64_t first,
                                  const FrameMemory* shared, FrameMemory* memory) const {
  return finish(run(frames, {first, shared, memory}, 1, nullptr)).select(1, 0);
}

FrameMemory FrameCausalPredictor::remember(const FrameSequence& frames) const {
  FrameMemory memory;
  run(frames, {0, nullptr, &memory}, 0, nullptr);
  return memory;
}

}  // namespace foresight::nn
