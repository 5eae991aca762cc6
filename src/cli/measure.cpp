// SPDX-License-Identifier: Apache-2.0
#include "measure.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "foresight/core/log.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/windows.hpp"
#include "foresight/train/learn.hpp"

namespace foresight::cli {
namespace {

// token_mean() of every frame, episode by episode: patches of a whole data set may not fit in
// memory.
Tensor latents_of(const WorldModel& model, const data::FrameCache& frames,
                  const std::vector<int64_t>& episodes) {
  std::vector<Tensor> parts;
  for (const auto episode : episodes) {
    const auto latents = train::encode_episodes(model, frames, {episode}).latents;
    parts.push_back(token_mean(latents.view({-1, model.spec().tokens, model.spec().channels})));
  }
  return at::cat(parts);
}

Tensor states_of(const data::Dataset& dataset, const std::vector<int64_t>& episodes) {
  std::vector<Tensor> parts;
  for (const auto episode : episodes)
    parts.push_back(dataset.read_all_rows(dataset.state_columns(), episode));
  return at::cat(parts);
}

std::optional<eval::OpenLoopReport> open_loop(const WorldModel& model,
                                              const eval::RecordedInput& input,
                                              std::shared_ptr<const data::FrameCache> frames,
                                              const std::vector<int64_t>& episodes,
                                              int64_t horizon) {
  const auto& dataset = *frames->dataset();
  const auto context = model.spec().history;
  for (; horizon >= 1; --horizon) {
    const data::WindowIndex windows(
        dataset, {.frames = context + horizon, .stride = input.stride()}, episodes);
    if (windows.size() == 0) continue;
    data::Loader loader(frames, windows, input.loader_actions(dataset),
                        {.batch = std::min<int64_t>(64, windows.size()),
                         .threads = 0,
                         .order = data::Order::sequential,
                         .last_batch = data::LastBatch::keep,
                         .states = false});
    eval::OpenLoopError error(context, horizon);
    PhiloxNoise noise(0);
    while (auto batch = loader.next()) error.add(model, input.windows(dataset, *batch), noise);
    return error.report();
  }
  return std::nullopt;
}

}  // namespace

Tensor token_mean(const Tensor& latents) { return latents.mean(-2); }

Episodes split_of(const io::BundleConfig& bundle, const data::Dataset& dataset) {
  const auto& provenance = bundle.provenance;
  const auto count = dataset.num_episodes();
  std::vector<bool> held(static_cast<std::size_t>(count), false);
  if (provenance.contains("validation_episodes") &&
      data::holds(dataset, data::identity_told(provenance))) {
    for (const auto& episode : provenance["validation_episodes"])
      if (episode.is_number_integer() && episode >= 0 && episode < count)
        held[episode.get<std::size_t>()] = true;
  } else {
    const auto first = count - std::max<int64_t>(count / 10, 1);
    for (int64_t e = first; e < count; ++e) held[static_cast<std::size_t>(e)] = true;
    log(LogLevel::warning,
        dataset.name() + ": not as the bundle was trained on" +
            (provenance.contains("data") ? " (" + provenance["data"].dump() + ")" : "") +
            ", as far as can be told: measured are its episodes from " + std::to_string(first) +
            " on. If the model was trained on some of them, they are not held out");
  }
  Episodes episodes;
  for (int64_t e = 0; e < count; ++e)
    (held[static_cast<std::size_t>(e)] ? episodes.held_out : episodes.fitted).push_back(e);
  return episodes;
}

std::map<int64_t, std::string> unreadable_episodes(const data::FrameCache& frames,
                                                   data::Unreadable unreadable) {
  if (unreadable == data::Unreadable::fail) return {};
  const auto& dataset = *frames.dataset();
  auto lost = dataset.unreadable_episodes();
  for (int64_t e = 0; e < dataset.num_episodes(); ++e)
    if (!lost.contains(e) && frames.readable({e}).empty())
      lost.emplace(e, "some of its frames cannot be read");
  return lost;
}

Episodes without(Episodes episodes, const std::map<int64_t, std::string>& unreadable) {
  for (auto* list : {&episodes.fitted, &episodes.held_out})
    std::erase_if(*list, [&](int64_t episode) { return unreadable.contains(episode); });
  return episodes;
}

std::map<std::string, std::string> named(const std::map<int64_t, std::string>& unreadable,
                                         const data::Dataset& dataset) {
  std::map<std::string, std::string> told;
  for (const auto& [episode, why] : unreadable) told.emplace(dataset.episode_name(episode), why);
  return told;
}

std::string left_out(const std::map<int64_t, std::string>& unreadable,
                     const data::Dataset& dataset) {
  return fmt::format("left out: {} of {} episodes, whose frames cannot all be read",
                     unreadable.size(), dataset.num_episodes());
}

WorldModelMeasures measure(const WorldModel& model, const eval::RecordedInput& input,
                           std::shared_ptr<const data::FrameCache> frames, const Episodes& episodes,
                           int64_t horizon) {
  require(!episodes.held_out.empty(), ErrorCategory::invalid_argument,
          "nothing to measure on: no episode that can be read is held out");
  c10::InferenceMode inference;
  WorldModelMeasures measures;
  measures.open_loop = open_loop(model, input, frames, episodes.held_out, horizon);
  measures.held_latents = latents_of(model, *frames, episodes.held_out);
  measures.collapse = eval::measure_collapse(measures.held_latents);
  const auto& dataset = *frames->dataset();
  if (dataset.state_columns().empty() || episodes.fitted.empty()) return measures;
  measures.held_states = states_of(dataset, episodes.held_out);
  measures.probe =
      eval::fit_linear_probe(latents_of(model, *frames, episodes.fitted),
                             states_of(dataset, episodes.fitted), dataset.state_columns());
  measures.probe_report =
      eval::evaluate_probe(*measures.probe, measures.held_latents, measures.held_states);
  measures.held_predictions = measures.probe->predict(measures.held_latents);
  return measures;
}

nlohmann::json to_json(const WorldModelMeasures& measures) {
  nlohmann::json json = {{"collapse", eval::to_json(measures.collapse)}};
  if (measures.open_loop) json["open_loop"] = eval::to_json(*measures.open_loop);
  if (measures.probe) json["probe"] = eval::to_json(measures.probe_report);
  return json;
}

}  // namespace foresight::cli
