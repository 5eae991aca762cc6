// SPDX-License-Identifier: Apache-2.0
// foresight import vit: an image encoder of transformers or DINOv2's own, to build other models on.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <regex>

#include "flags.hpp"
#include "foresight/models/dinov2_checkpoint.hpp"
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
    visit("image", self.image,
          "pictures; what is not given comes from preprocessor_config.json; for DINOv2's own file "
          "as its evaluations cut them");
  }
  std::vector<std::string> validate() const { return {}; }  // when all is known
};

struct VitFlags {
  ImportFlags shared;
  OptionFlags options;
};

// As the files say, which flags overrule.
models::ImageOptions pictures(const std::string& source, std::optional<models::ImageOptions> told,
                              const OptionFlags& flags, int64_t native_size) {
  VitImportOptions defaults;
  if (told) defaults.image = std::move(*told);
  if (defaults.image.size == 0) defaults.image.size = native_size;
  const auto image = resolve(defaults, flags).image;
  require(!image.mean.empty() && !image.std.empty(), ErrorCategory::invalid_option,
          source +
              ": no preprocessor_config.json with image_mean and image_std: give --image.mean and "
              "--image.std, e.g. ImageNet's 0.485,0.456,0.406 and 0.229,0.224,0.225");
  require_valid(image);
  return image;
}

// A classifier's own layer, which is no part of the encoder.
void print_left_out(const io::NamedTensors& tensors) {
  const auto count = std::count_if(tensors.begin(), tensors.end(), [](const auto& item) {
    return item.first.starts_with(models::kHfClassifier);
  });
  if (count > 0) fmt::print("left out: {} tensors of '{}'\n", count, models::kHfClassifier);
}

// The encoder's tensors under its own names: a class built on it puts `family` before them.
io::NamedTensors encoder_of(const io::NamedTensors& tensors, const std::string& family) {
  io::NamedTensors own;
  for (const auto& [name, tensor] : tensors)
    if (!name.starts_with(models::kHfClassifier))
      own.emplace_back(name.starts_with(family) ? name.substr(family.size()) : name, tensor);
  return own;
}

// "blocks.1.6.norm1.weight" -> "blocks.6.norm1.weight": trained in chunks (block_chunks), of which
// the second number counts all blocks.
std::string without_chunk(const std::string& name) {
  static const std::regex chunk(R"(^blocks\.\d+\.(\d+\.))");
  return std::regex_replace(name, chunk, "blocks.$1");
}

// Of DINOv2's training files, of which a teacher may be all, what is below "backbone.": their heads
// are left out, with a message. Other files' tensors as they are.
io::NamedTensors backbone_of(const io::NamedTensors& tensors) {
  constexpr std::string_view kBackbone = "backbone.";
  const auto all = io::without_wrappers(tensors, {"teacher."});
  io::NamedTensors own;
  for (const auto& [name, tensor] : all)
    if (name.starts_with(kBackbone))
      own.emplace_back(without_chunk(name.substr(kBackbone.size())), tensor);
  if (own.empty()) return all;
  if (own.size() < all.size())
    fmt::print("left out: {} tensors beside '{}'\n", all.size() - own.size(), kBackbone);
  return own;
}

void import_vit_command(const VitFlags& flags) {
  const auto weights = flags.shared.open(flags.shared.from);
  models::ImageEncoderModel model;
  std::string layout = kOwnLayout;
  io::NamedTensors read;
  std::optional<models::ImageOptions> told;
  if (const auto folder = hf_folder_of(flags.shared.from, weights)) {
    require(flags.shared.group.empty() && flags.shared.ignore.empty(),
            ErrorCategory::invalid_option,
            flags.shared.from +
                ": a Hugging Face folder has one encoder; leave out --group and "
                "--ignore");
    const auto channels = models::describe_hf_vit(*folder).channels;
    require(channels == 3, ErrorCategory::unsupported,
            fmt::format("{}: num_channels = {}: an encoder of other pictures than RGB, expected 3",
                        folder->config_name(), channels));
    model.encoder = models::load_hf_vit(*folder, io::Placement::share);
    layout = folder->model_type();
    told = models::read_hf_preprocessing(*folder);
    print_left_out(weights.tensors);
    read = encoder_of(weights.tensors, folder->model_type() + ".");
  } else {
    require_one_encoder(weights, flags.shared.group, "--group", flags.shared.ignore);
    read = backbone_of(flags.shared.tensors(weights));
    model.encoder = models::load_dinov2(read, weights.path.string(), io::Placement::share);
    told = models::dinov2_evaluation_pictures();
  }
  const auto& o = model.encoder->options();
  fmt::print("encoder: {} layers of width {}, {} heads; positions of {} pixels, resampled {}\n",
             o.depth, o.width, o.heads, model.encoder->image_size(), enum_name(o.positions));
  model.image =
      pictures(flags.shared.from, std::move(told), flags.options, model.encoder->image_size());
  auto config = models::vit_bundle_config(model);
  config.provenance[kSourceLayout] = layout;
  write_imported({std::move(config), nn::state_dict(*model.encoder)}, flags.shared, weights, read);
}

}  // namespace

void require_one_encoder(const io::Weights& weights, const std::string& group, const char* flag,
                         const std::vector<std::string>& ignore) {
  constexpr std::string_view kPatches = ".patch_embed.proj.weight", kBackbone = ".backbone";
  const auto below = group.empty() && !weights.groups.empty() ? io::kModelGroup : group;
  std::string choices;
  int count = 0;
  const auto all = weights.model(group, flag), bare = io::without_wrappers(all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& name = all[i].first;
    const bool left_out = std::any_of(ignore.begin(), ignore.end(), [&](const auto& prefix) {
      return bare[i].first.starts_with(prefix);
    });
    if (left_out || !name.ends_with(kPatches)) continue;
    auto encoder = (below.empty() ? below : below + ".") + name;
    encoder.resize(encoder.size() - kPatches.size());
    if (encoder.ends_with(kBackbone)) encoder.resize(encoder.size() - kBackbone.size());
    choices += (count++ == 0 ? "" : ", ") + encoder;
  }
  require(count < 2, ErrorCategory::invalid_option,
          fmt::format("{}: holds several encoders, choose one: {} ({})", weights.path.string(),
                      choices, flag));
}

void add_vit_import(CLI::App& command) {
  auto flags = std::make_shared<VitFlags>();
  flags->shared.add(command);
  add_options(command, VitImportOptions{}, flags->options);
  command.callback([flags] { import_vit_command(*flags); });
}

}  // namespace foresight::cli
