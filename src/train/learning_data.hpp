// SPDX-License-Identifier: Apache-2.0
// What learn() takes from recordings: their actions' statistics, pictures of the right size,
// windows to validate on.
#pragma once

#include "foresight/train/learn.hpp"

namespace foresight::train {

/// Dimension, block and statistics from the data; limits from the options, else the range that the
/// data show: a planner should not ask for actions that the model has never seen.
ActionSpace data_action_space(const data::Dataset& dataset, int64_t block,
                              const ActionSpace& limits, const std::vector<int64_t>& episodes);
inline ActionSpace data_action_space(const data::Dataset& dataset, const LearnOptions& options,
                                     const std::vector<int64_t>& episodes) {
  return data_action_space(dataset, options.windows.stride, options.model.action, episodes);
}

/// For models whose step is a block of actions. Throws Error(invalid_option) naming both unless
/// windows are as far apart as the blocks of the bundle that learning goes on from are long.
void require_stride_of_bundle(const data::WindowOptions& windows, const ActionSpace& action);

/// For losses that compare the windows of a batch. Throws Error(invalid_option) for batches of one
/// window, and for held-out episodes that have one window in all.
void require_several_windows(const data::Dataset& dataset, const data::WindowOptions& windows,
                             int64_t batch, const std::vector<int64_t>& held_out);

/// What a training reads of recordings besides pictures.
struct ReadColumns {
  bool actions = false, states = false;
};

/// Throws Error(invalid_option) naming both unless `replay` has as many columns of what is read as
/// `fresh`: windows of both make one batch.
void require_replayable(const data::Dataset& replay, const data::Dataset& fresh, ReadColumns reads);

/// Pictures of the size that the model looks at, where shrinking them beforehand is the same as
/// letting the model do it.
std::shared_ptr<const data::Dataset> at_model_size(std::shared_ptr<const data::Dataset> dataset,
                                                   const models::ImageOptions& image);

/// Windows from all of `episodes`, mixed; null if they are too short for one. Batches are of one
/// window only where there is one in all, or where the loader's are: they have a few more than
/// LoaderOptions.batch where a last one of a single window would be left.
std::unique_ptr<data::Loader> validation_loader(std::shared_ptr<const data::FrameCache> frames,
                                                const data::WindowOptions& windows,
                                                const data::LoaderOptions& batches,
                                                const ActionSpace& space,
                                                const std::vector<int64_t>& episodes);

}  // namespace foresight::train
