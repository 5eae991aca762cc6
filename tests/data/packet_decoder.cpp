// SPDX-License-Identifier: Apache-2.0
// Reading packets without a demuxer must give the frames that VideoReader gives.
#include "../../src/data/video/packet_decoder.hpp"

#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>

#include "catch.hpp"
#include "foresight/data/video_writer.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::packet_decoder_test {
namespace {

namespace fs = std::filesystem;

struct Clip {
  std::string path;
  std::unique_ptr<VideoReader> reader;
};

// Undamaged clips; those whose packets do not lie plainly in the file come without packets.
std::vector<Clip> whole_clips() {
  std::vector<Clip> clips;
  for (const auto& entry : fs::directory_iterator(recordings() / "camera")) {
    const std::string path = entry.path().string();
    if (entry.path().extension() == ".json" || entry.path().filename().string().starts_with("bad_"))
      continue;
    clips.push_back({path, std::make_unique<VideoReader>(path)});
  }
  return clips;
}

Tensor by_packets(PacketDecoder& decoder, const Clip& clip, const std::vector<int64_t>& frames) {
  Tensor pictures = at::zeros(
      {static_cast<int64_t>(frames.size()), decoder.height(), decoder.width(), 3}, at::kByte);
  return decoder.read(*clip.reader->table(), clip.path, frames,
                      pictures.mutable_data_ptr<std::uint8_t>())
             ? pictures
             : Tensor();
}

TEST_CASE("frames decoded from packets are those that the demuxer leads to") {
  std::set<std::string> codecs;
  for (const auto& clip : whole_clips()) {
    if (clip.reader->table()->packets.empty()) continue;
    INFO(clip.path);
    PacketDecoder decoder(*clip.reader->table(), {}, clip.path);
    const int64_t count = clip.reader->num_frames();
    std::vector<int64_t> all(static_cast<std::size_t>(count)), mixed;
    std::iota(all.begin(), all.end(), 0);
    for (int64_t i = 0; i < 9; ++i) mixed.push_back((i * 37 + 11) % count);  // with repetitions
    mixed.push_back(mixed.front());
    for (const auto& frames : {all, mixed}) {
      const Tensor pictures = by_packets(decoder, clip, frames);
      REQUIRE(pictures.defined());
      CHECK(at::equal(pictures, clip.reader->frames(frames)));
    }
    for (const int64_t frame : {count - 1, int64_t{0}, count / 2}) {
      const Tensor picture = by_packets(decoder, clip, {frame});
      REQUIRE(picture.defined());
      CHECK(at::equal(picture[0], clip.reader->frame(frame)));
    }
    codecs.insert(clip.reader->info().codec);
  }
  for (const char* codec : {"h264", "av1", "hevc"}) CHECK(codecs.contains(codec));
}

TEST_CASE("a decoder goes on where a long sequence of frames has ended") {
  constexpr int64_t kPiece = 24;
  int64_t long_groups = 0;
  for (const auto& clip : whole_clips()) {
    const auto& table = *clip.reader->table();
    const int64_t count = clip.reader->num_frames();
    if (table.packets.empty() || count <= 2 * kPiece) continue;
    INFO(clip.path);
    PacketDecoder decoder(table, {}, clip.path);
    for (int64_t first = 0; first < count; first += kPiece) {
      std::vector<int64_t> piece(static_cast<std::size_t>(std::min(kPiece, count - first)));
      std::iota(piece.begin(), piece.end(), first);
      const Tensor pictures = by_packets(decoder, clip, piece);
      REQUIRE(pictures.defined());
      CHECK(at::equal(pictures, clip.reader->frames(piece)));
    }
    if (static_cast<int64_t>(table.keys.size()) * kPiece >= count) continue;
    ++long_groups;  // every packet once, but those of the last group, if its piece is a short one
    CHECK(decoder.packets_sent() < std::ssize(table.packets) + 2 * kPiece);
    // Elsewhere it begins anew, also at a frame that the sequence has passed.
    for (const int64_t frame : {count / 2, int64_t{1}, count - 1}) {
      std::vector<int64_t> piece(kPiece);
      std::iota(piece.begin(), piece.end(), 3);
      REQUIRE(by_packets(decoder, clip, piece).defined());
      const Tensor picture = by_packets(decoder, clip, {frame});
      REQUIRE(picture.defined());
      CHECK(at::equal(picture[0], clip.reader->frame(frame)));
    }
  }
  CHECK(long_groups > 0);
}

// Windows of four frames, `stride` apart, as a loader reads them.
std::vector<int64_t> window_at(int64_t first, int64_t stride) {
  return {first, first + stride, first + 2 * stride, first + 3 * stride};
}

TEST_CASE("windows that follow each other decode each packet about once") {
  int64_t long_groups = 0;
  for (const auto& clip : whole_clips()) {
    const auto& table = *clip.reader->table();
    const int64_t count = clip.reader->num_frames();
    if (table.packets.empty() || static_cast<int64_t>(table.keys.size()) * 16 > count) continue;
    INFO(clip.path);
    for (const int64_t stride : {1, 5})
      for (const int64_t step : {1, 3}) {
        PacketDecoder decoder(table, {}, clip.path);
        int64_t covered = 0;
        for (int64_t first = 0; first + 3 * stride + 8 < count; first += step) {
          const auto window = window_at(first, stride);
          const Tensor pictures = by_packets(decoder, clip, window);
          REQUIRE(pictures.defined());
          CHECK(at::equal(pictures, clip.reader->frames(window)));
          covered = window.back() + 1;
        }
        // The first three begin at the key frame.
        if (covered == 0) continue;
        ++long_groups;
        const int64_t before_first = table.packet_of.front();  // as in edit lists
        CHECK(decoder.packets_sent() <=
              covered + 3 * before_first + 2 * (3 * stride + 2 * step + 1) + 24);
      }
  }
  CHECK(long_groups > 0);
}

TEST_CASE("windows that follow each other without overlapping still jump over what lies between") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto film = folder / "film.mp4";
  VideoWriter writer(film, {.key_interval = 2, .preset = "ultrafast"});
  at::manual_seed(3);
  for (int i = 0; i < 20; ++i) writer.write(at::randint(0, 256, {20, 16, 16, 3}, at::kByte));
  writer.close();
  const Clip clip{film.string(), std::make_unique<VideoReader>(film.string())};
  const auto& table = *clip.reader->table();
  REQUIRE(table.packets.size() == 400);
  PacketDecoder decoder(table, {}, clip.path);
  int64_t windows = 0;
  for (int64_t first = 0; first + 60 < 400; first += 61, ++windows) {
    const auto window = window_at(first, 20);
    const Tensor pictures = by_packets(decoder, clip, window);
    REQUIRE(pictures.defined());
    CHECK(at::equal(pictures, clip.reader->frames(window)));
  }
  // Two packets a frame, and behind the last one what a decoder may hold back.
  CHECK(decoder.packets_sent() <= windows * (4 * 2 + 16));
}

TEST_CASE("windows in random order decode no more than a decoder that has read nothing") {
  for (const char* name : {"cup_h264_bframes.mp4", "cup_av1_g64.mp4", "cup_hevc_10bit.mp4"}) {
    INFO(name);
    const Clip clip{data::clip(name), std::make_unique<VideoReader>(data::clip(name))};
    const auto& table = *clip.reader->table();
    PacketDecoder decoder(table, {}, clip.path);
    const int64_t windows = clip.reader->num_frames() - 15;
    int64_t anew = 0;
    for (int64_t i = 0; i < windows; ++i) {
      const auto window = window_at((i * 37 + 11) % windows, 5);
      const Tensor pictures = by_packets(decoder, clip, window);
      REQUIRE(pictures.defined());
      CHECK(at::equal(pictures, clip.reader->frames(window)));
      PacketDecoder fresh(table, {}, clip.path);
      REQUIRE(by_packets(fresh, clip, window).defined());
      anew += fresh.packets_sent();
    }
    CHECK(decoder.packets_sent() <= anew);
  }
}

TEST_CASE("frames come in the size that was asked for") {
  const VideoReaderOptions options{.height = 48, .width = 64, .scaling = Scaling::bilinear};
  const std::string path = clip("cup_h264_bframes.mp4");
  const Clip small{path, std::make_unique<VideoReader>(path, options)};
  PacketDecoder decoder(*small.reader->table(), options, path);
  const Tensor pictures = by_packets(decoder, small, {50, 3});
  REQUIRE(pictures.sizes() == at::IntArrayRef({2, 48, 64, 3}));
  CHECK(at::equal(pictures, small.reader->frames({50, 3})));
}

TEST_CASE("a decoder serves another file that was encoded alike, and no other") {
  const auto folder = recordings() / "tworoom" / "folder";
  std::vector<Clip> alike;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".mp4") continue;
    const std::string path = entry.path().string();
    alike.push_back({path, std::make_unique<VideoReader>(path)});
    if (alike.size() == 3) break;
  }
  REQUIRE(alike.size() == 3);
  PacketDecoder decoder(*alike[0].reader->table(), {}, alike[0].path);
  for (const auto& clip : alike) {
    REQUIRE(decoder.fits(*clip.reader->table()));
    const int64_t last = clip.reader->num_frames() - 1;
    const Tensor picture = by_packets(decoder, clip, {last});
    REQUIRE(picture.defined());
    CHECK(at::equal(picture[0], clip.reader->frame(last)));
  }
  CHECK_FALSE(decoder.fits(*VideoReader(clip("cup_h264_bframes.mp4")).table()));
}

TEST_CASE("missing bytes, damage and a missing file are left to the reader that can name them") {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / "clip.mp4";
  fs::copy_file(clip("cup_h264_bframes.mp4"), path);
  const Clip copied{path.string(), std::make_unique<VideoReader>(path.string())};
  const auto& table = *copied.reader->table();
  PacketDecoder decoder(table, {}, copied.path);
  REQUIRE(by_packets(decoder, copied, {60}).defined());
  {
    const auto& key = table.packets[static_cast<std::size_t>(table.keys.back().packet)];
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(key.offset);
    file << std::string(static_cast<std::size_t>(key.size), '\xAA');
  }
  CHECK_FALSE(by_packets(decoder, copied, {60}).defined());
  CHECK(by_packets(decoder, copied, {0}).defined());  // another group of pictures
  fs::resize_file(path, static_cast<std::uintmax_t>(table.packets[3].offset));
  CHECK_FALSE(by_packets(decoder, copied, {40}).defined());
  fs::remove(path);
  CHECK_FALSE(by_packets(decoder, copied, {0}).defined());
}

}  // namespace
}  // namespace foresight::data::packet_decoder_test
