// SPDX-License-Identifier: Apache-2.0
// Whether a checkpoint came back bit by bit.
#pragma once

#include <map>

#include "catch.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight {

inline bool same_bytes(const Tensor& a, const Tensor& b) {
  const auto bytes = [](const Tensor& t) { return t.contiguous().flatten().view(at::kByte); };
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         at::equal(bytes(a), bytes(b));
}

// `tensor` in `type`; of float64 with digits that float32 rounds away.
inline Tensor in_type(const Tensor& tensor, at::ScalarType type) {
  return type == at::kDouble ? tensor.to(type) * (1 + 1e-12) : tensor.to(type);
}

// Weights as they are often published: matrices in `type`, the rest in float32.
inline io::NamedTensors mixed_types(io::NamedTensors tensors, at::ScalarType type) {
  for (auto& [name, tensor] : tensors)
    if (tensor.is_floating_point() && tensor.dim() > 1) tensor = in_type(tensor, type);
  return tensors;
}

inline void check_same(const io::NamedTensors& found, const io::NamedTensors& expected) {
  const std::map<std::string, Tensor> by_name(found.begin(), found.end());
  CHECK(by_name.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(by_name.contains(name));
    CHECK(same_bytes(by_name.at(name), tensor));
  }
}

}  // namespace foresight
