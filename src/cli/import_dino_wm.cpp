// SPDX-License-Identifier: Apache-2.0
// foresight import dino_wm: predictor and embeddings from one file, the frozen backbone from
// another.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <memory>

#include "flags.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "importers.hpp"

namespace foresight::cli {
namespace {

constexpr const char* kBackboneGroup = "--backbone_group";

struct DinoWmFlags {
  ImportFlags shared;
  std::string backbone, backbone_group, preset = "dino_wm";
  ImportData data;
  OptionFlags options;
};

// Statistics of proprioception that were not given: of the state columns, over all rows.
void measure_proprio(models::ProprioOptions& proprio, const ImportData& data) {
  if (proprio.dim == 0 || (!proprio.mean.empty() && !proprio.std.empty())) return;
  const auto dataset = data.open();
  const auto& columns = dataset->state_columns();
  require(static_cast<int64_t>(columns.size()) == proprio.dim, ErrorCategory::invalid_option,
          fmt::format("{}: {} state columns, but proprio.dim = {}: choose those that the model "
                      "takes as proprioception with --states, or give --proprio.mean and "
                      "--proprio.std",
                      data.path, columns.size(), proprio.dim));
  const auto measured =
      data::column_statistics(*dataset, columns, data::LastRow::include, {}, data::Missing::row);
  if (proprio.mean.empty()) proprio.mean = measured.mean;
  if (proprio.std.empty())
    for (const double value : measured.std) proprio.std.push_back(value > 0 ? value : 1.0);
  fmt::print("proprio: mean and std of {} rows of {}\n", dataset->total_rows(), data.path);
}

void require_statistics(const models::DinoWmOptions& options) {
  require(
      !options.action.mean.empty() && !options.action.std.empty(), ErrorCategory::invalid_option,
      "the files hold no action statistics: give --action.mean and --action.std (0 and 1 if the "
      "model was trained on raw actions), or --data");
  require(
      options.proprio.dim == 0 || (!options.proprio.mean.empty() && !options.proprio.std.empty()),
      ErrorCategory::invalid_option,
      "the files hold no statistics of proprioception: give --proprio.mean and --proprio.std, "
      "--data, or --proprio.dim 0 for a model without it");
}

// The preset, what the weights and a config.json beside them tell, and flags over both.
models::DinoWmOptions resolved(const DinoWmFlags& flags, const io::Weights& weights,
                               const io::NamedTensors& tensors) {
  using models::DinoWmOptions;
  auto options = flags.preset == "prejepa" ? DinoWmOptions::prejepa() : DinoWmOptions::dino_wm();
  auto& predictor = options.predictor;
  predictor.heads = predictor.head_width = 0;
  const auto config = weights.config();
  models::read_prejepa_config(options, config);
  options = overlaid(options, flags.options);
  if (flags.data.given()) {
    measure_actions(options.action, flags.data);
    measure_proprio(options.proprio, flags.data);
  }
  require_statistics(options);
  const auto told = [&](const char* key) {
    return models::prejepa_config_told(options, config, key);
  };
  const auto config_name = weights.config_file.string();
  const bool by_config = (told("heads") || told("dim_head")) &&
                         (predictor.heads == 0 || told("heads")) &&
                         (predictor.head_width == 0 || told("dim_head"));
  models::fill_predictor_heads(predictor, tensors, weights.path.string(),
                               by_config ? config_name : std::string());
  fmt::print("predictor: {} heads of {}\n", predictor.heads, predictor.head_width);
  require_valid(options);
  models::check_prejepa_config(options, config, config_name, tensors);
  return options;
}

// Weights whose groups are the parts of one model, {part: module.state_dict()}, are not several to
// choose from: its parts stay, under "part.", and what a training keeps beside them goes.
io::Weights joined(io::Weights weights) {
  constexpr std::array kParts{"predictor", "action_encoder", "proprio_encoder",
                              "encoder",   "backbone",       "decoder"};
  const auto& groups = weights.groups;
  const auto has = [&](const std::string& part) {
    return std::find(groups.begin(), groups.end(), part) != groups.end();
  };
  if (!has(kParts[0]) || !has(kParts[1])) return weights;
  io::NamedTensors tensors;
  for (const std::string part : kParts) {
    if (!has(part)) continue;
    for (const auto& [name, tensor] : io::without_wrappers(weights.group(part)))
      tensors.emplace_back(part + "." + name, tensor);
  }
  weights.tensors = std::move(tensors);
  weights.groups.clear();
  return weights;
}

// What an export gives back of `tensors`, by its names: no part that nothing reads, but the
// backbone of a PreJEPA.
io::NamedTensors exported(const io::NamedTensors& tensors) {
  auto named = tensors;
  for (auto& [name, tensor] : named) name = io::without_marks(name);
  named = io::without_wrappers(named, {"model."});
  const bool prejepa = models::dino_wm_layout(named) == models::DinoWmLayout::prejepa;
  for (const auto& part : models::dino_wm_other_parts(named))
    if (!prejepa || part.first != "backbone.")
      std::erase_if(named, [&](const auto& item) { return item.first.starts_with(part.first); });
  return named;
}

void import_dino_wm_command(const DinoWmFlags& flags) {
  auto weights = flags.shared.open(flags.shared.from);
  const auto count = weights.tensors.size();
  if (flags.shared.group.empty()) weights = joined(std::move(weights));
  if (weights.tensors.size() < count)
    fmt::print("left out: {} tensors of other groups\n", count - weights.tensors.size());
  auto backbone = flags.shared.open(flags.backbone);
  if (flags.backbone_group.empty()) backbone = joined(std::move(backbone));
  require_one_encoder(backbone, flags.backbone_group, kBackboneGroup);
  const auto frozen = backbone.model(flags.backbone_group, kBackboneGroup);
  const auto tensors = flags.shared.tensors(weights);
  const auto source = weights.path.string(), backbone_source = backbone.path.string();
  const auto options = resolved(flags, weights, tensors);
  models::check_dino_wm_sizes(options, tensors, source, frozen, backbone_source);
  models::DinoWm model(options, std::nullopt);
  models::load_dino_wm(model, tensors, source);
  models::load_dino_wm_backbone(model, frozen, backbone_source, io::Placement::share);
  for (const auto& [prefix, count] : models::dino_wm_other_parts(tensors))
    if (prefix == "decoder." || weights.path != backbone.path)
      fmt::print("left out: {} tensors of '{}'\n", count, prefix);
  auto config = models::dino_wm_bundle_config(model);
  config.planner = write_options(AgentOptions::dino_wm(model.options().proprio.dim > 0));
  config.provenance["backbone"] = backbone.path.filename().string();
  if (!flags.backbone_group.empty()) config.provenance["backbone_group"] = flags.backbone_group;
  config.provenance.update(models::dino_wm_source(tensors));
  write_imported({std::move(config), nn::state_dict(model)}, flags.shared, weights,
                 exported(tensors));
}

}  // namespace

void add_dino_wm_import(CLI::App& command) {
  auto flags = std::make_shared<DinoWmFlags>();
  flags->shared.add(command);
  command
      .add_option("--backbone", flags->backbone,
                  "weights of the frozen encoder: DINOv2's own file or a Hugging Face folder")
      ->required();
  command.add_option(kBackboneGroup, flags->backbone_group,
                     "which state dict of a --backbone with several, or which names of a flat one "
                     "(teacher.*), e.g. teacher");
  command
      .add_option("--preset", flags->preset,
                  "what the options below start from: dino_wm, or prejepa of stable-worldmodel")
      ->check(CLI::IsMember({"dino_wm", "prejepa"}))
      ->capture_default_str();
  flags->data.add(command,
                  "recordings that the model was trained on, for the statistics of its actions and "
                  "proprioception");
  command
      .add_option_function<std::vector<std::string>>(
          "--states",
          [flags](const std::vector<std::string>& columns) {
            flags->data.reading.given.set("reading.states", columns);
          },
          "the same as --reading.states: state columns that are the proprioception, in its order; "
          "default: all of them")
      ->delimiter(',')
      ->excludes("--reading.states");
  add_options(command, models::DinoWmOptions::dino_wm(), flags->options);
  command.callback([flags] { import_dino_wm_command(*flags); });
}

}  // namespace foresight::cli
