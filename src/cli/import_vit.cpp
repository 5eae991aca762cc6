// SPDX-License-Identifier: Apache-2.0
// foresight import vit: an image encoder of transformers, to build other models on.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "flags.hpp"
#include "foresight/models/hf_preprocessing.hpp"
#include "foresight/models/hf_vit.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

struct VitImportOptions {
  // Without a preprocessor_config.json: the encoder's size, but no guess at statistics.
  models::ImageOptions image = {
      .size = 0, .mean = {}, .std = {}, .resize = models::ResizeRule::crop};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "pictures; what is not given comes from preprocessor_config.json");
  }
  std::vector<std::string> validate() const { return {}; }  // when all is known
};

struct VitFlags {
  ImportFlags shared;
  OptionFlags options;
};

// As the folder says, which flags overrule.
models::ImageOptions pictures(const io::HfFolder& folder, const OptionFlags& flags,
                              int64_t native_size) {
  VitImportOptions defaults;
  if (auto told = models::read_hf_preprocessing(folder)) defaults.image = std::move(*told);
  if (defaults.image.size == 0) defaults.image.size = native_size;
  const auto image = resolve(defaults, flags).image;
  require(!image.mean.empty() && !image.std.empty(), ErrorCategory::invalid_option,
          folder.path.string() +
              ": no preprocessor_config.json with image_mean and image_std: give --image.mean and "
              "--image.std, e.g. ImageNet's 0.485,0.456,0.406 and 0.229,0.224,0.225");
  require_valid(image);
  return image;
}

void import_vit_command(const VitFlags& flags) {
  const auto weights = io::open_weights(flags.shared.from);
  const auto folder = io::read_hf_folder(flags.shared.from);
  models::ImageEncoderModel model;
  model.encoder = models::load_hf_vit(folder, io::Placement::share);
  model.image = pictures(folder, flags.options, model.encoder->image_size());
  auto config = models::vit_bundle_config(model);
  config.provenance[kSourceLayout] = folder.model_type();
  write_imported({std::move(config), nn::state_dict(*model.encoder)}, flags.shared, weights,
                 weights.tensors);
}

}  // namespace

void add_vit_import(CLI::App& command) {
  auto flags = std::make_shared<VitFlags>();
  flags->shared.add_files(command);
  add_options(command, VitImportOptions{}, flags->options);
  command.callback([flags] { import_vit_command(*flags); });
}

}  // namespace foresight::cli
