// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/feature_cache.hpp"

#include <ATen/autocast_mode.h>

namespace foresight::train {
namespace {

constexpr int64_t kBytesPerMb = 1'000'000;

}  // namespace

std::vector<std::string> FeatureCacheOptions::validate() const {
  return Rules("FeatureCacheOptions")
      .within("budget_mb", static_cast<double>(budget_mb), 0, 1e12)
      .problems();
}

FeatureCache::FeatureCache(Encoder encode, at::Device device, int64_t stride,
                           const FeatureCacheOptions& options)
    : encode_(std::move(encode)),
      device_(device),
      stride_(stride),
      free_bytes_((require_valid(options), options.budget_mb * kBytesPerMb)) {
  require(encode_ != nullptr && stride >= 1, ErrorCategory::invalid_option,
          "FeatureCache: stride = " + std::to_string(stride) + " must be >= 1, with an encoder");
}

// Features of frames [N,H,W,3], each [...] on the CPU.
std::vector<Tensor> FeatureCache::encoded(const Tensor& pixels) {
  const c10::NoGradGuard frozen;
  frames_encoded_ += pixels.size(0);
  if (!device_.is_cpu()) return encode_(pixels).to(at::kCPU).unbind(0);
  std::vector<Tensor> features;
  for (int64_t i = 0; i < pixels.size(0); ++i)
    features.push_back(encode_(pixels.narrow(0, i, 1)).squeeze(0));
  return features;
}

Tensor FeatureCache::features(const data::Batch& batch) {
  const auto frames_each = batch.pixels.size(1);
  const bool autocast = at::autocast::is_autocast_enabled(device_.type());
  const auto pixels = batch.pixels.flatten(0, 1);
  const auto windows = batch.windows.accessor<int64_t, 2>();
  std::vector<Tensor> features(static_cast<std::size_t>(pixels.size(0)));
  std::map<Frame, std::vector<int64_t>> missing;  // and where in the batch: windows overlap
  for (int64_t i = 0; i < pixels.size(0); ++i) {
    const auto window = windows[i / frames_each];
    const Frame frame{window[1], window[2] + i % frames_each * stride_, autocast};
    if (const auto found = held_.find(frame); found != held_.end())
      features[static_cast<std::size_t>(i)] = found->second;
    else
      missing[frame].push_back(i);
  }
  if (!missing.empty()) {
    std::vector<int64_t> chosen;
    for (const auto& [frame, places] : missing) chosen.push_back(places.front());
    const auto computed =
        encoded(pixels.index_select(0, at::tensor(chosen, at::kLong).to(pixels.device())));
    auto fresh = computed.begin();
    for (const auto& [frame, places] : missing) {
      keep(frame, *fresh);
      for (const auto i : places) features[static_cast<std::size_t>(i)] = *fresh;
      ++fresh;
    }
  }
  return at::stack(features).unflatten(0, {batch.pixels.size(0), frames_each}).to(device_);
}

Tensor FeatureCache::clip_features(const data::Batch& batch) {
  auto clips = batch;  // a clip is a single frame of more axes
  clips.pixels = batch.pixels.unsqueeze(1);
  return features(clips).squeeze(1);
}

void FeatureCache::keep(const Frame& frame, const Tensor& features) {
  const auto bytes = static_cast<int64_t>(features.nbytes());
  if (bytes > free_bytes_) return;
  free_bytes_ -= bytes;
  held_.emplace(frame, features.clone());  // a copy: it may be a view of the whole batch's
}

}  // namespace foresight::train
