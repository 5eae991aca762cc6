// SPDX-License-Identifier: Apache-2.0
// JPEG pictures that are made smaller while they are decoded.
#include "catch.hpp"
#include "foresight/data/dataset.hpp"
#include "recordings.hpp"

namespace foresight::data::jpeg_reduction_test {
namespace {

std::shared_ptr<const Dataset> jpeg_folder(int64_t height, int64_t width, JpegReduction reduction,
                                           const char* name = "swm/folder") {
  return open_dataset(recordings() / "tworoom" / name,
                      {.video = {.height = height, .width = width, .jpeg_reduction = reduction}});
}

Tensor first_frames(const Dataset& data) { return data.read_frames(0, {0, 1, 2, 3, 4, 5}); }

TEST_CASE("a picture that is reduced while it is decoded shows the means of its blocks") {
  const auto whole = open_dataset(recordings() / "tworoom" / "swm" / "folder");
  REQUIRE(whole->image_size() == ImageSize{64, 64});
  const Tensor pixels = first_frames(*whole).to(at::kDouble);
  for (const int64_t reduction : {2, 4, 8}) {
    INFO("1/" << reduction);
    const int64_t side = 64 / reduction;
    const auto small = jpeg_folder(side, side, JpegReduction::while_decoding);
    REQUIRE(small->image_size() == ImageSize{side, side});
    const Tensor blocks =
        pixels.view({6, side, reduction, side, reduction, 3}).mean(at::IntArrayRef({2, 4}));
    const Tensor difference = (first_frames(*small).to(at::kDouble) - blocks).abs();
    // The same light everywhere, and at edges another filter than that of the mean.
    CHECK(difference.mean().item<double>() < 1.5);
    CHECK((difference > 16).to(at::kDouble).mean().item<double>() < 0.02);
  }
}

TEST_CASE("pictures are reduced while they are decoded only if asked for, and to at most half") {
  const auto same = [](int64_t height, int64_t width, const char* name = "swm/folder") {
    return at::equal(
        first_frames(*jpeg_folder(height, width, JpegReduction::while_decoding, name)),
        first_frames(*jpeg_folder(height, width, JpegReduction::after_decoding, name)));
  };
  CHECK_FALSE(same(32, 32));
  CHECK_FALSE(same(20, 30));  // 32 x 32, then resized
  CHECK(same(33, 33));
  CHECK(same(20, 33));  // as one side asks for more than half
  CHECK(same(0, 0));
  CHECK(same(64, 64));
  CHECK(same(100, 100));
  CHECK(same(32, 32, "swm/video"));
  CHECK(VideoReaderOptions{}.jpeg_reduction == JpegReduction::after_decoding);
}

}  // namespace
}  // namespace foresight::data::jpeg_reduction_test
