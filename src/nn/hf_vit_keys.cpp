// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/hf_vit_keys.hpp"

#include <array>
#include <cctype>
#include <optional>
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

/// A key taken apart: what comes before "<opener>N.", N, and the rest.
struct LayerKey {
  std::string_view before, index, rest;
};

std::optional<LayerKey> layer_key(std::string_view key, std::string_view opener) {
  const auto at = key.find(opener);
  const bool opens_a_name = at != std::string_view::npos && (at == 0 || key[at - 1] == '.');
  if (!opens_a_name) return std::nullopt;
  const auto rest = key.substr(at + opener.size());
  std::size_t digits = 0;
  while (digits < rest.size() && std::isdigit(static_cast<unsigned char>(rest[digits]))) ++digits;
  if (digits == 0 || digits == rest.size() || rest[digits] != '.') return std::nullopt;
  return LayerKey{key.substr(0, at), rest.substr(0, digits), rest.substr(digits + 1)};
}

constexpr std::string_view kOlder = "encoder.layer.", kNewer = "layers.";

std::string joined(const LayerKey& key, std::string_view opener, std::string_view name,
                   std::string_view rest) {
  return std::string(key.before) + std::string(opener) + std::string(key.index) + "." +
         std::string(name) + std::string(rest);
}

}  // namespace

std::string older_hf_vit_key(std::string_view key) {
  if (const auto layer = layer_key(key, kNewer))
    for (const auto& [newer, older] : kNewerToOlder)
      if (layer->rest.starts_with(newer))
        return joined(*layer, kOlder, older, layer->rest.substr(newer.size()));
  return std::string(key);
}

std::string newer_hf_vit_key(std::string_view key) {
  if (const auto layer = layer_key(key, kOlder))
    for (const auto& [newer, older] : kNewerToOlder)
      if (layer->rest.starts_with(older))
        return joined(*layer, kNewer, newer, layer->rest.substr(older.size()));
  return std::string(key);
}

}  // namespace foresight::nn
