// SPDX-License-Identifier: Apache-2.0
// Mean of loss terms over batches of different size, which several processes may share.
#pragma once

#include <algorithm>

#include "foresight/core/replica_part.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/losses/terms.hpp"

namespace foresight::train {

class MeanTerms {
 public:
  /// Adds `samples` samples of which `terms` are the means; none tell the names of the terms alone.
  void add(const losses::Terms& terms, int64_t samples) {
    last_ = terms;
    const auto values = terms.values().slice(0, 1).to(at::kDouble);
    const auto weighted =
        samples > 0 ? values * static_cast<double>(samples) : at::zeros_like(values);
    sum_ = sum_.defined() ? sum_ + weighted : weighted;
    samples_ += static_cast<double>(samples);
  }

  /// Adds what the other processes have added. Each must have added terms of the same names.
  void exchange(const Replicas& processes) {
    const auto mine = at::cat({sum_.cpu(), at::full({1}, samples_, at::kDouble)});
    const auto all = processes.sum(mine);
    sum_ = all.slice(0, 0, -1);
    samples_ = all[-1].item<double>();
  }

  /// The means under the names and weights of the last batch; empty if there was none.
  losses::Terms terms() const {
    losses::Terms mean;
    for (std::size_t i = 0; i < last_.terms().size(); ++i)
      mean.add(last_.terms()[i].name, last_.terms()[i].weight,
               sum_[static_cast<int64_t>(i)] / samples_, last_.terms()[i].role);
    return mean;
  }

 private:
  losses::Terms last_;
  Tensor sum_;  // of every term, in double
  double samples_ = 0;
};

/// Mean of loss(batch) over the first `batches` batches of the loader's first epoch, or as many as
/// that has. Processes take whole batches that follow each other; one without any computes one all
/// the same, to know the terms, and it does not count.
template <class Loss>
losses::Terms mean_loss(data::Loader& loader, int64_t batches, const Loss& loss,
                        const Replicas* processes = nullptr) {
  const auto all = std::min(batches, loader.batches_per_epoch());
  const auto part = processes != nullptr ? part_of(all, processes->rank(), processes->count())
                                         : ReplicaPart{0, all};
  const auto first = std::min(part.first, all - 1), past = first + std::max<int64_t>(part.count, 1);
  loader.seek({0, first});
  MeanTerms mean;
  for (auto batch = loader.next(); batch; batch = loader.next()) {
    mean.add(loss(*batch), part.count > 0 ? batch->pixels.size(0) : 0);
    if (batch->position.batch + 1 >= past) break;
  }
  if (processes != nullptr) mean.exchange(*processes);
  return mean.terms();
}

}  // namespace foresight::train
