// SPDX-License-Identifier: Apache-2.0
// An image encoder (ViT, I-JEPA, DINOv2) to and from a bundle: the network, and how pictures are
// prepared for it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/io/bundle.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

/// Family name of the bundles.
inline constexpr const char* kVitFamily = "vit";

struct FORESIGHT_API VitBundleOptions {
  ImageOptions image = {.resize = ResizeRule::crop};
  nn::VitOptions encoder;
  int64_t encoder_image_size = 224;  ///< of the position table, pixels

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "the vision transformer");
    visit("encoder_image_size", self.encoder_image_size,
          "side of the picture to which the positions belong, pixels");
  }
  std::vector<std::string> validate() const;
};

/// An encoder and its pictures.
struct ImageEncoderModel {
  ImageOptions image;
  std::shared_ptr<nn::Vit> encoder;
};

/// The configuration that describes `model`; provenance is the caller's to fill.
FORESIGHT_API io::BundleConfig vit_bundle_config(const ImageEncoderModel& model);

/// Writes config.json and weights. `config` comes from vit_bundle_config(). Throws
/// Error(invalid_argument) if it is of another family; otherwise as io::write_bundle().
FORESIGHT_API void write_vit(const std::filesystem::path& folder, const ImageEncoderModel& model,
                             const io::BundleConfig& config);

/// The encoder of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit, before a network of other sizes than theirs is made. With
/// io::Placement::share its weights stay in the bundle's mapped file, see docs/checkpoints.md.
FORESIGHT_API ImageEncoderModel read_vit(const io::Bundle& bundle,
                                         io::Placement placement = io::Placement::copy);

}  // namespace foresight::models
