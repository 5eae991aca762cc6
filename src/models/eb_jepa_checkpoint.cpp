// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa_checkpoint.hpp"

#include <algorithm>
#include <optional>

#include "bundle_sizes.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

constexpr std::string_view kOwnedNorm = "encoder.final_ln.";
constexpr std::string_view kNormAlias = "predictor.final_ln.";
constexpr std::string_view kIdm = "regularizer.idm_loss_fn.idm.model.";
constexpr std::string_view kEbProjector = "regularizer.projector.net.";

io::NamedTensors without_marks(const io::NamedTensors& tensors) {
  io::NamedTensors plain;
  for (const auto& [key, tensor] : tensors) plain.emplace_back(eb_jepa_key(key), tensor);
  return plain;
}

// Without the predictor's name of the norm that it shares with the encoder.
io::NamedTensors without_alias(const io::NamedTensors& plain) {
  io::NamedTensors own;
  for (const auto& item : plain)
    if (!item.first.starts_with(kNormAlias)) own.push_back(item);
  return own;
}

// Shapes by name.
class EbJepaShapes {
 public:
  EbJepaShapes(const io::NamedTensors& tensors, std::string_view source)
      : tensors_(tensors), source_(source) {}
  bool has(const std::string& key) const {
    return std::any_of(tensors_.begin(), tensors_.end(),
                       [&](const auto& item) { return item.first == key; });
  }
  int64_t size(const std::string& key, int64_t axis) const {
    const auto& tensor = tensor_named(tensors_, key, source_);
    require(axis < tensor.dim(), ErrorCategory::bad_file,
            source_ + ": tensor '" + key + "' has shape " + shape_string(tensor.sizes()) +
                ", expected more than " + std::to_string(axis) + " axes");
    require(tensor.size(axis) >= 1, ErrorCategory::bad_file,
            source_ + ": tensor '" + key + "' is empty");
    return tensor.size(axis);
  }

 private:
  const io::NamedTensors& tensors_;
  std::string source_;
};

nn::ImpalaOptions eb_jepa_encoder(const EbJepaShapes& shapes, nn::ImpalaOptions encoder) {
  const std::string stacks = "encoder.stack_blocks.";
  const auto name = [&](std::size_t stack) { return stacks + std::to_string(stack); };
  encoder.channels.clear();
  do {
    encoder.channels.push_back(
        shapes.size(name(encoder.channels.size()) + ".initial_conv.weight", 0));
  } while (shapes.has(name(encoder.channels.size()) + ".initial_conv.weight"));
  encoder.blocks = 0;
  while (shapes.has(name(0) + ".blocks." + std::to_string(encoder.blocks) + ".conv1.weight"))
    ++encoder.blocks;
  encoder.width = shapes.size("encoder.mlp.weight", 0);
  encoder.final_norm =
      shapes.has(std::string(kOwnedNorm) + "weight") ? nn::NormKind::layer : nn::NormKind::none;
  return encoder;
}

}  // namespace

std::string eb_jepa_key(std::string key) { return io::without_marks(std::move(key)); }

EbJepaOptions eb_jepa_options(const io::NamedTensors& tensors, EbJepaOptions base,
                              std::string_view source,
                              std::optional<losses::LatentView> inverse_dynamics_view) {
  const auto plain = without_marks(tensors);
  const EbJepaShapes shapes(plain, source);
  auto options = std::move(base);
  options.encoder = eb_jepa_encoder(shapes, options.encoder);
  const auto channels = shapes.size("encoder.stack_blocks.0.initial_conv.weight", 1);
  require(channels == options.channels(), ErrorCategory::bad_file,
          std::string(source) + ": pictures of " + std::to_string(channels) +
              " channels, but EbJepaOptions.image_mean has " + std::to_string(options.channels()));
  const auto action = shapes.size("predictor.rnn.weight_ih_l0", 1);
  if (action != options.action.width()) {
    options.action = ActionSpace();
    options.action.dim = action;
  }
  options.projector.clear();
  for (std::size_t i = 0;; i += 3) {
    const auto layer = std::string(kEbProjector) + std::to_string(i) + ".weight";
    if (!shapes.has(layer)) break;
    options.projector.push_back(shapes.size(layer, 0));
  }
  const auto idm = std::string(kIdm) + "0.weight";
  options.inverse_dynamics_hidden = shapes.has(idm) ? shapes.size(idm, 0) : 0;
  if (options.inverse_dynamics_hidden == 0) {
    options.regulariser.inverse_dynamics = 0;
  } else if (!options.projector.empty()) {
    require(inverse_dynamics_view || options.projector.back() != options.latent(),
            ErrorCategory::invalid_option,
            std::string(source) + ": latents and projections are both " +
                std::to_string(options.latent()) +
                " wide, so no shape tells which of them the inverse-dynamics head reads: say it "
                "(--regulariser.inverse_dynamics_view direct, projected or projected_upstream)");
    options.regulariser.inverse_dynamics_view = inverse_dynamics_view.value_or(
        shapes.size(idm, 1) == 2 * options.projector.back() ? losses::LatentView::projected
                                                            : losses::LatentView::direct);
  }
  require_valid(options);
  // A network of these options is no larger than its file.
  SizeFaults faults;
  expect_sizes(plain, options, source, " as the other tensors and the options have it", &faults);
  faults.throw_if_any(without_alias(plain), source,
                      [&] { return nn::state_dict(EbJepa(options, std::nullopt)); });
  return options;
}

void load_eb_jepa(EbJepa& model, const io::NamedTensors& tensors, std::string_view source) {
  auto plain = without_marks(tensors);
  const auto find = [&](const std::string& key) {
    for (const auto& item : plain)
      if (item.first == key) return item.second;
    return Tensor();
  };
  for (const auto& [key, tensor] : plain) {
    if (!key.starts_with(kNormAlias)) continue;
    const auto owned = std::string(kOwnedNorm) + key.substr(kNormAlias.size());
    const auto other = find(owned);
    require(
        other.defined() && other.scalar_type() == tensor.scalar_type() && at::equal(other, tensor),
        ErrorCategory::bad_file,
        std::string(source) + ": '" + key + "' and '" + owned +
            "' are one tensor in EB-JEPA, but " +
            (other.defined() ? "differ here" : "the second is missing"));
  }
  nn::load_state_dict(model, without_alias(plain), source);
}

io::NamedTensors eb_jepa_tensors(const EbJepa& model) {
  io::NamedTensors tensors;
  for (const auto& [key, tensor] : nn::state_dict(model)) {
    tensors.emplace_back(key, tensor);
    if (key.starts_with(kOwnedNorm))
      tensors.emplace_back(std::string(kNormAlias) + key.substr(kOwnedNorm.size()), tensor);
  }
  return tensors;
}

}  // namespace foresight::models
