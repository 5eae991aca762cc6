// SPDX-License-Identifier: Apache-2.0
// Recordings as they were before episodes were appended.
#pragma once

#include <memory>

#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/data/identity.hpp"

namespace foresight::data {

/// The first episodes of `dataset`, under the same numbers.
class FORESIGHT_API FirstEpisodes final : public ForwardedDataset {
 public:
  /// Throws Error(invalid_argument) unless `dataset` has `count` >= 1 episodes.
  FirstEpisodes(std::shared_ptr<const Dataset> dataset, int64_t count);

  int64_t num_episodes() const override { return count_; }
  std::map<int64_t, std::string> unreadable_episodes() const override;
  std::vector<int64_t> episodes_of_split(const std::string& split) const override;

 private:
  int64_t count_;
};

/// `dataset` as `then` tells of it: where episodes were appended since and the first ones are those
/// of then (by fingerprint, camera and pictures), these alone; where they are not, all of it. A
/// warning tells either. Any other `dataset` as it is.
FORESIGHT_API std::shared_ptr<const Dataset> without_appended(
    std::shared_ptr<const Dataset> dataset, const DataIdentity& then);

}  // namespace foresight::data
