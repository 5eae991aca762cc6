// SPDX-License-Identifier: Apache-2.0
// Batch normalisation that stays itself when a module changes its floating type: torch's C++
// Module::to() also converts integer buffers, which turns the count of batches into a float (and
// rounds it in bfloat16).
#pragma once

#include <torch/nn/modules/batchnorm.h>

#include "foresight/core/replicas.hpp"
#include "foresight/nn/module.hpp"

namespace foresight::nn {

/// What a batch norm holds, [C] each; the running statistics are changed in place.
struct BatchNormState {
  Tensor weight, bias, running_mean, running_var;
};

/// Batch normalisation of x [N,C,...] by the statistics of all replicas' rows together (as torch's
/// SyncBatchNorm), for use in a ReplicaScope. Moves the running statistics.
FORESIGHT_API Tensor batch_norm_over_replicas(const Tensor& x, const BatchNormState& state,
                                              double momentum, double epsilon);

/// A torch batch norm (BatchNorm1dImpl, BatchNorm2dImpl) whose num_batches_tracked remains an
/// integer.
template <class TorchNorm>
class BatchNorm : public TorchNorm {
 public:
  explicit BatchNorm(int64_t channels) : TorchNorm(channels) {}

  void to(torch::Device device, torch::Dtype dtype, bool non_blocking = false) override {
    keep_count([&] { TorchNorm::to(device, dtype, non_blocking); });
  }
  void to(torch::Dtype dtype, bool non_blocking = false) override {
    keep_count([&] { TorchNorm::to(dtype, non_blocking); });
  }
  void to(torch::Device device, bool non_blocking = false) override {
    TorchNorm::to(device, non_blocking);
  }

  /// [N,C,...] -> the same shape. In train mode by statistics of the batch, which also move the
  /// running ones (momentum 0.1), else by the running ones. In a ReplicaScope the batch is that of
  /// all replicas.
  Tensor apply_to(const Tensor& x, Mode mode) const {
    const bool train = mode == Mode::train;
    if (train) this->num_batches_tracked.add_(1);
    if (train && replica_count() > 1)
      return batch_norm_over_replicas(
          x, {this->weight, this->bias, this->running_mean, this->running_var}, kMomentum,
          this->options.eps());
    return at::batch_norm(x, this->weight, this->bias, this->running_mean, this->running_var, train,
                          kMomentum, this->options.eps(), /*cudnn_enabled=*/true);
  }

 private:
  static constexpr double kMomentum = 0.1;

  template <class Convert>
  void keep_count(Convert&& convert) {
    const auto count = this->num_batches_tracked.clone();
    convert();
    this->num_batches_tracked.set_data(count.to(this->num_batches_tracked.device()));
  }
};

using BatchNorm1d = BatchNorm<torch::nn::BatchNorm1dImpl>;
using BatchNorm2d = BatchNorm<torch::nn::BatchNorm2dImpl>;

}  // namespace foresight::nn
