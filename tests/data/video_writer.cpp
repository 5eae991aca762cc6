// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/video_writer.hpp"

#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/video_reader.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::video_writer_test {
namespace {

namespace fs = std::filesystem;

// A film in which every frame is different: a bright square walks over a gradient.
Tensor film(int64_t frames, int64_t height, int64_t width) {
  const Tensor rows = at::arange(height, at::kFloat).view({1, height, 1, 1});
  const Tensor columns = at::arange(width, at::kFloat).view({1, 1, width, 1});
  const Tensor channel = at::arange(3, at::kFloat).view({1, 1, 1, 3});
  Tensor pixels = (rows + columns + 20 * channel).expand({frames, height, width, 3}).clone();
  for (int64_t t = 0; t < frames; ++t)
    pixels[t].narrow(0, t % (height - 8), 8).narrow(1, t % (width - 8), 8).fill_(230);
  return pixels.clamp(0, 255).to(at::kByte);
}

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

double mean_error(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().mean().item<double>();
}

TEST_CASE("a written film reads back with the same frames at the same times") {
  TemporaryFolder folder;
  const Tensor frames = film(45, 48, 64);
  const auto path = folder / "film.mp4";
  VideoWriter writer(path, {.fps = 12.5, .chroma = Chroma::yuv444});
  writer.write(frames.narrow(0, 0, 1)[0]);
  writer.write(frames.narrow(0, 1, 44));
  CHECK(writer.frames_written() == 45);
  CHECK_FALSE(fs::exists(path));
  writer.close();
  CHECK(files_in(folder.path()) == 1);

  VideoReader reader(path.string(), {.conversion = ColourConversion::accurate});
  REQUIRE(reader.num_frames() == 45);
  CHECK(reader.info().codec == "h264");
  CHECK(reader.info().constant_rate);
  CHECK(reader.info().average_rate == Approx(12.5));
  for (int64_t t = 0; t < 45; ++t)
    CHECK(reader.time(t) == Approx(static_cast<double>(t) / 12.5).margin(1e-6));
  const Tensor back = reader.frames({0, 17, 44});
  CHECK(mean_error(back[0], frames[0]) < 2.0);
  CHECK(mean_error(back[1], frames[17]) < 2.0);
  CHECK(mean_error(back[2], frames[44]) < 2.0);
  // Neighbouring frames are told apart.
  CHECK(mean_error(back[1], frames[17]) < mean_error(back[1], frames[16]) / 2);
  CHECK(mean_error(back[1], frames[17]) < mean_error(back[1], frames[18]) / 2);
}

TEST_CASE("colours survive the way to YUV and back") {
  TemporaryFolder folder;
  const Tensor colours =
      at::tensor({255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 128, 64, 32}, at::kByte)
          .reshape({6, 1, 1, 3});
  const auto path = folder / "colours.mp4";
  VideoWriter writer(path);
  writer.write(colours.expand({6, 32, 32, 3}));
  writer.close();
  VideoReader reader(path.string());
  for (int64_t i = 0; i < 6; ++i)
    CHECK((reader.frame(i).to(at::kInt) - colours[i].to(at::kInt)).abs().max().item<int>() <= 4);
}

TEST_CASE("odd sizes need full colour resolution") {
  TemporaryFolder folder;
  const auto path = folder / "odd.mp4";
  VideoWriter refused(path);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { refused.write(film(1, 31, 33)); }, "33x31", "yuv444"));
  VideoWriter writer(path, {.chroma = Chroma::yuv444});
  writer.write(film(3, 31, 33));
  writer.close();
  VideoReader reader(path.string());
  CHECK(reader.frame(2).sizes() == at::IntArrayRef({31, 33, 3}));
}

TEST_CASE("a film that is not closed leaves nothing behind, not even instead of an older one") {
  TemporaryFolder folder;
  const auto path = folder / "film.mp4";
  std::ofstream(path) << "older";
  {
    VideoWriter writer(path);
    writer.write(film(3, 16, 16));
    CHECK(files_in(folder.path()) == 2);
  }
  CHECK(files_in(folder.path()) == 1);
  CHECK(fs::file_size(path) == 5);
}

TEST_CASE("a film of one frame is a film") {
  TemporaryFolder folder;
  const auto path = folder / "one.mp4";
  VideoWriter writer(path);
  writer.write(film(1, 16, 16));
  writer.close();
  CHECK(VideoReader(path.string()).num_frames() == 1);
}

TEST_CASE("wrong frames, options and places are refused") {
  TemporaryFolder folder;
  const auto path = folder / "film.mp4";
  VideoWriter writer(path);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer.close(); }, "no frame"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        writer.write(at::zeros({16, 16, 4}, at::kByte));
      },
      "[H,W,3]"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        writer.write(at::zeros({16, 16, 3}));
      },
      "uint8"));
  writer.write(film(1, 16, 16));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { writer.write(film(1, 16, 18)); }, "another size"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { VideoWriter w(path, {.fps = 0}); }, "fps"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { VideoWriter w(path, {.encoder = "libnothing"}); },
      "libnothing"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { VideoWriter w(path, {.encoder = "mjpeg"}); }, "mjpeg"));
  CHECK(fails_with(
      ErrorCategory::io_failure, [] { VideoWriter w("/nowhere/film.mp4"); }, "/nowhere"));
}

}  // namespace
}  // namespace foresight::data::video_writer_test
