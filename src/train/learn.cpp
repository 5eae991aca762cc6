// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/learn.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "foresight/control/agent.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/data/resized_dataset.hpp"
#include "foresight/data/statistics.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/train/jepa_task.hpp"

namespace foresight::train {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int64_t kEncodeBatch = 512;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Paths of options that differ, e.g. "training.steps: 10 here, 20 in the run".
void differences(const nlohmann::json& here, const nlohmann::json& there, const std::string& path,
                 std::vector<std::string>& found) {
  if (here.is_object() && there.is_object()) {
    for (const auto& [key, value] : here.items())
      differences(value, there.value(key, nlohmann::json()), path.empty() ? key : path + "." + key,
                  found);
  } else if (here != there) {
    found.push_back(fmt::format("{}: {} here, {} in the run", path, here.dump(), there.dump()));
  }
}

// Writes config.json of a new run, or compares it with that of the run to go on with.
void open_run(const LearnOptions& options, const data::Dataset& dataset, const RunFolder& folder) {
  const auto path = folder.path / "config.json";
  nlohmann::json config = {{"learn", write_options(options)}, {"data", dataset.name()}};
  if (!fs::exists(path)) {
    std::error_code error;
    fs::create_directories(folder.path, error);
    require(!error, ErrorCategory::io_failure,
            fmt::format("cannot create {}: {}", folder.path.string(), error.message()));
    io::write_json(path, config);
    return;
  }
  require(folder.resume, ErrorCategory::invalid_argument,
          fmt::format("{} holds a run already: resume it, or choose another folder",
                      folder.path.string()));
  std::vector<std::string> found;
  differences(config["learn"], io::read_json(path).value("learn", nlohmann::json::object()), "",
              found);
  require(found.empty(), ErrorCategory::invalid_option,
          fmt::format("{} was started with other options: {}", folder.path.string(),
                      fmt::join(found, "; ")));
}

// Dimension, block and statistics from the data; limits from the options, else the range that the
// data show: a planner should not ask for actions that the model has never seen.
ActionSpace data_action_space(const data::Dataset& dataset, const LearnOptions& options,
                              const std::vector<int64_t>& episodes) {
  auto space = data::action_space(dataset, options.windows.stride, episodes);
  space.low = options.model.action.low;
  space.high = options.model.action.high;
  const auto seen =
      data::column_statistics(dataset, dataset.action_columns(), data::LastRow::exclude, episodes);
  bool varies = true;  // limits need an interval; a column that never changes gives none
  for (std::size_t i = 0; i < seen.min.size(); ++i) varies = varies && seen.min[i] < seen.max[i];
  if (space.low.empty() && varies) space.low = seen.min;
  if (space.high.empty() && varies) space.high = seen.max;
  require_valid(space);
  return space;
}

// Pictures of the size that the model looks at, where shrinking them beforehand is the same as
// letting the model do it.
std::shared_ptr<const data::Dataset> at_model_size(std::shared_ptr<const data::Dataset> dataset,
                                                   const models::ImageOptions& image) {
  const auto given = dataset->image_size();
  const bool same_shape =
      image.resize == models::ResizeRule::stretch || given.height == given.width;
  if (!same_shape || given.height < image.size || given.width < image.size) return dataset;
  return std::make_shared<data::ResizedDataset>(std::move(dataset),
                                                data::ImageSize{image.size, image.size});
}

std::unique_ptr<data::Loader> validation_loader(std::shared_ptr<const data::FrameCache> frames,
                                                const LearnOptions& options,
                                                const ActionSpace& space,
                                                const std::vector<int64_t>& episodes) {
  const data::WindowIndex windows(*frames->dataset(), options.windows, episodes);
  if (windows.size() == 0) return nullptr;
  auto loader = options.loader;
  loader.order = data::Order::shuffled;  // windows from all episodes, not the first few
  loader.last_batch = data::LastBatch::keep;
  loader.threads = 0;
  loader.batch = std::min(loader.batch, windows.size());
  return std::make_unique<data::Loader>(std::move(frames), windows, space, loader);
}

// How the bundle plans unless told otherwise: replan after every block.
nlohmann::json planner_defaults(const LearnOptions& options, bool with_critic) {
  auto planner = with_critic ? AgentOptions::cost_to_go() : AgentOptions::lewm();
  planner.control.replan_steps = options.windows.stride;
  return write_options(planner);
}

nlohmann::json summary(const TrainResult& result) {
  const auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
  };
  return {{"steps", result.step},
          {"seconds", number(result.seconds)},
          {"step_ms", number(result.step_ms)},
          {"loss", number(result.loss)},
          {"validation_loss", number(result.validation_loss)}};
}

}  // namespace

std::vector<std::string> LearnOptions::validate() const {
  return Rules("LearnOptions")
      .nested("model", model.validate())
      .nested("windows", windows.validate())
      .nested("loader", loader.validate())
      .nested("cache", cache.validate())
      .nested("training", training.validate())
      .nested("critic", critic.validate())
      .nested("critic_task", critic_task.validate())
      .nested("critic_training", critic_training.validate())
      .check(validation >= 0 && validation < 1, "validation", validation, "must be in [0, 1)")
      .check(validation_batches >= 1, "validation_batches", static_cast<double>(validation_batches),
             "must be >= 1")
      .check(seed >= 0, "seed", static_cast<double>(seed), "must be >= 0")
      .check(windows.frames > model.predicted_steps, "windows.frames",
             static_cast<double>(windows.frames),
             fmt::format("must be > model.predicted_steps = {}", model.predicted_steps))
      .problems();
}

EpisodeLatents encode_episodes(const models::Jepa& model, const data::FrameCache& frames,
                               const std::vector<int64_t>& episodes) {
  c10::InferenceMode inference;
  EpisodeLatents result;
  std::vector<Tensor> parts;
  result.first.push_back(0);
  const auto device = model.parameters().front().device();
  for (const auto episode : episodes) {
    const auto length = frames.dataset()->length(episode);
    for (int64_t first = 0; first < length; first += kEncodeBatch) {
      std::vector<int64_t> rows(static_cast<std::size_t>(std::min(kEncodeBatch, length - first)));
      std::iota(rows.begin(), rows.end(), first);
      parts.push_back(model.encode_pixels(frames.frames(episode, rows).to(device)).flatten(1));
    }
    result.first.push_back(result.first.back() + length);
  }
  result.latents = parts.empty() ? at::empty({0, model.options().latent}, at::TensorOptions(device))
                                 : at::cat(parts);
  return result;
}

LearnResult learn(std::shared_ptr<const data::Dataset> dataset, LearnOptions options,
                  const RunFolder& folder, at::Device device, ProgressStyle progress) {
  const auto start = Clock::now();
  const auto split = data::split_episodes(dataset->num_episodes(), options.validation,
                                          static_cast<std::uint64_t>(options.seed));
  options.model.action = data_action_space(*dataset, options, split.train);
  options.loader.seed = options.seed;
  options.loader.states = false;
  options.critic.latent = options.model.latent;
  require_valid(options);
  open_run(options, *dataset, folder);

  LearnResult result;
  const auto seed = static_cast<std::uint64_t>(options.seed);
  const auto frames = std::make_shared<const data::FrameCache>(
      at_model_size(dataset, options.model.image), options.cache);
  result.decode_seconds = seconds_since(start);

  auto model = std::make_shared<models::Jepa>(options.model, seed);
  model->to(device);
  const data::WindowIndex windows(*dataset, options.windows, split.train);
  JepaTask task(
      model, std::make_unique<data::Loader>(frames, windows, options.model.action, options.loader),
      validation_loader(frames, options, options.model.action, split.validation),
      options.validation_batches, seed);

  // Metrics continue after the newest checkpoint of the latest stage that has one.
  const RunFolder world_model_run{folder.path, folder.resume, 0};
  const RunFolder critic_run{folder.path, folder.resume, options.training.steps};
  std::optional<int64_t> metrics_from;
  if (folder.resume) {
    const auto critic_done = resume_step(critic_run, "critic");
    metrics_from = critic_done > 0 ? options.training.steps + critic_done
                                   : resume_step(world_model_run, task.name());
  }
  EventWriter metrics(folder.path, metrics_from);

  const auto finish = [&](const TrainResult& stage, const char* what) {
    result.outcome = stage.outcome;
    result.message = fmt::format("{}: {}", what, stage.message);
    result.seconds = seconds_since(start);
    metrics.flush();
    return stage.outcome == Outcome::finished;
  };
  result.world_model = train(task, options.training, world_model_run, metrics, progress);
  if (!finish(result.world_model, "world model")) return result;

  std::shared_ptr<models::ValueCritic> critic;
  if (options.critic_training.steps > 0) {
    critic = std::make_shared<models::ValueCritic>(options.critic, seed);
    critic->to(device);
    CriticTask critic_task(critic, encode_episodes(*model, *frames, split.train),
                           encode_episodes(*model, *frames, split.validation),
                           options.windows.stride, options.critic_task, seed);
    result.critic = train(critic_task, options.critic_training, critic_run, metrics, progress);
    if (!finish(result.critic, "cost-to-go")) return result;
  }

  result.bundle = folder.path / "bundle";
  nlohmann::json provenance = {{"data", dataset->name()},
                               {"episodes", dataset->num_episodes()},
                               {"frames", dataset->total_rows()},
                               {"seed", options.seed},
                               {"validation_episodes", split.validation},
                               {"world_model", summary(result.world_model)}};
  if (critic) provenance["critic"] = summary(result.critic);
  auto config = models::jepa_bundle_config(*model);
  config.planner = planner_defaults(options, critic != nullptr);
  config.provenance = std::move(provenance);
  models::write_jepa(result.bundle, *model, std::move(config), critic.get());
  result.seconds = seconds_since(start);
  return result;
}

}  // namespace foresight::train
