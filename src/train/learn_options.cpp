// SPDX-License-Identifier: Apache-2.0
// Rules of the trainings of train/learn_family.hpp and train/learn.hpp.
#include <fmt/format.h>

#include "foresight/train/learn_family.hpp"

namespace foresight::train {
namespace {

using models::EncoderWeights;

std::vector<std::string> all_problems(std::vector<std::string> problems,
                                      const std::vector<std::string>& more) {
  problems.insert(problems.end(), more.begin(), more.end());
  return problems;
}

// A target encoder has no average and no best validation of its own.
void check_kept_encoder(Rules& rules, EncoderWeights encoder, const TrainOptions& training) {
  const bool plain = training.keep == Keep::last && training.average == 0;
  rules.check(plain || encoder == EncoderWeights::online, "encoder", enum_name(encoder),
              "must be online where training.keep or training.average choose among weights: they "
              "choose among the online encoder's");
}

// A probe learns along in the same step.
void check_online_probe(Rules& rules, const ProbeTargetOptions& probe,
                        const TrainOptions& training) {
  rules.check(probe.outputs() == 0 || training.optimizer.clip == 0, "training.optimizer.clip",
              training.optimizer.clip,
              "must be 0 with a probe, whose gradient would count in the norm and shrink the "
              "encoder's");
}

}  // namespace

std::vector<std::string> RecordedTraining::validate() const {
  return Rules("RecordedTraining")
      .nested("windows", windows.validate())
      .nested("loader", loader.validate())
      .nested("cache", cache.validate())
      .nested("augmentation", augmentation.validate())
      .nested("training", training.validate())
      .check(validation >= 0 && validation < 1, "validation", validation, "must be in [0, 1)")
      .check(validation > 0 || !validation_split.empty() || training.keep != Keep::lowest_loss,
             "validation", validation,
             "must be > 0 for training.keep = lowest_loss, which is that of held-out episodes")
      .at_least("validation_batches", static_cast<double>(validation_batches), 1)
      .at_least("seed", static_cast<double>(seed), 0)
      .at_least("split_seed", static_cast<double>(split_seed), -1)
      .problems();
}

// The model's own rules need its encoder, which comes later.
std::vector<std::string> DinoWmLearnOptions::validate() const {
  return all_problems(
      Rules("DinoWmLearnOptions")
          .check(!backbone.empty(), "backbone", backbone, "must be the bundle of an image encoder")
          .at_least("image_size", static_cast<double>(image_size), 0)
          .nested("model.predictor", model.predictor.validate())
          .nested("model.proprio", model.proprio.validate())
          .nested("model.loss", model.loss.validate())
          .nested("features", features.validate())
          .check(augmentation.flip == 0 || model.proprio.dim == 0, "augmentation.flip",
                 augmentation.flip,
                 "must be 0 with proprioception, whose mirror image is not known")
          .problems(),
      RecordedTraining::validate());
}

std::vector<std::string> VJepa2AcLearnOptions::validate() const {
  return all_problems(
      Rules("VJepa2AcLearnOptions")
          .check(!backbone.empty(), "backbone", backbone, "must be the bundle of a video encoder")
          .nested("model", model.validate())
          .nested("features", features.validate())
          .check(windows.frames > model.auto_steps, "windows.frames",
                 static_cast<double>(windows.frames),
                 "must be > model.auto_steps = " + std::to_string(model.auto_steps))
          .check(augmentation.flip == 0, "augmentation.flip", augmentation.flip,
                 "must be 0: what a mirrored picture makes of a pose is not known")
          .problems(),
      RecordedTraining::validate());
}

std::vector<std::string> VJepa2LearnOptions::validate() const {
  Rules rules("VJepa2LearnOptions");
  rules.nested("model", model.validate())
      .nested("task", task.validate())
      .check(windows.frames == model.encoder.frames, "windows.frames",
             static_cast<double>(windows.frames),
             "must be model.encoder.frames = " + std::to_string(model.encoder.frames));
  check_kept_encoder(rules, encoder, training);
  return all_problems(rules.problems(), RecordedTraining::validate());
}

std::vector<std::string> VJepa2ProbeLearnOptions::validate() const {
  const auto named = static_cast<int64_t>(labels.size());
  return all_problems(
      Rules("VJepa2ProbeLearnOptions")
          .check(!backbone.empty(), "backbone", backbone, "must be the bundle of a video encoder")
          .nested("target", target.validate())
          .check(target.outputs() > 0, "target", 0,
                 "reads nothing: give target.classes, of one column of class numbers, or "
                 "target.columns, to be regressed")
          .check(named == 0 || named == target.classes, "labels", static_cast<double>(named),
                 "names must be one for each of the " + std::to_string(target.classes) + " classes")
          .nested("pooler", pooler.validate())
          .nested("features", features.validate())
          .check(augmentation.flip == 0 || target.columns == 0, "augmentation.flip",
                 augmentation.flip,
                 "must be 0 for regressed columns, whose mirror image is not known")
          .problems(),
      RecordedTraining::validate());
}

std::vector<std::string> IJepaLearnOptions::validate() const {
  Rules rules("IJepaLearnOptions");
  check_online_probe(rules, task.probe, training);
  rules.nested("model", model.validate())
      .nested("task", task.validate())
      .check(windows.frames == 1, "windows.frames", static_cast<double>(windows.frames),
             "must be 1: it learns from single frames")
      .check(model.encoder.frames == 1, "model.encoder.frames",
             static_cast<double>(model.encoder.frames), "must be 1: a model of clips is no I-JEPA")
      .check(augmentation.flip == 0 || task.probe.columns == 0, "augmentation.flip",
             augmentation.flip, "must be 0 for regressed columns, whose mirror image is not known");
  check_kept_encoder(rules, encoder, training);
  return all_problems(rules.problems(), RecordedTraining::validate());
}

std::vector<std::string> LeJepaLearnOptions::validate() const {
  Rules rules("LeJepaLearnOptions");
  check_online_probe(rules, task.probe, training);
  rules.nested("model", model.validate())
      .nested("task", task.validate())
      .check(windows.frames == 1, "windows.frames", static_cast<double>(windows.frames),
             "must be 1: it learns from single frames")
      .check(!augmentation.changes(), "augmentation", 0,
             "changes pictures before LeJEPA makes its views of them: choose those with "
             "task.views");
  return all_problems(rules.problems(), RecordedTraining::validate());
}

std::vector<std::string> EbJepaLearnOptions::validate() const {
  return Rules("EbJepaLearnOptions")
      .nested("model", model.validate())
      .nested("walks", walks.validate())
      .nested("task", task.validate())
      .check(training.optimizer.clip == 0, "training.optimizer.clip", training.optimizer.clip,
             "must be 0: task.clip is the limit of encoder and of predictor")
      .check(training.activations == Activations::keep, "training.activations",
             enum_name(training.activations),
             "must be keep: its networks have no block that can be recomputed")
      .nested("training", training.validate())
      .problems();
}

std::vector<std::string> LearnOptions::validate() const {
  const bool held_out = validation > 0 || !validation_split.empty();
  return Rules("LearnOptions")
      .nested("model", model.validate())
      .nested("windows", windows.validate())
      .nested("loader", loader.validate())
      .nested("cache", cache.validate())
      .nested("augmentation", augmentation.validate())
      .nested("training", training.validate())
      .nested("critic", critic.validate())
      .nested("critic_task", critic_task.validate())
      .nested("critic_training", critic_training.validate())
      .check(validation >= 0 && validation < 1, "validation", validation, "must be in [0, 1)")
      .check(validation_batches >= 1, "validation_batches", static_cast<double>(validation_batches),
             "must be >= 1")
      .check(seed >= 0, "seed", static_cast<double>(seed), "must be >= 0")
      .at_least("split_seed", static_cast<double>(split_seed), -1)
      .check(windows.frames > model.predicted_steps, "windows.frames",
             static_cast<double>(windows.frames),
             fmt::format("must be > model.predicted_steps = {}", model.predicted_steps))
      .check(held_out || training.keep != Keep::lowest_loss, "validation", validation,
             "must be > 0 for training.keep = lowest_loss, which is that of held-out episodes")
      .check(held_out || critic_training.keep != Keep::lowest_loss, "validation", validation,
             "must be > 0 for critic_training.keep = lowest_loss")
      .check(
          model.encoder == models::EncoderKind::vit ||
              model.predictor == models::PredictorKind::adaln ||
              training.activations == Activations::keep,
          "training.activations", enum_name(training.activations),
          "must be keep: model.encoder = cnn and model.predictor = mlp have no block that can be "
          "recomputed")
      .problems();
}

}  // namespace foresight::train
