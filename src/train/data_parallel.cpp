// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/data_parallel.hpp"

#include <fmt/format.h>

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
  double elements = 0;
  for (const auto& tensor : state) elements += static_cast<double>(tensor.numel());
  const auto mine = at::tensor(
      {static_cast<double>(step), static_cast<double>(state.size()), elements}, at::kDouble);
  auto all = at::zeros({world_size(), mine.numel()}, at::kDouble);  // whole numbers, exact
  all[rank()].copy_(mine);
  group_->all_reduce_sum({all});
  const auto told = [&](int64_t process) {
    const auto* numbers = all[process].const_data_ptr<double>();
    return fmt::format("rank {} is at step {:.0f} with {:.0f} tensors of {:.0f} elements", process,
                       numbers[0], numbers[1], numbers[2]);
  };
  for (int64_t other = 1; other < world_size(); ++other)
    require(at::equal(all[other], all[0]), ErrorCategory::invalid_argument,
            fmt::format("data-parallel training: {}, {}. All must have the same options, and see "
                        "the same run folder",
                        told(other), told(0)));
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
