// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/replica_part.hpp"

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

// The same shape for the samples of all replicas.
std::vector<int64_t> shape_of_whole(at::IntArrayRef shape) {
  require(!shape.empty(), ErrorCategory::invalid_argument,
          "SampleNoise: a draw needs an axis of samples");
  auto whole = shape.vec();
  whole[0] *= replica_count();
  return whole;
}

Tensor own_rows(const Tensor& whole, int64_t rows) {
  return whole.narrow(0, replica_rank() * rows, rows).contiguous();
}

}  // namespace

ReplicaPart part_of(int64_t total, int64_t index, int64_t parts) {
  require(total >= 0 && parts >= 1 && index >= 0 && index < parts, ErrorCategory::invalid_argument,
          "part_of: part " + std::to_string(index) + " of " + std::to_string(parts) + " of " +
              std::to_string(total) + " things does not exist");
  const auto first = total * index / parts;
  return {first, total * (index + 1) / parts - first};
}

ReplicaPart replica_part(int64_t total) { return part_of(total, replica_rank(), replica_count()); }

Tensor SampleNoise::normal(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (replica_count() == 1) return whole_.normal(shape, options);
  return own_rows(whole_.normal(shape_of_whole(shape), options), shape[0]);
}

Tensor SampleNoise::uniform(at::IntArrayRef shape, const at::TensorOptions& options) {
  if (replica_count() == 1) return whole_.uniform(shape, options);
  return own_rows(whole_.uniform(shape_of_whole(shape), options), shape[0]);
}

}  // namespace foresight
