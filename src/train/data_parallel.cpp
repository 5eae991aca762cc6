// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/data_parallel.hpp"

#include <fmt/format.h>

#include "agreement.hpp"
#include "foresight/core/error.hpp"
#include "gradient_buckets.hpp"

namespace foresight::train {

std::vector<std::string> DataParallelOptions::validate() const {
  return Rules("DataParallelOptions")
      .within("bucket_mb", bucket_mb, 0, 4096)
      .within("first_bucket_mb", first_bucket_mb, 0, 4096)
      .problems();
}

DataParallel::DataParallel(std::shared_ptr<ProcessGroup> group, const DataParallelOptions& options)
    : group_(std::move(group)), options_(options), replicas_(replicas_of(group_)) {
  require_valid(options_);
}

DataParallel::~DataParallel() = default;

void DataParallel::synchronise(int64_t step, const std::vector<Tensor>& state) {
  buckets_.reset();  // those of a run that ended amid an update are filled
  // The same number of tensors and elements first: a broadcast of other shapes would be undefined.
  int64_t elements = 0;
  for (const auto& tensor : state) elements += tensor.numel();
  const auto told = gathered(*replicas_, fmt::format("step {} with {} tensors of {} elements", step,
                                                     state.size(), elements));
  for (std::size_t other = 1; other < told.size(); ++other)
    require(told[other] == told[0], ErrorCategory::invalid_argument,
            fmt::format("data-parallel training: rank {} is at {}, rank 0 is at {}. All must have "
                        "the same options, and see the same run folder",
                        other, told[other], told[0]));
  group_->broadcast(state);
}

DataParallel::Buckets& DataParallel::buckets_for(const std::vector<Tensor>& parameters) {
  if (!buckets_ || !buckets_->are_of(parameters)) {
    buckets_.reset();  // its hooks go before the new ones come
    buckets_ = std::make_shared<Buckets>(*group_, parameters, options_);
  }
  return *buckets_;
}

void DataParallel::before_last_backward(const std::vector<Tensor>& parameters) {
  buckets_for(parameters).arm();
}

void DataParallel::reduce(const std::vector<Tensor>& parameters) {
  buckets_for(parameters).finish();
}

void DataParallel::average(std::vector<double>& values) {
  const auto mean = at::tensor(values, at::kDouble);
  group_->all_reduce_mean({mean});
  values.assign(mean.const_data_ptr<double>(), mean.const_data_ptr<double>() + mean.numel());
}

}  // namespace foresight::train
