// SPDX-License-Identifier: Apache-2.0
// Which part of a shared piece of work is this replica's, and random draws for that part that are
// those of one process: what is drawn for a sample must not depend on who computes it.
#pragma once

#include <cstdint>

#include "foresight/core/noise.hpp"
#include "foresight/core/replicas.hpp"

namespace foresight {

/// Things first .. first + count - 1 of a whole; count may be 0.
struct ReplicaPart {
  int64_t first = 0, count = 0;
};

/// Part `index` of `total` things in `parts` contiguous parts, whose sizes differ by one at most.
FORESIGHT_API ReplicaPart part_of(int64_t total, int64_t index, int64_t parts);
/// This thread's part of `total` things; all of them outside a ReplicaScope.
FORESIGHT_API ReplicaPart replica_part(int64_t total);
/// This replica among those that share this thread's batch; 0 outside a ReplicaScope.
FORESIGHT_API int64_t replica_rank() noexcept;

/// Noise whose draws have the samples of a batch as their first axis. Of a batch that replicas
/// share in equal parts, in order of rank, it draws the numbers of all samples and returns those of
/// this replica's: together the replicas see what one process would, and `whole` stands in the same
/// place everywhere afterwards. Outside a ReplicaScope it is `whole` itself.
class FORESIGHT_API SampleNoise final : public Noise {
 public:
  explicit SampleNoise(Noise& whole) : whole_(whole) {}
  Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;
  Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;

 private:
  Noise& whole_;
};

}  // namespace foresight
