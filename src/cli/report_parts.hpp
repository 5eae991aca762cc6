// SPDX-License-Identifier: Apache-2.0
// Fills the sections of a run report from metrics, evaluation results, a bundle and its data.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "foresight/control/agent.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/envs/env.hpp"
#include "foresight/train/event_writer.hpp"
#include "foresight/train/learn.hpp"
#include "foresight/viz/run_report.hpp"
#include "measure.hpp"

namespace foresight::cli {

/// Imagined blocks of the open-loop error: two of the planner's longest horizons.
inline constexpr int64_t kOpenLoopHorizon = 10;

/// One curve per loss term of each training stage.
std::vector<viz::LossCurve> loss_curves(const std::vector<train::MetricsRow>& metrics);

/// The bundle that a run made; nothing of a run that is at work, was stopped or diverged.
std::optional<io::Bundle> finished_bundle(const std::filesystem::path& run);

/// What the run folder tells by itself: losses, the run's `config`, what `bundle` knows, or that
/// there is none yet, learning on, and the line that trains on `data` again.
viz::RunReport training_report(const std::string& folder, const nlohmann::json& config,
                               const std::string& data, const std::optional<io::Bundle>& bundle,
                               at::Device device);

/// What marks a page with measures of `bundle` in the run folder as it stands: another bundle or
/// more training is not what it shows.
std::string measured_mark(const std::filesystem::path& run, const io::Bundle& bundle);

/// What a later page can show that `report` does not, and what measures it; empty: nothing. `data`:
/// where the run's recordings are.
std::string what_else(const viz::RunReport& report, const std::string& folder,
                      const std::string& data, const io::BundleConfig& bundle);

/// Whether `foresight report` can measure a model: one that imagines and sees pictures alone.
bool can_be_measured(const io::BundleConfig& bundle);

/// report.html of that in the run folder, at the end of a training, unless a page of measures of
/// just this bundle is there (measured_mark()), or one of which this version does not know what it
/// shows, which is told. What fails is a warning; whether there is a page.
bool write_training_report(const std::string& folder, at::Device device,
                           const train::LearnResult& result);

/// Headline, provenance, and what the bundle knows of its data.
void describe_training(viz::RunReport& report, const io::Bundle& bundle);
/// The numbers of processes that a run's config.json tells, where it does.
void describe_processes(viz::RunReport& report, const nlohmann::json& config);
/// What there is to say of data that a world model learned from.
void describe_data(viz::RunReport& report, const data::Dataset& dataset);
/// Episodes that are not measured on, also on the terminal; nothing where there are none.
void describe_left_out(viz::RunReport& report, const std::map<int64_t, std::string>& unreadable,
                       const data::Dataset& dataset);

/// Success, timings and trade-offs from the result file of `foresight eval`.
void add_evaluation(viz::RunReport& report, const nlohmann::json& evaluation);

/// What the safety monitor wrote to `path`; lines that cannot be read are counted and named.
void add_incidents(viz::RunReport& report, const std::filesystem::path& path);

/// Latent map, probe, collapse and open-loop error as measured, and some imagined paths beside the
/// held-out ones.
void add_world_model(viz::RunReport& report, const Agent& agent,
                     std::shared_ptr<const data::FrameCache> frames, const Episodes& episodes,
                     const WorldModelMeasures& measures);

/// Plans one recorded problem in `env`, of no episode that is `unreadable`: frames with what the
/// planner imagined, placed by `probe`, the cost terms of the first plan, and a film at `film`;
/// empty: no film.
void add_planned_episode(viz::RunReport& report, const Agent& agent, const eval::LinearProbe& probe,
                         std::shared_ptr<const data::FrameCache> frames,
                         const std::map<int64_t, std::string>& unreadable, envs::Env& env,
                         const std::filesystem::path& film);

}  // namespace foresight::cli
