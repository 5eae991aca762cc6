// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/hf_vit.hpp"

#include <cstdlib>
#include <map>
#include <set>

#include "checkpoint_sizes.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/hf_config.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"

namespace foresight::models {
namespace {

constexpr const char* kProjection = "embeddings.patch_embeddings.projection.weight";
constexpr const char* kPositions = "embeddings.position_embeddings";

// The encoder's tensors under the names of nn::Vit. A class built on the encoder puts it below its
// family's name.
io::NamedTensors encoder_tensors(const io::HfFolder& folder, std::string* left_out = nullptr) {
  const auto all = folder.tensors();
  const auto prefix = folder.model_type() + ".";
  bool wrapped = false;
  for (const auto& [name, tensor] : all) wrapped = wrapped || name.starts_with(prefix);
  io::NamedTensors own;
  for (const auto& [name, tensor] : all) {
    if (wrapped && name.starts_with(kHfClassifier)) {
      if (left_out) *left_out += (left_out->empty() ? "" : ", ") + name;
      continue;
    }
    const bool inner = wrapped && name.starts_with(prefix);
    own.emplace_back(inner ? name.substr(prefix.size()) : name, tensor);
  }
  return nn::vit_tensors(own);
}

// Names as files of the family have them, so that messages are about those.
io::NamedTensors under_file_names(io::NamedTensors tensors, const nn::VitOptions& options) {
  for (auto& [key, tensor] : tensors) key = nn::hf_vit_key(key, options);
  return tensors;
}

// The tensors of a folder's encoder, which must outlive this.
class Shapes {
 public:
  Shapes(const io::HfFolder& folder, const io::NamedTensors& tensors)
      : folder_(folder), tensors_(tensors) {
    for (const auto& [name, tensor] : tensors) shapes_[name] = tensor.sizes().vec();
  }

  bool has(const std::string& name) const { return shapes_.contains(name); }

  // From here on messages name tensors as files of a network with these options do.
  void name_as(const nn::VitOptions& options) { options_ = options; }

  // Layers 0..n-1 of which there is any tensor; -1 where a number is missing.
  int64_t layers() const {
    std::set<int64_t> numbers;
    constexpr std::string_view kOpener = "encoder.layer.";
    for (const auto& [name, shape] : shapes_)
      if (name.starts_with(kOpener) && name.size() > kOpener.size())
        numbers.insert(std::strtoll(name.c_str() + kOpener.size(), nullptr, 10));
    const auto count = static_cast<int64_t>(numbers.size());
    return numbers.empty() || *numbers.rbegin() == count - 1 ? count : -1;
  }

  // A tensor that tells sizes. Throws where it is there with another shape than this; `claim` is
  // what the configuration says.
  void agree(const std::string& name, const std::vector<int64_t>& shape, const std::string& claim) {
    const auto found = shapes_.find(name);
    require(found == shapes_.end() || found->second == shape, ErrorCategory::bad_file,
            folder_.config_name() + ": " + claim + " disagrees with tensor '" + named(name) +
                "' of shape " + (found == shapes_.end() ? "" : shape_string(found->second)) +
                ", which would have to be " + shape_string(shape));
    expect(name, shape);
  }

  // One of those that repeat them.
  void expect(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = shapes_.find(name);
    const auto* own = found == shapes_.end() ? nullptr : &found->second;
    if (!own || *own != shape) faults_.add(named(name), own, shape, kFromConfig);
  }

  // What lacks or does not fit is told with all else that does not.
  void throw_if_any_fault(const HfVitDescription& d) const {
    faults_.throw_if_any(under_file_names(tensors_, d.options), folder_.tensors_name(), [&] {
      const nn::Vit vit(d.options, d.image_size, d.channels);
      return under_file_names(nn::state_dict(vit), d.options);
    });
  }

 private:
  std::string named(const std::string& name) const { return nn::hf_vit_key(name, options_); }

  const io::HfFolder& folder_;
  const io::NamedTensors& tensors_;
  nn::VitOptions options_;
  SizeFaults faults_;
  std::map<std::string, std::vector<int64_t>> shapes_;
};

std::string claim(std::initializer_list<std::pair<const char*, int64_t>> settings) {
  std::string text;
  for (const auto& [key, value] : settings)
    text += (text.empty() ? "" : ", ") + std::string(key) + " = " + std::to_string(value);
  return text;
}

// Every size of the configuration is one of an existing tensor: a wrong one is named here, and
// nothing is allocated on its word.
void check_shapes(const HfVitDescription& d, Shapes& shapes, const io::HfFolder& folder) {
  const auto& o = d.options;
  shapes.name_as(o);
  shapes.agree(
      kProjection, {o.width, d.channels, o.patch, o.patch},
      claim({{"hidden_size", o.width}, {"num_channels", d.channels}, {"patch_size", o.patch}}));
  const auto grid = d.image_size / o.patch;
  shapes.agree(kPositions, {1, grid * grid + (o.class_token ? 1 : 0), o.width},
               claim({{"image_size", d.image_size}, {"patch_size", o.patch}}));
  if (o.registers > 0)
    shapes.agree("embeddings.register_tokens", {1, o.registers, o.width},
                 claim({{"num_register_tokens", o.registers}}));
  const auto layers = shapes.layers();
  require(layers == o.depth, ErrorCategory::bad_file,
          folder.config_name() + ": num_hidden_layers = " + std::to_string(o.depth) +
              ", but the tensors are those of " +
              (layers < 0 ? std::string("layers with gaps") : std::to_string(layers) + " layers"));
  const std::vector<int64_t> wide{(o.gated ? 2 : 1) * o.mlp_width, o.width};
  shapes.agree("encoder.layer.0.intermediate.dense.weight", wide,
               "the feed-forward width of " + std::to_string(o.mlp_width));
  for (int64_t i = 0; i < o.depth; ++i) {
    const auto layer = "encoder.layer." + std::to_string(i) + ".";
    for (const auto* map : {"attention.attention.query.weight", "attention.attention.key.weight",
                            "attention.attention.value.weight", "attention.output.dense.weight"})
      shapes.expect(layer + map, {o.width, o.width});
    if (i > 0) shapes.expect(layer + "intermediate.dense.weight", wide);
    shapes.expect(layer + "output.dense.weight", {o.width, o.mlp_width});
  }
  if (o.pooler) shapes.expect("pooler.dense.weight", {o.width, o.width});
}

// DINOv2's width of a gated feed-forward part.
int64_t gated_width(int64_t hidden) { return (hidden * 2 / 3 + 7) / 8 * 8; }

void read_dinov2(HfConfig& config, HfVitDescription& d, bool with_registers) {
  auto& o = d.options;
  o.layer_scale = true;
  o.mask_token = config.flag("use_mask_token", true);
  o.norm_epsilon = config.number("layer_norm_eps", 1e-6);
  o.gated = config.flag("use_swiglu_ffn", false);
  const auto hidden =
      static_cast<int64_t>(static_cast<double>(o.width) * config.number("mlp_ratio", 4));
  o.mlp_width = o.gated ? gated_width(hidden) : hidden;
  o.positions = nn::PositionResize::bicubic_float;
  if (with_registers) {
    o.registers = config.count("num_register_tokens", 4);
    o.positions = nn::PositionResize::bicubic_antialiased;
    config.expect("interpolate_antialias", true);
    config.expect("interpolate_offset", 0.0);
  }
  config.ignore({"drop_path_rate", "layerscale_value", "out_features", "out_indices", "stage_names",
                 "apply_layernorm", "reshape_hidden_states"});
}

void read_vit(HfConfig& config, HfVitDescription& d, const Shapes& shapes, bool class_token) {
  auto& o = d.options;
  o.class_token = class_token;
  o.mlp_width = config.positive("intermediate_size");
  o.norm_epsilon = config.number("layer_norm_eps", 1e-12);
  o.mask_token = shapes.has("embeddings.mask_token");
  o.pooler = shapes.has("pooler.dense.weight");
  if (o.pooler) config.expect("pooler_act", "tanh");
  config.ignore({"pooler_act", "pooler_output_size", "encoder_stride"});
}

HfVitDescription describe(const io::HfFolder& folder, Shapes shapes) {
  const auto type = folder.model_type();
  const bool dinov2 = type == "dinov2" || type == "dinov2_with_registers";
  require(dinov2 || type == "vit" || type == "ijepa", ErrorCategory::unsupported,
          folder.config_name() + ": model_type '" + type +
              "' is no image encoder known here, expected vit, ijepa, dinov2 or "
              "dinov2_with_registers");
  HfConfig config(folder.config, folder.config_name());
  HfVitDescription d;
  auto& o = d.options;
  o.width = config.positive("hidden_size");
  o.depth = config.positive("num_hidden_layers");
  o.heads = config.positive("num_attention_heads");
  o.patch = config.edge("patch_size");
  o.activation = config.activation("hidden_act", "gelu");
  o.qkv_bias = config.flag("qkv_bias", true);
  d.image_size = config.edge("image_size");
  d.channels = config.positive("num_channels", 3);
  config.ignore({"hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"});
  if (dinov2)
    read_dinov2(config, d, type == "dinov2_with_registers");
  else
    read_vit(config, d, shapes, type == "vit");
  config.finish();
  require(d.image_size >= o.patch, ErrorCategory::bad_file,
          folder.config_name() + ": image_size = " + std::to_string(d.image_size) +
              " is smaller than patch_size = " + std::to_string(o.patch));
  check_shapes(d, shapes, folder);
  throw_if_any(o.validate());
  if (o.pooler) config.expect("pooler_output_size", o.width);
  shapes.throw_if_any_fault(d);
  return d;
}

}  // namespace

HfVitDescription describe_hf_vit(const io::HfFolder& folder) {
  return describe(folder, Shapes(folder, encoder_tensors(folder)));
}

std::shared_ptr<nn::Vit> load_hf_vit(const io::HfFolder& folder, io::Placement placement) {
  std::string left_out;
  const auto tensors = encoder_tensors(folder, &left_out);
  const auto d = describe(folder, Shapes(folder, tensors));
  auto vit = std::make_shared<nn::Vit>(d.options, d.image_size, d.channels);
  io::load_into(under_file_names(nn::state_dict(*vit), d.options),
                under_file_names(tensors, d.options), folder.tensors_name(),
                io::DtypeRule::same_kind, placement);
  if (!left_out.empty())
    log(LogLevel::info, folder.tensors_name() + ": the encoder was loaded without " + left_out);
  vit->eval();
  return vit;
}

std::shared_ptr<nn::Vit> load_hf_vit(const std::filesystem::path& path, io::Placement placement) {
  return load_hf_vit(io::read_hf_folder(path), placement);
}

}  // namespace foresight::models
