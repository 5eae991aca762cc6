// SPDX-License-Identifier: Apache-2.0
// The original checkpoints of V-JEPA 2, V-JEPA 2-AC and I-JEPA.
#include "foresight/models/vjepa2_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "checkpoint_sizes.hpp"
#include "foresight/core/log.hpp"
#include "foresight/models/hf_preprocessing.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

constexpr int64_t kReleasedMaskTokens = 10;
// Widths for which the number of heads is known.
constexpr std::array<std::pair<int64_t, int64_t>, 3> kEncoderHeads{
    {{1024, 16}, {1280, 16}, {1408, 22}}};
constexpr std::array<std::pair<int64_t, int64_t>, 2> kPredictorHeads{{{384, 12}, {1024, 16}}};
// I-JEPA's; its predictor has as many as its encoder.
constexpr std::array<std::pair<int64_t, int64_t>, 2> kIJepaHeads{{{1280, 16}, {1408, 16}}};

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

constexpr const char* kProjection = "patch_embed.proj.weight";

bool is_position_table(std::string_view name) {
  return name == "pos_embed" || name == "predictor_pos_embed";
}

// The parts of a checkpoint, as messages list them: "encoder, predictor".
std::string parts_in(const io::NamedTensors& checkpoint) {
  std::set<std::string> parts;
  for (const auto& [given, tensor] : checkpoint) {
    const auto key = vjepa2_key(given);
    parts.insert(key.substr(0, key.find('.')));
  }
  std::string known;
  for (const auto& name : parts) known += (known.empty() ? "" : ", ") + name;
  return known;
}

bool has_part(const io::NamedTensors& checkpoint, std::string_view part) {
  return std::any_of(checkpoint.begin(), checkpoint.end(), [&](const auto& item) {
    return vjepa2_key(item.first).starts_with(std::string(part) + ".");
  });
}

constexpr std::string_view part_of(EncoderWeights encoder) {
  return encoder == EncoderWeights::online ? "encoder" : "target_encoder";
}

io::NamedTensors prefixed(std::string_view prefix, const io::NamedTensors& tensors) {
  io::NamedTensors result;
  for (const auto& [name, tensor] : tensors)
    result.emplace_back(std::string(prefix) + name, tensor);
  return result;
}

// What is read of a checkpoint: an encoder and the predictor under their names in the file, without
// wrappers ("target_encoder.norm.weight").
struct ReadParts {
  std::string encoder;  // "encoder." or "target_encoder."
  io::NamedTensors tensors;

  ReadParts(const io::NamedTensors& checkpoint, std::string_view part,
            nn::PositionKind encoder_positions, nn::PositionKind predictor_positions,
            std::string_view source)
      : encoder(std::string(part) + "."),
        tensors(prefixed(encoder, vjepa2_part(checkpoint, part, encoder_positions, source))) {
    for (auto& item :
         prefixed("predictor.", vjepa2_part(checkpoint, "predictor", predictor_positions, source)))
      tensors.push_back(std::move(item));
  }

  // The tensors of a network under these names.
  io::NamedTensors of(const torch::nn::Module& model) const {
    constexpr std::string_view kOwn = "encoder.";
    auto own = nn::state_dict(model);
    for (auto& [name, tensor] : own)
      if (name.starts_with(kOwn)) name.replace(0, kOwn.size(), encoder);
    return own;
  }
};

// The frames of the clips that a table of positions belongs to.
int64_t frames_of_table(const ReadParts& parts, const nn::VideoVitOptions& o,
                        std::string_view source) {
  const auto table = parts.encoder + "pos_embed";
  const auto places = extent(parts.tensors, table, 3, 1, source), per_frame = o.grid().per_frame();
  require(places % per_frame == 0, ErrorCategory::bad_file,
          std::string(source) + ": '" + table + "' has " + std::to_string(places) +
              " places, expected a multiple of the " + std::to_string(per_frame) +
              " of a picture of " + std::to_string(o.image_height) + " pixels");
  return places / per_frame * o.tubelet;
}

// Pictures of 0 pixels: as the positions tell, where they are stored.
void describe_encoder(nn::VideoVitOptions& o, const ReadParts& parts, int64_t image_size,
                      std::string_view source, SizeFaults& faults) {
  const auto& tensors = parts.tensors;
  const auto projection = parts.encoder + kProjection, blocks = parts.encoder + "blocks.";
  const bool picture = tensor_named(tensors, projection, source).dim() == 4;
  const int64_t axes = picture ? 4 : 5;
  o.width = extent(tensors, projection, axes, 0, source);
  o.channels = extent(tensors, projection, axes, 1, source);
  o.patch = extent(tensors, projection, axes, axes - 1, source);
  if (picture) {
    o.frames = 1;
    if (image_size == 0)
      image_size = square_edge(tensors, parts.encoder + "pos_embed", 0, source) * o.patch;
  } else {
    o.tubelet = extent(tensors, projection, axes, 2, source);
  }
  require(image_size != 0, ErrorCategory::invalid_option,
          std::string(source) +
              ": original checkpoints of clips do not tell the size of their pictures: give it "
              "(--image_size; 256, or 384 for the variant of that name)");
  require(image_size >= o.patch && image_size % o.patch == 0, ErrorCategory::invalid_option,
          std::string(source) + ": image_size = " + std::to_string(image_size) +
              " is no multiple of the patch, which has " + std::to_string(o.patch) + " pixels");
  o.image_height = o.image_width = image_size;
  require_few_tokens(image_size, o.patch, 1, std::string(source) + ": image_size");
  if (!picture && o.positions != nn::PositionKind::rope)
    o.frames = frames_of_table(parts, o, source);
  require_few_tokens(image_size, o.patch, o.grid().frames, std::string(source) + ": image_size");
  o.depth = count_below(tensors, blocks);
  o.mlp_width = extent(tensors, blocks + "0.mlp.fc1.weight", 2, 0, source);
  std::vector<int64_t> patches{o.width, o.channels, o.patch, o.patch};
  if (!picture) patches.insert(patches.begin() + 2, o.tubelet);
  expect_tensor(tensors, projection, patches, source, kFromOthers, &faults);
  if (o.positions != nn::PositionKind::rope)
    expect_tensor(tensors, parts.encoder + "pos_embed", {1, o.grid().count(), o.width}, source,
                  kFromOthers, &faults);
  expect_blocks(tensors, blocks, o.depth, o.width, o.mlp_width, source, kFromOthers, &faults);
}

}  // namespace

bool takes_pictures(const io::NamedTensors& checkpoint) {
  return std::any_of(checkpoint.begin(), checkpoint.end(), [](const auto& item) {
    // Others have a Conv3d.
    return vjepa2_key(item.first).ends_with(std::string("encoder.") + kProjection) &&
           item.second.dim() == 4;
  });
}

std::string vjepa2_key(std::string_view key) {
  std::string result;
  while (!key.empty()) {
    const auto dot = key.find('.');
    const auto piece = key.substr(0, dot);
    key.remove_prefix(dot == std::string_view::npos ? key.size() : dot + 1);
    if (piece == "module" || piece == "_orig_mod" || piece == "backbone") continue;
    if (!result.empty()) result.push_back('.');
    result.append(piece);
  }
  return result;
}

io::NamedTensors vjepa2_part(const io::NamedTensors& checkpoint, std::string_view part,
                             nn::PositionKind positions, std::string_view source) {
  const std::string prefix = std::string(part) + ".";
  io::NamedTensors result;
  for (const auto& [given, tensor] : checkpoint) {
    const auto key = vjepa2_key(given);
    if (!key.starts_with(prefix)) continue;
    auto name = key.substr(prefix.size());
    if (name == "mask_token") name = "mask_tokens.0";  // I-JEPA's only one
    if (positions == nn::PositionKind::rope && is_position_table(name)) {
      log(LogLevel::info,
          std::string(source) + ": '" + given + "' is left out: the model has rotary positions");
      continue;
    }
    result.emplace_back(std::move(name), tensor);
  }
  require(!result.empty(), ErrorCategory::bad_file,
          std::string(source) + ": no part '" + std::string(part) +
              "', there are: " + parts_in(checkpoint));
  return result;
}

bool same_encoders(const io::NamedTensors& checkpoint) {
  const auto tensors_of = [&](EncoderWeights encoder) {
    const auto prefix = std::string(part_of(encoder)) + ".";
    std::map<std::string, Tensor> tensors;
    for (const auto& [given, tensor] : checkpoint)
      if (const auto key = vjepa2_key(given); key.starts_with(prefix))
        tensors.emplace(key.substr(prefix.size()), tensor);
    return tensors;
  };
  const auto same = [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.scalar_type() == b.second.scalar_type() &&
           at::equal(a.second, b.second);
  };
  const auto online = tensors_of(EncoderWeights::online),
             target = tensors_of(EncoderWeights::target);
  return !online.empty() && online.size() == target.size() &&
         std::equal(online.begin(), online.end(), target.begin(), same);
}

namespace {

template <class Model>
void load_model(Model& model, const io::NamedTensors& checkpoint, EncoderWeights encoder,
                std::string_view source, io::Placement placement) {
  const auto& o = model.options();
  const ReadParts parts(checkpoint, part_of(encoder), o.encoder.positions, o.predictor.positions,
                        source);
  io::load_into(parts.of(model), parts.tensors, source, io::DtypeRule::same_kind, placement);
}

}  // namespace

void load_vjepa2(VJepa2& model, const io::NamedTensors& checkpoint, EncoderWeights encoder,
                 std::string_view source, io::Placement placement) {
  load_model(model, checkpoint, encoder, source, placement);
}

void load_vjepa2_ac(VJepa2Ac& model, const io::NamedTensors& checkpoint, EncoderWeights encoder,
                    std::string_view source, io::Placement placement) {
  load_model(model, checkpoint, encoder, source, placement);
}

namespace {

// Both encoders of a checkpoint have the same sizes; some hold one alone. Throws Error(bad_file)
// where there is none, or no predictor.
std::string_view encoder_part(const io::NamedTensors& checkpoint, std::string_view source) {
  const bool online = has_part(checkpoint, "encoder");
  require((online || has_part(checkpoint, "target_encoder")) && has_part(checkpoint, "predictor"),
          ErrorCategory::bad_file,
          std::string(source) +
              ": expected an encoder ('encoder' or 'target_encoder') and a 'predictor', which "
              "original checkpoints hold together; found: " +
              parts_in(checkpoint));
  return part_of(online ? EncoderWeights::online : EncoderWeights::target);
}

// Sizes of the predictor of tokens that are `tokens` wide.
template <class Options>
void describe_predictor(Options& o, int64_t tokens, const io::NamedTensors& tensors,
                        std::string_view source, SizeFaults& faults) {
  constexpr std::string_view kEmbed = "predictor.predictor_embed.weight";
  const std::string blocks = "predictor.predictor_blocks.";
  o.width = extent(tensors, kEmbed, 2, 0, source);
  o.depth = count_below(tensors, blocks);
  o.mlp_width = extent(tensors, blocks + "0.mlp.fc1.weight", 2, 0, source);
  expect_tensor(tensors, kEmbed, {o.width, tokens}, source, kFromOthers, &faults);
  expect_tensor(tensors, "predictor.predictor_proj.weight", {tokens, o.width}, source, kFromOthers,
                &faults);
  expect_blocks(tensors, blocks, o.depth, o.width, o.mlp_width, source, kFromOthers, &faults);
}

// Faults that were collected are told with all else that does not fit a network of these sizes.
template <class Model, class Options>
void throw_if_any_fault(const SizeFaults& faults, Options options, const ReadParts& parts,
                        std::string_view source) {
  options.encoder.heads = options.predictor.heads = 1;  // no name hangs on them
  options.image = vjepa2_evaluation_pictures(options.encoder.image_height);
  faults.throw_if_any(parts.tensors, source,
                      [&] { return parts.of(Model(options, std::nullopt)); });
}

bool has_numbers(const Tensor& tensor) { return at::any(tensor.ne(0)).item<bool>(); }

// A predictor as it was released beside an encoder: its number of mask tokens, or its depth.
struct ReleasedSizes {
  std::string_view predictor_list;
  int64_t predictor_entries;
};

bool of_released_sizes(const io::NamedTensors& checkpoint, const ReleasedSizes& released,
                       std::string_view source) {
  constexpr std::array<std::pair<int64_t, int64_t>, 3> kEncoders{
      {{1024, 24}, {1280, 32}, {1408, 40}}};
  const auto rope = nn::PositionKind::rope;
  const ReadParts parts(checkpoint, encoder_part(checkpoint, source), rope, rope, source);
  const auto& projection = tensor_named(parts.tensors, parts.encoder + kProjection, source);
  const std::pair sizes{projection.dim() > 0 ? projection.size(0) : 0,
                        count_below(parts.tensors, parts.encoder + "blocks.")};
  return std::find(kEncoders.begin(), kEncoders.end(), sizes) != kEncoders.end() &&
         count_below(parts.tensors, released.predictor_list) == released.predictor_entries;
}

nn::PositionKind positions_of_clips(const io::NamedTensors& checkpoint,
                                    const VJepa2FileOptions& given, const ReleasedSizes& released,
                                    std::string_view source) {
  if (given.positions) return *given.positions;
  const auto table = std::string(encoder_part(checkpoint, source)) + ".pos_embed";
  const bool may_be_used = std::any_of(checkpoint.begin(), checkpoint.end(), [&](const auto& item) {
    return vjepa2_key(item.first) == table && has_numbers(item.second);
  });
  require(
      !may_be_used || of_released_sizes(checkpoint, released, source),
      ErrorCategory::invalid_option,
      std::string(source) + ": holds added positions ('" + table +
          "'), which released V-JEPA 2 hold but do not use, and has other sizes than these: say "
          "which positions it was trained with (--positions rope, sincos or sincos_uniform; "
          "VJepa2FileOptions.positions)");
  return nn::PositionKind::rope;
}

// The layer is stored in any case. It begins with a bias of zeros, and keeps them unless its tokens
// are used.
bool extrinsics_of(const io::NamedTensors& predictor, const VJepa2FileOptions& given,
                   std::string_view source) {
  if (given.extrinsics) return *given.extrinsics;
  const std::string bias = "predictor.extrinsics_encoder.bias";
  const bool trained = std::any_of(predictor.begin(), predictor.end(), [&](const auto& item) {
    return item.first == bias && has_numbers(item.second);
  });
  require(!trained, ErrorCategory::invalid_option,
          std::string(source) + ": its layer for the camera's place was trained ('" + bias +
              "' is not zero): say whether frames have its token (--extrinsics true or false, "
              "VJepa2FileOptions.extrinsics)");
  return false;
}

}  // namespace

VJepa2Options describe_vjepa2(const io::NamedTensors& checkpoint, int64_t image_size,
                              std::string_view source, const VJepa2FileOptions& given) {
  VJepa2Options options;
  auto& e = options.encoder;
  auto& p = options.predictor;
  const auto& heads = given.heads;
  const bool pictures = takes_pictures(checkpoint);
  require(!pictures || given.positions.value_or(nn::PositionKind::sincos) != nn::PositionKind::rope,
          ErrorCategory::invalid_option,
          std::string(source) + ": an encoder of single pictures has added positions, not rope");
  e.positions = p.positions =
      pictures ? given.positions.value_or(nn::PositionKind::sincos)
               : positions_of_clips(checkpoint, given,
                                    {"predictor.mask_tokens.", kReleasedMaskTokens}, source);
  const ReadParts parts(checkpoint, encoder_part(checkpoint, source), e.positions, p.positions,
                        source);
  SizeFaults faults;
  describe_encoder(e, parts, image_size, source, faults);
  describe_predictor(p, e.width, parts.tensors, source, faults);
  const std::string mask_tokens = "predictor.mask_tokens.";
  p.mask_tokens = count_below(parts.tensors, mask_tokens);
  for (int64_t i = 0; i < p.mask_tokens; ++i)
    expect_tensor(parts.tensors, mask_tokens + std::to_string(i), {1, 1, p.width}, source,
                  kFromOthers, &faults);
  if (p.positions != nn::PositionKind::rope)
    expect_tensor(parts.tensors, "predictor.predictor_pos_embed", {1, e.grid().count(), p.width},
                  source, kFromOthers, &faults);
  throw_if_any_fault<VJepa2>(faults, options, parts, source);
  e.heads = pictures ? heads_of("encoder", e.width, heads.encoder, kIJepaHeads, source)
                     : heads_of("encoder", e.width, heads.encoder, kEncoderHeads, source);
  const auto told = pictures && heads.predictor == 0 ? e.heads : heads.predictor;
  p.heads = heads_of("predictor", p.width, told, kPredictorHeads, source);
  options.image = vjepa2_evaluation_pictures(e.image_height);
  require_valid(options);
  return options;
}

VJepa2AcOptions describe_vjepa2_ac(const io::NamedTensors& checkpoint, int64_t image_size,
                                   std::string_view source, const VJepa2FileOptions& given) {
  VJepa2AcOptions options;
  auto& e = options.encoder;
  e.positions = positions_of_clips(
      checkpoint, given, {"predictor.predictor_blocks.", nn::FrameCausalPredictorOptions().depth},
      source);
  auto& p = options.predictor;
  const ReadParts parts(checkpoint, encoder_part(checkpoint, source), e.positions, p.positions,
                        source);
  SizeFaults faults;
  describe_encoder(e, parts, image_size, source, faults);
  describe_predictor(p, e.width, parts.tensors, source, faults);
  const std::string actions = "predictor.action_encoder.weight";
  p.action_width = extent(parts.tensors, actions, 2, 1, source);
  for (const auto& [name, numbers] : {std::pair{actions, p.action_width},
                                      {"predictor.state_encoder.weight", p.action_width},
                                      {"predictor.extrinsics_encoder.weight", p.action_width - 1}})
    expect_tensor(parts.tensors, name, {p.width, numbers}, source, kFromOthers, &faults);
  throw_if_any_fault<VJepa2Ac>(faults, options, parts, source);
  e.heads = heads_of("encoder", e.width, given.heads.encoder, kEncoderHeads, source);
  p.extrinsics = extrinsics_of(parts.tensors, given, source);
  p.heads = heads_of("predictor", p.width, given.heads.predictor, kPredictorHeads, source);
  options.image.size = e.image_height;
  options.image.max_aspect = kVJepa2AcAspect;
  require_valid(options);
  return options;
}

}  // namespace foresight::models
