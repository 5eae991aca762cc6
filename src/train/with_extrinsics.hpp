// SPDX-License-Identifier: Apache-2.0
// Recordings for models that are told where the camera stands.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/models/pose.hpp"

namespace foresight::train {

/// Everything of `dataset`, but some more columns count as states.
class WithExtrinsics final : public data::ForwardedDataset {
 public:
  WithExtrinsics(std::shared_ptr<const data::Dataset> dataset,
                 const std::vector<std::string>& extrinsics)
      : ForwardedDataset(std::move(dataset)), states_(shown().state_columns()) {
    states_.insert(states_.end(), extrinsics.begin(), extrinsics.end());
  }

  const std::vector<std::string>& state_columns() const override { return states_; }

 private:
  std::vector<std::string> states_;
};

/// `dataset` with its "camera_extrinsics" (DROID) behind its states, where these are a pose alone
/// and it has them; else as it is. May be null.
inline std::shared_ptr<const data::Dataset> with_extrinsics(
    std::shared_ptr<const data::Dataset> dataset) {
  if (!dataset || static_cast<int64_t>(dataset->state_columns().size()) != models::kPoseWidth)
    return dataset;
  for (const auto& group : dataset->groups())
    if (group.name == "camera_extrinsics")
      return std::make_shared<WithExtrinsics>(std::move(dataset), group.columns);
  return dataset;
}

}  // namespace foresight::train
