// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/resized_dataset.hpp"

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "recordings.hpp"

namespace foresight::resized_dataset_test {

TEST_CASE("a resized data set shrinks frames by the triangle filter and leaves the rest alone") {
  const auto original = data::open_dataset((data::recordings() / "tworoom" / "folder").string());
  const data::ResizedDataset half(original, {32, 32});
  CHECK(half.image_size() == data::ImageSize{32, 32});
  CHECK(half.num_episodes() == original->num_episodes());
  const auto frames = half.read_frames(1, {0, 3});
  REQUIRE(frames.sizes() == at::IntArrayRef({2, 32, 32, 3}));
  // Halving: weights 1/8, 3/8, 3/8, 1/8 along each axis, in float64, away from the border.
  const auto pixels = original->read_frames(1, {0, 3}).to(at::kDouble);
  const auto w = at::tensor({1.0, 3.0, 3.0, 1.0}, at::kDouble) / 8;
  for (const int64_t y : {3, 14, 20})
    for (const int64_t x : {2, 15, 28}) {
      const auto patch = pixels.narrow(1, 2 * y - 1, 4).narrow(2, 2 * x - 1, 4);
      const auto expected =
          (patch * w.view({1, 4, 1, 1}) * w.view({1, 1, 4, 1})).sum(at::IntArrayRef({1, 2}));
      const auto actual = frames.select(1, y).select(1, x).to(at::kDouble);
      CHECK((actual - expected).abs().max().item<double>() <= 1.0);
    }
  CHECK_THROWS_AS(data::ResizedDataset(original, {0, 3}), Error);
}

}  // namespace foresight::resized_dataset_test
