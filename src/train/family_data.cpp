// SPDX-License-Identifier: Apache-2.0
// The recordings of a family's training.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

#include "elapsed.hpp"
#include "family_run.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/train/interrupt.hpp"
#include "learning_data.hpp"
#include "without_actions.hpp"

namespace foresight::train {
namespace {

std::vector<int64_t> episodes_named(const data::Dataset& dataset, const char* option,
                                    const std::string& split) {
  const auto known = dataset.splits();
  require(std::find(known.begin(), known.end(), split) != known.end(),
          ErrorCategory::invalid_option,
          fmt::format("{} = '{}': {} has no such split; it has: {}", option, split, dataset.name(),
                      known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
  auto episodes = dataset.episodes_of_split(split);
  require(!episodes.empty(), ErrorCategory::invalid_option,
          fmt::format("{} = '{}': no episode of {} is in it", option, split, dataset.name()));
  return episodes;
}

// Those that are learned from or held out; empty, which means all, where no split leaves any out.
std::vector<int64_t> episodes_used(const FamilyData::Part& part) {
  std::vector<int64_t> used;
  std::merge(part.split.train.begin(), part.split.train.end(), part.split.validation.begin(),
             part.split.validation.end(), std::back_inserter(used));
  if (static_cast<int64_t>(used.size()) == part.dataset->num_episodes()) used.clear();
  return used;
}

}  // namespace

FamilyData::FamilyData(std::shared_ptr<const data::Dataset> dataset,
                       const RecordedTraining& options, const LearnHooks& hooks, ReadColumns reads,
                       HeldOut held_out)
    : options_(options), hooks_(hooks), reads_(reads) {
  require(dataset != nullptr, ErrorCategory::invalid_argument, "a training needs recordings");
  options_.loader.seed = options_.seed;
  options_.loader.states = reads_.states;
  fresh_.split = fresh_split(*dataset, held_out);
  fresh_.dataset = std::move(dataset);
  learned_from_.recordings = identity(*fresh_.dataset);
  if (hooks.continuation == nullptr || !hooks.continuation->replay) return;
  require_replayable(*hooks.continuation->replay, *fresh_.dataset, reads_);
  old_ = {hooks.continuation->replay, kept_split(*hooks.continuation->replay)};
  learned_from_.replay = identity(*old_.dataset);
}

data::DataIdentity FamilyData::identity(const data::Dataset& dataset) const {
  const std::vector<std::string> none;
  return data::identity_of(dataset, reads_.actions ? dataset.action_columns() : none,
                           reads_.states ? dataset.state_columns() : none);
}

data::EpisodeSplit FamilyData::new_split(const data::Dataset& dataset) const {
  return data::split_episodes(dataset.num_episodes(), options_.validation, split_seed());
}

std::uint64_t FamilyData::split_seed() const {
  return static_cast<std::uint64_t>(options_.split_seed >= 0 ? options_.split_seed : options_.seed);
}

data::EpisodeSplit FamilyData::fresh_split(const data::Dataset& dataset, HeldOut held_out) const {
  const bool keeps =
      held_out == HeldOut::kept && hooks_.continuation != nullptr && options_.validation > 0;
  const auto drawn = [&] { return keeps ? kept_split(dataset) : new_split(dataset); };
  const auto &learned = options_.split, &held = options_.validation_split;
  if (learned.empty() && held.empty()) return drawn();
  data::EpisodeSplit split;
  if (!learned.empty()) split.train = episodes_named(dataset, "split", learned);
  if (!held.empty()) {
    split.validation = episodes_named(dataset, "validation_split", held);
  } else if (keeps) {
    split.validation = drawn().validation;
  } else {
    const auto count = static_cast<int64_t>(split.train.size());
    const auto parts = data::split_episodes(count, options_.validation, split_seed());
    for (const auto place : parts.validation)
      split.validation.push_back(split.train[static_cast<std::size_t>(place)]);
  }
  if (learned.empty())
    for (int64_t e = 0; e < dataset.num_episodes(); ++e) split.train.push_back(e);
  std::vector<int64_t> both;
  std::set_intersection(split.train.begin(), split.train.end(), split.validation.begin(),
                        split.validation.end(), std::back_inserter(both));
  require(learned.empty() || held.empty() || both.empty(), ErrorCategory::invalid_option,
          fmt::format("split = '{}' and validation_split = '{}' of {} share {} episode(s), as {}: "
                      "what is held out must not be learned from",
                      learned, held, dataset.name(), both.size(),
                      both.empty() ? "" : dataset.episode_name(both.front())));
  std::erase_if(split.train, [&](int64_t episode) {
    return std::binary_search(both.begin(), both.end(), episode);
  });
  require(
      !split.train.empty(), ErrorCategory::invalid_option,
      fmt::format("split = '{}', validation_split = '{}' of {}: no episode is left to learn from",
                  learned, held, dataset.name()));
  return split;
}

data::EpisodeSplit FamilyData::kept_split(const data::Dataset& dataset) const {
  const auto& bundle = hooks_.continuation->bundle;
  const auto file = bundle / io::kBundleConfigFile;
  const auto told = io::read_bundle_config(io::read_json(file), file.string()).provenance;
  const auto held =
      told.is_object() ? told.value("validation_episodes", nlohmann::json()) : nlohmann::json();
  if (!held.is_array() || held.empty() || !data::holds(dataset, data::identity_told(told))) {
    if (options_.validation > 0)
      log(LogLevel::warning,
          fmt::format(
              "as far as can be told, {} is not what {} was trained on, or nothing of it was "
              "held out: its held-out episodes may be some that the model knows by heart",
              dataset.name(), bundle.string()));
    return new_split(dataset);
  }
  std::vector<bool> held_out(static_cast<std::size_t>(dataset.num_episodes()), false);
  for (const auto& episode : held)
    if (episode.is_number_integer() && episode >= 0 && episode < dataset.num_episodes())
      held_out[episode.get<std::size_t>()] = true;
  data::EpisodeSplit split;
  for (int64_t e = 0; e < dataset.num_episodes(); ++e)
    (held_out[static_cast<std::size_t>(e)] ? split.validation : split.train).push_back(e);
  return split;
}

// A run without any window to learn from is another error, which Loader tells.
void FamilyData::require_held_out_windows(bool resumes) const {
  const auto& held = fresh_.split.validation;
  if (windows(held) > 0 || windows(fresh_.split.train) == 0) return;
  if (held.empty() && options_.validation == 0) return;  // as was asked for
  const auto problem =
      held.empty()
          ? fmt::format("{}: validation = {} of its {} episode(s) holds none out", dataset().name(),
                        options_.validation, fresh_.split.train.size())
          : fmt::format(
                "{}: none of the {} held-out episode(s), as {}, has the {} rows of a window "
                "(windows.frames = {}, windows.stride = {})",
                dataset().name(), held.size(), dataset().episode_name(held.front()),
                options_.windows.rows(), options_.windows.frames, options_.windows.stride);
  constexpr const char* kAdvice =
      "hold out more or longer ones (validation, validation_split, split_seed)";
  // One that goes on cannot choose otherwise.
  require(resumes || options_.training.keep != Keep::lowest_loss, ErrorCategory::invalid_option,
          fmt::format("{}, so that training.keep = lowest_loss has nothing to choose by: {}",
                      problem, kAdvice));
  if (writes_run(hooks_))
    log(LogLevel::warning, fmt::format("{}, so that nothing is validated: {}", problem, kAdvice));
}

void FamilyData::show(const models::ImageOptions* image, bool resumes) {
  require_held_out_windows(resumes);
  if (options_.augmentation.crops()) image = nullptr;  // a crop shows pixels larger
  for (auto* part : {&fresh_, &old_}) {
    if (!part->dataset) continue;
    part->shown = image != nullptr ? at_model_size(part->dataset, *image) : part->dataset;
    if (!reads_.actions) part->shown = std::make_shared<WithoutActions>(std::move(part->shown));
  }
  if (!replays()) return;
  const auto fresh = fresh_.shown->image_size(), old = old_.shown->image_size();
  require(old == fresh, ErrorCategory::invalid_option,
          fmt::format("replay: frames of {} are {}x{}, those of the new recordings {} are {}x{}; "
                      "batches hold both: `foresight convert --reading.video.height {} "
                      "--reading.video.width {}` makes them alike",
                      old_.dataset->name(), old.width, old.height, fresh_.dataset->name(),
                      fresh.width, fresh.height, fresh.height, fresh.width));
}

void FamilyData::decode(ProgressStyle progress) {
  const auto start = std::chrono::steady_clock::now();
  const auto style = writes_run(hooks_) ? progress : ProgressStyle::silent;
  const auto decode = [this, style] {
    for (auto* part : {&fresh_, &old_}) {
      if (!part->dataset) continue;
      std::optional<Progress> line;  // of a decoding that takes some seconds
      const auto tell = [&](const data::DecodingProgress& now) {
        if (!line) line.emplace("decoding frames", now.all_frames, 0, style);
        line->update(now.frames, 1,
                     fmt::format("{}/{} episodes, {:.1f}/{:.1f} GB", now.episodes, now.all_episodes,
                                 static_cast<double>(now.bytes) * 1e-9,
                                 static_cast<double>(now.all_bytes) * 1e-9));
      };
      part->frames = std::make_shared<const data::FrameCache>(
          part->shown, options_.cache, episodes_used(*part), options_.loader.unreadable,
          data::FrameCacheHooks{InterruptGuard::requested, tell});
    }
  };
  // Other machines may have the frames on their disks already.
  hooks_.reducer != nullptr ? hooks_.reducer->long_work(decode) : decode();
  decode_seconds_ = seconds_since(start);
}

std::unique_ptr<data::Loader> FamilyData::training_loader(const Part& part, int64_t batch) const {
  auto batches = options_.loader;
  batches.batch = batch;
  if (device_.is_cuda()) batches.memory = data::HostMemory::pinned;
  data::Shard shard;
  if (hooks_.reducer != nullptr) shard = {hooks_.reducer->rank(), hooks_.reducer->world_size()};
  return std::make_unique<data::Loader>(
      part.frames, data::WindowIndex(*part.dataset, options_.windows, part.split.train), space_,
      batches, shard);
}

std::unique_ptr<data::Loader> FamilyData::measuring_loader(
    const Part& part, const std::vector<int64_t>& episodes) const {
  return validation_loader(part.frames, options_.windows, options_.loader, space_, episodes);
}

TaskData FamilyData::task_data(const ActionSpace& space, at::Device device) {
  space_ = space;
  device_ = device;
  const auto batch = options_.loader.batch;
  const auto processes = hooks_.reducer != nullptr ? hooks_.reducer->world_size() : 1;
  const auto replayed = replays() ? hooks_.continuation->replayed(batch, processes) : 0;
  TaskData data;
  data.training = training_loader(fresh_, batch - replayed);
  if (replayed > 0) data.replay = training_loader(old_, replayed);
  if (replayed > 0 && writes_run(hooks_) && replayed != hooks_.continuation->replayed(batch))
    log(LogLevel::warning,
        fmt::format("replay: {} of a batch's {} windows are old ones, a multiple of the {} "
                    "processes that is nearest to a share of {}",
                    replayed, batch, processes, hooks_.continuation->share));
  data.validation = measuring_loader(fresh_, fresh_.split.validation);
  data.validation_batches = options_.validation_batches;
  data.seed = static_cast<std::uint64_t>(options_.seed);
  data.device = device;
  data.augmentation = options_.augmentation;
  data.action = space;
  data.action.dim = std::max<int64_t>(space.dim, 1);  // mirroring wants one sign, even of none
  return data;
}

TaskData FamilyData::task_data(at::Device device) {
  ActionSpace none;
  none.dim = 0;
  none.block = options_.windows.stride;
  return task_data(none, device);
}

void FamilyData::fill_statistics(const std::vector<std::string>& columns, std::vector<double>& mean,
                                 std::vector<double>& std) const {
  const auto seen = data::column_statistics(*fresh_.dataset, columns, data::LastRow::include,
                                            fresh_.split.train, data::Missing::row);
  if (mean.empty()) mean = seen.mean;
  if (std.empty())
    for (const double value : seen.std) std.push_back(value > 0 ? value : 1.0);
}

ProbeTargetOptions FamilyData::probe_target(ProbeTargetOptions target) const {
  if (target.outputs() == 0) return target;
  for (const auto* part : {&fresh_, &old_})
    if (part->dataset)
      check_probe_target(*part->dataset, target,
                         (options_.windows.frames - 1) * options_.windows.stride);
  if (target.columns == 0 || (!target.mean.empty() && !target.std.empty())) return target;
  auto columns = fresh_.dataset->state_columns();
  columns.resize(static_cast<std::size_t>(target.columns));
  fill_statistics(columns, target.mean, target.std);
  return target;
}

RecordedTraining pictures_alone(RecordedTraining options) {
  if (options.augmentation.flip > 0) options.augmentation.flip_signs = {1.0};
  return options;
}

// Of some of the windows that are trained on: as many as a validation looks at.
Tensor FamilyData::features_of(const Part& part, const Features& features) const {
  const auto loader = measuring_loader(part, part.split.train);
  std::vector<Tensor> seen;
  for (int64_t i = 0; loader && i < options_.validation_batches; ++i) {
    const auto batch = loader->next();
    if (!batch) break;
    seen.push_back(features(*batch).to(at::kCPU, at::kDouble));
  }
  return seen.empty() ? Tensor() : at::cat(seen);
}

LearningOn FamilyData::learning_on(LoaderTask& task, DataDrift drift, Features features) const {
  const auto processes = hooks_.reducer != nullptr ? hooks_.reducer->replicas() : nullptr;
  LearningOn on;
  on.drift = [this, drift = std::move(drift), features = std::move(features)]() mutable {
    drift.latent_shift = drift.latent_spread = std::nan("");
    if (!replays()) return drift;
    const auto fresh = features_of(fresh_, features), old = features_of(old_, features);
    if (fresh.defined() && old.defined()) add_latent_drift(drift, fresh, old);
    return drift;
  };
  on.fresh = [&task, processes] {
    return processes ? task.validate_together(*processes) : task.validate();
  };
  if (replays())
    on.old = [this, &task, processes] {
      const auto held_out = measuring_loader(old_, old_.split.validation);
      return task.loss_on(held_out.get(), processes.get());
    };
  return on;
}

int64_t FamilyData::windows(const std::vector<int64_t>& episodes) const {
  if (episodes.empty()) return 0;  // an index of no episodes is one of all
  return data::WindowIndex(*fresh_.dataset, options_.windows, episodes).size();
}

nlohmann::json FamilyData::provenance() const {
  auto told = write_options(learned_from_.recordings);
  told["seed"] = options_.seed;
  told["stride"] = options_.windows.stride;
  told["validation_episodes"] = fresh_.split.validation;
  auto reading = reading_of(hooks_);
  if (options_.loader.unreadable == data::Unreadable::skip)
    reading["unreadable"] = enum_name(options_.loader.unreadable);
  if (!reading.empty()) told["reading"] = reading;
  if (!learned_from_.replay) return told;
  told["replay"] = write_options(*learned_from_.replay);
  told["replay"]["share"] = hooks_.continuation->share;
  return told;
}

}  // namespace foresight::train
