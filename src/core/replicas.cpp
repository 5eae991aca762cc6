// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/replicas.hpp"

#include <utility>

#include "foresight/core/replica_part.hpp"

namespace foresight {
namespace {

thread_local std::shared_ptr<const Replicas> replicas_of_thread;

}  // namespace

ReplicaScope::ReplicaScope(std::shared_ptr<const Replicas> replicas)
    : outer_(std::exchange(replicas_of_thread, std::move(replicas))) {}

ReplicaScope::~ReplicaScope() { replicas_of_thread = std::move(outer_); }

int64_t replica_count() noexcept { return replicas_of_thread ? replicas_of_thread->count() : 1; }

int64_t replica_rank() noexcept { return replicas_of_thread ? replicas_of_thread->rank() : 0; }

Tensor sum_over_replicas(const Tensor& x) {
  return replica_count() == 1 ? x : replicas_of_thread->sum(x);
}

Tensor mean_over_replicas(const Tensor& x) {
  const auto count = replica_count();
  return count == 1 ? x : replicas_of_thread->sum(x) / static_cast<double>(count);
}

}  // namespace foresight
