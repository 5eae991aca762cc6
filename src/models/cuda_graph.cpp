// SPDX-License-Identifier: Apache-2.0
// The build sets FORESIGHT_HAS_CUDA where LibTorch is a CUDA build and CUDA's headers are found.
// Streams and events are used through c10's device-generic interface: CUDA's own guards would call
// the CUDA runtime from here, which is LibTorch's to link.
#include "cuda_graph.hpp"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "foresight/core/error.hpp"

#if FORESIGHT_HAS_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#endif

namespace foresight::models {

int64_t current_stream(c10::Device device) {
  if (!device.is_cuda()) return 0;
  return static_cast<int64_t>(c10::impl::VirtualGuardImpl(device.type()).getStream(device).id());
}

#if FORESIGHT_HAS_CUDA

struct CudaGraph::Impl {
  using Pool = decltype(at::cuda::graph_pool_handle());
  at::cuda::CUDAGraph graph;

  // Ends a recording that has failed. Where CUDA has broken it off already LibTorch stops before it
  // tells its allocator, which would go on as if everything were recorded.
  void abandon(c10::DeviceIndex device, Pool pool) {
    try {
      graph.capture_end();
    } catch (const std::exception&) {
      try {
        c10::cuda::CUDACachingAllocator::endAllocateToPool(device, pool);
        c10::cuda::CUDACachingAllocator::releasePool(device, pool);
      } catch (const std::exception&) {  // it had been told
      }
    }
  }
};

bool CudaGraph::is_built_in() { return true; }

CudaGraph::CudaGraph(c10::Device device, const std::function<void()>& work)
    : impl_(std::make_unique<Impl>()) {
  const c10::DeviceGuard on_device(device);
  const c10::impl::VirtualGuardImpl gpu(device.type());
  // A graph is recorded on a stream of its own, which must not overtake what was given before.
  const auto stream = gpu.getStreamFromGlobalPool(device, /*isHighPriority=*/false);
  c10::Event given(device.type());
  given.record(gpu.getStream(device));
  given.block(stream);
  const c10::StreamGuard on_stream(stream);
  const auto pool = at::cuda::graph_pool_handle();
  // Other threads (a loader's) may go on allocating.
  impl_->graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
  try {
    work();
    impl_->graph.capture_end();
  } catch (...) {
    impl_->abandon(device.index(), pool);
    throw;
  }
}

void CudaGraph::replay() { impl_->graph.replay(); }

#else

struct CudaGraph::Impl {};

bool CudaGraph::is_built_in() { return false; }

CudaGraph::CudaGraph(c10::Device, const std::function<void()>&) {
  throw Error(ErrorCategory::unsupported, "foresight was built without CUDA's headers");
}

void CudaGraph::replay() {}

#endif

CudaGraph::~CudaGraph() = default;

}  // namespace foresight::models
