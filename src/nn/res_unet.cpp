// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/res_unet.hpp"

#include <string>

#include "foresight/nn/init.hpp"

namespace foresight::nn {
namespace {

constexpr int64_t kUNetLevels = 3;

torch::nn::Conv2d bare_convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  return torch::nn::Conv2d(
      torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
}

// A convolution of any options of this file.
Tensor through_convolution(const torch::nn::Conv2d& conv, const Tensor& x, int64_t stride = 1) {
  const auto padding = conv->weight.size(-1) / 2;
  return at::conv2d(x, conv->weight, conv->bias, {stride, stride}, {padding, padding});
}

void require_widths(const char* name, int64_t in, int64_t hidden, int64_t out) {
  require(in >= 1 && hidden >= 1 && out >= 1, ErrorCategory::invalid_option,
          std::string(name) + ": widths " + std::to_string(in) + ", " + std::to_string(hidden) +
              ", " + std::to_string(out) + " must be >= 1");
}

}  // namespace

ResidualBlock::ResidualBlock(int64_t in, int64_t out, int64_t stride) : stride_(stride) {
  first_ = register_module("conv1", bare_convolution(in, out, 3, stride));
  first_norm_ = register_module("bn1", std::make_shared<BatchNorm2d>(out));
  second_ = register_module("conv2", bare_convolution(out, out, 3, 1));
  second_norm_ = register_module("bn2", std::make_shared<BatchNorm2d>(out));
  if (in == out && stride == 1) return;
  shortcut_ = place(*this, "shortcut.0", bare_convolution(in, out, 1, stride));
  shortcut_norm_ = place(*this, "shortcut.1", std::make_shared<BatchNorm2d>(out));
}

Tensor ResidualBlock::forward(const Tensor& x, Mode mode) const {
  auto y = at::relu(first_norm_->apply_to(through_convolution(first_, x, stride_), mode));
  y = second_norm_->apply_to(through_convolution(second_, y), mode);
  const auto kept =
      shortcut_ ? shortcut_norm_->apply_to(through_convolution(shortcut_, x, stride_), mode) : x;
  return at::relu(y + kept);
}

ResNet5::ResNet5(int64_t in, int64_t hidden, int64_t out) {
  require_widths("ResNet5", in, hidden, out);
  entry_ = register_module("conv1", bare_convolution(in, hidden, 3, 1));
  entry_norm_ = register_module("bn1", std::make_shared<BatchNorm2d>(hidden));
  const std::vector<int64_t> widths{hidden, hidden, 2 * hidden, out};
  for (std::size_t i = 1; i < widths.size(); ++i)
    blocks_.push_back(register_module("layer" + std::to_string(i),
                                      std::make_shared<ResidualBlock>(widths[i - 1], widths[i])));
}

void ResNet5::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor ResNet5::forward(const Tensor& x, Mode mode) const {
  auto y = at::relu(entry_norm_->apply_to(through_convolution(entry_, x), mode));
  for (const auto& block : blocks_) y = block->forward(y, mode);
  return y;
}

ResUNet::ResUNet(int64_t in, int64_t hidden, int64_t out) {
  require_widths("ResUNet", in, hidden, out);
  entry_ = register_module("conv1", bare_convolution(in, hidden, 3, 1));
  entry_norm_ = register_module("bn1", std::make_shared<BatchNorm2d>(hidden));
  int64_t width = hidden;
  for (int64_t level = 1; level <= kUNetLevels; ++level) {
    const auto from = level == 1 ? hidden : width;
    width = level == 1 ? hidden : 2 * width;
    down_.push_back(
        register_module("enc" + std::to_string(level),
                        std::make_shared<ResidualBlock>(from, width, level == 1 ? 1 : 2)));
  }
  bottleneck_ = register_module("bott", std::make_shared<ResidualBlock>(width, 2 * width, 2));
  for (int64_t level = kUNetLevels; level >= 1; --level, width /= 2) {
    const auto index = std::to_string(level);
    up_.push_back(register_module(
        "up" + index, torch::nn::ConvTranspose2d(
                          torch::nn::ConvTranspose2dOptions(2 * width, width, 2).stride(2))));
    up_blocks_.push_back(
        register_module("dec" + index, std::make_shared<ResidualBlock>(2 * width, width)));
  }
  head_ = register_module("head", torch::nn::Conv2d(torch::nn::Conv2dOptions(hidden, out, 1)));
}

void ResUNet::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor ResUNet::forward(const Tensor& x, Mode mode) const {
  auto y = at::relu(entry_norm_->apply_to(through_convolution(entry_, x), mode));
  std::vector<Tensor> levels;
  for (const auto& block : down_) levels.push_back(y = block->forward(y, mode));
  y = bottleneck_->forward(y, mode);
  for (std::size_t i = 0; i < up_.size(); ++i) {
    const auto& level = levels[levels.size() - 1 - i];
    y = at::conv_transpose2d(y, up_[i]->weight, up_[i]->bias, {2, 2});
    if (y.size(2) != level.size(2) || y.size(3) != level.size(3))
      y = at::upsample_bilinear2d(y, {level.size(2), level.size(3)}, /*align_corners=*/false);
    y = up_blocks_[i]->forward(at::cat({y, level}, 1), mode);
  }
  return through_convolution(head_, y);
}

}  // namespace foresight::nn
