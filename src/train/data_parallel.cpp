// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/data_parallel.hpp"

#include <fmt/format.h>

#include <cmath>

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
  // The same number of tensors and elements first: a broadcast of other shapes would be undefined.
  double elements = 0;
  for (const auto& tensor : state) elements += static_cast<double>(tensor.numel());
  const std::vector<double> mine{static_cast<double>(step), static_cast<double>(state.size()),
                                 elements};
  auto mean = mine, square = mine;
  for (auto& value : square) value *= value;
  average(mean);
  average(square);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    // Equal everywhere exactly where the variance vanishes; whole numbers below 2^26 are exact.
    const double variance = square[i] - mean[i] * mean[i];
    require(std::abs(variance) <= 1e-9 * std::max(1.0, square[i]), ErrorCategory::invalid_argument,
            fmt::format("data-parallel training: rank {} is at step {} with {} tensors of {} "
                        "elements, other ranks do not. All must have the same options, and see the "
                        "same run folder",
                        rank(), step, state.size(), elements));
  }
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
