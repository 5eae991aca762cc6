// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/video_reader.hpp"

#include <cmath>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "recordings.hpp"
#include "sha256.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::video_reader_test {
namespace {

const VideoReaderOptions kAccurate = {.conversion = ColourConversion::accurate,
                                      .orientation = Orientation::coded};
const VideoReaderOptions kFast = {.orientation = Orientation::coded};

// Every clip whose reference says that it is sound.
template <class Check>
void for_each_sound_clip(Check&& check) {
  int clips = 0;
  const nlohmann::json goldens = camera_goldens();
  for (const auto& [name, golden] : goldens.at("files").items()) {
    if (golden.at("expect") != "ok") continue;
    INFO(name);
    check(clip(name), golden);
    ++clips;
  }
  REQUIRE(clips >= 10);
}

TEST_CASE("sha256 gives the published digests") {
  CHECK(test::sha256("", 0) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(test::sha256("abc", 3) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("the frame table equals the decoded presentation times of every sound clip") {
  for_each_sound_clip([](const std::string& path, const nlohmann::json& golden) {
    const VideoReader reader(path, kAccurate);
    const auto& stream = golden.at("stream");
    CHECK(reader.pts() == golden.at("pts").get<std::vector<int64_t>>());
    CHECK(reader.info().codec == stream.at("codec").get<std::string>());
    CHECK(reader.info().coded_width == stream.at("width").get<int64_t>());
    CHECK(reader.info().coded_height == stream.at("height").get<int64_t>());
    CHECK(reader.info().rotation == stream.at("rotation").get<double>());
    CHECK(reader.info().constant_rate == golden.at("constant_rate").get<bool>());
    for (const auto& frame : golden.at("frames"))
      CHECK(reader.time(frame.at("index").get<int64_t>()) ==
            Approx(frame.at("time").get<double>()));
  });
}

TEST_CASE("decoding the whole file gives the same frame table as its packets") {
  for_each_sound_clip([](const std::string& path, const nlohmann::json& golden) {
    VideoReaderOptions options = kAccurate;
    options.index = FrameIndex::decoded;
    VideoReader reader(path, options);
    CHECK(reader.pts() == golden.at("pts").get<std::vector<int64_t>>());
    const auto& last = golden.at("frames").back();
    CHECK(picture_hash(reader.frame(last.at("index").get<int64_t>())) ==
          last.at("rgb24_accurate_sha256").get<std::string>());
  });
}

TEST_CASE("frames of every sound clip have the reference's bytes in any order of access") {
  for_each_sound_clip([](const std::string& path, const nlohmann::json& golden) {
    VideoReader forward(path, kAccurate), backward(path, kAccurate);
    const auto& frames = golden.at("frames");
    for (const auto& frame : frames)
      CHECK(picture_hash(forward.frame(frame.at("index").get<int64_t>())) ==
            frame.at("rgb24_accurate_sha256").get<std::string>());
    for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame)
      CHECK(picture_hash(backward.frame(frame->at("index").get<int64_t>())) ==
            frame->at("rgb24_accurate_sha256").get<std::string>());
  });
}

TEST_CASE("the fast conversion agrees with the reference's short cut to the CPU's last bits") {
  for_each_sound_clip([](const std::string& path, const nlohmann::json& golden) {
    VideoReader reader(path, kFast);
    for (const auto& frame : golden.at("frames")) {
      const Tensor picture = reader.frame(frame.at("index").get<int64_t>());
      // SIMD and C versions of the short cut differ by up to 3 levels, 0.9 in the mean.
      const Tensor mean = picture.to(at::kDouble).mean(at::IntArrayRef{0, 1});
      CHECK((mean - numbers(frame.at("mean"))).abs().max().item<double>() < 1.0);
      if (frame.contains("thumb8_rgb_bicubic") && picture.size(0) % 8 == 0 &&
          picture.size(1) % 8 == 0)
        CHECK((thumbnail(picture) - numbers(frame.at("thumb8_rgb_bicubic")))
                  .abs()
                  .max()
                  .item<double>() < 1.5);
#if defined(__x86_64__)
      if (__builtin_cpu_supports("avx2"))
        CHECK(picture_hash(picture) == frame.at("rgb24_bicubic_sha256").get<std::string>());
#endif
    }
  });
}

TEST_CASE("every frame read alone, from a fresh seek, equals the frame read in sequence") {
  for (const std::string name :
       {"cup_h264_bframes.mp4", "cup_av1_g64.mp4", "cup_editlist.mp4", "cup_odd_vp9_420.webm",
        "tree_cinepak.avi", "cup_vfr_bframes.mp4"}) {
    INFO(name);
    VideoReader sequential(clip(name), kAccurate), jumping(clip(name), kAccurate);
    const int64_t n = sequential.num_frames();
    std::vector<Tensor> expected;
    for (int64_t i = 0; i < n; ++i) expected.push_back(sequential.frame(i));
    for (int64_t i = 0; i < n; ++i) {
      const int64_t index =
          (i * 37 + 11) % n;  // visits everything when 37 and n have no common factor
      CHECK(at::equal(jumping.frame(index), expected[static_cast<std::size_t>(index)]));
    }
    CHECK_FALSE(at::equal(expected.front(), expected.back()));
  }
}

TEST_CASE("many frames come in the order asked for, with repetitions") {
  VideoReader reader(clip("cup_h264_bframes.mp4"), kAccurate),
      single(clip("cup_h264_bframes.mp4"), kAccurate);
  const std::vector<int64_t> indices = {60, 3, 60, 0, 80, 4, 3};
  const Tensor frames = reader.frames(indices);
  REQUIRE(frames.sizes() == at::IntArrayRef({7, 240, 320, 3}));
  for (std::size_t i = 0; i < indices.size(); ++i)
    CHECK(at::equal(frames[static_cast<int64_t>(i)], single.frame(indices[i])));
  CHECK(reader.frames({}).size(0) == 0);
}

TEST_CASE("times find the nearest frame and the frame on display") {
  int lookups = 0;
  for_each_sound_clip([&](const std::string& path, const nlohmann::json& golden) {
    if (!golden.contains("lookups")) return;
    const VideoReader reader(path);
    for (const auto& lookup : golden.at("lookups")) {
      const double t = lookup.at("t").get<double>();
      INFO("t = " << t);
      CHECK(reader.nearest(t) == lookup.at("nearest_index").get<int64_t>());
      CHECK(reader.on_display(t) == lookup.at("displayed_index").get<int64_t>());
      ++lookups;
    }
    const int64_t last = reader.num_frames() - 1;
    CHECK(reader.on_display(-5.0) == 0);
    CHECK(reader.nearest(-5.0) == 0);
    CHECK(reader.on_display(1e6) == last);
    CHECK(reader.nearest(1e6) == last);
    for (int64_t i = 0; i <= last; ++i) {
      CHECK(reader.on_display(reader.time(i)) == i);
      CHECK(reader.nearest(reader.time(i)) == i);
    }
  });
  REQUIRE(lookups > 50);
}

TEST_CASE("a time without a frame near enough is an error that names the nearest") {
  VideoReader reader(clip("cup_h264_bframes.mp4"));
  CHECK(at::equal(reader.frame_at(1.4939, 1e-4), reader.frame(40)));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { reader.frame_at(1.5, 1e-4); }, "cup_h264_bframes.mp4",
      "t = 1.5", "frame 40"));
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { reader.nearest(std::nan("")); }, "time"));
}

TEST_CASE("a rotation in the file is applied, or only reported") {
  const nlohmann::json golden = camera_goldens().at("files").at("cup_rotate90.mp4");
  VideoReader upright(clip("cup_rotate90.mp4")), coded(clip("cup_rotate90.mp4"), kFast);
  CHECK(upright.info().rotation == 90);
  CHECK(coded.info().rotation == 90);
  const Tensor turned = upright.frame(9), as_coded = coded.frame(9);
  REQUIRE(turned.sizes() == at::IntArrayRef({320, 240, 3}));
  REQUIRE(as_coded.sizes() == at::IntArrayRef({240, 320, 3}));
  CHECK(at::equal(turned, at::rot90(as_coded, 1, {0, 1})));
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2"))
    for (const auto& [index, hash] : golden.at("autorotated").at("rgb24_bicubic_sha256").items())
      CHECK(picture_hash(upright.frame(std::stoll(index))) == hash.get<std::string>());
#endif
}

TEST_CASE("frames are resized while decoding, also when they are turned") {
  for (const Scaling scaling : {Scaling::bilinear, Scaling::bicubic, Scaling::area}) {
    VideoReader small(
        clip("cup_h264_bframes.mp4"),
        {.height = 48, .width = 64, .scaling = scaling, .conversion = ColourConversion::accurate});
    VideoReader full(clip("cup_h264_bframes.mp4"), kAccurate);
    const Tensor shrunk = small.frame(40), whole = full.frame(40);
    REQUIRE(shrunk.sizes() == at::IntArrayRef({48, 64, 3}));
    // Each result pixel stands for a 5x5 block: near the block's mean, whatever the filter.
    const Tensor means =
        whole.to(at::kDouble).reshape({48, 5, 64, 5, 3}).mean(at::IntArrayRef{1, 3});
    CHECK((shrunk.to(at::kDouble) - means).abs().mean().item<double>() < 3.0);
  }
  VideoReader turned(clip("cup_rotate90.mp4"), {.height = 40, .width = 30});
  VideoReader large(clip("cup_rotate90.mp4"));
  REQUIRE(turned.frame(0).sizes() == at::IntArrayRef({40, 30, 3}));
  const Tensor means =
      large.frame(0).to(at::kDouble).reshape({40, 8, 30, 8, 3}).mean(at::IntArrayRef{1, 3});
  CHECK((turned.frame(0).to(at::kDouble) - means).abs().mean().item<double>() < 3.0);
}

TEST_CASE("files that are no video fail to open and say why") {
  const auto opening = [](const std::string& path) { return [path] { VideoReader reader(path); }; };
  TemporaryFolder folder;
  CHECK(fails_with(ErrorCategory::not_found, opening("/nowhere/a.mp4"), "/nowhere/a.mp4",
                   "no such file"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(folder.path().string()), "not a regular file"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(clip("bad_empty.mp4")), "bad_empty.mp4",
                   "is empty"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(clip("bad_not_a_video.mp4")),
                   "bad_not_a_video.mp4", "not a readable video"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(clip("bad_truncated_moov_last.mp4")),
                   "bad_truncated_moov_last.mp4", "not a readable video"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(clip("bad_audio_only.mp4")),
                   "bad_audio_only.mp4", "none of them is video"));
  CHECK(fails_with(ErrorCategory::bad_file, opening(clip("bad_no_frames.mp4")), "bad_no_frames.mp4",
                   "has no streams"));
}

TEST_CASE("a playlist that pretends to be a video opens no other file") {
  TemporaryFolder folder;
  std::ofstream(folder / "list.mp4") << "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n"
                                     << clip("one_frame.mp4") << "\n#EXT-X-ENDLIST\n";
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { VideoReader reader((folder / "list.mp4").string()); },
      "list.mp4"));
}

TEST_CASE("a file that was cut fails to open, or gives what decodes if asked to") {
  const std::string path = clip("bad_truncated_moov_first.mp4");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { VideoReader reader(path); }, "bad_truncated_moov_first.mp4"));
  VideoReader whole(clip("cup_h264_bframes.mp4"), kAccurate);
  VideoReaderOptions options = kAccurate;
  options.damage = Damage::skip;
  VideoReader cut(path, options);
  CHECK(cut.num_frames() >= 53);
  CHECK(cut.num_frames() <= 55);
  CHECK(at::equal(cut.frame(40), whole.frame(40)));
  CHECK(at::equal(cut.frame(3), whole.frame(3)));
}

TEST_CASE("damaged pictures fail when they are read, sound ones before them do not") {
  const std::string path = clip("bad_bitflips.mp4");
  VideoReader reader(path, kAccurate), whole(clip("cup_h264_bframes.mp4"), kAccurate);
  int64_t good = 0;
  std::string message;
  try {
    for (; good < reader.num_frames(); ++good) {
      const Tensor frame = reader.frame(good);
      if (good < 40) CHECK(at::equal(frame, whole.frame(good)));
    }
  } catch (const Error& error) {
    message = error.what();
  }
  CHECK(good >= 40);
  CHECK(good < 80);
  CHECK(message.find("bad_bitflips.mp4: frame " + std::to_string(good)) != std::string::npos);
  CHECK_NOTHROW(reader.frame(5));  // an error leaves the reader usable

  VideoReaderOptions options = kAccurate;
  options.damage = Damage::skip;
  VideoReader tolerant(path, options);
  CHECK(tolerant.num_frames() == 80);
  CHECK_NOTHROW(tolerant.frame(79));
  CHECK(at::equal(tolerant.frame(20), whole.frame(20)));
}

TEST_CASE("times that do not ascend fall back to counting decoded frames") {
  const std::string path = clip("box_h264_bad_pts.mp4");
  const nlohmann::json golden = camera_goldens().at("files").at("box_h264_bad_pts.mp4");
  VideoReader reader(path, kAccurate);
  REQUIRE(reader.num_frames() == 60);
  CHECK(reader.pts() == golden.at("pts").get<std::vector<int64_t>>());
  const Tensor last = reader.frame(59), first = reader.frame(0);
  CHECK_FALSE(at::equal(last, first));
  CHECK(picture_hash(first) ==
        golden.at("frames").at(0).at("rgb24_accurate_sha256").get<std::string>());
  CHECK(at::equal(reader.frame(59), last));
}

TEST_CASE("wrong indices and options are refused before anything is decoded") {
  VideoReader reader(clip("one_frame.mp4"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { reader.frame(1); }, "frame 1", "0..0"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { reader.frame(-1); }, "frame -1"));
  Tensor wrong = at::empty({1, 8, 8, 3}, at::kByte);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { reader.read({0}, wrong); }, "[N,H,W,3]"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { VideoReader r(clip("one_frame.mp4"), {.height = -1}); },
      "height"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { VideoReader r(clip("one_frame.mp4"), {.height = 64}); },
      "width"));
}

}  // namespace
}  // namespace foresight::data::video_reader_test
