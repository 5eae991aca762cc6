// SPDX-License-Identifier: Apache-2.0
// Families whose encoder was trained before and stays as it is: DINO-WM, V-JEPA 2-AC and probes of
// V-JEPA 2.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "family_run.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/models/backbone.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/pose.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/train/attentive_probe_task.hpp"
#include "foresight/train/dino_wm_task.hpp"
#include "foresight/train/learn_family.hpp"
#include "foresight/train/vjepa2_ac_task.hpp"
#include "learning_data.hpp"
#include "probe_report.hpp"

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

// The bundle of the encoder: the backbone, or the bundle of the whole model that learns on.
io::Bundle encoder_bundle(std::string& backbone, const std::optional<io::Bundle>& origin,
                          const LearnHooks& hooks) {
  if (!origin) return io::read_bundle(backbone);
  const auto path = hooks.continuation->bundle.string();
  require(backbone.empty() || backbone == path, ErrorCategory::invalid_option,
          "backbone = " + backbone +
              " comes from the bundle that learning goes on from: leave it "
              "out");
  backbone = path;
  return *origin;
}

nlohmann::json told_of(const std::string& path, const io::Bundle& backbone, const FamilyData& data,
                       const std::optional<io::Bundle>& origin) {
  auto provenance = continued_provenance(data.provenance(), origin);
  if (origin) {
    if (origin->config.provenance.contains("backbone"))
      provenance["backbone"] = origin->config.provenance["backbone"];
    return provenance;
  }
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
  options.image.resize_edge = 0;  // a classifier can do without a picture's border, a world cannot
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

// What a family reads besides pictures, before anything is written.
void require_columns(const char* family, const data::Dataset& dataset, int64_t expected) {
  const auto& columns = dataset.state_columns();
  std::string names;
  for (const auto& column : columns) names += (names.empty() ? "" : ", ") + column;
  require(static_cast<int64_t>(columns.size()) == expected, ErrorCategory::invalid_option,
          dataset.name() + ": " + family + " learns from " + std::to_string(expected) +
              " state columns beside the pictures, these recordings have " +
              std::to_string(columns.size()) + (names.empty() ? "" : " (" + names + ")") +
              "; choose them with --states (DatasetOptions.states)");
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
  models::load_backbone(*model, backbone.tensors, asked.backbone);
  return model;
}

// Columns that the model normalises by statistics that it keeps.
std::vector<ColumnDrift> proprio_drift(const models::ProprioOptions& proprio,
                                       const FamilyData& data) {
  if (proprio.dim == 0) return {};
  const auto& columns = data.dataset().state_columns();
  require_columns("dino_wm", data.dataset(), proprio.dim);
  return state_drift(data.dataset(), columns, proprio.mean, proprio.std, data.split().train);
}

// Features of a batch's frames, but for those that change at random in every epoch.
std::shared_ptr<FeatureCache> cache_of(FeatureCache::Encoder encode, at::Device device,
                                       const RecordedTraining& options,
                                       const FeatureCacheOptions& features) {
  if (options.augmentation.changes()) return nullptr;
  return std::make_shared<FeatureCache>(std::move(encode), device, options.windows.stride,
                                        features);
}

// The network before a probe, for clips of `frames`: it keeps its predictor, so that the bundle is
// whole.
std::shared_ptr<models::VJepa2> network_of_clips(io::Bundle bundle, int64_t frames) {
  if (bundle.config.family == models::kVJepa2Family) {
    models::VJepa2Options trained;
    read_options(trained, bundle.config.options, bundle.tensors.path().string());
    if (takes_any_clip_length(trained) && frames > 1)
      bundle.config.options["encoder"]["frames"] = frames;
  }
  auto network = models::read_vjepa2(bundle);
  const auto& encoder = network->options().encoder;
  require(frames == encoder.frames, ErrorCategory::invalid_option,
          "windows.frames = " + std::to_string(frames) + " must be the encoder's frames = " +
              std::to_string(encoder.frames) + ", as its positions are not rotary");
  return network;
}

models::AttentiveProbeOptions new_probe(const VJepa2ProbeLearnOptions& options,
                                        const FamilyData& data) {
  models::AttentiveProbeOptions probe;
  probe.outputs = options.target.outputs();
  probe.pooler = options.pooler;
  probe.names = options.labels;
  if (options.target.columns == 0) return probe;
  probe.reading = models::ProbeReading::values;
  probe.names = data.dataset().state_columns();
  probe.names.resize(static_cast<std::size_t>(probe.outputs));
  return probe;
}

// A probe goes on reading the columns that it was trained on. The name of the column of class
// numbers is not part of it: another may hold the same classes.
void require_columns_of(const models::AttentiveProbeOptions& probe, const io::Bundle& origin,
                        const std::string& path, const FamilyData& data) {
  const bool values = probe.reading == models::ProbeReading::values;
  auto told = probe.names;
  if (!values) {
    const auto& known = origin.config.provenance;
    told = known.is_object() ? data::identity_told(known).observed_columns
                             : std::vector<std::string>();
    told.resize(std::min<std::size_t>(told.size(), 1));
  }
  if (told.empty()) return;
  for (const auto* part : {&data.fresh(), &data.old()}) {
    if (!part->dataset) continue;
    auto read = part->dataset->state_columns();
    read.resize(told.size());
    if (read == told) continue;
    const auto problem = fmt::format(
        "{}: the state columns {} would be read, the probe of {} was trained on {}; "
        "choose those with --states (DatasetOptions.states)",
        part->dataset->name(), fmt::join(read, ", "), path, fmt::join(told, ", "));
    require(!values, ErrorCategory::invalid_option, problem);
    log(LogLevel::warning, problem);
  }
}

// Between the columns' own units, in which a bundle's probe gives values, and those that it is
// trained in.
enum class ProbeUnits { own, standardised };

void bring_to(ProbeUnits units, models::AttentiveProbe& probe, const ProbeTargetOptions& target) {
  if (target.columns == 0) return;
  auto scale = target.std, offset = target.mean;
  if (units == ProbeUnits::standardised)
    for (std::size_t i = 0; i < scale.size(); ++i) {
      scale[i] = 1 / target.std[i];
      offset[i] = -target.mean[i] / target.std[i];
    }
  probe.transform_outputs(scale, offset);
}

// An independent probe with the same weights, in own units.
std::shared_ptr<models::AttentiveProbe> finished(const models::AttentiveProbe& trained,
                                                 const ProbeTargetOptions& target) {
  auto probe =
      std::make_shared<models::AttentiveProbe>(trained.width(), trained.options(), std::nullopt);
  const auto like = trained.parameters().front().options();
  probe->to(like.device(), like.dtype().toScalarType());
  nn::copy_state(trained, *probe);
  bring_to(ProbeUnits::own, *probe, target);
  probe->eval();
  return probe;
}

}  // namespace

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const DinoWmLearnOptions& asked,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto model = origin ? models::read_dino_wm(*origin) : nullptr;
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
    models::load_backbone(*model, backbone.tensors, options.backbone);
  }
  DataDrift drift;
  if (origin) {
    drift.actions = action_drift(model->options().action, data.dataset(), data.split().train);
    drift.states = proprio_drift(model->options().proprio, data);
  }
  model->to(device);
  data.show(&model->options().image);
  run.open(data.learned_from(), {{"action", write_options(model->options().action)},
                                 {"proprio", write_options(model->options().proprio)}});
  data.decode();
  const auto encode = [model, device](const Tensor& pixels) {
    return model->encode_pixels(pixels.to(device));
  };
  DinoWmTask task(model, data.task_data(model->options().action, device),
                  cache_of(encode, device, options, options.features));
  const auto planner = patch_planner(dino_wm_cem(), Distance::l2, options.windows.stride);
  auto result = run.train(
      task, told_of(options.backbone, *encoder, data, origin),
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
                  const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto model = origin ? models::read_vjepa2_ac(*origin) : nullptr;
  auto options = asked;
  std::optional<io::Bundle> encoder;
  if (origin) {
    encoder = encoder_bundle(options.backbone, origin, hooks);
    options.model = model->options();
  }
  require_valid(options);
  FamilyRun run("vjepa2_ac", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options, hooks, {.states = true});
  require_columns("vjepa2_ac", data.dataset(),
                  models::kPoseWidth + (options.model.predictor.extrinsics ? kCameraNumbers : 0));
  if (!encoder) encoder = encoder_bundle(options.backbone, origin, hooks);
  if (!model) model = new_arm_model(options, *encoder);
  model->to(device);
  data.show(&model->options().image);
  run.open(data.learned_from());
  data.decode();
  const auto encode = [model, device](const Tensor& pixels) {
    return model->encode_images(model->preprocess(pixels.to(device)));
  };
  VJepa2AcTask task(model, data.task_data(device),
                    cache_of(encode, device, options, options.features));
  const auto planner = patch_planner(vjepa2_ac_cem(), Distance::l1, 1);
  auto result = run.train(
      task, told_of(options.backbone, *encoder, data, origin),
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

void take_probe(VJepa2ProbeLearnOptions& options, const io::BundleConfig& bundle,
                const std::string& source) {
  const auto probe = models::attentive_probe_options(bundle, source);
  require(probe.has_value(), ErrorCategory::unsupported,
          source + ": has no attentive probe to go on from, head '" + models::kAttentiveProbeHead +
              "'; name it as backbone to train a new one");
  const bool classes = probe->reading == models::ProbeReading::classes;
  auto& target = options.target;
  for (const auto& [name, asked, told] :
       {std::tuple{"classes", &target.classes, classes ? probe->outputs : 0},
        std::tuple{"columns", &target.columns, classes ? 0 : probe->outputs}}) {
    require(*asked == 0 || *asked == told, ErrorCategory::invalid_option,
            std::string("target.") + name + " = " + std::to_string(*asked) +
                " comes from the bundle that learning goes on from (" + std::to_string(told) +
                "): leave it out");
    *asked = told;
  }
  if (classes) options.labels = probe->names;
  options.pooler = probe->pooler;
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                  const VJepa2ProbeLearnOptions& asked, const RunFolder& folder, at::Device device,
                  ProgressStyle progress, const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto options = asked;
  std::optional<io::Bundle> encoder;
  if (origin) {
    encoder = encoder_bundle(options.backbone, origin, hooks);
    take_probe(options, origin->config, options.backbone);
  }
  require_valid(options);
  FamilyRun run("vjepa2_probe", Dynamics::none, write_options(options), options.training, folder,
                progress, hooks);
  const auto recorded = pictures_alone(options);
  FamilyData data(std::move(dataset), recorded, hooks, {.states = true}, HeldOut::kept);
  const auto target = data.probe_target(options.target);
  if (!encoder) encoder = encoder_bundle(options.backbone, origin, hooks);
  const auto network = network_of_clips(*encoder, options.windows.frames);
  auto probe = origin ? models::read_attentive_probe(*origin)
                      : std::make_shared<models::AttentiveProbe>(
                            network->options().encoder.width, new_probe(options, data),
                            static_cast<std::uint64_t>(options.seed));
  if (origin) {
    require_columns_of(probe->options(), *origin, options.backbone, data);
    bring_to(ProbeUnits::standardised, *probe, target);
  }
  network->to(device);
  probe->to(device);
  data.show(&network->options().image);
  run.open(data.learned_from(), {{"target", {{"mean", target.mean}, {"std", target.std}}}});
  data.decode();
  const auto encode = [network, device](const Tensor& pixels) {
    return network->encode(network->preprocess(pixels.to(device)));
  };
  AttentiveProbeTask task(probe, encode, data.task_data(device), target,
                          cache_of(encode, device, recorded, options.features));
  ProbeOnHeldOut read;
  auto result = run.train(
      task, told_of(options.backbone, *encoder, data, origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        const auto own = finished(*probe, target);
        const auto held_out = data.measuring_loader(data.fresh(), data.split().validation);
        read = probe_on_held_out(
            *own, [&](const data::Batch& batch) { return task.tokens(batch); },
            {held_out.get(), data.windows(data.split().validation),
             recorded.validation_batches * recorded.loader.batch},
            target);
        if (!read.report.is_null()) provenance["held_out"] = read.report;
        auto config = models::vjepa2_bundle_config(*network);
        config.provenance = std::move(provenance);
        models::write_vjepa2(path, *network, std::move(config), own.get());
      },
      data.learning_on(task, {},
                       [&](const data::Batch& batch) { return encode(batch.pixels).mean(1); }));
  result.held_out = read.words;
  result.decode_seconds = data.decode_seconds();
  return result;
}

}  // namespace foresight::train
