// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/frame_cache.hpp"

#include <cstring>
#include <numeric>
#include <set>

#include "parallel.hpp"

namespace foresight::data {

std::vector<std::string> FrameCacheOptions::validate() const {
  Rules rules("FrameCacheOptions");
  rules.check(budget_mb >= 0 && budget_mb <= int64_t{1} << 40, "budget_mb",
              static_cast<double>(budget_mb), "must be >= 0");
  rules.check(threads >= 0 && threads <= 1024, "threads", static_cast<double>(threads),
              "must be 0..1024");
  return rules.problems();
}

FrameCache::FrameCache(std::shared_ptr<const Dataset> dataset, const FrameCacheOptions& options,
                       std::vector<int64_t> episodes)
    : dataset_(std::move(dataset)) {
  require_valid(options);
  require(dataset_ != nullptr, ErrorCategory::invalid_argument, "FrameCache: no data set");
  episodes_.resize(static_cast<std::size_t>(dataset_->num_episodes()));
  if (episodes.empty()) {
    episodes.resize(episodes_.size());
    std::iota(episodes.begin(), episodes.end(), 0);
  }
  const ImageSize size = dataset_->image_size();
  const int64_t frame_bytes = size.height * size.width * 3;
  int64_t left = options.budget_mb * 1000000 / frame_bytes;  // frames
  std::vector<int64_t> chosen;
  std::set<int64_t> seen;
  for (int64_t episode : episodes) {
    if (!seen.insert(episode).second) continue;
    const int64_t length = dataset_->length(episode);
    if (length > left) break;
    left -= length;
    frames_held_ += length;
    chosen.push_back(episode);
  }
  parallel_for(static_cast<int64_t>(chosen.size()), options.threads, [&](int64_t i) {
    const int64_t episode = chosen[static_cast<std::size_t>(i)];
    std::vector<int64_t> rows(static_cast<std::size_t>(dataset_->length(episode)));
    std::iota(rows.begin(), rows.end(), 0);
    episodes_[static_cast<std::size_t>(episode)] = dataset_->read_frames(episode, rows);
  });
}

Tensor FrameCache::held(int64_t episode) const {
  dataset_->length(episode);  // checks the number
  return episodes_[static_cast<std::size_t>(episode)];
}

void FrameCache::copy(int64_t episode, at::IntArrayRef rows, std::uint8_t* out) const {
  const ImageSize size = dataset_->image_size();
  const int64_t frame_bytes = size.height * size.width * 3, length = dataset_->length(episode);
  const Tensor& kept = episodes_[static_cast<std::size_t>(episode)];
  if (!kept.defined()) {
    const Tensor decoded = dataset_->read_frames(episode, rows);
    std::memcpy(out, decoded.const_data_ptr<std::uint8_t>(),
                static_cast<std::size_t>(decoded.numel()));
    return;
  }
  const auto* all = kept.const_data_ptr<std::uint8_t>();
  for (int64_t row : rows) {
    if (row < 0 || row >= length)
      throw Error(ErrorCategory::invalid_argument, dataset_->name() + ": " +
                                                       dataset_->episode_name(episode) +
                                                       " has no frame " + std::to_string(row));
    std::memcpy(out, all + row * frame_bytes, static_cast<std::size_t>(frame_bytes));
    out += frame_bytes;
  }
}

Tensor FrameCache::frames(int64_t episode, at::IntArrayRef rows) const {
  const ImageSize size = dataset_->image_size();
  Tensor out =
      at::empty({static_cast<int64_t>(rows.size()), size.height, size.width, 3}, at::kByte);
  copy(episode, rows, out.mutable_data_ptr<std::uint8_t>());
  return out;
}

}  // namespace foresight::data
