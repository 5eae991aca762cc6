// SPDX-License-Identifier: Apache-2.0
// Families whose encoder was trained before and stays as it is: DINO-WM and V-JEPA 2-AC.
#include <nlohmann/json.hpp>

#include "family_run.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/learn_family.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "learning_data.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;

// What comes from the backbone cannot be chosen as well.
template <class Part>
void require_left(const Part& given, const Part& preset, const char* name) {
  require(write_options(given) == write_options(preset), ErrorCategory::invalid_option,
          std::string(name) + " comes from the backbone: leave it out");
}

nlohmann::json told_of(const std::string& path, const io::Bundle& backbone,
                       const FamilyData& data) {
  auto provenance = data.provenance();
  provenance["backbone"] = {{"bundle", path},
                            {"family", backbone.config.family},
                            {"provenance", backbone.config.provenance}};
  return provenance;
}

// Statistics of the state columns that the model takes as proprioception, where none were given.
void measure_proprio(models::ProprioOptions& proprio, const FamilyData& data) {
  if (proprio.dim == 0 || (!proprio.mean.empty() && !proprio.std.empty())) return;
  const auto& columns = data.dataset().state_columns();
  require(static_cast<int64_t>(columns.size()) == proprio.dim, ErrorCategory::invalid_option,
          "model.proprio.dim = " + std::to_string(proprio.dim) + " must be the recordings' " +
              std::to_string(columns.size()) + " state columns");
  data.fill_statistics(columns, proprio.mean, proprio.std);
}

models::DinoWmOptions on_backbone(const DinoWmLearnOptions& asked,
                                  const models::ImageBackbone& backbone, const FamilyData& data) {
  auto options = asked.model;
  const models::DinoWmOptions preset;
  require_left(options.image, preset.image, "model.image");
  require_left(options.encoder, preset.encoder, "model.encoder");
  require(options.encoder_image_size == preset.encoder_image_size, ErrorCategory::invalid_option,
          "model.encoder_image_size comes from the backbone: leave it out");
  options.image = backbone.image;
  if (asked.image_size > 0) {
    options.image.size = asked.image_size;
    options.image.width = 0;
  }
  if (options.image.resize == models::ResizeRule::shorter_edge)
    options.image.resize = models::ResizeRule::crop;  // the number of patches is fixed
  options.encoder = backbone.encoder;
  options.encoder_image_size = backbone.encoder_image_size;
  options.action = data_action_space(data.dataset(), asked.windows.stride, asked.model.action,
                                     data.split().train);
  measure_proprio(options.proprio, data);
  return options;
}

// How a bundle plans unless told otherwise: the published search, replanned after every block.
AgentOptions patch_planner(SamplingOptions sampling, Distance distance, int64_t replan_steps) {
  constexpr int64_t kCandidateBytes = int64_t{1}
                                      << 30;  // candidates of patches take megabytes each
  AgentOptions planner;
  planner.sampling = std::move(sampling);
  planner.objective.distance = {.distance = distance, .reduction = Reduction::mean};
  planner.control.horizon = 5;
  planner.control.replan_steps = replan_steps;
  planner.control.candidate_bytes = kCandidateBytes;
  return planner;
}

}  // namespace

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const DinoWmLearnOptions& options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  require_valid(options);
  FamilyRun run("dino_wm", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options);
  const auto bundle = io::read_bundle(options.backbone);
  const auto backbone = models::image_backbone(bundle);
  auto model = std::make_shared<models::DinoWm>(on_backbone(options, backbone, data),
                                                static_cast<std::uint64_t>(options.seed));
  models::load_backbone(*model, backbone.tensors, options.backbone);
  model->to(device);
  run.open(data.dataset().name());
  data.decode(&model->options().image);
  const auto features = std::make_shared<FeatureCache>(
      [model, device](const Tensor& pixels) { return model->encode_pixels(pixels.to(device)); },
      device, options.windows.stride, options.features);
  DinoWmTask task(
      model,
      data.task_data(model->options().action, model->options().proprio.dim > 0, run.reducer()),
      features);
  const auto planner = patch_planner(dino_wm_cem(), Distance::l2, options.windows.stride);
  auto result = run.train(task, told_of(options.backbone, bundle, data),
                          [&](const fs::path& path, nlohmann::json provenance) {
                            auto config = models::dino_wm_bundle_config(*model);
                            config.planner = write_options(planner);
                            config.provenance = std::move(provenance);
                            models::write_dino_wm(path, *model, config);
                          });
  result.decode_seconds = data.decode_seconds();
  return result;
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const VJepa2AcLearnOptions& options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  require_valid(options);
  FamilyRun run("vjepa2_ac", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options);
  const auto bundle = io::read_bundle(options.backbone);
  const auto backbone = models::video_backbone(bundle);
  auto model_options = options.model;
  const models::VJepa2AcOptions preset;
  require_left(model_options.image, preset.image, "model.image");
  require_left(model_options.encoder, preset.encoder, "model.encoder");
  model_options.image = backbone.image;
  model_options.encoder = backbone.encoder;
  auto model =
      std::make_shared<models::VJepa2Ac>(model_options, static_cast<std::uint64_t>(options.seed));
  models::load_backbone(*model, backbone.tensors, options.backbone);
  model->to(device);
  run.open(data.dataset().name());
  data.decode(&model->options().image);
  const auto features = std::make_shared<FeatureCache>(
      [model, device](const Tensor& pixels) {
        return model->encode_images(model->preprocess(pixels.to(device)));
      },
      device, options.windows.stride, options.features);
  VJepa2AcTask task(model, data.task_data(data.unused_actions(), /*states=*/true, run.reducer()),
                    features);
  const auto planner = patch_planner(vjepa2_ac_cem(), Distance::l1, 1);
  auto result = run.train(task, told_of(options.backbone, bundle, data),
                          [&](const fs::path& path, nlohmann::json provenance) {
                            auto config = models::vjepa2_ac_bundle_config(*model);
                            config.planner = write_options(planner);
                            config.provenance = std::move(provenance);
                            models::write_vjepa2_ac(path, *model, config);
                          });
  result.decode_seconds = data.decode_seconds();
  return result;
}

}  // namespace foresight::train
