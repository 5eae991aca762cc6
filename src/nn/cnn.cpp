// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/cnn.hpp"

#include "convolved_pictures.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::nn {
namespace {

constexpr int64_t kKernel = 4, kStride = 2, kPadding = 1;  // halves an even size exactly

}  // namespace

std::vector<std::string> CnnOptions::validate() const {
  Rules rules("CnnOptions");
  rules.check(!channels.empty(), "channels", "[]", "must name at least one convolution");
  for (const auto count : channels)
    rules.check(count >= 1, "channels", static_cast<double>(count), "must be >= 1");
  rules.check(width >= 1, "width", static_cast<double>(width), "must be >= 1");
  return rules.problems();
}

Cnn::Cnn(const CnnOptions& options, int64_t image_size, int64_t channels)
    : options_(options), image_size_(image_size), channels_(channels) {
  auto problems = options.validate();
  int64_t side = image_size;
  for (std::size_t i = 0; i < options.channels.size(); ++i) side /= 2;
  if (side < 1)
    problems.push_back("CnnOptions.channels = " + std::to_string(options.channels.size()) +
                       " convolutions halve an image of size " + std::to_string(image_size) +
                       " to nothing");
  throw_if_any(problems);

  int64_t in = channels;
  for (std::size_t i = 0; i < options.channels.size(); ++i) {
    const auto out = options.channels[i];
    const auto index = std::to_string(i);
    convolutions_.push_back(
        place(*this, "conv." + index,
              torch::nn::Conv2d(
                  torch::nn::Conv2dOptions(in, out, kKernel).stride(kStride).padding(kPadding))));
    if (options.norm == NormKind::batch)
      batch_norms_.push_back(place(*this, "norm." + index, std::make_shared<BatchNorm2d>(out)));
    if (options.norm == NormKind::layer)
      group_norms_.push_back(
          place(*this, "norm." + index, torch::nn::GroupNorm(torch::nn::GroupNormOptions(1, out))));
    in = out;
  }
  head_ = place(*this, "head", torch::nn::Linear(in * side * side, options.width));
}

void Cnn::initialise(Noise& noise) { init_layers(*this, noise); }

Tensor Cnn::encode(const Tensor& images, Mode mode) const {
  check_shape("images", images, {kAny, channels_, image_size_, image_size_}, "[N,C,h,w]");
  auto x = convolved_pictures(images);
  for (std::size_t i = 0; i < convolutions_.size(); ++i) {
    const auto& conv = convolutions_[i];
    x = at::conv2d(x, conv->weight, conv->bias, {kStride, kStride}, {kPadding, kPadding});
    if (!batch_norms_.empty()) x = batch_norms_[i]->apply_to(x, mode);
    if (!group_norms_.empty()) {
      const auto& norm = group_norms_[i];
      x = at::group_norm(x, 1, norm->weight, norm->bias, norm->options.eps());
    }
    x = activate_temporary(std::move(x), options_.activation);
  }
  return through(head_, x.flatten(1));
}

}  // namespace foresight::nn
