// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/module.hpp"

#include <ATen/autocast_mode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

namespace foresight::nn {
namespace {

// ATen's matrix products in bfloat16 take oneDNN from AVX-512 on; below they are scalar loops.
bool cpu_is_slow_in_bfloat16() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool slow = !__builtin_cpu_supports("avx512bw");
  return slow;
#else
  return false;
#endif
}

// The type in which at::linear() computes on the CPU: autocast leaves float64 alone.
at::ScalarType product_type(const Tensor& x) {
  const bool narrowed = at::autocast::is_autocast_enabled(at::kCPU) && x.is_floating_point() &&
                        x.scalar_type() != at::kDouble;
  return narrowed ? at::autocast::get_autocast_dtype(at::kCPU) : x.scalar_type();
}

}  // namespace

Tensor apply_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!x.device().is_cpu() || !cpu_is_slow_in_bfloat16() || product_type(x) != at::kBFloat16)
    return at::linear(x, weight, bias);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const auto rounded = [](const Tensor& t) {
    return t.defined() ? t.to(at::kBFloat16).to(at::kFloat) : t;
  };
  return at::linear(rounded(x), rounded(weight), rounded(bias)).to(at::kBFloat16);
}

torch::nn::Module& scope(torch::nn::Module& root, std::string_view path) {
  torch::nn::Module* current = &root;
  while (!path.empty()) {
    const auto dot = path.find('.');
    const std::string name(path.substr(0, dot));
    path.remove_prefix(dot == std::string_view::npos ? path.size() : dot + 1);
    const auto children = current->named_children();
    const auto* child = children.find(name);
    current = child
                  ? child->get()
                  : current->register_module(name, std::make_shared<torch::nn::Module>(name)).get();
  }
  return *current;
}

}  // namespace foresight::nn
