// SPDX-License-Identifier: Apache-2.0
// foresight import dino_wm: predictor and embeddings from one file, the frozen backbone from
// another.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "flags.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

struct DinoWmFlags {
  ImportFlags shared;
  std::string backbone, data, preset = "dino_wm";
  OptionFlags options;
};

void require_statistics(const models::DinoWmOptions& options) {
  require(
      !options.action.mean.empty() && !options.action.std.empty(), ErrorCategory::invalid_option,
      "the files hold no action statistics: give --action.mean and --action.std (0 and 1 if the "
      "model was trained on raw actions), or --data");
  require(
      options.proprio.dim == 0 || (!options.proprio.mean.empty() && !options.proprio.std.empty()),
      ErrorCategory::invalid_option,
      "the files hold no statistics of proprioception: give --proprio.mean and --proprio.std, or "
      "--proprio.dim 0 for a model without it");
}

void import_dino_wm_command(const DinoWmFlags& flags) {
  using models::DinoWmOptions;
  auto options =
      resolve(flags.preset == "prejepa" ? DinoWmOptions::prejepa() : DinoWmOptions::dino_wm(),
              flags.options);
  if (!flags.data.empty()) {
    measure_actions(options.action, flags.data);
    require_valid(options);
  }
  require_statistics(options);
  const auto weights = io::open_weights(flags.shared.from);
  const auto backbone = io::open_weights(flags.backbone);
  const auto tensors = flags.shared.tensors(weights);
  models::DinoWm model(options, std::nullopt);
  models::load_dino_wm(model, tensors, weights.path.string());
  models::load_dino_wm_backbone(model, backbone.model({}), backbone.path.string());
  auto config = models::dino_wm_bundle_config(model);
  config.provenance["backbone"] = backbone.path.filename().string();
  config.provenance.update(models::dino_wm_source(tensors));
  write_imported({std::move(config), nn::state_dict(model)}, flags.shared, weights, tensors);
}

}  // namespace

void add_dino_wm_import(CLI::App& command) {
  auto flags = std::make_shared<DinoWmFlags>();
  flags->shared.add(command);
  command
      .add_option("--backbone", flags->backbone,
                  "weights of the frozen encoder: DINOv2's own file or a Hugging Face folder")
      ->required();
  command
      .add_option("--preset", flags->preset,
                  "what the options below start from: dino_wm, or prejepa of stable-worldmodel")
      ->check(CLI::IsMember({"dino_wm", "prejepa"}))
      ->capture_default_str();
  command.add_option("--data", flags->data,
                     "recordings that the model was trained on, for the statistics of its actions");
  add_options(command, models::DinoWmOptions::dino_wm(), flags->options);
  command.callback([flags] { import_dino_wm_command(*flags); });
}

}  // namespace foresight::cli
