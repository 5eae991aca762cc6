// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/backbone.hpp"

#include "bundle_sizes.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::models {
namespace {

constexpr std::string_view kEncoderPart = "encoder.";

io::NamedTensors below_encoder(const io::NamedTensors& tensors) {
  io::NamedTensors part;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(kEncoderPart)) part.emplace_back(name.substr(kEncoderPart.size()), tensor);
  return part;
}

[[noreturn]] void no_backbone(const io::Bundle& bundle, const char* kind, const char* known) {
  throw Error(ErrorCategory::unsupported, bundle_name(bundle) + ": model family '" +
                                              bundle.config.family + "' has no " + kind +
                                              " encoder to build on, expected one of " + known);
}

}  // namespace

ImageBackbone image_backbone(const io::Bundle& bundle) {
  const auto& family = bundle.config.family;
  const auto sized = [&](const auto& options, int64_t image_size, io::NamedTensors tensors) {
    require_whole(bundle);
    expect_sizes(tensors, "", options.encoder, image_size, bundle_name(bundle));
    return ImageBackbone{options.image, options.encoder, image_size, std::move(tensors)};
  };
  if (family == kVitFamily) {
    const auto o = encoder_options<VitBundleOptions>(bundle, family);
    return sized(o, o.encoder_image_size, bundle.model_tensors());
  }
  const auto tensors = below_encoder(bundle.model_tensors());
  if (family == kLeJepaFamily) {
    const auto o = encoder_options<LeJepaOptions>(bundle, family);
    return sized(o, o.image.size, tensors);
  }
  if (family == kDinoWmFamily) {
    const auto o = family_options<DinoWmOptions>(bundle, family);
    return sized(o, o.encoder_image_size, tensors);
  }
  no_backbone(bundle, "image", "vit, lejepa, dino_wm");
}

VideoBackbone video_backbone(const io::Bundle& bundle) {
  const auto& family = bundle.config.family;
  const auto sized = [&](const auto& options) {
    require_whole(bundle);
    const auto tensors = bundle.model_tensors();
    expect_sizes(tensors, options.encoder, bundle_name(bundle));
    return VideoBackbone{options.image, options.encoder, below_encoder(tensors)};
  };
  if (family == kVJepa2Family) return sized(encoder_options<VJepa2Options>(bundle, family));
  if (family == kVJepa2AcFamily) return sized(family_options<VJepa2AcOptions>(bundle, family));
  no_backbone(bundle, "video", "vjepa2, vjepa2_ac");
}

void load_backbone(torch::nn::Module& model, const io::NamedTensors& tensors,
                   std::string_view source, io::Placement placement) {
  io::load_into(below_encoder(nn::state_dict(model)), tensors, source, io::DtypeRule::same_kind,
                placement);
}

}  // namespace foresight::models
