// SPDX-License-Identifier: Apache-2.0
// Attentive probes of a frozen V-JEPA 2.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "family_run.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/attentive_probe_task.hpp"
#include "foresight/train/learn_family.hpp"
#include "model_of_clips.hpp"
#include "on_backbone.hpp"
#include "probe_report.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;

// The network before a probe: it keeps its predictor, so that the bundle is whole.
std::shared_ptr<models::VJepa2> network_of_clips(const io::Bundle& bundle, int64_t frames) {
  auto network = model_of_clips(bundle, frames, io::Placement::share);
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
        "choose those with DatasetOptions.states (--states)",
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
  auto probe = trained.copy();
  bring_to(ProbeUnits::own, *probe, target);
  probe->eval();
  return probe;
}

}  // namespace

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
  data.show(&network->options().image, folder.resume);
  run.open(data.learned_from(), {{"target", {{"mean", target.mean}, {"std", target.std}}}});
  data.decode(progress);
  const auto encode = [network, device](const Tensor& pixels) {
    return network->encode(network->preprocess(pixels.to(device)));
  };
  AttentiveProbeTask task(probe, encode, data.task_data(device), target,
                          feature_cache_of(encode, device, recorded, options.features));
  ProbeOnHeldOut read;
  auto result = run.train(
      task, backbone_provenance(options.backbone, *encoder, data, origin),
      [&](const fs::path& path, nlohmann::json provenance) {
        const auto own = finished(*probe, target);
        auto config = models::vjepa2_bundle_config(*network);
        config.provenance = std::move(provenance);
        models::write_vjepa2(path, *network, std::move(config), own.get());
      },
      data.learning_on(task, {},
                       [&](const data::Batch& batch) { return encode(batch.pixels).mean(1); }),
      [&] {
        const auto own = finished(*probe, target);
        const auto held_out = data.measuring_loader(data.fresh(), data.split().validation);
        read = probe_on_held_out(
            *own, [&](const data::Batch& batch) { return task.tokens(batch); },
            {held_out.get(), data.windows(data.split().validation),
             recorded.validation_batches * recorded.loader.batch},
            target);
        nlohmann::json told;
        if (!read.report.is_null()) told["held_out"] = read.report;
        return told;
      });
  result.held_out = read.words;
  result.decode_seconds = data.decode_seconds();
  return result;
}

}  // namespace foresight::train
