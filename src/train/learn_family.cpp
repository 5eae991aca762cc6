// SPDX-License-Identifier: Apache-2.0
// Families that learn an encoder: V-JEPA 2, I-JEPA, LeJEPA; and EB-JEPA with both at once.
#include "foresight/train/learn_family.hpp"

#include <cmath>

#include <nlohmann/json.hpp>

#include "family_run.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/state_dict.hpp"
#include "model_of_clips.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;

// V-JEPA 2 with the encoder that was asked for in place of the one that was trained.
void write_masked_model(const fs::path& path, const models::VJepa2& model,
                        const nn::VideoVit& target, models::EncoderWeights encoder,
                        nlohmann::json provenance) {
  auto config = models::vjepa2_bundle_config(model);
  provenance["encoder"] = std::string(enum_name(encoder));
  config.provenance = std::move(provenance);
  auto tensors = nn::state_dict(model);
  if (encoder == models::EncoderWeights::target)
    for (const auto& [name, weights] : nn::state_dict(target))
      for (auto& [own, tensor] : tensors)
        if (own == "encoder." + name) tensor = weights;
  io::write_bundle(path, config, tensors);
}

// Whether an online probe is to read state columns.
template <class TaskOptions>
bool reads_states(const TaskOptions& options) {
  if constexpr (requires { options.probe; })
    return options.probe.outputs() > 0;
  else
    return false;
}

// Statistics of what the probe reads, from the data where they were not given; what a run tells of
// them, null of a task without probes.
template <class TaskOptions>
nlohmann::json fill_probe(TaskOptions& options, const FamilyData& data) {
  if constexpr (requires { options.probe; }) {
    options.probe = data.probe_target(options.probe);
    return {{"probe", {{"mean", options.probe.mean}, {"std", options.probe.std}}}};
  } else {
    return {};
  }
}

// The training of a masked model, whose task has a target encoder.
template <class MaskedTask, class Options, class TaskOptions>
LearnResult learn_masked(const char* family, std::shared_ptr<const data::Dataset> dataset,
                         Options options, TaskOptions task_options, const RunFolder& folder,
                         at::Device device, ProgressStyle progress, const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto model = origin ? model_of_clips(*origin, options.windows.frames) : nullptr;
  if (model) options.model = model->options();
  require_valid(options);
  FamilyRun run(family, Dynamics::none, write_options(options), options.training, folder, progress,
                hooks);
  FamilyData data(std::move(dataset), pictures_alone(options), hooks,
                  {.states = reads_states(task_options)});
  const auto measured = fill_probe(task_options, data);
  if (!model)
    model =
        std::make_shared<models::VJepa2>(options.model, static_cast<std::uint64_t>(options.seed));
  model->to(device);
  data.show(&options.model.image, folder.resume);
  run.open(data.learned_from(), measured);
  data.decode(progress);
  MaskedTask task(model, data.task_data(device), task_options);
  const auto features = [&](const data::Batch& batch) {
    return model->encode(model->preprocess(batch.pixels.to(device))).mean(1);
  };
  auto result = run.train(
      task, continued_provenance(data.provenance(), origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        write_masked_model(path, *model, task.target(), options.encoder, std::move(provenance));
      },
      data.learning_on(task, {}, features));
  result.decode_seconds = data.decode_seconds();
  return result;
}

}  // namespace

bool takes_any_clip_length(const models::VJepa2Options& model) {
  constexpr auto kRope = nn::PositionKind::rope;
  return model.encoder.positions == kRope && model.predictor.positions == kRope &&
         !model.encoder.is_picture();
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const VJepa2LearnOptions& options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  return learn_masked<MaskedVideoTask>("vjepa2", std::move(dataset), options, options.task, folder,
                                       device, progress, hooks);
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const IJepaLearnOptions& options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  auto task = options.task;
  if (task.momentum_steps == 0) task.momentum_steps = options.training.steps;
  return learn_masked<IJepaTask>("ijepa", std::move(dataset), options, task, folder, device,
                                 progress, hooks);
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, const LeJepaLearnOptions& asked,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  auto model = origin ? models::read_lejepa(*origin) : nullptr;
  auto options = asked;
  if (model) options.model = model->options();
  require_valid(options);
  FamilyRun run("lejepa", Dynamics::none, write_options(options), options.training, folder,
                progress, hooks);
  FamilyData data(std::move(dataset), options, hooks, {.states = reads_states(options.task)});
  auto task_options = options.task;
  const auto measured = fill_probe(task_options, data);
  if (!model)
    model =
        std::make_shared<models::LeJepa>(options.model, static_cast<std::uint64_t>(options.seed));
  model->to(device);
  data.show(nullptr, folder.resume);  // small crops want all the pixels there are
  run.open(data.learned_from(), measured);
  data.decode(progress);
  LeJepaTask task(model, data.task_data(device), task_options);
  const auto on = data.learning_on(task, {}, [&](const data::Batch& batch) {
    const auto view = centre_view(batch.pixels.flatten(0, 1).to(device), options.model.image.size);
    return model->encode(model->normalise(view));
  });
  auto result = run.train(
      task, continued_provenance(data.provenance(), origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        auto config = models::lejepa_bundle_config(*model);
        config.provenance = std::move(provenance);
        models::write_lejepa(path, *model, config);
      },
      on);
  result.decode_seconds = data.decode_seconds();
  return result;
}

LearnResult learn(const EbJepaLearnOptions& asked, const RunFolder& folder, at::Device device,
                  ProgressStyle progress, const LearnHooks& hooks) {
  const auto origin = continued_bundle(hooks);
  require(!origin || hooks.continuation->replay == nullptr, ErrorCategory::unsupported,
          "eb_jepa: its data are made as needed, so that there are no recordings to replay; choose "
          "walks like the old ones instead");
  auto model = origin ? models::read_eb_jepa(*origin) : nullptr;
  auto options = asked;
  if (model) options.model = model->options();
  require_valid(options);
  FamilyRun run("eb_jepa", Dynamics::imagined, write_options(options), options.training, folder,
                progress, hooks);
  if (!model)
    model = std::make_shared<models::EbJepa>(options.model,
                                             static_cast<std::uint64_t>(options.task.seed));
  model->to(device);
  EbJepaTask task(model, options.walks, options.task);
  run.open({.recordings = {.data = "eb_two_rooms"}});
  const auto processes = hooks.reducer != nullptr ? hooks.reducer->replicas() : nullptr;
  // Nothing was recorded, so that nothing can drift.
  const LearningOn on{
      .drift =
          [] { return DataDrift{.latent_shift = std::nan(""), .latent_spread = std::nan("")}; },
      .fresh =
          [&task, processes] {
            return processes ? task.validate_together(*processes) : task.validate();
          }};
  return run.train(
      task, continued_provenance({{"data", "eb_two_rooms"}, {"seed", options.task.seed}}, origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        auto config = models::eb_jepa_bundle_config(*model);
        config.planner = kept_planner(origin, write_options(AgentOptions::eb_jepa()));
        config.provenance = std::move(provenance);
        models::write_eb_jepa(path, *model, std::move(config), task.probe());
      },
      on);
}

}  // namespace foresight::train
