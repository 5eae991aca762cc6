// SPDX-License-Identifier: Apache-2.0
// Replicas as threads of one process, whose sums are part of one autograd graph: what a loss or a
// layer makes of parts of a batch can so be compared with what it makes of the whole, gradients
// included.
#pragma once

#include <barrier>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "foresight/core/replicas.hpp"

namespace foresight {

/// Runs `part(rank)` in `count` threads, each in a ReplicaScope of all of them; the results in
/// order of rank. Parts must not throw.
inline std::vector<Tensor> on_replicas(int64_t count, const std::function<Tensor(int64_t)>& part) {
  struct Meeting {
    explicit Meeting(int64_t n) : slots(static_cast<std::size_t>(n)), all(n) {}
    std::vector<Tensor> slots;
    std::barrier<> all;
  };
  class Thread final : public Replicas {
   public:
    Thread(std::shared_ptr<Meeting> at, int64_t which) : meeting_(std::move(at)), rank_(which) {}
    int64_t rank() const override { return rank_; }
    int64_t count() const override { return static_cast<int64_t>(meeting_->slots.size()); }
    Tensor sum(const Tensor& x) const override {
      meeting_->slots[static_cast<std::size_t>(rank_)] = x;
      meeting_->all.arrive_and_wait();
      auto total = meeting_->slots[0];
      for (std::size_t i = 1; i < meeting_->slots.size(); ++i) total = total + meeting_->slots[i];
      meeting_->all.arrive_and_wait();
      return total;
    }

   private:
    std::shared_ptr<Meeting> meeting_;
    int64_t rank_;
  };

  const auto meeting = std::make_shared<Meeting>(count);
  std::vector<Tensor> results(static_cast<std::size_t>(count));
  std::vector<std::jthread> threads;
  for (int64_t rank = 0; rank < count; ++rank)
    threads.emplace_back([&, rank] {
      const ReplicaScope scope(std::make_shared<Thread>(meeting, rank));
      results[static_cast<std::size_t>(rank)] = part(rank);
    });
  threads.clear();  // joins
  return results;
}

}  // namespace foresight
