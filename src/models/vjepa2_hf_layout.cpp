// SPDX-License-Identifier: Apache-2.0
// Names of V-JEPA 2's tensors in Hugging Face's files, to and from ours.
#include <array>
#include <map>

#include "foresight/models/vjepa2_checkpoint.hpp"

namespace foresight::models {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

// Hugging Face's piece of a name and ours. A piece that ends in "#k" is part k of a fused tensor.
constexpr std::array<Pair, 9> kPrefixes{{
    {"encoder.embeddings.patch_embeddings.proj.", "encoder.patch_embed.proj."},
    {"encoder.layer.", "encoder.blocks."},
    {"encoder.layernorm.", "encoder.norm."},
    {"predictor.embeddings.predictor_embeddings.", "predictor.predictor_embed."},
    {"predictor.layer.", "predictor.predictor_blocks."},
    {"predictor.layernorm.", "predictor.predictor_norm."},
    {"predictor.proj.", "predictor.predictor_proj."},
    {"pooler.self_attention_layers.", "pooler.blocks."},
    {"pooler.cross_attention_layer.", "pooler.cross_attention_block."},
}};
constexpr std::array<Pair, 4> kInBlocks{{
    {".attention.query.", ".attn.qkv#0."},
    {".attention.key.", ".attn.qkv#1."},
    {".attention.value.", ".attn.qkv#2."},
    {".attention.proj.", ".attn.proj."},
}};
constexpr std::array<Pair, 9> kInPooler{{
    {".layer_norm1.", ".norm1."},
    {".layer_norm2.", ".norm2."},
    {".self_attn.q_proj.", ".attn.qkv#0."},
    {".self_attn.k_proj.", ".attn.qkv#1."},
    {".self_attn.v_proj.", ".attn.qkv#2."},
    {".self_attn.out_proj.", ".attn.proj."},
    {".cross_attn.q_proj.", ".xattn.q."},
    {".cross_attn.k_proj.", ".xattn.kv#0."},
    {".cross_attn.v_proj.", ".xattn.kv#1."},
}};
constexpr Pair kClassifier{"classifier.", "linear."};
constexpr std::string_view kWrapper = "vjepa2.";
constexpr std::string_view kHfMaskTokens = "predictor.embeddings.mask_tokens";
constexpr std::string_view kMaskToken = "predictor.mask_tokens.";

bool replace_first(std::string& name, std::string_view from, std::string_view to) {
  const auto at = name.find(from);
  if (at == std::string::npos) return false;
  name.replace(at, from.size(), to);
  return true;
}

// Replaces a leading piece, then at most one inner piece, in the direction of `ours`.
std::string renamed(std::string name, bool ours) {
  const auto from = [&](const Pair& pair) { return ours ? pair.first : pair.second; };
  const auto to = [&](const Pair& pair) { return ours ? pair.second : pair.first; };
  if (name.starts_with(from(kClassifier))) {
    replace_first(name, from(kClassifier), to(kClassifier));
    return name;
  }
  const bool pooler = name.starts_with("pooler.");
  for (const auto& pair : kPrefixes) {
    if (!name.starts_with(from(pair))) continue;
    replace_first(name, from(pair), to(pair));
    break;
  }
  const auto inner = [&](const auto& pairs) {
    for (const auto& pair : pairs)
      if (replace_first(name, from(pair), to(pair))) return;
  };
  pooler ? inner(kInPooler) : inner(kInBlocks);
  return name;
}

// Number of parts that are fused into the tensor that a name without "#k" stands for; 1: none.
int64_t parts_of(const std::string& name) {
  if (name.find(".attn.qkv.") != std::string::npos) return 3;
  return name.find(".xattn.kv.") != std::string::npos ? 2 : 1;
}

// `rows`, which have the same sizes, one after another: in the memory of `own` where it fits.
Tensor fused_rows(const std::vector<Tensor>& rows, const Tensor& own) {
  auto sizes = rows[0].sizes().vec();
  sizes[0] *= static_cast<int64_t>(rows.size());
  if (!own.defined() || own.sizes() != sizes) return at::cat(rows, 0);
  const auto parts = own.detach().chunk(static_cast<int64_t>(rows.size()), 0);
  for (std::size_t i = 0; i < rows.size(); ++i) parts[i].copy_(rows[i]);
  return own;
}

}  // namespace

io::NamedTensors vjepa2_from_hf(const io::NamedTensors& tensors, const io::NamedTensors& own) {
  const std::map<std::string_view, Tensor> targets(own.begin(), own.end());
  io::NamedTensors result;
  struct Part {
    std::string hf;
    Tensor tensor;
  };
  std::map<std::string, std::map<int, Part>> fused;
  for (const auto& [given, tensor] : tensors) {
    std::string name = given.starts_with(kWrapper) ? given.substr(kWrapper.size()) : given;
    // One without numbers claims any count of tokens and has no bytes: the strict loader's matter.
    if (name == kHfMaskTokens && tensor.dim() == 4 && tensor.numel() > 0) {
      for (int64_t k = 0; k < tensor.size(0); ++k)
        result.emplace_back(std::string(kMaskToken) + std::to_string(k), tensor.select(0, k));
      continue;
    }
    name = renamed(name, /*ours=*/true);
    const auto mark = name.find('#');
    if (mark == std::string::npos) {
      result.emplace_back(name, tensor);
      continue;
    }
    const int part = name[mark + 1] - '0';
    fused[name.erase(mark, 2)].emplace(part, Part{given, tensor});
  }
  for (const auto& [name, parts] : fused) {
    std::vector<Tensor> rows;
    for (const auto& [number, part] : parts) rows.push_back(part.tensor);
    bool fits = static_cast<int64_t>(parts.size()) == parts_of(name);
    for (const auto& row : rows) fits = fits && row.dim() >= 1 && row.sizes() == rows[0].sizes();
    if (fits) {
      const auto target = targets.find(name);
      result.emplace_back(name,
                          fused_rows(rows, target == targets.end() ? Tensor() : target->second));
    } else {  // incomplete: the strict loader shall name what is there
      for (const auto& [number, part] : parts) result.emplace_back(part.hf, part.tensor);
    }
  }
  return result;
}

io::NamedTensors vjepa2_to_hf(const io::NamedTensors& tensors, std::string_view prefix) {
  io::NamedTensors result;
  std::map<int64_t, Tensor> mask_tokens;
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    const auto hf = renamed(name, /*ours=*/false);
    const bool inner = hf.starts_with("encoder.") || hf.starts_with("predictor.");
    result.emplace_back(inner ? std::string(prefix) + hf : hf, tensor);
  };
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with(kMaskToken)) {
      mask_tokens[std::stoll(name.substr(kMaskToken.size()))] = tensor;
      continue;
    }
    const auto parts = parts_of(name);
    const auto dot = name.rfind('.');  // before weight or bias
    for (int64_t k = 0; k < parts; ++k)
      add(parts == 1 ? name : name.substr(0, dot) + "#" + std::to_string(k) + name.substr(dot),
          tensor.chunk(parts, 0)[static_cast<std::size_t>(k)]);
  }
  if (!mask_tokens.empty()) {
    std::vector<Tensor> rows;
    for (const auto& [k, tensor] : mask_tokens) rows.push_back(tensor);
    result.emplace_back(std::string(prefix) + std::string(kHfMaskTokens), at::stack(rows));
  }
  return result;
}

}  // namespace foresight::models
