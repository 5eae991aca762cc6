// SPDX-License-Identifier: Apache-2.0
// Random changes of training windows, on the device where the batch lies: crops, shifts, mirror
// images, colours. One draw holds for all frames of a window, so that what moves in it is still
// what moved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/core/options.hpp"
#include "foresight/data/loader.hpp"

namespace foresight::train {

/// Every change is off by default: a world model must predict what it is shown, so that what is
/// right depends on the task.
struct FORESIGHT_API AugmentationOptions {
  /// Part of the picture's area that a random crop keeps: from, to. It is resized to the picture's
  /// size (bilinear). (1, 1): none.
  std::vector<double> crop_scale = {1, 1};
  std::vector<double> crop_aspect = {1, 1};  ///< width / height of a crop: from, to
  int64_t shift = 0;  ///< pixels by which a window is moved at most, edges repeated: the random
                      ///< crop of DrQ (arXiv 2004.13649), which takes 4 of 84
  double flip = 0;    ///< probability of a mirrored window; needs flip_signs
  /// What mirroring does to every dimension of a raw action: 1 or -1 times it, e.g. (-1, 1) for
  /// velocities (right, up). Only the data's user knows; left empty, mirroring is refused.
  std::vector<double> flip_signs = {};
  double brightness = 0;  ///< factor 1 +- this much
  double contrast = 0;    ///< factor 1 +- this much
  double saturation = 0;  ///< factor 1 +- this much
  double hue = 0;         ///< turn of the colour circle, +- this much; at most 0.5
  double grey = 0;        ///< probability of a window without colour

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("crop_scale", self.crop_scale, "part of the picture in a random crop: from, to");
    visit("crop_aspect", self.crop_aspect, "width / height of a crop: from, to");
    visit("shift", self.shift, "pixels by which a window is moved at most");
    visit("flip", self.flip, "probability of a mirrored window; needs flip_signs");
    visit("flip_signs", self.flip_signs, "1 or -1 per action dimension: what mirroring does to it");
    visit("brightness", self.brightness, "factor 1 +- this much");
    visit("contrast", self.contrast, "factor 1 +- this much");
    visit("saturation", self.saturation, "factor 1 +- this much");
    visit("hue", self.hue, "turn of the colour circle, +- this much");
    visit("grey", self.grey, "probability of a window without colour");
  }
  std::vector<std::string> validate() const;

  bool crops() const { return crop_scale != std::vector<double>{1, 1}; }
  /// Whether windows are moved, cropped or mirrored.
  bool moves() const { return crops() || shift > 0 || flip > 0; }
  /// Whether anything is changed at all.
  bool changes() const {
    return moves() || brightness > 0 || contrast > 0 || saturation > 0 || hue > 0 || grey > 0;
  }
};

/// Changes batches as the options say. What happens to a window is a function of (seed, stream,
/// epoch, number of the window) alone: not of its batch, of threads, processes or device (up to
/// rounding to whole grey levels).
///
/// Colours are changed as torchvision's ColorJitter does: factors uniform, brightness, contrast,
/// saturation and hue in an order of their own for every window, each clamped to [0,1]; then grey.
/// Computed in float32, rounded once.
class FORESIGHT_API Augmentation {
 public:
  /// `action` is the space of the batches' actions; looked at for mirroring. `stream` separates
  /// loaders of one seed. Throws Error(invalid_option) for options out of range, and for flip_signs
  /// that do not fit the actions: one for each raw dimension, no symbols.
  Augmentation(AugmentationOptions options, ActionSpace action, std::uint64_t seed,
               std::uint64_t stream = 0);

  /// The changed batch; pixels stay uint8 [B,T,H,W,3] on their device. Throws
  /// Error(invalid_argument) if windows would be mirrored in a batch that holds states, whose
  /// mirror images are not known.
  data::Batch operator()(data::Batch batch) const;

 private:
  AugmentationOptions options_;
  ActionSpace action_;
  std::uint64_t seed_, stream_;
};

}  // namespace foresight::train
