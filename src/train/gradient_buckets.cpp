// SPDX-License-Identifier: Apache-2.0
#include "gradient_buckets.hpp"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "foresight/core/error.hpp"

namespace foresight::train {
namespace {

constexpr double kMebibyte = 1024.0 * 1024.0;

}  // namespace

// Called by the backward pass when it has added to a parameter's gradient: once a pass, or several
// times where blocks are recomputed.
struct DataParallel::Buckets::Hook final : torch::autograd::PostAccumulateGradHook {
  Hook(Buckets* to, std::size_t which) : buckets(to), parameter(which) {}
  void operator()(const Tensor&) override { buckets->received_piece(parameter); }
  Buckets* buckets;
  std::size_t parameter;
};

DataParallel::Buckets::Buckets(ProcessGroup& group, const std::vector<Tensor>& parameters,
                               const DataParallelOptions& options)
    : group_(group), parameters_(parameters), slots_(parameters.size()) {
  std::vector<std::size_t> members;
  double bytes = 0, room = options.first_bucket_mb * kMebibyte;
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    const auto& next = parameters_[i];
    const auto size = static_cast<double>(next.nbytes());
    const bool other_kind =
        !members.empty() && (parameters_[members.front()].scalar_type() != next.scalar_type() ||
                             parameters_[members.front()].device() != next.device());
    if (!members.empty() && (other_kind || bytes + size > room)) {
      add_bucket(members);
      members.clear();
      bytes = 0;
      room = options.bucket_mb * kMebibyte;
    }
    members.push_back(i);
    bytes += size;
  }
  if (!members.empty()) add_bucket(members);
  hooked_ = options.overlap == Overlap::backward;
  for (std::size_t i = 0; hooked_ && i < parameters_.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], std::make_unique<Hook>(this, i));
}

DataParallel::Buckets::~Buckets() {
  for (std::size_t i = 0; hooked_ && i < parameters_.size(); ++i)
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i], nullptr);
}

void DataParallel::Buckets::add_bucket(const std::vector<std::size_t>& members) {
  int64_t size = static_cast<int64_t>(members.size());
  for (const auto i : members) size += parameters_[i].numel();
  Bucket bucket;
  bucket.members = members;
  bucket.flat = at::zeros({size}, parameters_[members.front()].options().requires_grad(false));
  int64_t first = 0, flag = size - static_cast<int64_t>(members.size());
  for (const auto i : members) {
    const auto count = parameters_[i].numel();
    slots_[i].bucket = buckets_.size();
    slots_[i].gradient = bucket.flat.narrow(0, first, count).view(parameters_[i].sizes());
    slots_[i].present = bucket.flat.narrow(0, flag++, 1);
    first += count;
  }
  bucket.missing = members.size();
  buckets_.push_back(std::move(bucket));
}

bool DataParallel::Buckets::are_of(const std::vector<Tensor>& parameters) const {
  return std::equal(parameters.begin(), parameters.end(), parameters_.begin(), parameters_.end(),
                    [](const Tensor& a, const Tensor& b) { return a.is_same(b); });
}

void DataParallel::Buckets::arm() { armed_ = hooked_; }

// The first pass only counts: nothing else tells which piece of a gradient is its last one.
void DataParallel::Buckets::received_piece(std::size_t parameter) {
  if (!armed_) return;  // an earlier micro-batch: more will be added
  auto& slot = slots_[parameter];
  ++slot.received;
  if (slot.pieces == 0 || slot.received < slot.pieces) return;
  require(slot.bucket >= sent_, ErrorCategory::unsupported,
          "data-parallel training: the gradient of a parameter of shape " +
              shape_string(parameters_[parameter].sizes()) + " came in " +
              std::to_string(slot.pieces) +
              " pieces in the first backward pass, and now in more; set "
              "DataParallelOptions.overlap to none");
  fill(parameter);
  send_ready();
}

void DataParallel::Buckets::fill(std::size_t parameter) {
  const at::NoGradGuard no_grad;
  auto& slot = slots_[parameter];
  const auto& gradient = parameters_[parameter].grad();
  if (gradient.defined()) {
    slot.gradient.copy_(gradient);
    slot.present.fill_(1);
  } else {
    slot.gradient.zero_();
    slot.present.zero_();
  }
  if (!slot.filled) --buckets_[slot.bucket].missing;
  slot.filled = true;
}

// In order, whatever order they were filled in: messages must match between processes.
void DataParallel::Buckets::send_ready() {
  for (; sent_ < buckets_.size() && buckets_[sent_].missing == 0; ++sent_)
    buckets_[sent_].wait = group_.start_sum(buckets_[sent_].flat);
}

void DataParallel::Buckets::finish() {
  const at::NoGradGuard no_grad;
  armed_ = false;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    if (!slots_[i].filled) fill(i);
  send_ready();
  for (auto& bucket : buckets_) bucket.wait();
  const double share = 1.0 / static_cast<double>(group_.world_size());
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto& slot = slots_[i];
    auto& gradient = parameters_[i].mutable_grad();
    // The number is read, which on a GPU waits for it, only where this process has no gradient.
    if (!gradient.defined() && slot.present.item<double>() > 0)
      gradient = at::empty_like(parameters_[i]);
    if (gradient.defined())
      at::mul_out(gradient, slot.gradient, at::scalar_tensor(share, at::kDouble));
    slot.filled = false;
    if (slot.pieces == 0) slot.pieces = slot.received;
    slot.received = 0;
  }
  for (auto& bucket : buckets_) bucket.missing = bucket.members.size();
  sent_ = 0;
}

}  // namespace foresight::train
