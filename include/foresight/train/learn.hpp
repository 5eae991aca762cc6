// SPDX-License-Identifier: Apache-2.0
// The whole way from recorded video to a bundle that plans: world model, then cost-to-go, then
// files.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "foresight/data/frame_cache.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/windows.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/models/value_critic.hpp"
#include "foresight/train/augmentation.hpp"
#include "foresight/train/continual.hpp"
#include "foresight/train/critic_task.hpp"
#include "foresight/train/trainer.hpp"

namespace foresight::train {

/// Everything that defines a training. Defaults train the small world model on 64-pixel video in
/// minutes on a CPU.
struct FORESIGHT_API LearnOptions {
  models::JepaOptions model = models::JepaOptions::small();
  data::WindowOptions windows = {.frames = 5};  ///< four predicted steps from one frame
  data::LoaderOptions loader = {.batch = 128};  ///< as LeWM
  data::FrameCacheOptions cache;                ///< decoded frames in memory
  AugmentationOptions augmentation;             ///< random changes of training windows
  TrainOptions training;                        ///< of the world model
  std::string split = {};             ///< recorded split that is learned from, as "train" of
                                      ///< Dataset::splits(); empty: all but what is held out
  std::string validation_split = {};  ///< recorded split that is held out; empty: `validation`
  double validation = 0.1;            ///< part of the episodes held out
  int64_t validation_batches = 4;     ///< batches per validation
  models::ValueCriticOptions critic = {.mlp = {.hidden = {64, 64}}};  ///< cost-to-go network
  CriticTaskOptions critic_task;                                      ///< how it learns
  TrainOptions critic_training = {                                    ///< steps = 0: no cost-to-go
      .steps = 4000,
      .log_every = 100,
      .validate_every = 1000,
      .checkpoint_every = 2000,
      .optimizer = {.weight_decay = 1e-4, .clip = 0},
      .schedule = {.final_factor = 0.05}};
  int64_t seed = 0;         ///< of weights, order, split and noise
  int64_t split_seed = -1;  ///< of which episodes are held out; -1: seed

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "the world model");
    visit("windows", self.windows, "windows of time that it learns from");
    visit("loader", self.loader, "batches");
    visit("cache", self.cache, "decoded frames in memory");
    visit("augmentation", self.augmentation, "random changes of training windows");
    visit("training", self.training, "training of the world model");
    visit("split", self.split, "recorded split that is learned from, as train; empty: all");
    visit("validation_split", self.validation_split,
          "recorded split that is held out, as valid; empty: as validation says");
    visit("validation", self.validation, "part of the episodes held out, without validation_split");
    visit("validation_batches", self.validation_batches, "batches per validation");
    visit("critic", self.critic, "the cost-to-go network");
    visit("critic_task", self.critic_task, "how the cost-to-go learns");
    visit("critic_training", self.critic_training, "training of the cost-to-go; steps = 0: none");
    visit("seed", self.seed, "of weights, order, split and noise");
    visit("split_seed", self.split_seed, "of which episodes are held out; -1: seed");
  }
  std::vector<std::string> validate() const;

  /// The defaults.
  static LearnOptions small() { return {}; }
  /// LeWM as published (arXiv 2603.19312): JepaOptions::lewm() on windows of four frames five
  /// actions apart, lewm_training() in batches of 128 and in bfloat16, no cost-to-go. The steps are
  /// ten epochs of Push-T, about.
  static LearnOptions lewm();
  /// The same with PLDM's loss (arXiv 2502.14819), JepaOptions::pldm().
  static LearnOptions pldm();
};

struct LearnResult {
  Outcome outcome =
      Outcome::diverged;  ///< finished only if both stages finished and the bundle is written
  std::string message;
  TrainResult world_model, critic;
  std::filesystem::path bundle;              ///< empty unless written
  double seconds = 0;                        ///< this call, decoding included
  double decode_seconds = 0;                 ///< decoding the data set into the cache
  std::optional<ContinualReport> continual;  ///< of a run that went on from a bundle
  std::string held_out;         ///< of a probe: what it reads off held-out clips, in words
  int64_t skipped_windows = 0;  ///< of the world model's training, see LoaderOptions.unreadable
  /// Episodes with frames that a process could not read, earlier runs included, and what was wrong.
  std::map<std::string, std::string> unreadable_episodes;
};

/// What the caller adds to a training.
struct FORESIGHT_API LearnHooks {
  GradientReducer* reducer = nullptr;  ///< as TrainHooks::reducer; the loader's batch is shared
  /// Part of planning problems that the bundle in this folder solves, in [0,1]. Called in both
  /// stages as their TrainOptions.success_every says; the bundle holds what there is by then, so
  /// in the first stage no cost-to-go.
  std::function<double(const std::filesystem::path& bundle)> success = nullptr;
  /// How `success` measures, a JSON object such as {"protocol": "25/50"}; empty: not told. It is
  /// kept in config.json, and a run that goes on must be given the same.
  std::string success_setting = {};
  /// How the recordings were opened, where not as by default: a JSON object of fields of
  /// data::DatasetOptions, such as {"fps": 4}; empty: not told. config.json and the bundle's
  /// provenance keep it ("reading"), and a run that goes on must be given the same.
  std::string reading = {};
  /// Learn on from a bundle; null: from new weights. The model, its action statistics and limits
  /// and the action block are the bundle's: LearnOptions.model is not looked at, and windows.stride
  /// must be that block. If the bundle has a cost-to-go, that learns on too.
  const Continuation* continuation = nullptr;
};

/// Trains on `dataset` and writes into `folder.path`: config.json, metrics.jsonl, TensorBoard
/// events, checkpoints/ and bundle/. Only frames and actions are read, never states. Everything is
/// computed on `device`. `options.model.action` gives the limits; its dimension, block and
/// statistics are taken from the data. With folder.resume a run goes on where it stopped, with the
/// options of its config.json; options that differ are an Error naming them. Without, a folder that
/// holds a run already is an Error, and so is one in which another process trains.
FORESIGHT_API LearnResult learn(std::shared_ptr<const data::Dataset> dataset, LearnOptions options,
                                const RunFolder& folder, at::Device device = at::kCPU,
                                ProgressStyle progress = ProgressStyle::automatic,
                                const LearnHooks& hooks = {});

/// Latents [N,D], on the model's device, of all frames of `episodes`, in order, with the model in
/// inference mode. Several processes that call this together encode a part of the episodes each,
/// and all get the latents of all.
FORESIGHT_API EpisodeLatents encode_episodes(const WorldModel& model,
                                             const data::FrameCache& frames,
                                             const std::vector<int64_t>& episodes,
                                             const Replicas* processes = nullptr);

}  // namespace foresight::train
