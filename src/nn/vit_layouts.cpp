// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/vit_layouts.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::nn {
namespace {

struct Rename {
  std::string_view published, own;
};

// Outside the layers: DINOv2's own code (also I-JEPA's and timm's).
constexpr std::array<Rename, 6> kOutside{{
    {"cls_token", "embeddings.cls_token"},
    {"mask_token", "embeddings.mask_token"},
    {"register_tokens", "embeddings.register_tokens"},
    {"pos_embed", "embeddings.position_embeddings"},
    {"patch_embed.proj.", "embeddings.patch_embeddings.projection."},
    {"norm.", "layernorm."},
}};

// Dinov2Model's files; the first four are DINOv2's own names too.
constexpr std::array<Rename, 6> kDinoV2Layer{{
    {"norm1.", "layernorm_before."},
    {"norm2.", "layernorm_after."},
    {"mlp.fc1.", "intermediate.dense."},
    {"mlp.fc2.", "output.dense."},
    {"mlp.weights_in.", "intermediate.dense."},
    {"mlp.weights_out.", "output.dense."},
}};

// Dinov2Model in the memory of transformers 5, and DINOv2's own code.
constexpr std::array<Rename, 10> kOtherLayer{{
    {"attention.q_proj.", "attention.attention.query."},
    {"attention.k_proj.", "attention.attention.key."},
    {"attention.v_proj.", "attention.attention.value."},
    {"attention.o_proj.", "attention.output.dense."},
    {"mlp.down_proj.", "output.dense."},
    {"attn.proj.", "attention.output.dense."},
    {"ls1.gamma", "layer_scale1.lambda1"},
    {"ls2.gamma", "layer_scale2.lambda1"},
    {"mlp.w12.", "intermediate.dense."},
    {"mlp.w3.", "output.dense."},
}};

// DINOv2's own code, but for the first layer of a gated feed-forward part.
constexpr std::array<Rename, 7> kDinoV2Own{{
    {"norm1.", "layernorm_before."},
    {"norm2.", "layernorm_after."},
    {"attn.proj.", "attention.output.dense."},
    {"ls1.gamma", "layer_scale1.lambda1"},
    {"ls2.gamma", "layer_scale2.lambda1"},
    {"mlp.fc1.", "intermediate.dense."},
    {"mlp.fc2.", "output.dense."},
}};

// Dinov2Model's files in the memory of transformers 5.
constexpr std::array<Rename, 5> kDinoV2Memory{{
    {"attention.q_proj.", "attention.attention.query."},
    {"attention.k_proj.", "attention.attention.key."},
    {"attention.v_proj.", "attention.attention.value."},
    {"attention.o_proj.", "attention.output.dense."},
    {"mlp.down_proj.", "mlp.weights_out."},
}};

constexpr std::array<std::string_view, 3> kFused{
    "attention.attention.query.", "attention.attention.key.", "attention.attention.value."};

// The reverse of renamed().
template <class Table>
std::string published_name(std::string_view name, const Table& table) {
  for (const auto& [published, own] : table)
    if (own.ends_with('.') ? name.starts_with(own) : name == own)
      return std::string(published) + std::string(name.substr(own.size()));
  return std::string(name);
}

template <class Table>
std::optional<std::string> renamed(std::string_view name, const Table& table) {
  for (const auto& [published, own] : table) {
    const bool prefix = published.ends_with('.');
    if (prefix ? name.starts_with(published) : name == published)
      return std::string(own) + std::string(name.substr(published.size()));
  }
  return std::nullopt;
}

// "encoder.layer.3.norm1.weight" or "blocks.3.norm1.weight" -> {"encoder.layer.3.", "norm1.weight"}
struct LayerKey {
  std::string layer, rest;
};
std::optional<LayerKey> layer_key(std::string_view key) {
  for (const std::string_view opener : {"encoder.layer.", "blocks."}) {
    if (!key.starts_with(opener)) continue;
    const auto tail = key.substr(opener.size());
    std::size_t digits = 0;
    while (digits < tail.size() && std::isdigit(static_cast<unsigned char>(tail[digits]))) ++digits;
    if (digits == 0 || digits == tail.size() || tail[digits] != '.') return std::nullopt;
    return LayerKey{"encoder.layer." + std::string(tail.substr(0, digits + 1)),
                    std::string(tail.substr(digits + 1))};
  }
  return std::nullopt;
}

// Collects the tensors; the halves of a gate wait for each other.
class Collector {
 public:
  void add(std::string key, Tensor tensor) {
    if (key == "embeddings.mask_token" && tensor.defined() && tensor.dim() == 2)
      tensor = tensor.unsqueeze(0);
    result_.emplace_back(std::move(key), std::move(tensor));
  }

  void add_layer(const LayerKey& key, const std::string& published, const Tensor& tensor) {
    const std::string_view rest = key.rest;
    constexpr std::string_view kQkv = "attn.qkv.", kGate = "mlp.gate_proj.", kUp = "mlp.up_proj.";
    if (rest.starts_with(kQkv) && tensor.defined() && tensor.dim() >= 1) {
      const auto thirds = tensor.chunk(3, 0);
      for (std::size_t i = 0; i < thirds.size(); ++i)
        add(key.layer + std::string(kFused[i]) + std::string(rest.substr(kQkv.size())), thirds[i]);
    } else if (rest.starts_with(kGate)) {
      gates_[key.layer + "intermediate.dense." + std::string(rest.substr(kGate.size()))].first = {
          published, tensor};
    } else if (rest.starts_with(kUp)) {
      gates_[key.layer + "intermediate.dense." + std::string(rest.substr(kUp.size()))].second = {
          published, tensor};
    } else if (auto own = renamed(rest, kDinoV2Layer)) {
      add(key.layer + *own, tensor);
    } else if (own = renamed(rest, kOtherLayer); own) {
      add(key.layer + *own, tensor);
    } else {
      add(key.layer + key.rest, tensor);
    }
  }

  io::NamedTensors finish() {
    for (const auto& [key, halves] : gates_) {
      const auto& [gate, up] = halves;
      const bool fit = gate.second.defined() && up.second.defined() && gate.second.dim() >= 1 &&
                       gate.second.sizes() == up.second.sizes() &&
                       gate.second.scalar_type() == up.second.scalar_type();
      if (fit) {
        add(key, at::cat({gate.second, up.second}));
        continue;
      }
      for (const auto& half : {gate, up})  // left to the strict loader to report
        if (!half.first.empty()) add(half.first, half.second);
    }
    return std::move(result_);
  }

 private:
  using Half = std::pair<std::string, Tensor>;
  io::NamedTensors result_;
  std::map<std::string, std::pair<Half, Half>> gates_;
};

}  // namespace

io::NamedTensors vit_tensors(const io::NamedTensors& published) {
  Collector collector;
  for (const auto& [name, tensor] : published) {
    const auto key = older_hf_vit_key(name);
    if (const auto layer = layer_key(key))
      collector.add_layer(*layer, name, tensor);
    else
      collector.add(renamed(key, kOutside).value_or(key), tensor);
  }
  return collector.finish();
}

std::string hf_vit_key(const std::string& key, const VitOptions& options) {
  const auto layer = options.layer_scale ? layer_key(key) : std::nullopt;
  if (!layer) return key;
  for (const auto& [published, own] : kDinoV2Layer) {
    if (options.gated && published.starts_with("mlp.fc")) continue;
    if (layer->rest.starts_with(own))
      return layer->layer + std::string(published) + layer->rest.substr(own.size());
  }
  return key;
}

io::NamedTensors hf_vit_tensors(const Vit& vit) {
  auto tensors = state_dict(vit);
  for (auto& [key, tensor] : tensors) {
    if (vit.options().layer_scale && key == "embeddings.mask_token") tensor = tensor.squeeze(0);
    key = hf_vit_key(key, vit.options());
  }
  return tensors;
}

io::NamedTensors dinov2_tensors(const Vit& vit) {
  const auto& o = vit.options();
  require(o.layer_scale && o.class_token && !o.pooler, ErrorCategory::unsupported,
          "DINOv2's own code has layer scales, a class token and no pooler: a network of other "
          "parts cannot be under its names");
  io::NamedTensors result;
  std::map<std::string, std::vector<Tensor>> fused;  // queries, keys, values
  for (auto [key, tensor] : state_dict(vit)) {
    const auto layer = layer_key(key);
    if (!layer) {
      if (key == "embeddings.mask_token") tensor = tensor.squeeze(0);
      result.emplace_back(published_name(key, kOutside), tensor);
      continue;
    }
    constexpr std::string_view kOpener = "encoder.layer.";
    const auto block = "blocks." + layer->layer.substr(kOpener.size());
    const auto* third = std::find_if(kFused.begin(), kFused.end(), [&](std::string_view name) {
      return layer->rest.starts_with(name);
    });
    if (third != kFused.end()) {
      auto& parts = fused[block + "attn.qkv." + layer->rest.substr(third->size())];
      parts.resize(kFused.size());
      parts[static_cast<std::size_t>(third - kFused.begin())] = tensor;
      continue;
    }
    auto name = published_name(layer->rest, kDinoV2Own);
    if (o.gated && name.starts_with("mlp.fc")) name.replace(4, 3, name[6] == '1' ? "w12" : "w3");
    result.emplace_back(block + name, tensor);
  }
  for (const auto& [name, parts] : fused) result.emplace_back(name, at::cat(parts));
  return result;
}

io::NamedTensors hf_vit_memory_tensors(const Vit& vit) {
  constexpr std::string_view kGateAndUp = "mlp.weights_in.";
  io::NamedTensors result;
  for (const auto& [key, tensor] : hf_vit_tensors(vit)) {
    const auto layer = vit.options().layer_scale ? layer_key(key) : std::nullopt;
    if (!layer) {
      result.emplace_back(newer_hf_vit_key(key), tensor);
    } else if (layer->rest.starts_with(kGateAndUp)) {
      const auto halves = tensor.chunk(2, 0);
      const auto kind = layer->rest.substr(kGateAndUp.size());
      result.emplace_back(layer->layer + "mlp.gate_proj." + kind, halves[0]);
      result.emplace_back(layer->layer + "mlp.up_proj." + kind, halves[1]);
    } else {
      auto name = layer->rest;
      for (const auto& [memory, file] : kDinoV2Memory)
        if (layer->rest.starts_with(file))
          name = std::string(memory) + layer->rest.substr(file.size());
      result.emplace_back(layer->layer + name, tensor);
    }
  }
  return result;
}

}  // namespace foresight::nn
