// SPDX-License-Identifier: Apache-2.0
// Frames in a cache of features are known by episode and row, which tell nothing where batches mix
// two data sets.
#pragma once

#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

/// `data` as it is. Throws Error(invalid_argument) if it is `cached` and replays another data set
/// or changes its pictures.
inline TaskData one_data_set(TaskData data, bool cached) {
  require(!cached || data.replay == nullptr, ErrorCategory::invalid_argument,
          "TaskData.replay cannot be combined with a FeatureCache: its frames are of another data "
          "set");
  require(!cached || !data.augmentation.changes(), ErrorCategory::invalid_argument,
          "TaskData.augmentation cannot be combined with a FeatureCache: its features are of the "
          "pictures as recorded");
  return data;
}

}  // namespace foresight::train
