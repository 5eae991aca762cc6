// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/impala.hpp"

#include "convolved_pictures.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::nn {
namespace {

torch::nn::Conv2d same_size_convolution(int64_t in, int64_t out) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1));
}

Tensor convolved(const torch::nn::Conv2d& conv, const Tensor& x) {
  return at::conv2d(x, conv->weight, conv->bias, {1, 1}, {1, 1});
}

}  // namespace

std::vector<std::string> ImpalaOptions::validate() const {
  Rules rules("ImpalaOptions");
  rules.check(!channels.empty(), "channels", "[]", "must name at least one stack");
  for (const auto count : channels)
    rules.check(count >= 1, "channels", static_cast<double>(count), "must be >= 1");
  rules.check(blocks >= 0, "blocks", static_cast<double>(blocks), "must be >= 0");
  rules.check(width >= 1, "width", static_cast<double>(width), "must be >= 1");
  for (const auto& [name, norm] : {std::pair{"inner_norm", inner_norm}, {"final_norm", final_norm}})
    rules.check(norm != NormKind::batch, name, enum_name(norm), "must be none or layer");
  return rules.problems();
}

ImpalaEncoder::ImpalaEncoder(const ImpalaOptions& options, int64_t image_size, int64_t channels)
    : options_(options), image_size_(image_size), channels_(channels) {
  require_valid(options);
  require(image_size >= 1 && channels >= 1, ErrorCategory::invalid_option,
          "ImpalaEncoder: image size = " + std::to_string(image_size) +
              " and channels = " + std::to_string(channels) + " must be >= 1");
  int64_t in = channels, side = image_size;
  for (std::size_t s = 0; s < options.channels.size(); ++s) {
    const auto out = options.channels[s];
    const auto name = "stack_blocks." + std::to_string(s);
    Stack stack;
    stack.entry = place(*this, name + ".initial_conv", same_size_convolution(in, out));
    for (int64_t b = 0; b < options.blocks; ++b) {
      const auto block = name + ".blocks." + std::to_string(b);
      stack.blocks.push_back({place(*this, block + ".conv1", same_size_convolution(out, out)),
                              place(*this, block + ".conv2", same_size_convolution(out, out))});
    }
    stacks_.push_back(std::move(stack));
    in = out;
    side = (side - 1) / 2 + 1;  // of the pooling
  }
  head_ = place(*this, "mlp", torch::nn::Linear(in * side * side, options.width));
  if (options.final_norm == NormKind::layer)
    final_norm_ = place(*this, "final_ln",
                        torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.width})));
}

void ImpalaEncoder::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor ImpalaEncoder::feature_map(const Tensor& images, int64_t stacks) const {
  check_shape("images", images, {kAny, channels_, image_size_, image_size_}, "[N,C,h,w]");
  require(stacks >= 0 && stacks <= static_cast<int64_t>(stacks_.size()),
          ErrorCategory::invalid_argument,
          "feature_map: stacks = " + std::to_string(stacks) + " must be in [0, " +
              std::to_string(stacks_.size()) + "]");
  auto x = convolved_pictures(images);
  for (int64_t s = 0; s < stacks; ++s) {
    const auto& stack = stacks_[static_cast<std::size_t>(s)];
    x = at::max_pool2d(convolved(stack.entry, x), {3, 3}, {2, 2}, {1, 1});
    for (const auto& block : stack.blocks)
      x = at::relu(convolved(block.second, at::relu(convolved(block.first, x))) + x);
  }
  return x;
}

Tensor ImpalaEncoder::encode(const Tensor& images, Mode) const {
  auto x = at::relu(feature_map(images, static_cast<int64_t>(stacks_.size())));
  if (options_.inner_norm == NormKind::layer) x = at::layer_norm(x, x.sizes().slice(1));
  x = through(head_, x.flatten(1));
  return final_norm_ ? through(final_norm_, x) : x;
}

}  // namespace foresight::nn
