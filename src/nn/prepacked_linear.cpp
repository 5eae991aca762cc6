// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/prepacked_linear.hpp"

#include <ATen/Context.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include "foresight/core/error.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {
namespace {

// The operators of LibTorch's compiler for products with weights in oneDNN's layout.
using Reorder = Tensor(const Tensor&, std::optional<int64_t>);
using Multiply = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&,
                        std::string_view, c10::List<std::optional<at::Scalar>>,
                        std::optional<std::string_view>);

// Empty where this LibTorch lacks the operator or types it otherwise.
template <class Signature>
std::optional<c10::TypedOperatorHandle<Signature>> mkldnn(const char* name) {
  const auto schema = c10::Dispatcher::singleton().findSchema({name, ""});
  if (!schema || !schema->hasKernelForDispatchKey(c10::DispatchKey::CPU)) return std::nullopt;
  try {
    return schema->template typed<Signature>();
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

const auto& reorder() {
  static const auto found = mkldnn<Reorder>("mkldnn::_reorder_linear_weight");
  return found;
}
const auto& multiply() {
  static const auto found = mkldnn<Multiply>("mkldnn::_linear_pointwise");
  return found;
}

}  // namespace

bool PrepackedLinear::available() {
  static const bool here = cpu_multiplies_bfloat16() && at::globalContext().userEnabledMkldnn() &&
                           reorder() && multiply();
  return here;
}

bool PrepackedLinear::computes(const Frozen& weights, const Tensor& x, Mode mode) {
  return x.scalar_type() == at::kBFloat16 && x.device().is_cpu() && stands_in(weights, mode);
}

PrepackedLinear::PrepackedLinear(const Tensor& weight, const Tensor& bias) : in_(0) {
  require(available(), ErrorCategory::unsupported,
          "prepacked layer: this processor does not multiply bfloat16, or LibTorch is without "
          "oneDNN");
  check_shape("weight", weight, {kAny, kAny}, "[out,in]");
  if (bias.defined()) check_shape("bias", bias, {weight.size(0)}, "[out]");
  for (const auto& tensor : {weight, bias})
    require(
        !tensor.defined() || (tensor.scalar_type() == at::kBFloat16 && tensor.device().is_cpu()),
        ErrorCategory::invalid_argument,
        "prepacked layer: expected bfloat16 weights on the CPU, got " + weight.toString());
  in_ = weight.size(1);
  weight_ = reorder()->call(weight.detach().contiguous(), std::nullopt);
  if (bias.defined()) bias_ = bias.detach().clone();
}

Tensor PrepackedLinear::apply(const Tensor& x, Activation activation) const {
  require(activation == Activation::identity || activation == Activation::gelu,
          ErrorCategory::unsupported, "prepacked layer: the activation is to be identity or gelu");
  require(x.defined() && x.dim() >= 1 && x.size(-1) == in_ && x.scalar_type() == at::kBFloat16,
          ErrorCategory::invalid_argument,
          "prepacked layer: expected bfloat16 [...," + std::to_string(in_) + "]");
  return multiply()->call(x, weight_, bias_.defined() ? std::optional(bias_) : std::nullopt,
                          activation == Activation::gelu ? "gelu" : "none",
                          c10::List<std::optional<at::Scalar>>(), "none");
}

}  // namespace foresight::nn
