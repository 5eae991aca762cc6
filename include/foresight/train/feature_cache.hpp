// SPDX-License-Identifier: Apache-2.0
// Features of frames that a frozen encoder has seen before. Where only a predictor learns, its
// encoder says the same of a frame in every epoch, and encoding is most of the work of a step.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/loader.hpp"

namespace foresight::train {

/// Page-locked memory, through which a batch's kept features go to a GPU, comes on top of
/// `budget_mb`.
struct FORESIGHT_API FeatureCacheOptions {
  int64_t budget_mb = 4096;  ///< most memory for features, MB of 10^6 bytes; 0: keep nothing

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("budget_mb", self.budget_mb, "most memory for features, MB; 0: keep nothing");
  }
  std::vector<std::string> validate() const;
};

/// Features of the frames of a data set (and of a replayed one, whose episodes have numbers of
/// their own: TaskData.replay), each computed when it is first needed and kept in host memory until
/// the budget is used up; the others are computed at each use. On a CPU every frame is encoded
/// alone, from bytes on, so that its features do not depend on the frames beside it: with and
/// without budget they are equal bit by bit, and so is the training. On a GPU the missing frames of
/// a batch are encoded together, and features agree up to rounding; only what is kept leaves the
/// GPU, once, and only what was kept comes back. Features computed under autocast are kept apart
/// from others. For one thread.
class FORESIGHT_API FeatureCache {
 public:
  /// RGB bytes [N,H,W,3] of a batch -> features [N,...], of a shape that does not depend on the
  /// frames.
  using Encoder = std::function<Tensor(const Tensor& pixels)>;

  /// `device`: where `encode` computes; `stride`: WindowOptions.stride of the batches. Throws
  /// Error(invalid_option).
  FeatureCache(Encoder encode, at::Device device, int64_t stride,
               const FeatureCacheOptions& options = {});

  /// Features [B,T,...], on the encoder's device, of a batch of the data set's windows.
  Tensor features(const data::Batch& batch);
  /// Features [B,...] of whole windows, where a frame's depend on those around it: `encode` is
  /// given clips [N,T,H,W,3], and what is kept and counted is a window by its episode and first
  /// row. For windows of one length; a cache holds features of frames or of windows.
  Tensor clip_features(const data::Batch& batch);

  /// Frames in memory.
  int64_t frames_held() const noexcept { return static_cast<int64_t>(held_.size()); }
  /// Frames that were encoded so far, repetitions counted.
  int64_t frames_encoded() const noexcept { return frames_encoded_; }

 private:
  using Frame = std::tuple<int64_t, int64_t, bool>;  // episode, row, under autocast
  std::vector<Tensor> encoded(const Tensor& pixels);
  void keep(const std::vector<Frame>& frames, const std::vector<Tensor>& features);

  Encoder encode_;
  at::Device device_;
  int64_t stride_, free_bytes_, frames_encoded_ = 0;
  std::map<Frame, Tensor> held_;
};

}  // namespace foresight::train
