// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "bundle_sizes.hpp"
#include "dino_wm_sizes.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "upstream_config.hpp"

namespace foresight::models {
namespace {

constexpr std::array kTrained{"predictor.", "action_encoder.", "proprio_encoder."};
constexpr std::array kOtherParts{"encoder.", "backbone.", "decoder."};
constexpr std::string_view kPreJepaEncoders = "extra_encoders.", kEncoderEnding = "_encoder.";
constexpr std::string_view kLayers = "predictor.transformer.layers.", kMaskEnding = ".0.bias";
constexpr std::string_view kPositionTable = "predictor.pos_embedding";
constexpr std::string_view kFromOptions = " as the options have it";

template <class Prefixes>
bool starts_with_any(std::string_view key, const Prefixes& prefixes) {
  for (const auto* prefix : prefixes)
    if (key.starts_with(prefix)) return true;
  return false;
}

std::string without_wrapper(std::string_view key) {
  constexpr std::string_view kTrainer = "model.";
  auto own = io::without_marks(std::string(key));
  if (own.starts_with(kTrainer)) own.erase(0, kTrainer.size());
  return own;
}

// PreJEPA keeps its attention mask as the buffer transformer.layers.{i}.0.bias.
bool is_mask(std::string_view key) {
  if (!key.starts_with(kLayers) || !key.ends_with(kMaskEnding)) return false;
  const auto index = key.substr(kLayers.size(), key.size() - kLayers.size() - kMaskEnding.size());
  return !index.empty() && index.find_first_not_of("0123456789") == std::string_view::npos;
}

// Our name, or nothing for a tensor of another part.
std::optional<std::string> own_key(std::string_view published) {
  auto key = without_wrapper(published);
  if (is_mask(key) || starts_with_any(key, kOtherParts)) return std::nullopt;
  if (!key.starts_with(kPreJepaEncoders)) return key;
  const auto rest = key.substr(kPreJepaEncoders.size());  // "proprio.patch_embed.weight"
  const auto dot = rest.find('.');
  return dot == std::string::npos ? key : rest.substr(0, dot) + "_encoder" + rest.substr(dot);
}

// Predictor and embeddings under our names.
io::NamedTensors trained_tensors(const io::NamedTensors& published) {
  io::NamedTensors own;
  for (const auto& [key, tensor] : published)
    if (auto name = own_key(key)) own.emplace_back(std::move(*name), tensor);
  return own;
}

// The backbone's tensors under our names, but without the part's.
io::NamedTensors backbone_tensors(const io::NamedTensors& tensors) {
  constexpr std::array<std::string_view, 3> kPrefixes{"encoder.base_model.", "backbone.",
                                                      "encoder."};
  // "encoder." also opens the names of Hugging Face's layers: it is a prefix only where everything
  // of the backbone is below it.
  const auto has = [&](std::string_view prefix, std::string_view name) {
    for (const auto& [key, tensor] : tensors)
      if (without_wrapper(key) == std::string(prefix) + std::string(name)) return true;
    return false;
  };
  std::string prefix;
  for (const auto candidate : kPrefixes)
    if (prefix.empty() &&
        (has(candidate, "pos_embed") || has(candidate, "embeddings.position_embeddings")))
      prefix = candidate;
  io::NamedTensors own;
  for (const auto& [key, tensor] : tensors) {
    const auto name = without_wrapper(key);
    if (name.starts_with(prefix)) own.emplace_back(name.substr(prefix.size()), tensor);
  }
  return nn::vit_tensors(own);
}

// The sizes that a PreJEPA's config.json tells, and what they are in options.
template <class Options>
auto prejepa_sizes(Options& o) {
  return std::array{std::pair{"num_frames", &o.history}, std::pair{"depth", &o.predictor.depth},
                    std::pair{"heads", &o.predictor.heads},
                    std::pair{"dim_head", &o.predictor.head_width},
                    std::pair{"mlp_dim", &o.predictor.mlp_width}};
}

// "proprio_encoder.patch_embed.weight" -> "extra_encoders.proprio.patch_embed.weight"
std::string prejepa_key(const std::string& own) {
  const auto at = own.find(kEncoderEnding);
  if (own.starts_with("predictor.") || at == std::string::npos) return own;
  return std::string(kPreJepaEncoders) + own.substr(0, at) + "." +
         own.substr(at + kEncoderEnding.size());
}

// Which tokens of W frames of P see which, [1,1,WP,WP]: 1 for those of the same and earlier frames.
Tensor causal_mask(const nn::PatchPredictorSizes& sizes, at::ScalarType type) {
  const auto frame = at::arange(sizes.frames).repeat_interleave(sizes.tokens);
  return frame.unsqueeze(1).ge(frame).to(type).unsqueeze(0).unsqueeze(0);
}

// Throws unless the masks that `tensors` hold are the model's: it computes its own.
void check_masks(const DinoWm& model, const io::NamedTensors& tensors, std::string_view source) {
  auto sizes = model.predictor().sizes();
  if (model.options().predictor.conditioning == nn::ActionConditioning::token) ++sizes.tokens;
  Tensor expected;
  for (const auto& [key, tensor] : tensors) {
    if (!is_mask(without_wrapper(key))) continue;
    if (!expected.defined()) expected = causal_mask(sizes, at::kBool);
    require(tensor.sizes() == expected.sizes() && at::equal(tensor.cpu().ne(0), expected),
            ErrorCategory::bad_file,
            std::string(source) + ": '" + key + "', a mask of shape " +
                shape_string(tensor.sizes()) + ", is not the one of " +
                std::to_string(sizes.frames) + " frames of " + std::to_string(sizes.tokens) +
                " tokens that see their own and earlier frames");
  }
}

void require_prejepa(const DinoWmOptions& options) {
  const auto needs = [](bool holds, const std::string& what) {
    require(holds, ErrorCategory::unsupported,
            "stable-worldmodel's PreJEPA has no " + what + ": it cannot be in its layout");
  };
  needs(options.predictor.conditioning == nn::ActionConditioning::feature,
        "actions but as channels (" + std::string(enum_name(options.predictor.conditioning)) + ")");
  needs(options.action_repeat == 1 && (options.proprio.dim == 0 || options.proprio.repeat == 1),
        "repeated embeddings");
}

}  // namespace

void read_prejepa_config(DinoWmOptions& options, const nlohmann::json& upstream) {
  for (const auto& [key, target] : prejepa_sizes(options))
    if (const auto told = upstream_integer(upstream, "predictor", key); told > 0) *target = told;
  const auto dropout = upstream_entry(upstream, "predictor", "dropout");
  if (dropout.is_number()) options.predictor.dropout = dropout.get<double>();
}

bool prejepa_config_told(const DinoWmOptions& options, const nlohmann::json& upstream,
                         std::string_view key) {
  for (const auto& [name, value] : prejepa_sizes(options))
    if (name == key) return *value > 0 && upstream_integer(upstream, "predictor", name) == *value;
  return false;
}

void check_prejepa_config(const DinoWmOptions& options, const nlohmann::json& upstream,
                          const std::string& config_name, const io::NamedTensors& tensors) {
  const auto own = trained_tensors(tensors);
  const auto& o = options.predictor;
  const auto agrees = [&](bool fits, const char* key, int64_t value, const std::string& found) {
    require(fits || !prejepa_config_told(options, upstream, key), ErrorCategory::bad_file,
            config_name + ": predictor." + key + " = " + std::to_string(value) +
                " disagrees with the weights: " + found);
  };
  const auto layers = count_below(own, kLayers);
  agrees(layers == o.depth, "depth", o.depth,
         "'" + std::string(kLayers) + "*' are those of " + std::to_string(layers) + " layers");
  const auto first = std::string(kLayers) + "0.";
  const auto sizes = predictor_sizes(options);
  const auto tokens =
      sizes.tokens + (o.conditioning == nn::ActionConditioning::token ? int64_t{1} : int64_t{0});
  for (const auto& [key, tensor] : own) {
    const auto shape = "'" + key + "' has shape " + shape_string(tensor.sizes());
    if (key == first + "1.net.1.weight" || key == first + "mlp.net.1.weight")
      agrees(tensor.dim() < 1 || tensor.size(0) == o.mlp_width, "mlp_dim", o.mlp_width, shape);
    const bool positions = key == kPositionTable && tensor.dim() == 3;
    if (!positions || tokens < 1 || tensor.size(1) % tokens != 0) continue;
    const auto frames = tensor.size(1) / tokens;
    agrees(frames == sizes.frames, "num_frames", sizes.frames,
           shape + ", which is " + std::to_string(frames) + " frames of " + std::to_string(tokens) +
               " tokens");
  }
}

void check_dino_wm_sizes(const DinoWmOptions& options, const io::NamedTensors& tensors,
                         std::string_view source, const io::NamedTensors& backbone,
                         std::string_view backbone_source) {
  require_valid(options);
  // The encoder first: a message about the rest makes the whole model.
  SizeFaults faults;
  const auto encoder = backbone_tensors(backbone);
  expect_sizes(encoder, "", options.encoder, options.encoder_image_size, backbone_source,
               "encoder.", kFromOptions, &faults);
  faults.throw_if_any(encoder, backbone_source, [&] {
    return nn::state_dict(nn::Vit(options.encoder, options.encoder_image_size));
  });
  const auto own = trained_tensors(tensors);
  expect_trained_sizes(own, options, source, "", kFromOptions, &faults);
  faults.throw_if_any(own, source, [&] { return dino_wm_tensors(DinoWm(options, std::nullopt)); });
}

void fill_predictor_heads(nn::PatchPredictorOptions& predictor, const io::NamedTensors& tensors,
                          std::string_view source, std::string_view told_by) {
  constexpr std::array<int64_t, 2> kPublishedWidths{404, 394};  // with and without proprioception
  const std::string first = std::string(kLayers) + "0.";
  int64_t attention = 0, width = 0;
  bool projected = false;
  for (const auto& [key, tensor] : tensors) {
    const auto own = own_key(key);
    if (!own || !own->starts_with(first)) continue;
    projected = projected || own->ends_with(".to_out.0.weight");
    if (!own->ends_with(".to_qkv.weight") || tensor.dim() != 2) continue;
    attention = tensor.size(0) / 3;
    width = tensor.size(1);
  }
  require(attention > 0, ErrorCategory::bad_file,
          std::string(source) + ": no tensor '" + first +
              "0.to_qkv.weight', which every DINO-WM's predictor has");
  auto& heads = predictor.heads;
  auto& head_width = predictor.head_width;
  const nn::PatchPredictorOptions published;
  const bool as_published =
      predictor.depth == published.depth && predictor.mlp_width == published.mlp_width &&
      attention == published.heads * published.head_width &&
      std::find(kPublishedWidths.begin(), kPublishedWidths.end(), width) != kPublishedWidths.end();
  if (heads == 0 && head_width > 0) heads = attention / head_width;
  if (heads == 0 && !projected) heads = 1;
  if (heads == 0 && as_published) heads = published.heads;
  const auto text =
      std::string(source) + ": the predictor's attention width " + std::to_string(attention);
  require(heads > 0, ErrorCategory::invalid_option,
          text +
              " does not tell its heads, and there is no config.json that does: give "
              "--predictor.heads");
  if (head_width == 0) head_width = attention / heads;
  require(attention % heads == 0 && head_width == attention / heads, ErrorCategory::invalid_option,
          text + " is not that of " + std::to_string(heads) + " heads of " +
              std::to_string(head_width) +
              (told_by.empty() ? "" : ", as " + std::string(told_by) + " says"));
}

std::vector<std::pair<std::string, int64_t>> dino_wm_other_parts(const io::NamedTensors& tensors) {
  std::vector<std::pair<std::string, int64_t>> parts;
  for (const auto* prefix : kOtherParts) {
    const auto count = std::count_if(tensors.begin(), tensors.end(), [&](const auto& item) {
      return without_wrapper(item.first).starts_with(prefix);
    });
    if (count > 0) parts.emplace_back(prefix, count);
  }
  return parts;
}

DinoWmLayout dino_wm_layout(const io::NamedTensors& tensors) {
  const bool prejepa = std::any_of(tensors.begin(), tensors.end(), [](const auto& item) {
    const auto key = without_wrapper(item.first);
    return key.starts_with(kPreJepaEncoders) || is_mask(key);
  });
  return prejepa ? DinoWmLayout::prejepa : DinoWmLayout::dino_wm;
}

io::NamedTensors dino_wm_tensors(const DinoWm& model, DinoWmLayout layout) {
  io::NamedTensors trained;
  for (auto& item : nn::state_dict(model))
    if (starts_with_any(item.first, kTrained)) trained.push_back(std::move(item));
  if (layout == DinoWmLayout::dino_wm) return trained;
  require_prejepa(model.options());
  for (auto& [key, tensor] : trained) key = prejepa_key(key);
  const auto mask = causal_mask(model.predictor().sizes(), trained.front().second.scalar_type());
  for (int64_t i = 0; i < model.options().predictor.depth; ++i)
    trained.emplace_back(std::string(kLayers) + std::to_string(i) + std::string(kMaskEnding), mask);
  return trained;
}

void load_dino_wm(DinoWm& model, const io::NamedTensors& tensors, std::string_view source) {
  check_masks(model, tensors, source);
  io::load_into(dino_wm_tensors(model), trained_tensors(tensors), source, io::DtypeRule::same_kind);
}

void load_dino_wm_backbone(DinoWm& model, const io::NamedTensors& tensors, std::string_view source,
                           io::Placement placement) {
  nn::load_state_dict(model.encoder(), backbone_tensors(tensors), source, placement);
}

}  // namespace foresight::models
