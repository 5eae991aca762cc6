// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/learn.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "before_after.hpp"
#include "elapsed.hpp"
#include "family_run.hpp"
#include "foresight/control/agent.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/interrupt.hpp"
#include "foresight/train/jepa_task.hpp"
#include "mean_terms.hpp"
#include "run_summary.hpp"
#include "stoppable_validation.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// How the bundle plans unless told otherwise: replan after every block.
nlohmann::json planner_defaults(const LearnOptions& options, bool with_critic) {
  auto planner = with_critic ? AgentOptions::cost_to_go() : AgentOptions::lewm();
  planner.control.replan_steps = options.windows.stride;
  return write_options(planner);
}

// What the model's one-step errors are on `episodes`, frames one block apart.
SurpriseCalibration surprise_on(const WorldModel& model, const data::FrameCache& frames,
                                const std::vector<int64_t>& episodes) {
  const auto& action = model.spec().action;
  const auto& dataset = *frames.dataset();
  std::vector<ObservationWindow> windows;
  for (const auto episode : episodes) {
    const auto blocks = (dataset.length(episode) - 1) / action.block;
    if (blocks < 1) continue;
    auto& window = windows.emplace_back();
    for (int64_t t = 0; t <= blocks; ++t)
      window.frames.emplace_back(kPixels, frames.frames(episode, {t * action.block}));
    const auto raw = dataset.read_rows(dataset.action_columns(), episode, 0, blocks * action.block);
    window.blocks =
        action.normalise(raw.to(at::kFloat).reshape({blocks, -1})).unsqueeze(1).unbind(0);
  }
  PhiloxNoise noise(0);
  return calibrate_surprise(model, windows, noise);
}

using Recordings = FamilyData::Part;

RecordedTraining recorded_training(const LearnOptions& options) {
  RecordedTraining recorded;
  recorded.windows = options.windows;
  recorded.loader = options.loader;
  recorded.cache = options.cache;
  recorded.augmentation = options.augmentation;
  recorded.training = options.training;
  recorded.split = options.split;
  recorded.validation_split = options.validation_split;
  recorded.validation = options.validation;
  recorded.validation_batches = options.validation_batches;
  recorded.seed = options.seed;
  recorded.split_seed = options.split_seed;
  return recorded;
}

// Latents of two sets of episodes, one after the other.
EpisodeLatents joined_latents(EpisodeLatents a, const EpisodeLatents& b) {
  const auto offset = a.first.back();
  for (std::size_t i = 1; i < b.first.size(); ++i) a.first.push_back(offset + b.first[i]);
  a.latents = at::cat({a.latents, b.latents});
  return a;
}

// One training, from recordings to a bundle.
class Learning {
 public:
  Learning(std::shared_ptr<const data::Dataset> dataset, LearnOptions options,
           const RunFolder& folder, at::Device device, ProgressStyle progress,
           const LearnHooks& hooks);

  LearnResult run();

 private:
  LearnResult run_stages();
  void start_from_data();
  void start_from_bundle();
  void require_comparable_windows() const;
  // Those whose every frame can be read, where the others are to be skipped: by this process, or by
  // all, which then call it together.
  std::vector<int64_t> usable_by_all(const Recordings& recordings,
                                     const std::vector<int64_t>& episodes) const;
  std::vector<int64_t> usable(const Recordings& recordings,
                              const std::vector<int64_t>& episodes) const;
  EpisodeLatents encoded(const Recordings& recordings, const std::vector<int64_t>& episodes) const;
  EpisodeLatents latents(bool of_training) const;
  losses::Terms held_out_losses(const Recordings& recordings) const;
  void measure_before();
  void measure_after();
  bool writes() const { return writes_run(hooks_); }
  TrainHooks train_hooks();
  bool finished(const TrainResult& stage, const char* what);
  nlohmann::json provenance() const;
  void write(const fs::path& path, nlohmann::json provenance, bool calibrated) const;

  LearnOptions options_;
  RunFolder folder_;
  at::Device device_;
  ProgressStyle progress_;
  LearnHooks hooks_;
  std::shared_ptr<const Replicas> processes_;  // null: this one alone
  std::uint64_t seed_;
  Clock::time_point start_ = Clock::now();
  RunLock lock_;
  FamilyData data_;
  io::BundleConfig origin_;
  std::optional<ConstantColumns> constant_;  // none: of a bundle that does not tell
  std::shared_ptr<models::Jepa> model_;
  std::shared_ptr<models::ValueCritic> critic_;
  LearnResult result_;
};

Learning::Learning(std::shared_ptr<const data::Dataset> dataset, LearnOptions options,
                   const RunFolder& folder, at::Device device, ProgressStyle progress,
                   const LearnHooks& hooks)
    : options_(std::move(options)),
      folder_(folder),
      device_(device),
      progress_(progress),
      hooks_(hooks),
      processes_(hooks.reducer != nullptr ? hooks.reducer->replicas() : nullptr),
      seed_(static_cast<std::uint64_t>(options_.seed)),
      data_(std::move(dataset), recorded_training(options_), hooks, {.actions = true}) {
  options_.loader.seed = options_.seed;  // as config.json tells it
  options_.loader.states = false;
  if (hooks_.continuation != nullptr)
    start_from_bundle();
  else
    start_from_data();
  require_comparable_windows();
  data_.show(&options_.model.image, folder_.resume);
  lock_ =
      open_run(run_config(write_options(options_), data_.learned_from(), hooks_), folder_, hooks_);
  data_.decode(progress_);
  result_.decode_seconds = data_.decode_seconds();
  model_->to(device_);
  if (critic_) critic_->to(device_);
}

void Learning::start_from_data() {
  options_.model.action = data_action_space(data_.dataset(), options_, data_.split().train);
  constant_ = {.actions = constant_columns(data_.dataset(), data_.dataset().action_columns(),
                                           options_.model.action.std, data::LastRow::exclude,
                                           data_.split().train)};
  options_.critic.latent = options_.model.latent;
  require_valid(options_);
  model_ = std::make_shared<models::Jepa>(options_.model, seed_);
  if (options_.critic_training.steps > 0)
    critic_ = std::make_shared<models::ValueCritic>(options_.critic, seed_);
}

void Learning::start_from_bundle() {
  const auto& from = *hooks_.continuation;
  from.check();
  const auto bundle = io::read_bundle(from.bundle);
  model_ = models::read_jepa(bundle);
  critic_ = models::read_value_critic(bundle);
  origin_ = bundle.config;
  constant_ = constant_columns_told(origin_.provenance);
  options_.model = model_->options();
  require_stride_of_bundle(options_.windows, options_.model.action);
  if (critic_) options_.critic = critic_->options();
  if (!critic_) options_.critic_training.steps = 0;
  require_valid(options_);
  // Whatever does not fit is told before anything is written.
  result_.continual.emplace().drift.actions =
      action_drift(options_.model.action, data_.dataset(), data_.split().train, constant_);
}

// Deviation and covariance are those of a batch.
void Learning::require_comparable_windows() const {
  if (options_.model.loss.std == 0 && options_.model.loss.cov == 0) return;
  for (const auto* part : {&data_.fresh(), &data_.old()})
    if (part->dataset)
      require_several_windows(*part->dataset, options_.windows, options_.loader.batch,
                              part->split.validation);
}

std::vector<int64_t> Learning::usable(const Recordings& recordings,
                                      const std::vector<int64_t>& episodes) const {
  return options_.loader.unreadable == data::Unreadable::skip
             ? recordings.frames->readable(episodes)
             : episodes;
}

// What one process cannot read, none may count: all encode a part of one list.
std::vector<int64_t> Learning::usable_by_all(const Recordings& recordings,
                                             const std::vector<int64_t>& episodes) const {
  const auto here = usable(recordings, episodes);
  if (processes_ == nullptr || options_.loader.unreadable == data::Unreadable::fail) return here;
  auto readers = at::zeros({recordings.dataset->num_episodes()}, at::kDouble);
  for (const auto episode : here) readers[episode] = 1.0;
  readers = processes_->sum(readers);
  std::vector<int64_t> everywhere;
  for (const auto episode : here)
    if (readers[episode].item<double>() == static_cast<double>(processes_->count()))
      everywhere.push_back(episode);
  return everywhere;
}

EpisodeLatents Learning::encoded(const Recordings& recordings,
                                 const std::vector<int64_t>& episodes) const {
  const StoppableValidation stoppable(hooks_.reducer != nullptr);
  return encode_episodes(*model_, *recordings.frames, usable_by_all(recordings, episodes),
                         processes_.get());
}

EpisodeLatents Learning::latents(bool of_training) const {
  const auto of = [&](const Recordings& recordings) {
    return encoded(recordings, of_training ? recordings.split.train : recordings.split.validation);
  };
  return data_.replays() ? joined_latents(of(data_.fresh()), of(data_.old())) : of(data_.fresh());
}

// As validation sees it: in inference mode, with the same noise every time.
losses::Terms Learning::held_out_losses(const Recordings& recordings) const {
  constexpr std::uint64_t kMeasureStream = 8;
  const auto loader = data_.measuring_loader(recordings, recordings.split.validation);
  if (!loader) return {};
  c10::NoGradGuard no_grad;
  model_->eval();
  PhiloxNoise noise(seed_, kMeasureStream);
  const auto loss = [&](const data::Batch& batch) {
    noise.seek(static_cast<std::uint64_t>(batch.position.batch) << 32);  // whoever computes it
    return model_->loss(batch.pixels.to(device_), batch.actions.to(device_), noise);
  };
  return mean_loss(*loader, options_.validation_batches, loss, processes_.get());
}

void Learning::measure_before() {
  auto& report = *result_.continual;
  report.drift.latent_shift = report.drift.latent_spread = std::nan("");
  model_->eval();
  const auto latents_of = [&](const Recordings& recordings) {
    return encoded(recordings, recordings.split.train).latents;
  };
  if (data_.replays())
    add_latent_drift(report.drift, latents_of(data_.fresh()), latents_of(data_.old()));
  for (const auto& warning : report.drift.warnings())
    log(LogLevel::warning,
        fmt::format("{} is unlike what {} was trained on: {}", data_.dataset().name(),
                    hooks_.continuation->bundle.string(), warning));
  report.new_data = measured_before(held_out_losses(data_.fresh()));
  if (data_.replays()) report.old_data = measured_before(held_out_losses(data_.old()));
}

void Learning::measure_after() {
  const auto fill = [&](std::vector<BeforeAfter>& losses, const Recordings& recordings) {
    if (!losses.empty()) fill_after(losses, held_out_losses(recordings));
  };
  fill(result_.continual->new_data, data_.fresh());
  if (data_.replays()) fill(result_.continual->old_data, data_.old());
}

TrainHooks Learning::train_hooks() {
  TrainHooks hooks;
  hooks.reducer = hooks_.reducer;
  if (!hooks_.success) return hooks;
  hooks.success = [this] {
    if (!writes()) return std::nan("");  // rank 0 decides which weights are kept
    const auto candidate = folder_.path / "candidate";
    write(candidate, provenance(), /*calibrated=*/false);
    return hooks_.success(candidate);
  };
  return hooks;
}

bool Learning::finished(const TrainResult& stage, const char* what) {
  result_.outcome = stage.outcome;
  result_.message = fmt::format("{}: {}", what, stage.message);
  result_.seconds = seconds_since(start_);
  return stage.outcome == Outcome::finished;
}

nlohmann::json Learning::provenance() const {
  auto provenance = data_.provenance();
  provenance["world_model"] = run_summary(result_.world_model);
  if (result_.critic.step > 0) provenance["critic"] = run_summary(result_.critic);
  tell_skipped(provenance, result_);
  if (constant_)
    tell_constant_columns(provenance, result_.continual
                                          ? still_constant(*constant_, result_.continual->drift)
                                          : *constant_);
  if (hooks_.continuation != nullptr) provenance["continued_from"] = origin_.provenance;
  return provenance;
}

void Learning::write(const fs::path& path, nlohmann::json provenance, bool calibrated) const {
  // In the first stage of a new model the cost-to-go has learned nothing yet.
  const bool with_critic = critic_ && (result_.critic.step > 0 || hooks_.continuation != nullptr ||
                                       result_.world_model.outcome == Outcome::finished);
  auto config = models::jepa_bundle_config(*model_);
  config.planner =
      hooks_.continuation != nullptr ? origin_.planner : planner_defaults(options_, with_critic);
  if (calibrated) {
    try {
      config.heads[kSurpriseHead] = write_options(surprise_on(
          *model_, *data_.fresh().frames, usable(data_.fresh(), data_.split().validation)));
    } catch (const Error& problem) {  // too few transitions, or a model that diverged
      provenance["surprise"] = std::string("not calibrated: ") + problem.what();
    }
  }
  config.provenance = std::move(provenance);
  models::write_jepa(path, *model_, std::move(config), with_critic ? critic_.get() : nullptr);
}

LearnResult Learning::run() {
  try {
    return run_stages();
  } catch (const Interrupted&) {
    const bool is_trained = result_.world_model.outcome == Outcome::finished;
    result_.outcome = Outcome::interrupted;
    result_.message = fmt::format("{}: interrupted while episodes were encoded",
                                  is_trained ? "cost-to-go" : "world model");
    result_.seconds = seconds_since(start_);
    return result_;
  }
}

LearnResult Learning::run_stages() {
  const RunFolder world_model_run{folder_.path, folder_.resume, 0};
  const RunFolder critic_run{folder_.path, folder_.resume, options_.training.steps};
  JepaTask task(model_, data_.task_data(options_.model.action, device_));
  std::optional<int64_t> metrics_from;
  if (folder_.resume) {
    // The critic's rows come after the world model's last: what is trained again is logged again.
    metrics_from = resume_step(world_model_run, task.name());
    if (metrics_from == options_.training.steps) *metrics_from += resume_step(critic_run, "critic");
  }
  auto metrics = open_metrics(folder_, hooks_, metrics_from);
  if (hooks_.continuation != nullptr) measure_before();
  result_.world_model =
      train(task, options_.training, world_model_run, metrics, progress_, train_hooks());
  metrics.flush();
  result_.skipped_windows = task.skipped_windows();
  result_.unreadable_episodes = task.unreadable_episodes();
  if (writes()) warn_of_skipped(result_);
  if (!finished(result_.world_model, "world model")) return result_;

  if (options_.critic_training.steps > 0) {
    CriticTask critic_task(critic_, latents(true), latents(false), options_.windows.stride,
                           options_.critic_task, seed_);
    result_.critic =
        train(critic_task, options_.critic_training, critic_run, metrics, progress_, train_hooks());
    metrics.flush();
    if (!finished(result_.critic, "cost-to-go")) return result_;
  }
  // As in FamilyRun::train(): the bundle first, but no process waits for the one that writes it.
  const bool alone = processes_ == nullptr || processes_->count() == 1;
  if (result_.continual && !alone) measure_after();
  if (writes()) {
    result_.bundle = folder_.path / "bundle";
    write(result_.bundle, provenance(), /*calibrated=*/true);
  }
  if (result_.continual && alone) measure_after();
  if (writes()) {
    if (result_.continual)
      io::write_json(folder_.path / "continual.json", to_json(*result_.continual));
    std::error_code ignored;
    fs::remove_all(folder_.path / "candidate", ignored);
  }
  result_.seconds = seconds_since(start_);
  return result_;
}

}  // namespace

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, LearnOptions options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress,
                  const LearnHooks& hooks) {
  return Learning(std::move(dataset), std::move(options), folder, device, progress, hooks).run();
}

}  // namespace foresight::train
