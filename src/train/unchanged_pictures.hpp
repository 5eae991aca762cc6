// SPDX-License-Identifier: Apache-2.0
// A cache of features knows frames by episode and row, and nothing of what was done to them.
#pragma once

#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

/// `data` as it is. Throws Error(invalid_argument) if it is `cached` and changes its pictures.
inline TaskData unchanged_pictures(TaskData data, bool cached) {
  require(!cached || !data.augmentation.changes(), ErrorCategory::invalid_argument,
          "TaskData.augmentation cannot be combined with a FeatureCache: its features are of the "
          "pictures as recorded");
  return data;
}

}  // namespace foresight::train
