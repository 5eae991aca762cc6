// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/hf_vit_keys.hpp"

#include <array>
#include <cctype>
#include <utility>

namespace foresight::nn {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kNewerToOlder{{
    {"attention.q_proj.", "attention.attention.query."},
    {"attention.k_proj.", "attention.attention.key."},
    {"attention.v_proj.", "attention.attention.value."},
    {"attention.o_proj.", "attention.output.dense."},
    {"mlp.fc1.", "intermediate.dense."},
    {"mlp.fc2.", "output.dense."},
    {"layernorm_before.", "layernorm_before."},
    {"layernorm_after.", "layernorm_after."},
}};

}  // namespace

std::string older_hf_vit_key(std::string_view key) {
  constexpr std::string_view kLayers = "layers.";
  const auto at = key.find(kLayers);
  const bool opens_a_name = at != std::string_view::npos && (at == 0 || key[at - 1] == '.');
  if (!opens_a_name) return std::string(key);
  auto rest = key.substr(at + kLayers.size());
  std::size_t digits = 0;
  while (digits < rest.size() && std::isdigit(static_cast<unsigned char>(rest[digits]))) ++digits;
  if (digits == 0 || digits == rest.size() || rest[digits] != '.') return std::string(key);
  const auto index = rest.substr(0, digits);
  rest.remove_prefix(digits + 1);
  for (const auto& [newer, older] : kNewerToOlder) {
    if (!rest.starts_with(newer)) continue;
    return std::string(key.substr(0, at)) + "encoder.layer." + std::string(index) + "." +
           std::string(older) + std::string(rest.substr(newer.size()));
  }
  return std::string(key);
}

}  // namespace foresight::nn
