// SPDX-License-Identifier: Apache-2.0
// Mean of loss terms over batches of different size.
#pragma once

#include "foresight/data/loader.hpp"
#include "foresight/losses/terms.hpp"

namespace foresight::train {

class MeanTerms {
 public:
  void add(const losses::Terms& terms, int64_t samples) {
    const auto weighted = terms.values().slice(0, 1) * static_cast<double>(samples);
    sum_ = sum_.defined() ? sum_ + weighted : weighted;
    samples_ += samples;
    last_ = terms;
  }

  /// The means under the names and weights of the last batch; empty if there was none.
  losses::Terms terms() const {
    losses::Terms mean;
    for (std::size_t i = 0; i < last_.terms().size(); ++i)
      mean.add(last_.terms()[i].name, last_.terms()[i].weight,
               sum_[static_cast<int64_t>(i)] / static_cast<double>(samples_));
    return mean;
  }

 private:
  losses::Terms last_;
  Tensor sum_;
  int64_t samples_ = 0;
};

/// Mean of loss(batch) over the loader's next `batches` batches, or as many as its epoch has left.
template <class Loss>
losses::Terms mean_loss(data::Loader& loader, int64_t batches, const Loss& loss) {
  MeanTerms mean;
  for (int64_t i = 0; i < batches; ++i) {
    const auto batch = loader.next();
    if (!batch) break;
    mean.add(loss(*batch), batch->pixels.size(0));
  }
  return mean.terms();
}

}  // namespace foresight::train
