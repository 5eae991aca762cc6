// SPDX-License-Identifier: Apache-2.0
// What masks must be whatever the draw: disjoint, ascending, stackable, and about as large as
// asked.
#include "foresight/models/multiblock_masks.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::multiblock_masks_test {

using models::MultiblockMaskOptions;
using models::MultiblockMasks;

namespace {

bool ascends(const Tensor& ids) {
  return ids.size(1) < 2 || (ids.slice(1, 1) - ids.slice(1, 0, -1)).gt(0).all().item<bool>();
}

// Times that each token of a clip occurs in both lists together.
Tensor occurrences(const models::TokenMasks& masks, int64_t clip, int64_t tokens) {
  auto count = at::zeros({tokens}, at::kLong);
  for (const auto& ids : {masks.context, masks.targets})
    count.index_add_(0, ids[clip], at::ones({ids.size(1)}, at::kLong));
  return count;
}

}  // namespace

TEST_CASE("masks of a batch are disjoint, ascending and of one length") {
  const nn::TokenGrid grid{4, 6, 8};
  for (const auto& options :
       {MultiblockMaskOptions::short_range(), MultiblockMaskOptions::long_range()}) {
    const MultiblockMasks sampler(options, grid);
    PhiloxNoise noise(3);
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto masks = sampler.sample(5, noise);
      CHECK(masks.context.size(0) == 5);
      CHECK(masks.targets.size(0) == 5);
      CHECK(masks.context.size(1) >= 1);
      CHECK(ascends(masks.context));
      CHECK(ascends(masks.targets));
      for (int64_t clip = 0; clip < 5; ++clip)
        CHECK(occurrences(masks, clip, grid.count()).max().item<int64_t>() <= 1);
    }
  }
}

TEST_CASE("with a complement every token is in one of the lists") {
  const nn::TokenGrid grid{2, 6, 6};
  for (const auto complement : {models::MaskComplement::targets, models::MaskComplement::context}) {
    auto options = MultiblockMaskOptions::short_range();
    options.complement = complement;
    const MultiblockMasks sampler(options, grid);
    PhiloxNoise noise(4);
    const auto masks = sampler.sample(3, noise);
    for (int64_t clip = 0; clip < 3; ++clip)
      CHECK(occurrences(masks, clip, grid.count()).eq(1).all().item<bool>());
  }
}

TEST_CASE("a full-length block hides the same places in every frame") {
  const nn::TokenGrid grid{3, 5, 5};
  auto options = MultiblockMaskOptions::long_range();
  options.blocks = 1;
  const MultiblockMasks sampler(options, grid);
  PhiloxNoise noise(5);
  const auto masks = sampler.sample(1, noise);
  auto hidden = at::zeros({grid.count()}, at::kBool);
  hidden.index_fill_(0, masks.targets[0], true);
  const auto frames = hidden.view({3, 25});
  CHECK(at::equal(frames[0], frames[1]));
  CHECK(at::equal(frames[0], frames[2]));
  // One block of 70 % of a frame, within the rounding of its two sides.
  const auto part = frames[0].to(at::kDouble).mean().item<double>();
  CHECK(std::abs(part - 0.7) < 0.15);
}

TEST_CASE("the draws decide, and equal draws give equal masks") {
  const MultiblockMasks sampler(MultiblockMaskOptions::short_range(), {4, 8, 8});
  PhiloxNoise first(6), again(6);
  const auto a = sampler.sample(2, first), b = sampler.sample(2, again),
             c = sampler.sample(2, again);
  CHECK(at::equal(a.context, b.context));
  CHECK(at::equal(a.targets, b.targets));
  CHECK_FALSE((c.targets.sizes() == a.targets.sizes() && at::equal(a.targets, c.targets)));
}

TEST_CASE("masks that can never leave anything visible are an error") {
  auto options = MultiblockMaskOptions::long_range();
  options.spatial_scale = {1.0, 1.0};
  options.aspect = {1.0, 1.0};
  const MultiblockMasks sampler(options, {2, 4, 4});
  PhiloxNoise noise(7);
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { sampler.sample(1, noise); }, "hide"));
  options.spatial_scale = {0.5, 0.2};
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        MultiblockMasks(options, {2, 4, 4});
      },
      "spatial_scale"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        sampler.masks({2, 3, 3}, at::full({1, 2, 3}, 2, at::kLong));
      },
      "leaves the grid"));
}

}  // namespace foresight::multiblock_masks_test
