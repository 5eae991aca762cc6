// SPDX-License-Identifier: Apache-2.0
// Recordings for those that look at no actions: whoever batches them need not know what the actions
// are, so that recordings with any actions, or none, go together.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/data/forwarded_dataset.hpp"

namespace foresight::train {

/// Everything of `dataset`, but no column counts as an action.
class WithoutActions final : public data::ForwardedDataset {
 public:
  explicit WithoutActions(std::shared_ptr<const data::Dataset> dataset)
      : ForwardedDataset(std::move(dataset)) {}

  const std::vector<std::string>& action_columns() const override { return none_; }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    // Of no columns there is nothing to read, whatever the format makes of that.
    if (columns.empty()) return at::zeros({count, 0}, at::kDouble);
    return ForwardedDataset::read_rows(columns, episode, first, count);
  }

 private:
  std::vector<std::string> none_;
};

}  // namespace foresight::train
