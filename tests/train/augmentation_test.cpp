// SPDX-License-Identifier: Apache-2.0
// Random changes of windows: against closed forms and published formulae in float64, and what they
// may depend on.
#include "foresight/train/augmentation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "../../src/train/picture_changes.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/core/options_json.hpp"
#include "tensor_dataset.hpp"
#include "test_device.hpp"

namespace foresight::train::augmentation_test {
namespace {

ActionSpace two_velocities() {
  ActionSpace space;
  space.dim = 2;
  space.block = 3;
  space.mean = {0.5, -1.0};
  space.std = {2.0, 0.5};
  return space;
}

// Windows of noise, numbered as asked.
data::Batch noise_windows(const std::vector<int64_t>& numbers, int64_t height = 10,
                          int64_t width = 12) {
  const auto count = static_cast<int64_t>(numbers.size());
  data::Batch batch;
  batch.windows = at::zeros({count, 3}, at::kLong);
  batch.pixels = at::empty({count, 3, height, width, 3}, at::kByte);
  batch.actions = at::empty({count, 2, 6});
  for (int64_t i = 0; i < count; ++i) {
    PhiloxNoise noise(77, static_cast<std::uint64_t>(numbers[static_cast<std::size_t>(i)]));
    batch.windows[i][0] = numbers[static_cast<std::size_t>(i)];
    batch.pixels[i].copy_(noise.uniform({3, height, width, 3}).mul(255.99).floor());
    batch.actions[i].copy_(noise.normal({2, 6}));
  }
  return batch;
}

AugmentationOptions everything() {
  AugmentationOptions options;
  options.crop_scale = {0.5, 1.0};
  options.crop_aspect = {0.8, 1.25};
  options.shift = 2;
  options.flip = 0.5;
  options.flip_signs = {-1, 1};
  options.brightness = options.contrast = options.saturation = 0.4;
  options.hue = 0.1;
  options.grey = 0.2;
  return options;
}

std::vector<int64_t> counted(int64_t first, int64_t count) {
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(first + i);
  return numbers;
}

// The textbook's conversions (Smith 1978), one pixel at a time.
std::array<double, 3> hsv_of(double r, double g, double b) {
  const double most = std::max({r, g, b}), least = std::min({r, g, b}), chroma = most - least;
  double hue = 0;
  if (chroma > 0) {
    if (most == r)
      hue = std::fmod((g - b) / chroma / 6 + 1, 1.0);
    else if (most == g)
      hue = (2 + (b - r) / chroma) / 6;
    else
      hue = (4 + (r - g) / chroma) / 6;
  }
  return {hue, most > 0 ? chroma / most : 0, most};
}

std::array<double, 3> rgb_of(double h, double s, double v) {
  const auto sector = static_cast<int>(h * 6);
  const double f = h * 6 - sector, p = v * (1 - s), q = v * (1 - s * f), t = v * (1 - s * (1 - f));
  switch (sector % 6) {
    case 0:
      return {v, t, p};
    case 1:
      return {q, v, p};
    case 2:
      return {p, v, t};
    case 3:
      return {p, q, v};
    case 4:
      return {t, p, v};
    default:
      return {v, p, q};
  }
}

Tensor pictures64(int64_t count) {
  return PhiloxNoise(4).uniform({count, 2, 3, 5, 7}, at::kDouble);
}

Tensor factors(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble).view({-1, 1, 1, 1, 1});
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace

TEST_CASE("brightness, contrast and saturation blend as torchvision defines them") {
  const auto pictures = pictures64(3);
  const std::vector<double> values = {0.6, 1.0, 1.7};
  const auto blend = [&](int64_t i,
                         const Tensor& other) {  // factor * picture + (1 - factor) * other
    const auto factor = values[static_cast<std::size_t>(i)];
    return (factor * pictures[i] + (1 - factor) * other).clamp(0, 1);
  };
  for (int64_t i = 0; i < 3; ++i) {
    const auto grey = 0.299 * pictures[i].select(1, 0) + 0.587 * pictures[i].select(1, 1) +
                      0.114 * pictures[i].select(1, 2);
    const auto mean = grey.mean({1, 2}).view({2, 1, 1, 1});  // of each frame
    CHECK(largest_difference(with_brightness(pictures, factors(values))[i],
                             blend(i, at::zeros({1}, at::kDouble))) < 1e-15);
    CHECK(largest_difference(with_contrast(pictures, factors(values))[i], blend(i, mean)) < 1e-14);
    CHECK(largest_difference(with_saturation(pictures, factors(values))[i],
                             blend(i, grey.unsqueeze(1))) < 1e-14);
  }
}

TEST_CASE("hue turns as the textbook's way through HSV does") {
  auto pictures = pictures64(4);
  pictures[0][0].select(2, 0).copy_(at::full({3, 5}, 0.5));  // grey
  pictures[0][0].select(2, 1).copy_(at::zeros({3, 5}));      // black
  pictures[0][0].select(2, 2).copy_(
      at::tensor({1., 1., 0.}, at::kDouble).view({3, 1}).expand({3, 5}));
  const std::vector<double> turns = {0.13, -0.37, 0.5, 0.0};
  const auto turned = with_hue(pictures, factors(turns));
  double worst = 0;
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t t = 0; t < 2; ++t)
      for (int64_t y = 0; y < 5; ++y)
        for (int64_t x = 0; x < 7; ++x) {
          const auto at = [&](const Tensor& p, int64_t c) {
            return p[i][t][c][y][x].item<double>();
          };
          const auto hsv = hsv_of(at(pictures, 0), at(pictures, 1), at(pictures, 2));
          double hue = std::fmod(hsv[0] + turns[static_cast<std::size_t>(i)] + 1, 1.0);
          const auto rgb = rgb_of(hue, hsv[1], hsv[2]);
          for (int64_t c = 0; c < 3; ++c)
            worst = std::max(worst, std::abs(at(turned, c) - rgb[static_cast<std::size_t>(c)]));
        }
  CHECK(worst < 1e-12);
}

TEST_CASE("without options a batch stays as it is") {
  const auto batch = noise_windows({3, 4});
  const Augmentation nothing({}, two_velocities(), 1);
  CHECK(at::equal(nothing(batch).pixels, batch.pixels));
  CHECK(at::equal(nothing(batch).actions, batch.actions));
}

TEST_CASE("what happens to a window depends on seed, epoch and number, not on its batch") {
  const Augmentation augment(everything(), two_velocities(), 5);
  auto all = noise_windows(counted(0, 12));
  all.position.epoch = 2;
  const auto together = augment(all);
  for (const int64_t number : {0, 5, 11}) {
    auto alone = noise_windows({number});
    alone.position = {2, 40};
    const auto changed = augment(alone);
    CHECK(at::equal(changed.pixels[0], together.pixels[number]));
    CHECK(at::equal(changed.actions[0], together.actions[number]));
  }
  const auto differs = [&](const data::Batch& batch) {
    return !at::equal(batch.pixels, together.pixels);
  };
  auto later = all;
  later.position.epoch = 3;
  CHECK(differs(augment(later)));
  CHECK(differs(Augmentation(everything(), two_velocities(), 6)(all)));
  CHECK(differs(Augmentation(everything(), two_velocities(), 5, 1)(all)));
  CHECK_FALSE(differs(augment(all)));
}

TEST_CASE("windows are changed on the device as on the CPU, to a grey level", "[device]") {
  const Augmentation augment(everything(), two_velocities(), 5);
  const auto here = noise_windows(counted(0, 12));
  auto there = here;
  there.pixels = here.pixels.to(test_device());
  there.actions = here.actions.to(test_device());
  const auto changed = augment(there), expected = augment(here);
  CHECK(changed.pixels.device() == test_device());
  const auto levels =
      (changed.pixels.cpu().to(at::kLong) - expected.pixels.to(at::kLong)).abs().amax();
  CHECK(levels.item<int64_t>() <= 1);
  CHECK(at::allclose(changed.actions.cpu(), expected.actions));
}

TEST_CASE("all frames of a window are changed alike") {
  const Augmentation augment(everything(), two_velocities(), 5);
  auto batch = noise_windows(counted(0, 16));
  batch.pixels = batch.pixels.narrow(1, 0, 1).expand({-1, 3, -1, -1, -1}).contiguous();
  const auto changed = augment(batch).pixels;
  CHECK(at::equal(changed.select(1, 0), changed.select(1, 1)));
  CHECK(at::equal(changed.select(1, 0), changed.select(1, 2)));
}

TEST_CASE("a shift moves windows by whole pixels and repeats the edges") {
  AugmentationOptions options;
  options.shift = 2;
  const auto batch = noise_windows(counted(0, 200), 7, 9);
  const auto shifted = Augmentation(options, two_velocities(), 3)(batch).pixels;
  std::set<std::pair<int64_t, int64_t>> seen;
  for (int64_t b = 0; b < 200; ++b) {
    const auto padded =
        at::replication_pad2d(batch.pixels[b].permute({0, 3, 1, 2}).to(at::kFloat), {2, 2, 2, 2});
    for (int64_t down = 0; down < 5; ++down)
      for (int64_t right = 0; right < 5; ++right) {
        const auto view = padded.narrow(2, down, 7).narrow(3, right, 9).permute({0, 2, 3, 1});
        if (at::equal(view, shifted[b].to(at::kFloat))) seen.emplace(down, right);
      }
    INFO(b);
    REQUIRE_FALSE(seen.empty());
  }
  CHECK(seen.size() == 25);  // every one of them, and nothing else
}

TEST_CASE("a crop is resized as the interpolation of the crop alone, half of them mirrored") {
  AugmentationOptions options;
  options.crop_scale = {0.3, 0.9};
  options.crop_aspect = {0.75, 4.0 / 3.0};
  options.flip = 0.5;
  options.flip_signs = {-1, 1};
  const auto batch = noise_windows(counted(0, 40), 10, 12);
  const auto changed = Augmentation(options, two_velocities(), 3)(batch);
  int64_t mirrored = 0;
  for (int64_t b = 0; b < 40; ++b) {
    const auto picture = batch.pixels[b].permute({0, 3, 1, 2}).to(at::kDouble);
    double best = 1e9;
    bool flipped = false;
    // Whatever crop was drawn, it is one of those that fit into the picture.
    for (int64_t h = 3; h <= 10; ++h)
      for (int64_t w = 3; w <= 12; ++w)
        for (int64_t top = 0; top <= 10 - h; ++top)
          for (int64_t left = 0; left <= 12 - w; ++left) {
            const double area = static_cast<double>(h * w) / 120;
            if (area < 0.2 || area > 1) continue;
            const auto resized = at::upsample_bilinear2d(
                picture.narrow(0, 0, 1).narrow(2, top, h).narrow(3, left, w),
                at::IntArrayRef{10, 12}, false);
            for (const bool flip : {false, true}) {
              const auto view = (flip ? resized.flip({3}) : resized).permute({0, 2, 3, 1});
              const auto off = largest_difference(view, changed.pixels[b].narrow(0, 0, 1));
              if (off < best) best = off, flipped = flip;
            }
          }
    INFO(b);
    CHECK(best <= 0.501);  // rounding to grey levels
    const auto signs = at::tensor({-1., 1.}, at::kDouble);
    const auto raw = two_velocities().denormalise(batch.actions[b].to(at::kDouble));
    const auto expected = two_velocities().normalise(flipped ? raw * signs : raw);
    CHECK(largest_difference(changed.actions[b], expected) < 1e-6);
    mirrored += flipped ? 1 : 0;
  }
  CHECK(mirrored > 8);
  CHECK(mirrored < 32);
}

TEST_CASE("factors are uniform around one, the same for all frames, and of every window its own") {
  auto batch = noise_windows(counted(0, 300), 4, 4);
  batch.pixels = batch.pixels.div(3, "floor") + 50;  // 50..135: nothing is clamped
  const auto before = batch.pixels.to(at::kDouble);
  const auto check_factors = [&](const AugmentationOptions& options, const auto& base) {
    const Tensor after = Augmentation(options, two_velocities(), 8)(batch).pixels.to(at::kDouble);
    // after = base + factor (before - base), rounded: every pixel leaves an interval for the
    // factor.
    const Tensor zero = base(before);
    const Tensor d = (before - zero).flatten(1), shown = (after - zero).flatten(1);
    const Tensor one = (shown - 0.5001) / d, other = (shown + 0.5001) / d;
    const Tensor low = at::nan_to_num(at::minimum(one, other), -1e9, 1e9, -1e9).amax(1);
    const Tensor high = at::nan_to_num(at::maximum(one, other), 1e9, 1e9, -1e9).amin(1);
    CHECK((high - low).min().item<double>() >= 0);  // one factor explains all pixels
    const Tensor factor = (low + high) / 2;
    CHECK(factor.min().item<double>() > 0.58);
    CHECK(factor.min().item<double>() < 0.63);
    CHECK(factor.max().item<double>() < 1.42);
    CHECK(factor.max().item<double>() > 1.37);
    CHECK(std::abs(factor.mean().item<double>() - 1) < 4 * 0.4 / std::sqrt(3 * 300.0));
  };
  const auto grey = [](const Tensor& pictures) {
    return (pictures * at::tensor({0.299, 0.587, 0.114}, at::kDouble)).sum(-1, true);
  };
  AugmentationOptions brighter, contrasting, coloured;
  brighter.brightness = contrasting.contrast = coloured.saturation = 0.4;
  check_factors(brighter, [](const Tensor& p) { return at::zeros_like(p); });
  check_factors(contrasting, [&](const Tensor& p) { return grey(p).mean({2, 3}, true); });
  check_factors(coloured, grey);
}

TEST_CASE("the changes of colour come in an order of their own for every window") {
  // White beside red, so that both changes clamp and therefore do not commute.
  AugmentationOptions options;
  options.saturation = 1.0;
  options.contrast = 1.0;
  auto batch = noise_windows(counted(0, 200), 2, 2);
  batch.pixels.zero_();
  batch.pixels.select(-2, 0).fill_(255);  // left half white, right half red
  batch.pixels.select(-2, 1).select(-1, 0).fill_(255);
  const auto after =
      Augmentation(options, two_velocities(), 8)(batch).pixels.select(1, 0).to(at::kDouble) / 255;
  int64_t saturated_first = 0, contrasted_first = 0;
  for (int64_t b = 0; b < 200; ++b) {
    // Try every pair of factors on a grid, in both orders.
    const auto picture =
        batch.pixels[b].narrow(0, 0, 1).permute({0, 3, 1, 2}).to(at::kDouble) / 255;
    const auto wanted = after[b].permute({2, 0, 1}).unsqueeze(0);
    const auto grid = at::linspace(0, 2, 101, at::kDouble);
    const auto s = grid.view({-1, 1, 1, 1, 1}), c = grid.view({1, -1, 1, 1, 1});
    const auto all = picture.unsqueeze(0);  // [1,1,3,2,2]
    const auto off = [&](const Tensor& result) {
      return (result - wanted).abs().amax({2, 3, 4}).min().item<double>();
    };
    const auto s_then_c = off(with_contrast(with_saturation(all, s), c));
    const auto c_then_s = off(with_saturation(with_contrast(all, c), s));
    CHECK(std::min(s_then_c, c_then_s) < 0.03);
    if (s_then_c < 0.02 && c_then_s > 0.05) ++saturated_first;
    if (c_then_s < 0.02 && s_then_c > 0.05) ++contrasted_first;
  }
  CHECK(saturated_first > 5);
  CHECK(contrasted_first > 5);
}

TEST_CASE("grey windows are grey, as many as asked for") {
  AugmentationOptions options;
  options.grey = 0.3;
  const auto batch = noise_windows(counted(0, 400), 4, 4);
  const auto changed = Augmentation(options, two_velocities(), 8)(batch).pixels;
  int64_t grey = 0;
  for (int64_t b = 0; b < 400; ++b) {
    const bool colourless = at::equal(changed[b].select(-1, 0), changed[b].select(-1, 1)) &&
                            at::equal(changed[b].select(-1, 0), changed[b].select(-1, 2));
    if (!colourless) CHECK(at::equal(changed[b], batch.pixels[b]));
    grey += colourless ? 1 : 0;
  }
  CHECK(std::abs(static_cast<double>(grey) - 120) < 4 * std::sqrt(400 * 0.3 * 0.7));
}

TEST_CASE("mirroring is refused where nobody says what it does to actions") {
  AugmentationOptions options;
  options.flip = 0.5;
  const auto made = [&](const ActionSpace& space) {
    return [&options, space] { Augmentation(options, space, 0); };
  };
  CHECK(fails_with(ErrorCategory::invalid_option, made(two_velocities()), "flip_signs"));
  options.flip_signs = {-1, 1, 1};
  CHECK(fails_with(ErrorCategory::invalid_option, made(two_velocities()), "has 3 values",
                   "2 action"));
  options.flip_signs = {-1, 0.5};
  CHECK(fails_with(ErrorCategory::invalid_option, made(two_velocities()), "1 or -1"));
  options.flip_signs = {-1, 1};
  auto symbols = two_velocities();
  symbols.discrete = true;
  CHECK(fails_with(ErrorCategory::invalid_option, made(symbols), "symbols"));
  auto batch = noise_windows({1});
  batch.states = at::zeros({1, 3, 2});
  const Augmentation mirror(options, two_velocities(), 0);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { mirror(batch); }, "states"));
}

TEST_CASE("options of augmentation out of range are named") {
  const auto refused = [](const auto& change, const char* words) {
    AugmentationOptions options;
    change(options);
    return fails_with(
        ErrorCategory::invalid_option, [&] { require_valid(options); }, words);
  };
  CHECK(refused([](auto& o) { o.hue = 0.6; }, "hue = 0.6"));
  CHECK(refused([](auto& o) { o.brightness = -0.1; }, "brightness"));
  CHECK(refused([](auto& o) { o.crop_scale = {0.9, 0.5}; }, "crop_scale"));
  CHECK(refused([](auto& o) { o.crop_scale = {}; }, "crop_scale"));
  CHECK(refused([](auto& o) { o.crop_aspect = {0.5}; }, "crop_aspect"));
  CHECK(refused([](auto& o) { o.shift = -1; }, "shift"));
  CHECK(refused([](auto& o) { o.grey = 1.5; }, "grey"));
  auto options = everything();
  AugmentationOptions read;
  read_options(read, write_options(options), "augmentation");
  CHECK(read.flip_signs == options.flip_signs);
  CHECK(read.crop_scale == options.crop_scale);
  CHECK(read.hue == options.hue);
}

}  // namespace foresight::train::augmentation_test
