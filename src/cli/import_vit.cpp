// SPDX-License-Identifier: Apache-2.0
// foresight import vit: an image encoder of transformers, to build other models on.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "flags.hpp"
#include "foresight/models/hf_vit.hpp"
#include "foresight/models/vit_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

constexpr const char* kPreprocessorFile = "preprocessor_config.json";

struct VitImportOptions {
  // What the folder says is taken from there: size 0, no mean, no std.
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

std::vector<double> three_numbers(const nlohmann::json& config, const char* key,
                                  const std::string& file) {
  const auto found = config.find(key);
  if (found == config.end()) return {};
  const bool fits = found->is_array() && found->size() == 3 && (*found)[0].is_number() &&
                    (*found)[1].is_number() && (*found)[2].is_number();
  require(fits, ErrorCategory::bad_file, file + ": " + key + " is no list of three numbers");
  return found->get<std::vector<double>>();
}

// The side that pictures have in the end: the crop's, where there is one.
int64_t side(const nlohmann::json& config) {
  for (const auto* key : {"crop_size", "size"}) {
    const auto found = config.find(key);
    if (found == config.end()) continue;
    if (found->is_number_integer()) return found->get<int64_t>();
    for (const auto* edge : {"height", "shortest_edge"})
      if (found->is_object() && found->contains(edge) && (*found)[edge].is_number_integer())
        return (*found)[edge].get<int64_t>();
  }
  return 0;
}

models::ImageOptions pictures(models::ImageOptions image, const std::filesystem::path& folder,
                              int64_t native_size) {
  const auto file = folder / kPreprocessorFile;
  nlohmann::json config = nlohmann::json::object();
  if (std::filesystem::exists(file)) config = io::read_json(file);
  require(config.is_object(), ErrorCategory::bad_file, file.string() + ": expected an object");
  if (image.mean.empty()) image.mean = three_numbers(config, "image_mean", file.string());
  if (image.std.empty()) image.std = three_numbers(config, "image_std", file.string());
  require(!image.mean.empty() && !image.std.empty(), ErrorCategory::invalid_option,
          folder.string() + ": no " + kPreprocessorFile +
              " with image_mean and image_std: give --image.mean and --image.std, e.g. ImageNet's "
              "0.485,0.456,0.406 and 0.229,0.224,0.225");
  if (image.size == 0) image.size = side(config);
  if (image.size == 0) image.size = native_size;
  require_valid(image);
  return image;
}

void import_vit_command(const VitFlags& flags) {
  const auto options = resolve(VitImportOptions{}, flags.options);
  const auto weights = io::open_weights(flags.shared.from);
  const auto folder = io::read_hf_folder(flags.shared.from);
  models::ImageEncoderModel model;
  model.encoder = models::load_hf_vit(folder);
  model.image = pictures(options.image, folder.path, model.encoder->image_size());
  auto config = models::vit_bundle_config(model);
  config.provenance[kSourceLayout] = folder.model_type();
  write_imported({std::move(config), nn::state_dict(*model.encoder)}, flags.shared, weights);
}

}  // namespace

void add_vit_import(CLI::App& command) {
  auto flags = std::make_shared<VitFlags>();
  flags->shared.add_files(command);
  add_options(command, VitImportOptions{}, flags->options);
  command.callback([flags] { import_vit_command(*flags); });
}

}  // namespace foresight::cli
