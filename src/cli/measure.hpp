// SPDX-License-Identifier: Apache-2.0
// What a world model knows, measured on held-out episodes: how far imagination holds, whether the
// latent collapsed, and whether the true state can be read off it.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/eval/collapse.hpp"
#include "foresight/eval/open_loop.hpp"
#include "foresight/eval/probe.hpp"
#include "foresight/eval/recorded_input.hpp"
#include "foresight/io/bundle.hpp"

namespace foresight::cli {

/// Episodes that the bundle was trained on and those it was not.
struct Episodes {
  std::vector<int64_t> fitted, held_out;
};

/// The split that training made, if `dataset` is the data of the bundle; else the last tenth of its
/// episodes is held out (from the probe; the model has seen none of them).
Episodes split_of(const io::BundleConfig& bundle, const data::Dataset& dataset);

/// Episodes of which a frame cannot be read, and why; none of them is looked for where `unreadable`
/// is fail. Decodes what `frames` do not hold.
std::map<int64_t, std::string> unreadable_episodes(const data::FrameCache& frames,
                                                   data::Unreadable unreadable);

/// `episodes` without the keys of `unreadable`.
Episodes without(Episodes episodes, const std::map<int64_t, std::string>& unreadable);

/// The same by the names of the episodes, as results of measures tell them.
std::map<std::string, std::string> named(const std::map<int64_t, std::string>& unreadable,
                                         const data::Dataset& dataset);

/// "left out: 2 of 20 episodes, whose frames cannot all be read"
std::string left_out(const std::map<int64_t, std::string>& unreadable,
                     const data::Dataset& dataset);

struct WorldModelMeasures {
  std::optional<eval::OpenLoopReport> open_loop;  ///< nothing if no held-out episode is long enough
  eval::CollapseReport collapse;
  std::optional<eval::LinearProbe>
      probe;  ///< latent -> state columns; nothing if the data have none
  eval::ProbeReport probe_report;
  Tensor held_latents;      ///< [N,D], token_mean() of each frame's
  Tensor held_states;       ///< [N,K] or undefined
  Tensor held_predictions;  ///< of the probe, [N,K] or undefined
};

/// Latents [...,P,D] as collapse, probe and map look at them: the mean of their tokens, [...,D]. A
/// covariance of all channels of all patches would have millions of rows.
Tensor token_mean(const Tensor& latents);

/// `horizon`: imagined blocks of the open-loop error, shortened if episodes are too short.
WorldModelMeasures measure(const WorldModel& model, const eval::RecordedInput& input,
                           std::shared_ptr<const data::FrameCache> frames, const Episodes& episodes,
                           int64_t horizon);

nlohmann::json to_json(const WorldModelMeasures& measures);

}  // namespace foresight::cli
