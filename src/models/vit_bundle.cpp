// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vit_bundle.hpp"

#include <algorithm>

#include "bundle_sizes.hpp"
#include "family_bundle.hpp"
#include "saved_module.hpp"

namespace foresight::models {

std::vector<std::string> VitBundleOptions::validate() const {
  return Rules("VitBundleOptions")
      .nested("image", image.validate())
      .nested("encoder", encoder.validate())
      .check(encoder_image_size >= encoder.patch, "encoder_image_size",
             static_cast<double>(encoder_image_size), "must be at least one patch")
      .problems();
}

io::BundleConfig vit_bundle_config(const ImageEncoderModel& model) {
  const VitBundleOptions options{model.image, model.encoder->options(),
                                 model.encoder->image_size()};
  require_valid(options);
  require_few_tokens(std::max(options.image.size, options.image.columns()), options.encoder.patch,
                     1, "image.size");
  const auto side = options.image.size / options.encoder.patch;
  return encoder_config(kVitFamily, options, {kAny, kAny, 3}, side * side, options.encoder.width);
}

void write_vit(const std::filesystem::path& folder, const ImageEncoderModel& model,
               const io::BundleConfig& config) {
  check_family_to_write(config, kVitFamily);
  io::write_bundle(folder, config, nn::state_dict(*model.encoder));
}

ImageEncoderModel read_vit(const io::Bundle& bundle, io::Placement placement) {
  const auto options = encoder_options<VitBundleOptions>(bundle, kVitFamily);
  require_whole(bundle);
  const auto tensors = bundle.model_tensors();
  expect_sizes(tensors, "", options.encoder, options.encoder_image_size, bundle_name(bundle));
  ImageEncoderModel model{options.image,
                          std::make_shared<nn::Vit>(options.encoder, options.encoder_image_size)};
  fill_from_bundle(*model.encoder, tensors, bundle_name(bundle), placement);
  return model;
}

}  // namespace foresight::models
