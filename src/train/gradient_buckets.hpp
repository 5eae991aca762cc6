// SPDX-License-Identifier: Apache-2.0
// Gradients of many parameters in few messages that leave in the same order in every process.
#pragma once

#include <memory>
#include <vector>

#include "foresight/train/data_parallel.hpp"

namespace foresight::train {

/// Buckets of the parameters in reverse order, which is about the order in which a backward pass
/// finishes them. A bucket is one flat tensor: its gradients, then one number a parameter that says
/// whether there was one. Made once for a list of parameters, whose hooks it owns.
class DataParallel::Buckets {
 public:
  Buckets(ProcessGroup& group, const std::vector<Tensor>& parameters,
          const DataParallelOptions& options);
  ~Buckets();
  Buckets(const Buckets&) = delete;
  Buckets& operator=(const Buckets&) = delete;

  bool are_of(const std::vector<Tensor>& parameters) const;
  /// From now on gradients that are finished leave by themselves.
  void arm();
  /// Sends what has not left, waits, and replaces every gradient by the mean over all processes.
  void finish();

 private:
  struct Hook;
  struct Slot {
    int64_t pieces = 0;    // in which the first backward pass brought this gradient; 0: unknown
    int64_t received = 0;  // of them, in this pass
    std::size_t bucket = 0;
    Tensor gradient;  // view of the bucket, in the parameter's shape
    Tensor present;   // view of the bucket, [1]: processes that have this gradient
    bool filled = false;
  };
  struct Bucket {
    std::vector<std::size_t> members;  // of parameters_
    Tensor flat;
    std::size_t missing = 0;
    ProcessGroup::Wait wait;
  };

  void add_bucket(const std::vector<std::size_t>& members);
  void received_piece(std::size_t parameter);
  void fill(std::size_t parameter);
  void send_ready();

  ProcessGroup& group_;
  std::vector<Tensor> parameters_;
  std::vector<Slot> slots_;  // of the parameters, in their order
  std::vector<Bucket> buckets_;
  std::size_t sent_ = 0;
  bool armed_ = false, hooked_ = false;
};

}  // namespace foresight::train
