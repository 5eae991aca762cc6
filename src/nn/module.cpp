// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/module.hpp"

namespace foresight::nn {
namespace {

// ATen's matrix products in bfloat16 take oneDNN from AVX-512 on; below they are scalar loops.
bool slow_in_bfloat16(const Tensor& x) {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool slow_cpu = !__builtin_cpu_supports("avx512bw");
  return slow_cpu && x.scalar_type() == at::kBFloat16 && x.device().is_cpu();
#else
  static_cast<void>(x);
  return false;
#endif
}

}  // namespace

Tensor apply_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!slow_in_bfloat16(x)) return at::linear(x, weight, bias);
  const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kFloat) : t; };
  return at::linear(wide(x), wide(weight), wide(bias)).to(at::kBFloat16);
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
