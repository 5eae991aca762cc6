// SPDX-License-Identifier: Apache-2.0
// Every family's training from learn(), as small as it gets.
#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foresight/models/lejepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/learn_family.hpp"
#include "tensor_dataset.hpp"

namespace foresight::train {

/// A family, its checkpoints' name, and its training on recordings of a gripper (EB-JEPA: on
/// walks).
struct BriefFamily {
  std::string name, task;
  std::function<LearnResult(std::shared_ptr<const data::Dataset>, const RunFolder&,
                            const LearnHooks&)>
      learn;
};

inline constexpr int64_t kBriefSide = 32;
inline constexpr int64_t kBriefSteps = 12;

inline std::shared_ptr<const data::Dataset> brief_recordings() {
  return std::make_shared<TensorDataset>(moving_gripper(kBriefSide));
}

template <class Options>
Options briefly(Options options) {
  options.training.steps = kBriefSteps;
  options.training.log_every = 1;
  options.training.validate_every = 5;
  options.training.checkpoint_every = 2;
  options.training.schedule.warmup = 2;
  if constexpr (requires { options.loader; }) {
    options.loader.batch = 4;
    options.loader.threads = 1;
    options.validation = 0.2;
    options.validation_batches = 2;
    options.seed = 4;
  }
  return options;
}

inline VJepa2LearnOptions brief_vjepa2() {
  auto options = briefly(VJepa2LearnOptions::tiny());
  options.windows = {.frames = 4, .stride = 1};
  auto& encoder = options.model.encoder;
  options.model.image.size = kBriefSide;
  encoder.image_height = encoder.image_width = kBriefSide;
  encoder.frames = 4;
  encoder.depth = 1;
  return options;
}

/// A probe of two of the gripper's coordinates.
inline VJepa2ProbeLearnOptions brief_probe() {
  auto options = briefly(VJepa2ProbeLearnOptions::small());
  options.windows = {.frames = 4, .stride = 1};
  options.target.columns = 2;
  options.pooler = {.self_attention = 1, .heads = 4, .mlp_width = 48};
  return options;
}

/// `folder` holds the bundles of frozen encoders, written where they are missing.
inline std::vector<BriefFamily> brief_families(const std::filesystem::path& folder,
                                               at::Device device = at::kCPU) {
  using Recordings = std::shared_ptr<const data::Dataset>;
  const auto image_encoder = (folder / "image_encoder").string();
  const auto video_encoder = (folder / "video_encoder").string();
  if (!std::filesystem::exists(image_encoder)) {
    auto options = models::LeJepaOptions::tiny();
    options.encoder.depth = 1;
    const models::LeJepa model(options, 1);
    models::write_lejepa(image_encoder, model, models::lejepa_bundle_config(model));
  }
  if (!std::filesystem::exists(video_encoder)) {
    const models::VJepa2 model(brief_vjepa2().model, 1);
    models::write_vjepa2(video_encoder, model, models::vjepa2_bundle_config(model));
  }
  const auto family = [device](const char* name, const char* task, auto options) {
    return BriefFamily{
        name, task,
        [options, device](Recordings recordings, const RunFolder& run, const LearnHooks& hooks) {
          auto chosen = options;
          if constexpr (requires { chosen.backbone; })
            if (hooks.continuation != nullptr) chosen.backbone.clear();
          if constexpr (requires { chosen.loader; })
            return learn(std::move(recordings), chosen, run, device, ProgressStyle::silent, hooks);
          else
            return learn(chosen, run, device, ProgressStyle::silent, hooks);
        }};
  };
  auto dino_wm = briefly(DinoWmLearnOptions::small());
  dino_wm.backbone = image_encoder;
  dino_wm.windows = {.frames = 3, .stride = 2};
  dino_wm.model.history = 2;
  dino_wm.model.proprio.dim = 7;
  dino_wm.model.predictor.depth = 1;
  dino_wm.model.predictor.dropout = 0.1;  // so that its random numbers count
  auto vjepa2_ac = briefly(VJepa2AcLearnOptions::small());
  vjepa2_ac.backbone = video_encoder;
  vjepa2_ac.model.predictor.depth = 1;
  auto probe = brief_probe();
  probe.backbone = video_encoder;
  auto ijepa = briefly(IJepaLearnOptions::tiny());
  ijepa.model.encoder.depth = 1;
  auto lejepa = briefly(LeJepaLearnOptions::tiny());
  lejepa.model.encoder.depth = 1;
  lejepa.task.probe.columns = 2;
  auto eb_jepa = briefly(EbJepaLearnOptions::small());
  eb_jepa.task.batch = 4;
  eb_jepa.task.validation_clips = 4;
  return {
      family("dino_wm", "dino_wm", dino_wm),         family("vjepa2_ac", "vjepa2_ac", vjepa2_ac),
      family("vjepa2", "vjepa2", brief_vjepa2()),    family("ijepa", "ijepa", ijepa),
      family("vjepa2_probe", "vjepa2_probe", probe), family("lejepa", "lejepa", lejepa),
      family("eb_jepa", "eb_jepa", eb_jepa)};
}

}  // namespace foresight::train
