// SPDX-License-Identifier: Apache-2.0
// One of two processes, without the other: what it holds is exchanged with nobody.
#pragma once

#include <vector>

#include "foresight/train/gradient_reducer.hpp"

namespace foresight::train {

/// They hold no common batch.
class OneOfTwo : public GradientReducer {
 public:
  explicit OneOfTwo(int64_t rank) : rank_(rank) {}
  int64_t rank() const override { return rank_; }
  int64_t world_size() const override { return 2; }
  void reduce(const std::vector<Tensor>&) override {}
  void average(std::vector<double>&) override {}

 private:
  int64_t rank_;
};

}  // namespace foresight::train
