// SPDX-License-Identifier: Apache-2.0
// From recordings to a bundle for the families that train/learn.hpp does not make: DINO-WM, V-JEPA
// 2 and probes of it, V-JEPA 2-AC, I-JEPA, LeJEPA and EB-JEPA, each by its own recipe. `foresight
// train FAMILY` is these functions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "foresight/envs/eb_trajectories.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/models/dino_wm_options.hpp"
#include "foresight/models/vjepa2_ac_options.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "foresight/nn/attentive_pooler.hpp"
#include "foresight/train/eb_jepa_task.hpp"
#include "foresight/train/feature_cache.hpp"
#include "foresight/train/ijepa_task.hpp"
#include "foresight/train/learn.hpp"
#include "foresight/train/lejepa_task.hpp"
#include "foresight/train/masked_video_task.hpp"
#include "foresight/train/probe_target.hpp"
#include "foresight/train/recipes.hpp"

namespace foresight::train {

/// What every training from recordings is told. The options of a family add to it; recipe(steps) is
/// how the family was trained where it was published. Presets of published sizes compute in
/// bfloat16 as published (training.precision = bf16), but for DINO-WM's, published in float32; the
/// small ones compute in float32.
struct FORESIGHT_API RecordedTraining {
  data::WindowOptions windows;        ///< windows of time that it learns from
  data::LoaderOptions loader;         ///< batches; seed and states are set by the training
  data::FrameCacheOptions cache;      ///< decoded frames in memory
  AugmentationOptions augmentation;   ///< random changes of training windows
  TrainOptions training;              ///< optimiser, schedule, checkpoints
  std::string split = {};             ///< recorded split that is learned from, as "train" of
                                      ///< Dataset::splits(); empty: all but what is held out
  std::string validation_split = {};  ///< recorded split that is held out; empty: `validation`
  double validation = 0.1;            ///< part of the episodes held out
  int64_t validation_batches = 4;     ///< batches per validation
  int64_t seed = 0;                   ///< of weights, order, split and noise
  int64_t split_seed = -1;            ///< of which episodes are held out; -1: seed

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("windows", self.windows, "windows of time that it learns from");
    visit("loader", self.loader, "batches");
    visit("cache", self.cache, "decoded frames in memory");
    visit("augmentation", self.augmentation, "random changes of training windows");
    visit("training", self.training, "optimiser, schedule and checkpoints");
    visit("split", self.split, "recorded split that is learned from, as train; empty: all");
    visit("validation_split", self.validation_split,
          "recorded split that is held out, as valid; empty: as validation says");
    visit("validation", self.validation, "part of the episodes held out, without validation_split");
    visit("validation_batches", self.validation_batches, "batches per validation");
    visit("seed", self.seed, "of weights, order, split and noise");
    visit("split_seed", self.split_seed, "of which episodes are held out; -1: seed");
  }
  std::vector<std::string> validate() const;
};

/// DINO-WM on a frozen image encoder. Picture statistics and the encoder come from the backbone, so
/// that model.image, model.encoder and model.encoder_image_size must be left as they are;
/// dimension, block and statistics of actions come from the data, and so do statistics of
/// proprioception that are not given.
struct FORESIGHT_API DinoWmLearnOptions : RecordedTraining {
  std::string backbone;    ///< bundle of family vit, lejepa or dino_wm
  int64_t image_size = 0;  ///< side of the pictures, pixels; 0: as the backbone saw them
  models::DinoWmOptions model;
  FeatureCacheOptions features;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("backbone", self.backbone,
          "bundle of the frozen encoder: family vit, lejepa or dino_wm; model.image and "
          "model.encoder come from it");
    visit("image_size", self.image_size, "side of the pictures, pixels; 0: as the backbone's");
    visit("model", self.model, "the world model; image and encoder come from the backbone");
    visit("features", self.features, "the backbone's features in memory");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return dino_wm_training(steps); }

  /// A predictor of two blocks on windows of four frames: minutes on a CPU with a small backbone.
  static DinoWmLearnOptions small();
  /// DINO-WM as published (arXiv 2411.04983): six blocks, 196 pixels, dropout; without
  /// proprioception until model.proprio.dim says how many state columns there are.
  static DinoWmLearnOptions dino_wm();
  /// The same with actions by AdaLN and a two-step rollout loss (arXiv 2512.24497).
  static DinoWmLearnOptions adaln();
};

/// Rows between the frames of a window, WindowOptions.stride, for clips of 4 frames a second, as
/// V-JEPA 2 and V-JEPA 2-AC were published: ceil(fps / 4), at least 1, of recordings with `fps`
/// rows a second (Dataset::fps()); 1 where they tell no rate, 0.
FORESIGHT_API int64_t vjepa2_clip_stride(double fps);

/// V-JEPA 2-AC on a frozen video encoder. model.image and model.encoder must be left as they are,
/// but for model.image.max_aspect: how a camera's pictures are cut is not the encoder's to say.
struct FORESIGHT_API VJepa2AcLearnOptions : RecordedTraining {
  std::string backbone;  ///< bundle of family vjepa2 or vjepa2_ac
  models::VJepa2AcOptions model;
  FeatureCacheOptions features;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("backbone", self.backbone,
          "bundle of the frozen encoder: family vjepa2 or vjepa2_ac; model.encoder and "
          "model.image, but for max_aspect, come from it");
    visit("model", self.model, "the world model; image and encoder come from the backbone");
    visit("features", self.features, "the backbone's features in memory");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return vjepa2_ac_training(steps); }

  /// A predictor of two blocks of width 48 on windows of four frames.
  static VJepa2AcLearnOptions small();
  /// As published (arXiv 2506.09985): 24 blocks of width 1024, clips of eight frames. Both look at
  /// the centre of wide pictures, 1.35 times as wide as high, stretched to a square, as published.
  /// windows.stride is 1: set it to vjepa2_clip_stride() of the recordings, as `foresight train`
  /// does where --windows.stride does not say otherwise.
  static VJepa2AcLearnOptions vjepa2_ac();
};

/// V-JEPA 2 pre-training on clips.
struct FORESIGHT_API VJepa2LearnOptions : RecordedTraining {
  models::VJepa2Options model = models::VJepa2Options::tiny();
  MaskedVideoOptions task;
  models::EncoderWeights encoder = models::EncoderWeights::target;  ///< which one is kept

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "encoder and predictor");
    visit("task", self.task, "masks, loss and the target's momentum");
    visit("encoder", self.encoder, "what the bundle holds: target, as evaluations use, or online");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return vjepa2_training(steps); }

  /// 64-pixel clips of eight frames: minutes on a CPU.
  static VJepa2LearnOptions tiny();
  /// ViT-L, H and g on clips of 16 frames at 256 pixels, as the main phase (arXiv 2506.09985):
  /// random crops of 0.3 to 1 of the picture and mirror images. windows.stride is 1, of cool_down()
  /// too: set it to vjepa2_clip_stride() of the recordings, as `foresight train` does where neither
  /// --windows.stride nor the bundle that it goes on from says otherwise.
  static VJepa2LearnOptions large();
  static VJepa2LearnOptions huge();
  static VJepa2LearnOptions giant();
  /// The phase after it, on clips of 64 frames while the rate falls. Meant for learning on from a
  /// bundle of the main phase, whose sizes then count.
  static VJepa2LearnOptions cool_down();
};

/// Whether learning may go on from this model with clips of another length, as in the cool-down:
/// rotary positions need no table.
FORESIGHT_API bool takes_any_clip_length(const models::VJepa2Options& model);

/// An attentive probe on a frozen V-JEPA 2 (or I-JEPA: windows of one frame): a class or numbers,
/// from the recordings' state columns at a clip's last frame. Clips may have another length than
/// the encoder's where its positions are rotary.
struct FORESIGHT_API VJepa2ProbeLearnOptions : RecordedTraining {
  std::string backbone;  ///< bundle of family vjepa2
  ProbeTargetOptions target;
  std::vector<std::string> labels;  ///< names of the classes; empty: they keep their numbers
  nn::AttentivePoolerOptions pooler;
  FeatureCacheOptions features;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("backbone", self.backbone, "bundle of the frozen encoder: family vjepa2");
    visit("target", self.target, "what is read off a clip");
    visit("labels", self.labels, "names of the classes; none: they keep their numbers");
    visit("pooler", self.pooler, "the probe's blocks");
    visit("features", self.features, "the backbone's tokens in memory");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return vjepa2_probe_training(steps); }

  /// Clips of eight frames: minutes on a CPU with a tiny encoder.
  static VJepa2ProbeLearnOptions small();
  /// As published for Something-Something v2 with ViT-L: 16 frames, every fourth, random crops of
  /// 0.08 to 1 of the picture. (Upstream also has RandAugment and erases parts of pictures.)
  static VJepa2ProbeLearnOptions published();
};

/// Puts into `options` what the probe in a bundle reads, and how. Throws Error: unsupported for a
/// bundle without a probe; invalid_option where `options` ask for something else.
FORESIGHT_API void take_probe(VJepa2ProbeLearnOptions& options, const io::BundleConfig& bundle,
                              const std::string& source);

/// I-JEPA pre-training on single frames. task.momentum_steps = 0 means training.steps here. A probe
/// without statistics takes those of the data.
struct FORESIGHT_API IJepaLearnOptions : RecordedTraining {
  models::VJepa2Options model = models::ijepa_tiny();
  IJepaOptions task;
  models::EncoderWeights encoder = models::EncoderWeights::target;  ///< which one is kept

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "encoder and predictor");
    visit("task", self.task, "blocks, distance, the target's momentum, and the probe that watches");
    visit("encoder", self.encoder, "what the bundle holds: target, as I-JEPA does, or online");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return ijepa_training(steps); }

  /// 64-pixel pictures: minutes on a CPU.
  static IJepaLearnOptions tiny();
  /// ViT-H/14 at 224 pixels, random crops and no other change (arXiv 2301.08243); 300 epochs of
  /// ImageNet-1k.
  static IJepaLearnOptions huge();
  /// The same of ViT-H/16 at 448 pixels.
  static IJepaLearnOptions huge_448();
  /// ViT-g/16 at 224 pixels; 44 epochs of ImageNet-22k.
  static IJepaLearnOptions giant();
};

/// LeJEPA pre-training on single frames. A probe without statistics takes those of the data. Its
/// views are random changes already: `augmentation` must be left off.
struct FORESIGHT_API LeJepaLearnOptions : RecordedTraining {
  models::LeJepaOptions model = models::LeJepaOptions::tiny();
  LeJepaTaskOptions task;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "encoder and projector");
    visit("task", self.task, "views, and the probe that watches");
    RecordedTraining::fields(self, visit);
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return lejepa_training(steps); }

  /// 32-pixel pictures: minutes on a CPU.
  static LeJepaLearnOptions tiny();
  /// The authors' defaults (arXiv 2511.08544): ViT-S/14 at 224 pixels, two large and six small
  /// views, 1024 directions, AdamW 5e-4 with decay 5e-2. Lambda and the projection's width are
  /// those of minimal(), batch, warm-up, crops and colours ours.
  static LeJepaLearnOptions small();
  /// The authors' minimal recipe: ViT-S/8, four views of one size, lambda 0.02, a projection of
  /// width 16, 256 directions, rate 2e-3, batch 256, 800 epochs of Imagenette. The 128 pixels,
  /// decay, warm-up, crops and colours are ours.
  static LeJepaLearnOptions minimal();
};

/// EB-JEPA on Two Rooms. Its data are made as needed (envs/eb_trajectories.hpp): no recordings.
struct FORESIGHT_API EbJepaLearnOptions {
  models::EbJepaOptions model = models::EbJepaOptions::small();
  envs::EbTrajectoryOptions walks;
  EbJepaTaskOptions task;
  TrainOptions training;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "the world model");
    visit("walks", self.walks, "the random walks that it learns from");
    visit("task", self.task, "batches, clipping, held-out walks and seed");
    visit("training", self.training, "optimiser, schedule and checkpoints");
  }
  std::vector<std::string> validate() const;

  static TrainOptions recipe(int64_t steps) { return eb_jepa_training(steps); }

  /// The small model on short windows: minutes on a CPU (docs/models/eb_jepa.md).
  static EbJepaLearnOptions small();
  /// As published (arXiv 2602.03604).
  static EbJepaLearnOptions two_rooms();
};

/// Each trains by its family's loss and recipe and writes into `folder.path` what the learn() of
/// train/learn.hpp writes: config.json, metrics, checkpoints/ and bundle/, with the same resuming,
/// processes and success hooks. Frozen encoders see every frame once (FeatureCache), unless
/// augmentation changes the pictures. A run with LearnHooks::continuation goes on from a bundle of
/// its own family: `options.model` is the bundle's, `backbone` is left empty, and so are
/// statistics; what is learned anew (optimiser, target encoder, probe) starts from there. Throws
/// Error: invalid_option for options that do not fit the backbone, the data or the bundle that
/// learning goes on from (DINO-WM: windows.stride is its action block); unsupported for a
/// replay where data are made as needed (EB-JEPA), and for another family's bundle; otherwise as
/// that learn().
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const DinoWmLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
/// State columns: a pose of seven numbers, with extrinsics six more (see VJepa2AcTask): those of
/// "camera_extrinsics" where the recordings have them and the states are a pose alone.
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const VJepa2AcLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const VJepa2LearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
/// The bundle is the backbone's with the probe as its head (models::read_attentive_probe()), whose
/// values are in the columns' own units. Once it lies there, it is told, under provenance
/// "held_out", what the probe reads off held-out windows: accuracy, beside that of the commonest
/// class, or r2 of every column; LearnResult::held_out says it in words. Read are batches of
/// windows, drawn at random, until there are 1024, or validation_batches batches if that is more,
/// or until InterruptGuard::requested(); "windows" is how many there are. Where it goes on from a
/// bundle, regressed columns must have that one's names, and on the bundle's own recordings its
/// held-out episodes stay held out, unless `validation` is 0.
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const VJepa2ProbeLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const IJepaLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset,
                                const LeJepaLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});
FORESIGHT_API LearnResult learn(const EbJepaLearnOptions& options, const RunFolder& folder,
                                at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});

}  // namespace foresight::train
