// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/augmentation.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "foresight/core/noise.hpp"
#include "picture_changes.hpp"

namespace foresight::train {
namespace {

// Uniform numbers drawn for a window: four blocks of four.
enum WindowDraw {
  kCropArea,
  kCropAspect,
  kCropTop,
  kCropLeft,
  kShiftDown,
  kShiftRight,
  kMirror,
  kDesaturate,
  kColourStrength,  // one for each of the four changes of colour
  kColourOrder = kColourStrength + 4,
  kDrawn = 16
};
constexpr std::uint64_t kBlocks = kDrawn / 4;
constexpr std::uint64_t kAugmentStream = std::uint64_t{0x41554756} << 32;  // "AUGV"
constexpr double kWhite = 255.0;
constexpr double kMostHue = 0.5;  // half the circle: more would only come round again

using WindowDraws = std::array<double, kDrawn>;

enum ColourChange { kByBrightness, kByContrast, kBySaturation, kByHue, kColourChanges };

// Where every pixel of a picture is taken from, in pixels of the original: one number a column (or
// row).
struct Taken {
  double first, step;      // of pixel i: first + i * step
  double low, high;        // kept within the crop, as resizing the crop alone would
  double moved, most = 0;  // then moved, and kept within the picture
  double at(int64_t i) const {
    return std::clamp(std::clamp(first + static_cast<double>(i) * step, low, high) + moved, 0.0,
                      most);
  }
};

// `count` pixels that show [start, start + extent) of an axis.
Taken taken(int64_t count, int64_t start, int64_t extent, double moved) {
  const double step = static_cast<double>(extent) / static_cast<double>(count);
  const auto begin = static_cast<double>(start);
  return {
      begin + 0.5 * step - 0.5,      step, begin, begin + static_cast<double>(extent - 1), moved,
      static_cast<double>(count - 1)};
}

double symmetric(double draw, double most) { return (2 * draw - 1) * most; }

std::vector<WindowDraws> draws_of(const data::Batch& batch, std::uint64_t seed,
                                  std::uint64_t stream) {
  PhiloxNoise noise(
      seed, kAugmentStream + (stream << 48) + static_cast<std::uint64_t>(batch.position.epoch));
  const auto numbers = batch.windows.select(1, 0).contiguous();
  std::vector<WindowDraws> result(static_cast<std::size_t>(numbers.size(0)));
  for (std::size_t i = 0; i < result.size(); ++i) {
    noise.seek(static_cast<std::uint64_t>(numbers.const_data_ptr<int64_t>()[i]) * kBlocks);
    const auto drawn = noise.uniform({kDrawn}, at::kDouble);
    std::copy_n(drawn.const_data_ptr<double>(), kDrawn, result[i].begin());
  }
  return result;
}

// Sampling positions [B,H,W,2] as grid_sample takes them: (x, y), -1 and 1 at the outer edges. Only
// those of one row and one column of every window travel to the device.
Tensor sampling_grid(const std::vector<WindowDraws>& draws, const AugmentationOptions& options,
                     int64_t height, int64_t width, at::Device device) {
  const auto count = static_cast<int64_t>(draws.size());
  const Tensor rows = at::empty({count, height, 1}, at::kFloat);
  const Tensor columns = at::empty({count, 1, width}, at::kFloat);
  auto* vertical = rows.mutable_data_ptr<float>();
  auto* horizontal = columns.mutable_data_ptr<float>();
  const auto normalised = [](double pixel, int64_t size) {
    return static_cast<float>((2 * pixel + 1) / static_cast<double>(size) - 1);
  };
  for (const auto& draw : draws) {
    Crop crop{0, 0, height, width};
    if (options.crops())
      crop = random_crop({draw[kCropArea], draw[kCropAspect], draw[kCropTop], draw[kCropLeft]},
                         height, width, options.crop_scale, options.crop_aspect);
    const auto moved = [&](WindowDraw which) {  // whole pixels, so that nothing is blurred
      const auto places = static_cast<double>(2 * options.shift + 1);
      return std::floor(draw[which] * places) - static_cast<double>(options.shift);
    };
    const auto y = taken(height, crop.top, crop.height, moved(kShiftDown));
    const auto x = taken(width, crop.left, crop.width, moved(kShiftRight));
    const bool mirrored = draw[kMirror] < options.flip;
    for (int64_t row = 0; row < height; ++row) *vertical++ = normalised(y.at(row), height);
    for (int64_t column = 0; column < width; ++column)
      *horizontal++ = normalised(x.at(mirrored ? width - 1 - column : column), width);
  }
  const std::vector<int64_t> shape{count, height, width};
  return at::stack({columns.to(device).expand(shape), rows.to(device).expand(shape)}, 3);
}

// One of the four changes on all rows of `pictures` [N,T,3,H,W]; `factor` [N,1,1,1,1].
Tensor recoloured_rows(ColourChange which, const Tensor& pictures, const Tensor& factor) {
  switch (which) {
    case kByBrightness:
      return with_brightness(pictures, factor);
    case kByContrast:
      return with_contrast(pictures, factor);
    case kBySaturation:
      return with_saturation(pictures, factor);
    default:
      return with_hue(pictures, factor);
  }
}

// Every window's changes in its own order (Fisher-Yates on three draws). Windows whose turn it is
// for the same change go through it together. Their numbers travel to the device in one piece.
Tensor recoloured_windows(Tensor pictures, const std::vector<WindowDraws>& draws,
                          const AugmentationOptions& options) {
  const std::array<double, kColourChanges> strength = {options.brightness, options.contrast,
                                                       options.saturation, options.hue};
  std::vector<ColourChange> active;
  for (int c = 0; c < kColourChanges; ++c)
    if (strength[static_cast<std::size_t>(c)] > 0) active.push_back(static_cast<ColourChange>(c));
  std::vector<std::vector<ColourChange>> orders;
  for (const auto& draw : draws) {
    auto order = active;
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(
          order[i - 1],
          order[static_cast<std::size_t>(draw[kColourOrder + i - 2] * static_cast<double>(i))]);
    orders.push_back(std::move(order));
  }
  struct Part {
    ColourChange change;
    int64_t first, count;
  };
  std::vector<Part> parts;
  std::vector<int64_t> rows;  // of all parts
  std::vector<double> values;
  for (std::size_t turn = 0; turn < active.size(); ++turn)
    for (const auto change : active) {
      const auto first = static_cast<int64_t>(rows.size());
      for (std::size_t i = 0; i < draws.size(); ++i) {
        if (orders[i][turn] != change) continue;
        rows.push_back(static_cast<int64_t>(i));
        const auto by = symmetric(draws[i][kColourStrength + static_cast<std::size_t>(change)],
                                  strength[static_cast<std::size_t>(change)]);
        values.push_back(change == kByHue ? by : 1 + by);
      }
      if (const auto count = static_cast<int64_t>(rows.size()) - first; count > 0)
        parts.push_back({change, first, count});
    }
  if (parts.empty()) return pictures;
  const auto index = at::tensor(rows, at::kLong).to(pictures.device());
  const auto factors =
      at::tensor(values, at::kDouble).to(pictures.options()).view({-1, 1, 1, 1, 1});
  for (const auto& [change, first, count] : parts) {
    const auto factor = factors.narrow(0, first, count);
    if (count == pictures.size(0)) {
      pictures = recoloured_rows(change, pictures, factor);
      continue;
    }
    const auto own = index.narrow(0, first, count);
    pictures.index_copy_(0, own, recoloured_rows(change, pictures.index_select(0, own), factor));
  }
  return pictures;
}

Tensor greyed_windows(const Tensor& pictures, const std::vector<WindowDraws>& draws,
                      double probability) {
  std::vector<int64_t> grey;
  for (const auto& draw : draws) grey.push_back(draw[kDesaturate] < probability ? 1 : 0);
  const auto chosen =
      at::tensor(grey, at::kLong).to(pictures.device()).view({-1, 1, 1, 1, 1}).ne(0);
  return at::where(chosen, luma(pictures), pictures);
}

// Raw actions times their sign. Of a normalised one, n = (a - mean) / std, that leaves s n + (s -
// 1) mean / std.
Tensor mirrored_actions(const Tensor& actions, const std::vector<WindowDraws>& draws,
                        const AugmentationOptions& options, const ActionSpace& action) {
  std::vector<double> sign, offset, mirrored;
  for (std::size_t d = 0; d < options.flip_signs.size(); ++d) {
    const double mean = action.mean.empty() ? 0 : action.mean[d];
    const double std = action.std.empty() ? 1 : action.std[d];
    sign.push_back(options.flip_signs[d]);
    offset.push_back((sign.back() - 1) * mean / std);
  }
  for (const auto& draw : draws) mirrored.push_back(draw[kMirror] < options.flip ? 1 : 0);
  const auto like = actions.options();
  const auto blocks = actions.unflatten(2, {action.block, action.dim});
  const auto images = blocks * at::tensor(sign, like) + at::tensor(offset, like);
  return at::where(at::tensor(mirrored, like).view({-1, 1, 1, 1}).ne(0), images, blocks).flatten(2);
}

}  // namespace

std::vector<std::string> AugmentationOptions::validate() const {
  Rules rules("AugmentationOptions");
  check_range(rules, "crop_scale", crop_scale, 1.0);
  check_range(rules, "crop_aspect", crop_aspect, 100.0);
  const bool signs = std::all_of(flip_signs.begin(), flip_signs.end(),
                                 [](double sign) { return sign == 1 || sign == -1; });
  rules.check(shift >= 0 && shift <= 4096, "shift", static_cast<double>(shift), "must be 0..4096")
      .within("flip", flip, 0, 1)
      .check(flip == 0 || !flip_signs.empty(), "flip", flip,
             "needs flip_signs: how mirroring changes every action dimension, 1 or -1")
      .check(signs, "flip_signs", static_cast<double>(flip_signs.size()),
             "values, each of which must be 1 or -1")
      .within("brightness", brightness, 0, 1)
      .within("contrast", contrast, 0, 1)
      .within("saturation", saturation, 0, 1)
      .within("hue", hue, 0, kMostHue)
      .within("grey", grey, 0, 1);
  return rules.problems();
}

Augmentation::Augmentation(AugmentationOptions options, ActionSpace action, std::uint64_t seed,
                           std::uint64_t stream)
    : options_(std::move(options)), action_(std::move(action)), seed_(seed), stream_(stream) {
  require_valid(options_);
  if (options_.flip == 0) return;
  require(!action_.discrete, ErrorCategory::invalid_option,
          "AugmentationOptions.flip = " + std::to_string(options_.flip) +
              ": actions are symbols, whose mirror images are not known");
  require(static_cast<int64_t>(options_.flip_signs.size()) == action_.dim,
          ErrorCategory::invalid_option,
          "AugmentationOptions.flip_signs has " + std::to_string(options_.flip_signs.size()) +
              " values, expected one for each of the " + std::to_string(action_.dim) +
              " action dimensions");
}

data::Batch Augmentation::operator()(data::Batch batch) const {
  if (!options_.changes()) return batch;
  check_shape("batch pixels", batch.pixels, {kAny, kAny, kAny, kAny, 3}, "[B,T,H,W,3]");
  require(options_.flip == 0 || !batch.states.defined(), ErrorCategory::invalid_argument,
          "AugmentationOptions.flip: the batches hold states, whose mirror images are not known; "
          "leave them out (LoaderOptions.states = false)");
  c10::NoGradGuard no_grad;
  const auto draws = draws_of(batch, seed_, stream_);
  // [B,T,3,H,W] in memory as well: sampling and reductions run along rows.
  auto pictures = batch.pixels.permute({0, 1, 4, 2, 3})
                      .to(at::kFloat, false, false, at::MemoryFormat::Contiguous)
                      .div_(kWhite);
  if (options_.moves()) {
    const auto grid =
        sampling_grid(draws, options_, pictures.size(3), pictures.size(4), pictures.device());
    pictures = at::grid_sampler(pictures.flatten(1, 2), grid,
                                /*interpolation_mode=*/0, /*padding_mode=*/1,
                                /*align_corners=*/false)
                   .view(pictures.sizes());
  }
  pictures = recoloured_windows(std::move(pictures), draws, options_);
  if (options_.grey > 0) pictures = greyed_windows(pictures, draws, options_.grey);
  batch.pixels = pictures.mul(kWhite)
                     .round_()
                     .clamp_(0, kWhite)
                     .to(at::kByte)
                     .permute({0, 1, 3, 4, 2})
                     .contiguous();
  if (options_.flip > 0 && batch.actions.size(2) > 0)  // pictures alone have none
    batch.actions = mirrored_actions(batch.actions, draws, options_, action_);
  return batch;
}

}  // namespace foresight::train
