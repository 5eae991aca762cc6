// SPDX-License-Identifier: Apache-2.0
// Frames that are made smaller while they are decoded, straight from YUV, beside frames that are
// decoded whole and then made smaller by the same filter. docs/data.md states the bounds.
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/data/video/picture.hpp"
#include "catch.hpp"
#include "foresight/data/video_reader.hpp"
#include "recordings.hpp"

namespace foresight::data::scaling_test {
namespace {

// The mean of the pixels that fall on each pixel of a picture that is `times` smaller.
Tensor block_means(const Tensor& pictures, int64_t times) {
  const int64_t n = pictures.size(0), h = pictures.size(1) / times, w = pictures.size(2) / times;
  return pictures.to(at::kDouble).view({n, h, times, w, times, 3}).mean(at::IntArrayRef{2, 4});
}

struct Difference {
  double mean = 0, largest = 0;  // grey levels
};

Difference between(const Tensor& a, const Tensor& b) {
  const Tensor off = (a.to(at::kDouble) - b.to(at::kDouble)).abs();
  return {off.mean().item<double>(), off.max().item<double>()};
}

struct Clip {
  std::string path;
  int64_t height, width;  // a quarter of its own
};

std::vector<Clip> clips_to_shrink() {
  std::vector<Clip> all;
  for (const char* name : {"cup_h264_bframes.mp4", "cup_av1_g2.mp4", "cup_fullrange_bt709.mp4"})
    all.push_back({clip(name), 60, 80});
  for (const char* name : {"episode_0004.mp4", "episode_0007.mp4", "episode_0012.mp4"})
    all.push_back({(recordings() / "tworoom" / "native224" / name).string(), 56, 56});
  return all;
}

// Some frames of a clip, whole, or shrunk while decoding.
Tensor frames_of_clip(const std::string& path, const VideoReaderOptions& options = {}) {
  VideoReader reader(path, options);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < 8; ++i) rows.push_back(i * (reader.num_frames() - 1) / 7);
  return reader.frames(rows);
}

}  // namespace

TEST_CASE(
    "frames averaged while decoding, converted exactly, are whole frames averaged afterwards") {
  for (const auto& one : clips_to_shrink()) {
    const auto exact = ColourConversion::accurate;
    const auto whole = frames_of_clip(one.path, {.conversion = exact});
    const auto off = between(frames_of_clip(one.path, {.height = one.height,
                                                       .width = one.width,
                                                       .scaling = Scaling::area,
                                                       .conversion = exact}),
                             block_means(whole, 4));
    INFO(one.path << ": mean " << off.mean << ", largest " << off.largest);
    CHECK(off.mean < 0.3);
    CHECK(off.largest < 8);
  }
}

TEST_CASE(
    "frames made smaller while decoding stay within some levels of those made so afterwards") {
  for (const auto& one : clips_to_shrink()) {
    const auto whole = frames_of_clip(one.path);
    const auto afterwards =
        at::_upsample_bilinear2d_aa(whole.permute({0, 3, 1, 2}), {one.height, one.width}, false)
            .permute({0, 2, 3, 1});
    for (const auto scaling : {Scaling::bilinear, Scaling::bicubic, Scaling::area}) {
      const auto off = between(
          frames_of_clip(one.path, {.height = one.height, .width = one.width, .scaling = scaling}),
          afterwards);
      INFO(one.path << " " << enum_name(scaling) << ": mean " << off.mean << ", largest "
                    << off.largest);
      CHECK(off.mean < 4);
      CHECK(off.largest < 48);
    }
  }
}

// A picture that ends where readable memory does, as in a mapped file.
TEST_CASE("nothing is read behind pictures that are made smaller") {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* memory =
      ::mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  auto* end = static_cast<std::uint8_t*>(memory) + 3 * page;
  REQUIRE(::mprotect(end, page, PROT_NONE) == 0);
  constexpr int64_t kSize = 32;
  const std::vector<int64_t> shape{2, kSize, kSize, 3};
  auto* first = end - 2 * kSize * kSize * 3;
  for (int64_t i = 0; i < 2 * kSize * kSize * 3; ++i) first[i] = static_cast<std::uint8_t>(i % 251);
  const Tensor pictures = at::from_blob(first, shape, at::kByte);
  for (const auto scaling : {Scaling::bilinear, Scaling::bicubic, Scaling::area}) {
    const VideoReaderOptions options{.height = 8, .width = 8, .scaling = scaling};
    CHECK(at::equal(resized_pictures(pictures, options),
                    resized_pictures(pictures.clone(), options)));
  }
  ::munmap(memory, 4 * page);
}

}  // namespace foresight::data::scaling_test
