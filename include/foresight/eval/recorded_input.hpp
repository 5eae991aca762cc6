// SPDX-License-Identifier: Apache-2.0
// What recordings and simulators show a world model: every field that its ModelSpec asks for, and
// the actions that it counts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/envs/env.hpp"
#include "foresight/eval/open_loop.hpp"
#include "foresight/io/bundle.hpp"

namespace foresight::eval {

/// Where recordings keep what a model sees. "pixels" are the frames. The other fields, which hold
/// numbers, take columns one after another in the order of the spec, raw: a model normalises them
/// by statistics of its own. Actions are the action columns; of V-JEPA 2-AC the changes of the pose
/// that it observes.
class FORESIGHT_API RecordedInput {
 public:
  /// `columns`: of all fields but "pixels"; empty: those that `bundle` was trained on, where its
  /// provenance names them, else the recordings' state columns; these also, with a warning in the
  /// log, where none of the named ones was recorded. Throws Error(invalid_argument) naming the
  /// first field that the columns do not fill, or the columns that are left over; Error(not_found)
  /// for a column that was not recorded, also where only some of those trained on are missing;
  /// Error(unsupported) for a field of another shape than [N].
  RecordedInput(const ModelSpec& spec, const data::Dataset& dataset,
                std::vector<std::string> columns = {}, const io::BundleConfig& bundle = {});

  /// Of the fields besides "pixels", in their order; empty for a model of pictures alone.
  const std::vector<std::string>& columns() const noexcept { return columns_; }
  /// Rows between two observed steps: the action block, or what the bundle was trained with where
  /// actions are changes of a pose.
  int64_t stride() const noexcept { return stride_; }

  /// `pixels` uint8 [N,H,W,3] and `values` [N,columns], undefined without columns.
  Observation observation(const Tensor& pixels, const Tensor& values) const;
  /// Rows of an episode.
  Observation observation(const data::FrameCache& frames, int64_t episode,
                          at::IntArrayRef rows) const;
  /// `count` normalised blocks [count,A] that lead on from `row`.
  Tensor blocks(const data::Dataset& dataset, int64_t episode, int64_t row, int64_t count) const;

  /// How a loader must be told to count actions for windows().
  ActionSpace loader_actions(const data::Dataset& dataset) const;
  /// A loader's windows as the model sees them.
  OpenLoopWindows windows(const data::Dataset& dataset, const data::Batch& batch) const;

 private:
  Tensor values(const data::Dataset& dataset, int64_t episode, at::IntArrayRef rows) const;

  ModelSpec spec_;
  std::vector<std::string> columns_;
  int64_t stride_ = 1;
  bool pose_changes_ = false;
};

/// What an environment shows of itself: its observation in an evaluation ("pixels", and "proprio",
/// the whole state [N,K]) to what the model asks for. Columns are found by the environment's names
/// of its state; recordings that name their state columns otherwise, but as many, mean them in the
/// same order.
using ObservationView = std::function<Observation(const Observation& shown)>;

/// Throws Error(not_found) naming a column that is none of the environment's state.
FORESIGHT_API ObservationView view_of(const RecordedInput& input, const envs::EnvSpec& environment,
                                      const data::Dataset& dataset);

}  // namespace foresight::eval
