// SPDX-License-Identifier: Apache-2.0
// The one place that knows CUDA's graphs.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <memory>

namespace foresight::models {

/// What a device was given once, to be given again as a whole.
class CudaGraph {
 public:
  static bool is_built_in();

  /// Records what `work` launches on `device` instead of running it. Tensors that it makes keep
  /// their places in memory of the graph's own: each replay writes them anew. Throws what `work`
  /// throws, and c10::Error for what cannot be recorded.
  CudaGraph(c10::Device device, const std::function<void()>& work);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// Launches it on the current stream.
  void replay();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The current stream's number, 0 off CUDA.
int64_t current_stream(c10::Device device);

}  // namespace foresight::models
