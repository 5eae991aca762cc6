// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/packed_linear.hpp"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "foresight/core/error.hpp"
#include "packed_tasks.hpp"

namespace foresight::nn {
namespace packing {

namespace {

float packed(const float* x, int64_t n, std::int16_t* to) { return quantise(x, n, to); }
float packed(const float* x, int64_t n, float* to) {
  std::copy_n(x, n, to);
  return 1;
}

}  // namespace

template <class Value>
PackedWeights<Value>::PackedWeights(const Tensor& weight, const Tensor& bias, int64_t block) {
  check_shape("weight", weight, {kAny, kAny}, "[out,in]");
  const auto out = weight.size(0), in = weight.size(1);
  require(out >= 1 && in >= 1, ErrorCategory::invalid_argument,
          "packed layer: weight " + shape_string(weight.sizes()) + " has no elements");
  if (bias.defined()) check_shape("bias", bias, {out}, "[out]");
  require(weight.is_floating_point() && weight.device().is_cpu(), ErrorCategory::unsupported,
          "packed layer: weight is " + std::string(c10::toString(weight.scalar_type())) + " on " +
              weight.device().str() + ", expected a floating type on the CPU");
  sizes_.in = in, sizes_.out = out, sizes_.block = block;
  sizes_.blocks = (in + block - 1) / block;
  sizes_.panels = (out + kColumns - 1) / kColumns;
  const auto padded = sizes_.in_padded(), columns = sizes_.panels * kColumns;
  values_.resize(static_cast<std::size_t>(columns * padded));
  scales_.resize(static_cast<std::size_t>(columns * sizes_.blocks));
  bias_.resize(static_cast<std::size_t>(columns));
  const auto rows = weight.detach().to(at::kFloat).contiguous();
  Value some[kBlock];
  for (int64_t c = 0; c < out; ++c)
    for (int64_t b = 0; b < sizes_.blocks; ++b) {
      const auto panel = c / kColumns, column = c % kColumns;
      const auto length = sizes_.length(b);
      scales_[static_cast<std::size_t>((panel * sizes_.blocks + b) * kColumns + column)] =
          packed(rows.const_data_ptr<float>() + c * in + b * block, length, some);
      auto* to = values_.data() + (view().values_of(panel, b) - values_.data());
      constexpr auto n = kSideBySide<Value>;
      for (int64_t k = 0; k < length; ++k) to[(k / n * kColumns + column) * n + k % n] = some[k];
    }
  if (!bias.defined()) return;
  const auto own_bias = bias.detach().to(at::kFloat).contiguous();
  std::copy_n(own_bias.const_data_ptr<float>(), out, bias_.begin());
}

template class PackedWeights<float>;
template class PackedWeights<std::int16_t>;

namespace {

// Contiguous rows of x [...,in].
Tensor checked_rows(const Tensor& x, int64_t in) {
  require(x.defined() && x.dim() >= 1 && x.size(-1) == in, ErrorCategory::invalid_argument,
          "packed layer: input has shape " +
              (x.defined() ? shape_string(x.sizes()) : std::string("undefined")) +
              ", expected [...," + std::to_string(in) + "]");
  check_packed_input(x);
  return x.reshape({-1, in}).contiguous();
}

std::vector<int64_t> with_last(const Tensor& x, int64_t out) {
  auto shape = x.sizes().vec();
  shape.back() = out;
  return shape;
}

// Rows per thread at least.
constexpr int64_t kRowsOfPackedTask = 24;

template <class Task>
void run_in_parallel(const Task& task, int64_t rows, PackedKernel kernel) {
  at::parallel_for(0, rows, kRowsOfPackedTask,
                   [&](int64_t begin, int64_t end) { apply_to_rows(task, begin, end, kernel); });
}

}  // namespace
}  // namespace packing

void check_packed_input(const Tensor& x) {
  require(x.device().is_cpu(), ErrorCategory::unsupported,
          "packed layer: input on " + x.device().str() + ", expected the CPU");
  require(x.scalar_type() == at::kFloat, ErrorCategory::invalid_argument,
          "packed layer: input is " + std::string(c10::toString(x.scalar_type())) +
              ", expected float32");
  require(!(at::GradMode::is_enabled() && x.requires_grad()), ErrorCategory::unsupported,
          "packed layers compute no gradients: use the model that they were packed from, or "
          "at::NoGradGuard");
}

bool stands_in(const Frozen& weights, Mode mode) {
  return mode == Mode::infer && !at::GradMode::is_enabled() &&
         !at::autocast::is_autocast_enabled(at::kCPU) && weights.unchanged();
}

bool packed_computes(const Frozen& weights, PackedFormat format, Mode mode,
                     std::string_view holder) {
  if (format == PackedFormat::float32) return stands_in(weights, mode);
  require(mode == Mode::infer, ErrorCategory::unsupported,
          "a model in fixed point only infers: train the one it was copied from");
  weights.check(holder);
  return true;
}

bool can_pack_float32(const std::vector<Tensor>& weights) {
  return std::all_of(weights.begin(), weights.end(), [](const Tensor& w) {
    return !w.defined() || (w.device().is_cpu() && !w.is_inference() &&
                            (w.scalar_type() == at::kFloat || !w.is_floating_point()));
  });
}

PackedLinear::PackedLinear(const Tensor& weight, const Tensor& bias, const Packing& packing)
    : weights_(packing::packed(weight, bias, packing.format)), kernel_(packing.kernel) {}

Tensor PackedLinear::apply(const Tensor& x) const {
  return weights_->visit([&](const auto& packed) {
    const auto weights = packed.view();
    const auto rows = packing::checked_rows(x, weights.in);
    auto y = at::empty({rows.size(0), weights.out}, rows.options());
    packing::run_in_parallel(packing::LinearTask{weights, rows.template const_data_ptr<float>(),
                                                 weights.in, y.template mutable_data_ptr<float>()},
                             rows.size(0), kernel_);
    return y.view(packing::with_last(x, weights.out));
  });
}

int64_t PackedLinear::in() const {
  return weights_->visit([](const auto& weights) { return weights.view().in; });
}
int64_t PackedLinear::out() const {
  return weights_->visit([](const auto& weights) { return weights.view().out; });
}
int64_t PackedLinear::bytes() const {
  return weights_->visit([](const auto& weights) { return weights.bytes(); });
}

PackedFeedForward::PackedFeedForward(const Tensor& in_weight, const Tensor& in_bias,
                                     const Tensor& out_weight, const Tensor& out_bias,
                                     const Packing& packing)
    : in_(packing::packed(in_weight, in_bias, packing.format)),
      out_(packing::packed(out_weight, out_bias, packing.format)),
      kernel_(packing.kernel) {
  check_shape("out_weight", out_weight, {kAny, in_weight.size(0)}, "[out,hidden]");
}

Tensor PackedFeedForward::apply(const Tensor& x) const {
  return in_->visit([&](const auto& packed) {
    const auto in = packed.view(), out = out_->like(packed).view();
    const auto rows = packing::checked_rows(x, in.in);
    auto y = at::empty({rows.size(0), out.out}, rows.options());
    packing::run_in_parallel(
        packing::FeedForwardTask{in, out, rows.template const_data_ptr<float>(), in.in,
                                 y.template mutable_data_ptr<float>()},
        rows.size(0), kernel_);
    return y.view(packing::with_last(x, out.out));
  });
}

}  // namespace foresight::nn
