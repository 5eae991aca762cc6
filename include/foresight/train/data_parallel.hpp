// SPDX-License-Identifier: Apache-2.0
// Data-parallel training: every process computes the gradients of its part of each batch, and the
// mean over all of them is what every process learns from. Gradients travel in buckets, while the
// backward pass is still computing those of earlier layers (Li et al., "PyTorch Distributed",
// arXiv 2006.15704); LibTorch has no such reducer for C++ programs.
#pragma once

#include <memory>

#include "foresight/train/gradient_reducer.hpp"
#include "foresight/train/process_group.hpp"

namespace foresight::train {

/// When gradients are exchanged.
enum class Overlap {
  backward,  ///< a bucket as soon as its last gradient is there
  none,      ///< all after the backward pass
};

struct FORESIGHT_API DataParallelOptions {
  double bucket_mb = 25;       ///< MiB a bucket: smaller starts earlier, larger wastes less latency
  double first_bucket_mb = 1;  ///< MiB of the first one: the exchange begins soon
  Overlap overlap = Overlap::backward;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("bucket_mb", self.bucket_mb, "MiB of gradients a message");
    visit("first_bucket_mb", self.first_bucket_mb, "MiB of the first message");
    visit("overlap", self.overlap, "exchange during the backward pass, or none: after it");
  }
  std::vector<std::string> validate() const;
};

/// The GradientReducer over a ProcessGroup. The first update exchanges after its backward pass and
/// counts in how many pieces each gradient comes; later ones overlap, and the same network must
/// take part in every update: a gradient that comes in more pieces than then is an
/// Error(unsupported). A parameter that gets a gradient in some processes alone needs overlap =
/// none where the loss exchanges statistics of the batch, which would meet its message in another
/// order.
class FORESIGHT_API DataParallel final : public GradientReducer {
 public:
  explicit DataParallel(std::shared_ptr<ProcessGroup> group,
                        const DataParallelOptions& options = {});
  ~DataParallel() override;
  DataParallel(const DataParallel&) = delete;
  DataParallel& operator=(const DataParallel&) = delete;

  int64_t rank() const override { return group_->rank(); }
  int64_t world_size() const override { return group_->world_size(); }
  std::shared_ptr<const Replicas> replicas() const override { return replicas_; }
  void synchronise(int64_t step, const std::vector<Tensor>& state) override;
  void before_last_backward(const std::vector<Tensor>& parameters) override;
  void reduce(const std::vector<Tensor>& parameters) override;
  void average(std::vector<double>& values) override;
  void long_work(const std::function<void()>& work) override { group_->long_work(work); }

 private:
  class Buckets;

  Buckets& buckets_for(const std::vector<Tensor>& parameters);

  std::shared_ptr<ProcessGroup> group_;
  DataParallelOptions options_;
  std::shared_ptr<const Replicas> replicas_;
  std::shared_ptr<Buckets> buckets_;
};

}  // namespace foresight::train

template <>
struct foresight::EnumNames<foresight::train::Overlap> {
  using E = foresight::train::Overlap;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"backward", E::backward}, {"none", E::none}}};
};
