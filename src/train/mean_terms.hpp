// SPDX-License-Identifier: Apache-2.0
// Mean of loss terms over batches of different size, which several processes may share.
#pragma once

#include <algorithm>

#include "foresight/core/replica_part.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/losses/terms.hpp"
#include "stoppable_validation.hpp"

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

  /// Adds what the other processes have added. Each must have added terms of the same names. `cut`:
  /// whether this one ended early; returns whether any did.
  bool exchange(const Replicas& processes, bool cut) {
    const auto mine = at::cat({sum_.cpu(), at::tensor({samples_, cut ? 1.0 : 0.0}, at::kDouble)});
    const auto all = processes.sum(mine);
    sum_ = all.slice(0, 0, -2);
    samples_ = all[-2].item<double>();
    return all[-1].item<double>() > 0;
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
/// the same, to know the terms, and it does not count. A StoppableValidation that is cut short has
/// no terms, in any process.
template <class Loss>
losses::Terms mean_loss(data::Loader& loader, int64_t batches, const Loss& loss,
                        const Replicas* processes = nullptr) {
  const auto all = std::min(batches, loader.batches_per_epoch());
  const auto part = processes != nullptr ? part_of(all, processes->rank(), processes->count())
                                         : ReplicaPart{0, all};
  const auto first = std::min(part.first, all - 1), past = first + std::max<int64_t>(part.count, 1);
  loader.seek({0, first});
  MeanTerms mean;
  bool cut = processes == nullptr && StoppableValidation::is_asked(false);
  while (!cut) {
    const auto batch = loader.next();
    if (!batch) break;
    mean.add(loss(*batch), part.count > 0 ? batch->pixels.size(0) : 0);
    if (batch->position.batch + 1 >= past) break;
    cut = StoppableValidation::is_asked(processes != nullptr);
  }
  if (processes != nullptr) cut = mean.exchange(*processes, cut);
  if (!cut) return mean.terms();
  StoppableValidation::tell_cut();
  return {};
}

}  // namespace foresight::train
