// SPDX-License-Identifier: Apache-2.0
#include "lewm_shapes.hpp"

#include <array>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "foresight/core/tensor.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/nn/state_dict.hpp"
#include "jepa_sizes.hpp"
#include "upstream_config.hpp"

namespace foresight::models {
namespace {

constexpr const char* kLayer = "encoder.encoder.layer.";
constexpr const char* kBlock = "predictor.transformer.layers.";

std::string number(int64_t value) { return std::to_string(value); }

/// Heads of the encoders that stable-pretraining names by size.
int64_t heads_of_size(const nlohmann::json& size) {
  constexpr std::array<std::pair<std::string_view, int64_t>, 5> kSizes{
      {{"tiny", 3}, {"small", 6}, {"base", 12}, {"large", 16}, {"huge", 16}}};
  if (!size.is_string()) return 0;
  for (const auto& [name, heads] : kSizes)
    if (size.get<std::string>() == name) return heads;
  return 0;
}

}  // namespace

LewmShapes::LewmShapes(const io::NamedTensors& tensors, std::string source)
    : tensors_(tensors), source_(std::move(source)) {
  for (const auto& [name, tensor] : tensors) shapes_[name] = tensor.sizes().vec();
}

void LewmShapes::fail(const std::string& problem) const {
  throw Error(ErrorCategory::bad_file, source_ + ": " + problem);
}

const LewmShapes::Shape& LewmShapes::shape(const std::string& name, std::size_t axes) const {
  const auto found = shapes_.find(name);
  if (found == shapes_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, unused] : shapes_) names.push_back(known);
    const auto near = nearest_name(name, names);
    fail("lacks tensor '" + name + "', so these are not the weights of a LeWM or PLDM" +
         (near.empty() ? "" : "; the nearest is '" + near + "'"));
  }
  if (found->second.size() != axes)
    fail("tensor '" + name + "' has shape " + shape_string(found->second) + ", expected " +
         std::to_string(axes) + " axes");
  for (const auto size : found->second)
    if (size < 1) fail("tensor '" + name + "' is empty");
  return found->second;
}

void LewmShapes::expect(const std::string& name, const Shape& expected) {
  const auto found = shapes_.find(name);
  const auto* shape = found == shapes_.end() ? nullptr : &found->second;
  if (!shape || *shape != expected) faults_.add(name, shape, expected, kFromOthers);
}

/// Layers 0..n-1 that have any tensor.
int64_t LewmShapes::layers(const std::string& prefix) const {
  std::set<int64_t> numbers;
  for (auto it = shapes_.lower_bound(prefix); it != shapes_.end(); ++it) {
    if (!it->first.starts_with(prefix)) break;
    numbers.insert(std::strtoll(it->first.c_str() + prefix.size(), nullptr, 10));
  }
  const auto count = static_cast<int64_t>(numbers.size());
  if (numbers.empty() || *numbers.begin() != 0 || *numbers.rbegin() != count - 1)
    fail("has no layers '" + prefix + "0', '" + prefix + "1', ... in a row");
  return count;
}

void LewmShapes::read_encoder(JepaOptions& options) {
  auto& vit = options.vit;
  vit.width = shape("encoder.embeddings.cls_token", 3)[2];
  vit.patch = shape("encoder.embeddings.patch_embeddings.projection.weight", 4)[2];
  expect("encoder.embeddings.patch_embeddings.projection.weight",
         {vit.width, 3, vit.patch, vit.patch});
  const auto tokens = shape("encoder.embeddings.position_embeddings", 3)[1] - 1;
  const auto grid = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(tokens))));
  if (grid < 1 || grid * grid != tokens)
    fail("the encoder has " + number(tokens) + " patch positions, expected a square grid");
  expect("encoder.embeddings.position_embeddings", {1, tokens + 1, vit.width});
  options.image.size = grid * vit.patch;
  vit.depth = layers(kLayer);
  vit.mlp_width = shape(kLayer + std::string("0.intermediate.dense.weight"), 2)[0];
  vit.qkv_bias = has(kLayer + std::string("0.attention.attention.query.bias"));
  vit.pooler = has("encoder.pooler.dense.weight");
  for (int64_t i = 0; i < vit.depth; ++i) {
    const auto layer = kLayer + number(i) + ".";
    for (const auto* map : {"attention.attention.query.weight", "attention.attention.key.weight",
                            "attention.attention.value.weight", "attention.output.dense.weight"})
      expect(layer + map, {vit.width, vit.width});
    expect(layer + "intermediate.dense.weight", {vit.mlp_width, vit.width});
    expect(layer + "output.dense.weight", {vit.width, vit.mlp_width});
  }
  if (vit.pooler) expect("encoder.pooler.dense.weight", {vit.width, vit.width});
}

nn::ProjectionOptions LewmShapes::projection(const std::string& name, int64_t input,
                                             int64_t output) {
  const auto first = name + ".net.0.weight";
  if (!has(first)) return {0, nn::NormKind::none};
  const auto hidden = shape(first, 2)[0];
  expect(first, {hidden, input});
  expect(name + ".net.3.weight", {output, hidden});
  return {hidden, has(name + ".net.1.running_mean") ? nn::NormKind::batch
                  : has(name + ".net.1.weight")     ? nn::NormKind::layer
                                                    : nn::NormKind::none};
}

void LewmShapes::read_predictor(JepaOptions& options) {
  const auto& positions = shape("predictor.pos_embedding", 3);
  options.history = positions[1];
  options.latent = positions[2];
  expect("predictor.pos_embedding", {1, options.history, options.latent});
  auto& adaln = options.adaln;
  adaln.depth = layers(kBlock);
  adaln.width = shape("predictor.transformer.norm.weight", 1)[0];
  adaln.mlp_width = shape(kBlock + std::string("0.mlp.net.1.weight"), 2)[0];
  const auto fused = shape(kBlock + std::string("0.attn.to_qkv.weight"), 2)[0];
  for (int64_t i = 0; i < adaln.depth; ++i) {
    const auto block = kBlock + number(i) + ".";
    expect(block + "attn.to_qkv.weight", {fused, adaln.width});
    if (has(kBlock + std::string("0.attn.to_out.0.weight")))
      expect(block + "attn.to_out.0.weight", {adaln.width, fused / 3});
    expect(block + "mlp.net.1.weight", {adaln.mlp_width, adaln.width});
    expect(block + "mlp.net.4.weight", {adaln.width, adaln.mlp_width});
    expect(block + "adaLN_modulation.1.weight", {6 * adaln.width, adaln.width});
  }
  if (fused % 3 != 0)
    fail("the predictor's to_qkv has " + number(fused) + " rows, expected three equal parts");
  adaln.head_width = fused / 3;  // of all heads together, until read_heads() divides it
  options.projector = projection("projector", options.vit.width, options.latent);
  if (options.projector.hidden == 0 && options.latent != options.vit.width)
    fail("has no projector, although the latent width " + number(options.latent) +
         " is not the encoder's " + number(options.vit.width));
  options.pred_proj = projection("pred_proj", adaln.width, options.latent);
}

// The width of action blocks is all that shapes tell of actions.
void LewmShapes::read_action_encoder(JepaOptions& options) {
  auto& encoder = options.action_encoder;
  const auto& narrow = shape("action_encoder.patch_embed.weight", 3);
  const auto blocks = narrow[1];
  encoder.narrow = narrow[0];
  expect("action_encoder.patch_embed.weight", {encoder.narrow, blocks, 1});
  const auto& last = shape("action_encoder.embed.2.weight", 2);
  encoder.width = last[0];
  encoder.expansion = last[1] / encoder.width;
  expect("action_encoder.embed.2.weight", {encoder.width, encoder.expansion * encoder.width});
  expect("action_encoder.embed.0.weight", {encoder.expansion * encoder.width, encoder.narrow});
  if (has("idm.net.0.weight"))
    options.inverse_dynamics_hidden = projection("idm", 2 * options.latent, blocks).hidden;
  options.action = {};
  options.action.dim = blocks;
  const auto adapter = [&](const char* name, int64_t in, int64_t out) {
    if (in != out) expect(std::string("predictor.transformer.") + name + ".weight", {out, in});
  };
  const auto sizes = predictor_sizes(options);
  adapter("input_proj", sizes.latent, options.adaln.width);
  adapter("cond_proj", sizes.condition, options.adaln.width);
  adapter("output_proj", options.adaln.width, sizes.output);
}

// A fault that was collected is told with all else that does not fit a network of these sizes.
void LewmShapes::throw_if_any_fault(JepaOptions options) const {
  // Shapes do not tell heads, and no name hangs on them, but that a lone one as wide as its block
  // has no to_out.
  auto& adaln = options.adaln;
  options.vit.heads = adaln.heads = 1;
  if (has(kBlock + std::string("0.attn.to_out.0.weight"))) std::swap(adaln.heads, adaln.head_width);
  faults_.throw_if_any(tensors_, source_, [&] {
    require_valid(options);
    return nn::state_dict(Jepa(options, std::nullopt));
  });
}

void LewmShapes::read_actions(JepaOptions& options, const LewmImportOptions& given) const {
  const auto blocks = options.action.width();
  options.action = given.action;
  auto& action = options.action;
  const std::string which = source_ + ": action blocks of " + number(blocks) + " numbers ";
  require(action.block >= 1 && blocks % action.block == 0, ErrorCategory::invalid_option,
          which + "do not hold action.block = " + number(action.block) + " raw actions");
  const auto dim = blocks / action.block;
  require(action.dim == 0 || action.dim == dim, ErrorCategory::invalid_option,
          which + "are " + number(action.block) + " raw actions of " + number(dim) +
              ", but action.dim = " + number(action.dim));
  action.dim = dim;
  require(!action.mean.empty() && !action.std.empty(), ErrorCategory::invalid_option,
          source_ +
              ": holds no action statistics, and without those of its training data a model "
              "imagines nonsense: give action.mean and action.std, " +
              number(dim) +
              " numbers each (0 and 1 if it was trained on raw actions), or recordings to compute "
              "them from");
}

void LewmShapes::read_heads(JepaOptions& options, const LewmImportOptions& given,
                            const nlohmann::json& upstream) const {
  const JepaOptions published;
  auto& heads = options.vit.heads;
  heads = given.encoder_heads;
  if (heads == 0) heads = upstream_integer(upstream, "encoder", "num_attention_heads");
  if (heads == 0) heads = heads_of_size(upstream_entry(upstream, "encoder", "size"));
  if (heads == 0 && options.vit.width == published.vit.width &&
      options.vit.depth == published.vit.depth)
    heads = published.vit.heads;
  require(heads > 0, ErrorCategory::invalid_option,
          source_ + ": the encoder's width " + number(options.vit.width) +
              " does not tell its attention heads, and there is no config.json that does: give "
              "encoder_heads");

  auto& adaln = options.adaln;
  const auto inner = adaln.head_width;
  adaln.heads = given.predictor_heads;
  if (adaln.heads == 0) adaln.heads = upstream_integer(upstream, "predictor", "heads");
  if (adaln.heads == 0 && !has(kBlock + std::string("0.attn.to_out.0.weight"))) adaln.heads = 1;
  if (adaln.heads == 0 && adaln.width == published.adaln.width &&
      inner == published.adaln.heads * published.adaln.head_width)
    adaln.heads = published.adaln.heads;
  require(adaln.heads > 0, ErrorCategory::invalid_option,
          source_ + ": the predictor's attention width " + number(inner) +
              " does not tell its heads, and there is no config.json that does: give "
              "predictor_heads");
  require(inner % adaln.heads == 0, ErrorCategory::invalid_option,
          source_ + ": the predictor's attention width " + number(inner) +
              " cannot be divided into " + number(adaln.heads) + " heads");
  adaln.head_width = inner / adaln.heads;
}

/// Takes what only config.json tells, and refuses one that belongs to other weights.
void LewmShapes::read_upstream(JepaOptions& options, const nlohmann::json& upstream) const {
  const auto agree = [&](const char* section, const char* key, int64_t size) {
    const auto claimed = upstream_entry(upstream, section, key);
    if (!claimed.is_null() && claimed != size)
      fail("config.json: " + std::string(section) + "." + key + " = " + claimed.dump() +
           ", but the tensors say " + number(size));
  };
  agree("encoder", "image_size", options.image.size);
  agree("encoder", "patch_size", options.vit.patch);
  agree("encoder", "hidden_size", options.vit.width);
  agree("encoder", "num_hidden_layers", options.vit.depth);
  agree("encoder", "intermediate_size", options.vit.mlp_width);
  agree("predictor", "num_frames", options.history);
  agree("predictor", "depth", options.adaln.depth);
  agree("predictor", "hidden_dim", options.adaln.width);
  agree("predictor", "mlp_dim", options.adaln.mlp_width);
  agree("predictor", "input_dim", options.latent);
  agree("predictor", "dim_head", options.adaln.head_width);
  agree("action_encoder", "input_dim", options.action.width());
  agree("action_encoder", "emb_dim", options.action_encoder.width);
  const auto dropout = upstream_entry(upstream, "predictor", "dropout");
  if (dropout.is_number()) options.adaln.dropout = dropout.get<double>();
  const auto epsilon = upstream_entry(upstream, "encoder", "layer_norm_eps");
  if (epsilon.is_number()) options.vit.norm_epsilon = epsilon.get<double>();
}

JepaOptions LewmShapes::options(const LewmImportOptions& given, const nlohmann::json& upstream) {
  const bool pldm = has("idm.net.0.weight");
  auto options = pldm ? JepaOptions::pldm() : JepaOptions::lewm();
  options.image = given.image;
  read_encoder(options);
  const auto size = given.image.size;
  require(size == options.image.size || size == ImageOptions().size, ErrorCategory::invalid_option,
          source_ + ": image.size = " + number(size) + ", but its positions are those of " +
              number(options.image.size) + " pixels: leave it out");
  read_predictor(options);
  read_action_encoder(options);
  throw_if_any_fault(options);
  read_actions(options, given);
  read_heads(options, given, upstream);
  read_upstream(options, upstream);
  if (given.history > 0) {
    require(given.history <= options.history, ErrorCategory::invalid_option,
            source_ + ": history = " + number(given.history) + ", but the predictor has only " +
                number(options.history) + " positions");
    options.history = given.history;
  }
  throw_if_any(options.validate());
  return options;
}

}  // namespace foresight::models
