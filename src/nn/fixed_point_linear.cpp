// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/fixed_point_linear.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "fixed_point_tasks.hpp"
#include "foresight/core/error.hpp"

namespace foresight::nn {
namespace fixed_point {

PackedWeights::PackedWeights(const Tensor& weight, const Tensor& bias, int64_t block) {
  check_shape("weight", weight, {kAny, kAny}, "[out,in]");
  const auto out = weight.size(0), in = weight.size(1);
  require(out >= 1 && in >= 1, ErrorCategory::invalid_argument,
          "fixed point: weight " + shape_string(weight.sizes()) + " has no elements");
  if (bias.defined()) check_shape("bias", bias, {out}, "[out]");
  require(weight.is_floating_point() && weight.device().is_cpu(), ErrorCategory::unsupported,
          "fixed point: weight is " + std::string(c10::toString(weight.scalar_type())) + " on " +
              weight.device().str() + ", expected a floating type on the CPU");
  sizes_.in = in, sizes_.out = out, sizes_.block = block;
  sizes_.blocks = (in + block - 1) / block;
  sizes_.panels = (out + kColumns - 1) / kColumns;
  const auto padded = sizes_.in_padded(), columns = sizes_.panels * kColumns;
  values_.resize(static_cast<std::size_t>(columns * padded));
  scales_.resize(static_cast<std::size_t>(columns * sizes_.blocks));
  bias_.resize(static_cast<std::size_t>(columns));
  const auto rows = weight.detach().to(at::kFloat).contiguous();
  std::int16_t whole[kBlock];
  for (int64_t c = 0; c < out; ++c)
    for (int64_t b = 0; b < sizes_.blocks; ++b) {
      const auto panel = c / kColumns, column = c % kColumns;
      const auto length = sizes_.length(b);
      scales_[static_cast<std::size_t>((panel * sizes_.blocks + b) * kColumns + column)] =
          quantise(rows.const_data_ptr<float>() + c * in + b * block, length, whole);
      auto* to = values_.data() + (view().values_of(panel, b) - values_.data());
      for (int64_t k = 0; k < length; ++k) to[(k / 2 * kColumns + column) * 2 + k % 2] = whole[k];
    }
  if (!bias.defined()) return;
  const auto own_bias = bias.detach().to(at::kFloat).contiguous();
  std::copy_n(own_bias.const_data_ptr<float>(), out, bias_.begin());
}

namespace {

// Contiguous rows of x [...,in].
Tensor checked_rows(const Tensor& x, int64_t in) {
  require(x.defined() && x.dim() >= 1 && x.size(-1) == in, ErrorCategory::invalid_argument,
          "fixed point: input has shape " +
              (x.defined() ? shape_string(x.sizes()) : std::string("undefined")) +
              ", expected [...," + std::to_string(in) + "]");
  check_fixed_point_input(x);
  return x.reshape({-1, in}).contiguous();
}

std::vector<int64_t> with_last(const Tensor& x, int64_t out) {
  auto shape = x.sizes().vec();
  shape.back() = out;
  return shape;
}

// Rows per thread at least.
constexpr int64_t kRowsOfFixedPointTask = 24;

template <class Task>
void run_in_parallel(const Task& task, int64_t rows, FixedPointKernel kernel) {
  at::parallel_for(0, rows, kRowsOfFixedPointTask,
                   [&](int64_t begin, int64_t end) { apply_to_rows(task, begin, end, kernel); });
}

}  // namespace
}  // namespace fixed_point

void check_fixed_point_input(const Tensor& x) {
  require(x.device().is_cpu(), ErrorCategory::unsupported,
          "fixed point: input on " + x.device().str() + ", expected the CPU");
  require(x.scalar_type() == at::kFloat, ErrorCategory::invalid_argument,
          "fixed point: input is " + std::string(c10::toString(x.scalar_type())) +
              ", expected float32");
  require(!(at::GradMode::is_enabled() && x.requires_grad()), ErrorCategory::unsupported,
          "fixed point computes no gradients: use the float32 model, or at::NoGradGuard");
}

FixedPointLinear::FixedPointLinear(const Tensor& weight, const Tensor& bias,
                                   FixedPointKernel kernel)
    : weights_(std::make_shared<fixed_point::PackedWeights>(weight, bias)), kernel_(kernel) {}

Tensor FixedPointLinear::apply(const Tensor& x) const {
  const auto weights = weights_->view();
  const auto rows = fixed_point::checked_rows(x, weights.in);
  auto y = at::empty({rows.size(0), weights.out}, rows.options());
  fixed_point::run_in_parallel(fixed_point::LinearTask{weights, rows.const_data_ptr<float>(),
                                                       weights.in, y.mutable_data_ptr<float>()},
                               rows.size(0), kernel_);
  return y.view(fixed_point::with_last(x, weights.out));
}

int64_t FixedPointLinear::in() const { return weights_->view().in; }
int64_t FixedPointLinear::out() const { return weights_->view().out; }
int64_t FixedPointLinear::bytes() const { return weights_->bytes(); }

FixedPointFeedForward::FixedPointFeedForward(const Tensor& in_weight, const Tensor& in_bias,
                                             const Tensor& out_weight, const Tensor& out_bias,
                                             FixedPointKernel kernel)
    : in_(std::make_shared<fixed_point::PackedWeights>(in_weight, in_bias)),
      out_(std::make_shared<fixed_point::PackedWeights>(out_weight, out_bias)),
      kernel_(kernel) {
  check_shape("out_weight", out_weight, {kAny, in_weight.size(0)}, "[out,hidden]");
}

Tensor FixedPointFeedForward::apply(const Tensor& x) const {
  const auto in = in_->view(), out = out_->view();
  const auto rows = fixed_point::checked_rows(x, in.in);
  auto y = at::empty({rows.size(0), out.out}, rows.options());
  fixed_point::run_in_parallel(fixed_point::FeedForwardTask{in, out, rows.const_data_ptr<float>(),
                                                            in.in, y.mutable_data_ptr<float>()},
                               rows.size(0), kernel_);
  return y.view(fixed_point::with_last(x, out.out));
}

}  // namespace foresight::nn
