// SPDX-License-Identifier: Apache-2.0
// The original checkpoints of V-JEPA 2 and V-JEPA 2-AC.
#include "foresight/models/vjepa2_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "foresight/core/log.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

// Widths for which the number of heads is known.
constexpr std::array<std::pair<int64_t, int64_t>, 3> kEncoderHeads{
    {{1024, 16}, {1280, 16}, {1408, 22}}};
constexpr std::array<std::pair<int64_t, int64_t>, 2> kPredictorHeads{{{384, 12}, {1024, 16}}};

// Those that were given, else the published ones. `part`: "encoder" or "predictor".
template <std::size_t N>
int64_t heads_of(const char* part, int64_t width, int64_t given,
                 const std::array<std::pair<int64_t, int64_t>, N>& known, std::string_view source) {
  if (given > 0) return given;
  std::string widths;
  for (const auto& [published, heads] : known) {
    if (width == published) return heads;
    if (!widths.empty()) widths += ", ";
    widths += std::to_string(published);
  }
  throw Error(ErrorCategory::unsupported,
              std::string(source) + ": " + part + " of width " + std::to_string(width) +
                  " is not one whose number of heads is known (" + widths + "): give it (--" +
                  part + "_heads, AttentionHeads." + part + ")");
}

const Tensor& find(const io::NamedTensors& tensors, std::string_view name,
                   std::string_view source) {
  for (const auto& [key, tensor] : tensors)
    if (key == name) return tensor;
  throw Error(ErrorCategory::bad_file,
              std::string(source) + ": no tensor '" + std::string(name) + "'");
}

// Axis `axis` of a tensor of `dims` axes.
int64_t extent(const io::NamedTensors& tensors, std::string_view name, int64_t dims, int64_t axis,
               std::string_view source) {
  const auto& tensor = find(tensors, name, source);
  require(tensor.dim() == dims, ErrorCategory::bad_file,
          std::string(source) + ": tensor '" + std::string(name) + "' has shape " +
              shape_string(tensor.sizes()) + ", expected " + std::to_string(dims) + " axes");
  return tensor.size(axis);
}

int64_t count_below(const io::NamedTensors& tensors, std::string_view list) {
  std::set<std::string> numbers;
  for (const auto& [key, tensor] : tensors) {
    if (!key.starts_with(list)) continue;
    const auto rest = std::string_view(key).substr(list.size());
    numbers.emplace(rest.substr(0, rest.find('.')));
  }
  return static_cast<int64_t>(numbers.size());
}

bool is_position_table(std::string_view name) {
  return name == "pos_embed" || name == "predictor_pos_embed";
}

io::NamedTensors prefixed(std::string_view prefix, const io::NamedTensors& tensors) {
  io::NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    result.emplace_back(std::string(prefix) + name, tensor);
  return result;
}

void load_parts(torch::nn::Module& model, io::NamedTensors encoder, io::NamedTensors predictor,
                std::string_view source, io::Placement placement) {
  auto all = prefixed("encoder.", encoder);
  for (auto& item : prefixed("predictor.", predictor)) all.push_back(std::move(item));
  nn::load_state_dict(model, all, source, placement);
}

void describe_encoder(nn::VideoVitOptions& o, const io::NamedTensors& encoder, int64_t image_size,
                      int64_t heads, std::string_view source) {
  constexpr const char* kProjection = "patch_embed.proj.weight";
  o.width = extent(encoder, kProjection, 5, 0, source);
  o.channels = extent(encoder, kProjection, 5, 1, source);
  o.tubelet = extent(encoder, kProjection, 5, 2, source);
  o.patch = extent(encoder, kProjection, 5, 3, source);
  o.depth = count_below(encoder, "blocks.");
  o.mlp_width = extent(encoder, "blocks.0.mlp.fc1.weight", 2, 0, source);
  o.heads = heads_of("encoder", o.width, heads, kEncoderHeads, source);
  o.image_height = o.image_width = image_size;
}

}  // namespace

std::string vjepa2_key(std::string_view key) {
  std::string result;
  while (!key.empty()) {
    const auto dot = key.find('.');
    const auto piece = key.substr(0, dot);
    key.remove_prefix(dot == std::string_view::npos ? key.size() : dot + 1);
    if (piece == "module" || piece == "backbone") continue;
    if (!result.empty()) result.push_back('.');
    result.append(piece);
  }
  return result;
}

io::NamedTensors vjepa2_part(const io::NamedTensors& checkpoint, std::string_view part,
                             nn::PositionKind positions, std::string_view source) {
  const std::string prefix = std::string(part) + ".";
  io::NamedTensors result;
  std::set<std::string> parts;
  for (const auto& [given, tensor] : checkpoint) {
    const auto key = vjepa2_key(given);
    parts.insert(key.substr(0, key.find('.')));
    if (!key.starts_with(prefix)) continue;
    const auto name = key.substr(prefix.size());
    if (positions == nn::PositionKind::rope && is_position_table(name)) {
      log(LogLevel::info,
          std::string(source) + ": '" + given + "' is left out: the model has rotary positions");
      continue;
    }
    result.emplace_back(name, tensor);
  }
  std::string known;
  for (const auto& name : parts) {
    if (!known.empty()) known += ", ";
    known += name;
  }
  require(!result.empty(), ErrorCategory::bad_file,
          std::string(source) + ": no part '" + std::string(part) + "', there are: " + known);
  return result;
}

void load_vjepa2(VJepa2& model, const io::NamedTensors& checkpoint, EncoderWeights encoder,
                 std::string_view source, io::Placement placement) {
  const auto& o = model.options();
  load_parts(
      model,
      vjepa2_part(checkpoint, encoder == EncoderWeights::online ? "encoder" : "target_encoder",
                  o.encoder.positions, source),
      vjepa2_part(checkpoint, "predictor", o.predictor.positions, source), source, placement);
}

void load_vjepa2_ac(VJepa2Ac& model, const io::NamedTensors& checkpoint, std::string_view source,
                    io::Placement placement) {
  const auto& o = model.options();
  load_parts(model, vjepa2_part(checkpoint, "encoder", o.encoder.positions, source),
             vjepa2_part(checkpoint, "predictor", o.predictor.positions, source), source,
             placement);
}

namespace {

// Both encoders of a checkpoint have the same sizes; some hold one alone.
std::string_view encoder_part(const io::NamedTensors& checkpoint) {
  const bool online = std::any_of(checkpoint.begin(), checkpoint.end(), [](const auto& item) {
    return vjepa2_key(item.first).starts_with("encoder.");
  });
  return online ? "encoder" : "target_encoder";
}

}  // namespace

VJepa2Options describe_vjepa2(const io::NamedTensors& checkpoint, int64_t image_size,
                              std::string_view source, const AttentionHeads& heads) {
  VJepa2Options options;
  const auto rope = nn::PositionKind::rope;
  describe_encoder(options.encoder, vjepa2_part(checkpoint, encoder_part(checkpoint), rope, source),
                   image_size, heads.encoder, source);
  const auto predictor = vjepa2_part(checkpoint, "predictor", rope, source);
  auto& p = options.predictor;
  p.width = extent(predictor, "predictor_embed.weight", 2, 0, source);
  p.depth = count_below(predictor, "predictor_blocks.");
  p.mlp_width = extent(predictor, "predictor_blocks.0.mlp.fc1.weight", 2, 0, source);
  p.mask_tokens = count_below(predictor, "mask_tokens.");
  p.heads = heads_of("predictor", p.width, heads.predictor, kPredictorHeads, source);
  options.image.size = image_size;
  require_valid(options);
  return options;
}

VJepa2AcOptions describe_vjepa2_ac(const io::NamedTensors& checkpoint, int64_t image_size,
                                   std::string_view source, const AttentionHeads& heads) {
  VJepa2AcOptions options;
  const auto rope = nn::PositionKind::rope;
  describe_encoder(options.encoder, vjepa2_part(checkpoint, "encoder", rope, source), image_size,
                   heads.encoder, source);
  const auto predictor = vjepa2_part(checkpoint, "predictor", rope, source);
  auto& p = options.predictor;
  p.width = extent(predictor, "predictor_embed.weight", 2, 0, source);
  p.depth = count_below(predictor, "predictor_blocks.");
  p.mlp_width = extent(predictor, "predictor_blocks.0.mlp.fc1.weight", 2, 0, source);
  p.action_width = extent(predictor, "action_encoder.weight", 2, 1, source);
  p.heads = heads_of("predictor", p.width, heads.predictor, kPredictorHeads, source);
  options.image.size = image_size;
  require_valid(options);
  return options;
}

}  // namespace foresight::models
