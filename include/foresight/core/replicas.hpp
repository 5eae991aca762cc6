// SPDX-License-Identifier: Apache-2.0
// One batch, held in equal parts by several processes. Losses and layers whose result depends on
// the whole batch (SIGReg, VICReg, batch normalisation) add up their sums over the parts here,
// without knowing how processes talk; alone, they notice nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "foresight/core/tensor.hpp"

namespace foresight {

/// Replicas of one computation, each with an equally large part of the data. All of them must make
/// the same calls in the same order.
class FORESIGHT_API Replicas {
 public:
  virtual ~Replicas() = default;

  /// This replica, in 0..count()-1.
  virtual int64_t rank() const = 0;
  virtual int64_t count() const = 0;
  /// Elementwise sum of `x` over all replicas, any shape, the same bits everywhere. Differentiable:
  /// the gradient of `x` is the sum, over all replicas, of the gradients of the result, so that the
  /// mean over replicas of their parameters' gradients is the gradient of the mean of their losses.
  /// Throws Error(io_failure) when a replica is gone.
  virtual Tensor sum(const Tensor& x) const = 0;
};

/// While one exists, batch statistics that this thread computes are those of all replicas together.
/// Scopes nest; null stands for no others.
class FORESIGHT_API ReplicaScope {
 public:
  explicit ReplicaScope(std::shared_ptr<const Replicas> replicas);
  ~ReplicaScope();
  ReplicaScope(const ReplicaScope&) = delete;
  ReplicaScope& operator=(const ReplicaScope&) = delete;

 private:
  std::shared_ptr<const Replicas> outer_;
};

/// Number of replicas that share this thread's batch; 1 outside a ReplicaScope.
FORESIGHT_API int64_t replica_count() noexcept;
/// Sum over the replicas that share this thread's batch; `x` itself outside a ReplicaScope.
FORESIGHT_API Tensor sum_over_replicas(const Tensor& x);
/// The mean likewise: of a mean over one's own part, the mean over the whole batch.
FORESIGHT_API Tensor mean_over_replicas(const Tensor& x);

}  // namespace foresight
