// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/feature_cache.hpp"

#include <ATen/autocast_mode.h>

#include "moved_together.hpp"

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

// Features of frames [N,H,W,3], each [...], on the encoder's device.
std::vector<Tensor> FeatureCache::encoded(const Tensor& pixels) {
  const c10::NoGradGuard frozen;
  frames_encoded_ += pixels.size(0);
  if (!device_.is_cpu()) return encode_(pixels).to(device_).unbind(0);
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
  std::map<Frame, std::vector<int64_t>> known, missing;  // and where in the batch: windows overlap
  for (int64_t i = 0; i < pixels.size(0); ++i) {
    const auto window = windows[i / frames_each];
    const Frame frame{window[1], window[2] + i % frames_each * stride_, autocast};
    (held_.contains(frame) ? known : missing)[frame].push_back(i);
  }
  const auto place = [&](const auto& frames, const std::vector<Tensor>& of_frames) {
    auto next = of_frames.begin();
    for (const auto& [frame, places] : frames) {
      for (const auto i : places) features[static_cast<std::size_t>(i)] = *next;
      ++next;
    }
  };
  if (!missing.empty()) {
    std::vector<int64_t> chosen;
    std::vector<Frame> frames;
    for (const auto& [frame, places] : missing) {
      chosen.push_back(places.front());
      frames.push_back(frame);
    }
    const auto fresh =
        encoded(pixels.index_select(0, at::tensor(chosen, at::kLong).to(pixels.device())));
    place(missing, fresh);
    keep(frames, fresh);
  }
  if (!known.empty()) {
    std::vector<Tensor> held;
    for (const auto& [frame, places] : known) held.push_back(held_.at(frame));
    place(known, moved_together(held, device_));
  }
  return at::stack(features).unflatten(0, {batch.pixels.size(0), frames_each});
}

Tensor FeatureCache::clip_features(const data::Batch& batch) {
  auto clips = batch;  // a clip is a single frame of more axes
  clips.pixels = batch.pixels.unsqueeze(1);
  return features(clips).squeeze(1);
}

// As many as there is memory for, in their order. Only those leave the encoder's device.
void FeatureCache::keep(const std::vector<Frame>& frames, const std::vector<Tensor>& features) {
  auto free = free_bytes_;
  std::size_t count = 0;
  for (; count < features.size(); ++count) {
    const auto bytes = static_cast<int64_t>(features[count].nbytes());
    if (bytes > free) break;
    free -= bytes;
  }
  if (count == 0) return;
  const auto kept = at::stack(at::TensorList(features).slice(0, count)).to(at::kCPU).unbind(0);
  for (std::size_t i = 0; i < count; ++i) held_.emplace(frames[i], kept[i]);
  free_bytes_ = free;
}

}  // namespace foresight::train
