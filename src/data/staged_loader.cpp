// SPDX-License-Identifier: Apache-2.0
// Streams and events are used through c10's device-generic interface: no CUDA header is needed, and
// one build serves a LibTorch with and without CUDA.
#include "foresight/data/staged_loader.hpp"

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>
#include <utility>

namespace foresight::data {
namespace {

// Copies batches to a GPU beside what it computes.
class CopyStream {
 public:
  explicit CopyStream(at::Device device)
      : impl_(device.type()),
        device_(device.has_index() ? device : impl_.getDevice()),
        stream_(impl_.getStreamFromGlobalPool(device_, /*isHighPriority=*/false)),
        copied_(device.type()) {}

  // Begins to copy. The page-locked source may be released at once: the allocator keeps it until
  // the copy is done.
  void begin(Batch& batch) {
    const c10::StreamGuard on_copy_stream(stream_);
    for (Tensor* tensor : {&batch.pixels, &batch.actions, &batch.states})
      if (tensor->defined()) *tensor = tensor->to(device_, /*non_blocking=*/true);
    copied_.record(stream_);
  }

  // What the current stream is given from now on comes after the copy. The tensors were allocated
  // on the copy stream: without record_stream() their memory could be written by the next copy
  // while the current stream still reads.
  void end(const Batch& batch) {
    const auto current = impl_.getStream(device_);
    copied_.block(current);
    for (const Tensor* tensor : {&batch.pixels, &batch.actions, &batch.states})
      if (tensor->defined()) tensor->record_stream(current);
  }

 private:
  c10::impl::VirtualGuardImpl impl_;
  at::Device device_;
  c10::Stream stream_;
  c10::Event copied_;  // of the newest copy; next() waits for it before the one after it begins
};

}  // namespace

struct StagedLoader::Impl {
  // What the loader's next() did, kept until ours is called.
  struct Staged {
    LoaderPosition position;  // where the loader stood before
    std::optional<Batch> batch;
    std::exception_ptr error;
  };

  explicit Impl(std::unique_ptr<Loader> from) : loader(std::move(from)) {}

  void stage() {
    Staged result{loader->position(), std::nullopt, nullptr};
    try {
      result.batch = loader->next();
      if (result.batch && copies) copies->begin(*result.batch);
    } catch (...) {
      result.error = std::current_exception();
      result.batch.reset();  // it may lie on the device in part
    }
    staged = std::move(result);
  }

  std::unique_ptr<Loader> loader;
  std::optional<CopyStream> copies;  // none on the CPU
  std::optional<Staged> staged;
};

StagedLoader::StagedLoader(std::unique_ptr<Loader> loader, at::Device device) {
  require(loader != nullptr, ErrorCategory::invalid_argument, "StagedLoader: no loader");
  impl_ = std::make_unique<Impl>(std::move(loader));
  if (!device.is_cpu()) impl_->copies.emplace(device);
}

StagedLoader::~StagedLoader() = default;

std::optional<Batch> StagedLoader::next() {
  if (!impl_->staged) impl_->stage();
  auto staged = std::move(*impl_->staged);
  impl_->staged.reset();
  if (staged.batch && impl_->copies) impl_->copies->end(*staged.batch);
  // Only what is prepared: waiting for the loader here would hold up the batch that is returned.
  if (impl_->loader->ready()) impl_->stage();
  if (staged.error) std::rethrow_exception(staged.error);
  return std::move(staged.batch);
}

LoaderPosition StagedLoader::position() const {
  return impl_->staged ? impl_->staged->position : impl_->loader->position();
}

void StagedLoader::seek(const LoaderPosition& position) {
  impl_->loader->seek(position);  // an impossible one changes nothing
  impl_->staged.reset();
}

}  // namespace foresight::data
