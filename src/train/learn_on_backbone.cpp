// SPDX-License-Identifier: Apache-2.0
// World models on an encoder that was trained before and stays as it is: DINO-WM and V-JEPA 2-AC.
#include <nlohmann/json.hpp>

#include "family_run.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/pose.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/learn_family.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "learning_data.hpp"
#include "on_backbone.hpp"
#include "with_extrinsics.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCameraNumbers = 6;

// What comes from the backbone cannot be chosen as well.
template <class Part>
void require_left(const Part& given, const Part& preset, const char* name) {
  require(write_options(given) == write_options(preset), ErrorCategory::invalid_option,
          std::string(name) + " comes from the backbone: leave it out");
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
  options.image.resize_edge = 0;  // a classifier can do without a picture's border, a world cannot
  options.encoder = backbone.encoder;
  options.encoder_image_size = backbone.encoder_image_size;
  options.action = data_action_space(data.dataset(), asked.windows.stride, asked.model.action,
                                     data.split().train);
  measure_proprio(options.proprio, data);
  return options;
}

// How a bundle plans unless told otherwise: the published search, five blocks ahead, and replanned
// after each from what is left of the plan.
AgentOptions every_block(AgentOptions planner, int64_t block_steps) {
  planner.control.horizon = 5;
  planner.control.replan_steps = block_steps;
  planner.control.warm_start = true;
  return planner;
}

// What a family reads besides pictures, before anything is written.
void require_columns(const char* family, const data::Dataset& dataset, int64_t expected) {
  const auto& columns = dataset.state_columns();
  std::string names;
  for (const auto& column : columns) names += (names.empty() ? "" : ", ") + column;
  require(static_cast<int64_t>(columns.size()) == expected, ErrorCategory::invalid_option,
          dataset.name() + ": " + family + " learns from " + std::to_string(expected) +
              " state columns beside the pictures, these recordings have " +
              std::to_string(columns.size()) + (names.empty() ? "" : " (" + names + ")") +
              "; choose them with DatasetOptions.states (--states)");
}

std::shared_ptr<models::VJepa2Ac> new_arm_model(const VJepa2AcLearnOptions& asked,
                                                const io::Bundle& encoder) {
  const auto backbone = models::video_backbone(encoder);
  auto options = asked.model;
  models::VJepa2AcOptions preset;
  preset.image.max_aspect = options.image.max_aspect;
  require_left(options.image, preset.image, "model.image");
  require_left(options.encoder, preset.encoder, "model.encoder");
  options.image = backbone.image;
  options.image.resize = models::ResizeRule::stretch;
  options.image.resize_edge = 0;
  options.image.max_aspect = preset.image.max_aspect;
  options.encoder = backbone.encoder;
  auto model = std::make_shared<models::VJepa2Ac>(options, static_cast<std::uint64_t>(asked.seed));
  models::load_backbone(*model, backbone.tensors, asked.backbone, io::Placement::share);
  return model;
}

// Columns that the model normalises by statistics that it keeps.
std::vector<ColumnDrift> proprio_drift(const models::ProprioOptions& proprio,
                                       const FamilyData& data,
                                       const std::optional<ConstantColumns>& constant) {
  if (proprio.dim == 0) return {};
  const auto& columns = data.dataset().state_columns();
  require_columns("dino_wm", data.dataset(), proprio.dim);
  return state_drift(data.dataset(), columns, proprio.mean, proprio.std, data.split().train,
                     constant);
}

// What the statistics of a new model were taken from without any change; of one that learns on, as
// its bundle tells.
std::optional<ConstantColumns> constant_of(const models::DinoWmOptions& model,
                                           const FamilyData& data,
                                           const std::optional<io::Bundle>& origin) {
  if (origin) return constant_columns_told(origin->config.provenance);
  const auto& dataset = data.dataset();
  const auto& learned = data.split().train;
  const auto states = model.proprio.dim > 0 ? dataset.state_columns() : std::vector<std::string>();
  return ConstantColumns{
      constant_columns(dataset, dataset.action_columns(), model.action.std, data::LastRow::exclude,
                       learned),
      constant_columns(dataset, states, model.proprio.std, data::LastRow::include, learned)};
}

}  // namespace

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const DinoWmLearnOptions& asked,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto model = origin ? models::read_dino_wm(*origin, io::Placement::share_frozen) : nullptr;
  auto options = asked;
  std::optional<io::Bundle> encoder;
  if (origin) {
    encoder = encoder_bundle(options.backbone, origin, hooks);
    options.model = model->options();
    require_stride_of_bundle(options.windows, options.model.action);
    require(options.image_size == 0 || options.image_size == options.model.image.size,
            ErrorCategory::invalid_option,
            "image_size = " + std::to_string(options.image_size) +
                " comes from the bundle that learning goes on from (" +
                std::to_string(options.model.image.size) + "): leave it out");
  }
  require_valid(options);
  FamilyRun run("dino_wm", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options, hooks,
                  {.actions = true, .states = options.model.proprio.dim > 0});
  if (!encoder) encoder = encoder_bundle(options.backbone, origin, hooks);
  if (!model) {
    const auto backbone = models::image_backbone(*encoder);
    model = std::make_shared<models::DinoWm>(on_backbone(options, backbone, data),
                                             static_cast<std::uint64_t>(options.seed));
    models::load_backbone(*model, backbone.tensors, options.backbone, io::Placement::share);
  }
  const auto constant = constant_of(model->options(), data, origin);
  DataDrift drift;
  if (origin) {
    drift.actions =
        action_drift(model->options().action, data.dataset(), data.split().train, constant);
    drift.states = proprio_drift(model->options().proprio, data, constant);
  }
  model->to(device);
  data.show(&model->options().image, folder.resume);
  run.open(data.learned_from(), {{"action", write_options(model->options().action)},
                                 {"proprio", write_options(model->options().proprio)}});
  data.decode(progress);
  const auto encode = [model, device](const Tensor& pixels) {
    return model->encode_pixels(pixels.to(device));
  };
  DinoWmTask task(model, data.task_data(model->options().action, device),
                  feature_cache_of(encode, device, options, options.features));
  const auto planner =
      every_block(AgentOptions::dino_wm(model->options().proprio.dim > 0), options.windows.stride);
  auto provenance = backbone_provenance(options.backbone, *encoder, data, origin);
  if (constant)
    tell_constant_columns(provenance, origin ? still_constant(*constant, drift) : *constant);
  auto result = run.train(
      task, provenance,
      [&](const fs::path& path, nlohmann::json provenance) {
        auto config = models::dino_wm_bundle_config(*model);
        config.planner = kept_planner(origin, write_options(planner));
        config.provenance = std::move(provenance);
        models::write_dino_wm(path, *model, config);
      },
      data.learning_on(task, drift, [&](const data::Batch& batch) {
        return encode(batch.pixels.select(1, 0)).mean(1);
      }));
  result.decode_seconds = data.decode_seconds();
  return result;
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const VJepa2AcLearnOptions& asked,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& given) {
  const auto origin = continued_bundle(given);
  auto model = origin ? models::read_vjepa2_ac(*origin, io::Placement::share_frozen) : nullptr;
  auto options = asked;
  std::optional<io::Bundle> encoder;
  if (origin) {
    encoder = encoder_bundle(options.backbone, origin, given);
    options.model = model->options();
  }
  require_valid(options);
  auto hooks = given;
  auto continuation = given.continuation != nullptr ? *given.continuation : Continuation();
  if (given.continuation != nullptr) hooks.continuation = &continuation;
  if (options.model.predictor.extrinsics) {
    dataset = with_extrinsics(std::move(dataset));
    continuation.replay = with_extrinsics(std::move(continuation.replay));
  }
  FamilyRun run("vjepa2_ac", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options, hooks, {.states = true});
  require_columns("vjepa2_ac", data.dataset(),
                  models::kPoseWidth + (options.model.predictor.extrinsics ? kCameraNumbers : 0));
  if (!encoder) encoder = encoder_bundle(options.backbone, origin, hooks);
  if (!model) model = new_arm_model(options, *encoder);
  model->to(device);
  data.show(&model->options().image, folder.resume);
  run.open(data.learned_from());
  data.decode(progress);
  const auto encode = [model, device](const Tensor& pixels) {
    return model->encode_images(model->preprocess(pixels.to(device)));
  };
  VJepa2AcTask task(model, data.task_data(device),
                    feature_cache_of(encode, device, options, options.features));
  const auto planner = every_block(AgentOptions::vjepa2_ac(), 1);
  auto result = run.train(
      task, backbone_provenance(options.backbone, *encoder, data, origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        auto config = models::vjepa2_ac_bundle_config(*model);
        config.planner = kept_planner(origin, write_options(planner));
        config.provenance = std::move(provenance);
        models::write_vjepa2_ac(path, *model, config);
      },
      data.learning_on(task, {}, [&](const data::Batch& batch) {
        return encode(batch.pixels.select(1, 0)).mean(1);
      }));
  result.decode_seconds = data.decode_seconds();
  return result;
}

}  // namespace foresight::train
