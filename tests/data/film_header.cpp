// SPDX-License-Identifier: Apache-2.0
// What the header of an mp4 tells of its frames must be what reading all packets tells.
#include <filesystem>
#include <fstream>
#include <set>

#include "../../src/data/video/video_file.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/io/files.hpp"
#include "recordings.hpp"

namespace foresight::data::film_header_test {
namespace {

namespace fs = std::filesystem;

void check_same(const FrameTable& listed, const FrameTable& read) {
  CHECK(listed.pts == read.pts);
  CHECK(listed.packet_of == read.packet_of);
  REQUIRE(listed.keys.size() == read.keys.size());
  for (std::size_t i = 0; i < read.keys.size(); ++i) {
    CHECK(listed.keys[i].pts == read.keys[i].pts);
    CHECK(listed.keys[i].packet == read.keys[i].packet);
  }
  REQUIRE(listed.packets.size() == read.packets.size());
  for (std::size_t i = 0; i < read.packets.size(); ++i) {
    const auto &a = listed.packets[i], &b = read.packets[i];
    CHECK((a.offset == b.offset && a.pts == b.pts && a.size == b.size && a.flags == b.flags));
  }
}

// Whether the header told the table; what it told is that of the packets then.
bool told_by_header(const fs::path& path) {
  INFO(path.string());
  const auto read = VideoFile(path.string()).read_packets();
  const auto listed = VideoFile(path.string()).scan_header();
  if (!listed) return false;
  REQUIRE(read.has_value());
  check_same(*listed, *read);
  return true;
}

// The packets of a film in a container of its own, `offset` ticks later.
void repack(const fs::path& from, const fs::path& to, const char* flags, int64_t offset = 0) {
  AVFormatContext* opened = nullptr;
  REQUIRE(avformat_open_input(&opened, from.c_str(), nullptr, nullptr) >= 0);
  const ffmpeg::Input input(opened);
  REQUIRE(avformat_find_stream_info(opened, nullptr) >= 0);
  AVFormatContext* output = nullptr;
  REQUIRE(avformat_alloc_output_context2(&output, nullptr, nullptr, to.c_str()) >= 0);
  AVStream* stream = avformat_new_stream(output, nullptr);
  avcodec_parameters_copy(stream->codecpar, opened->streams[0]->codecpar);
  stream->codecpar->codec_tag = 0;
  stream->time_base = opened->streams[0]->time_base;
  AVDictionary* options = nullptr;
  av_dict_set(&options, "movflags", flags, 0);
  REQUIRE(avio_open(&output->pb, to.c_str(), AVIO_FLAG_WRITE) >= 0);
  REQUIRE(avformat_write_header(output, &options) >= 0);
  av_dict_free(&options);
  const auto packet = ffmpeg::make_packet();
  while (av_read_frame(opened, packet.get()) >= 0) {
    packet->pts += offset;
    packet->dts += offset;
    packet->pos = -1;
    av_packet_rescale_ts(packet.get(), opened->streams[0]->time_base, stream->time_base);
    REQUIRE(av_interleaved_write_frame(output, packet.get()) >= 0);
  }
  REQUIRE(av_write_trailer(output) >= 0);
  avio_closep(&output->pb);
  avformat_free_context(output);
}

TEST_CASE("the header of an mp4 gives the table of frames that reading its packets gives") {
  std::set<std::string> told;
  for (const auto& entry : fs::directory_iterator(recordings() / "camera"))
    if (entry.path().extension() == ".mp4" &&
        !entry.path().filename().string().starts_with("bad_") && told_by_header(entry.path()))
      told.insert(entry.path().filename().string());
  // B-frames, edit lists, uneven times, another stream between, a rotation, other codecs.
  for (const char* name :
       {"cup_h264_bframes.mp4", "cup_editlist.mp4", "cup_vfr_bframes.mp4", "phone_vfr_av1.mp4",
        "cup_audio_first.mp4", "cup_rotate90.mp4", "cup_hevc_10bit.mp4", "one_frame.mp4"}) {
    INFO(name);
    CHECK(told.contains(name));
  }
}

TEST_CASE("the header tells the frames of fragmented films and of those that begin later") {
  const TemporaryFolder folder;
  for (const char* source : {"cup_h264_bframes.mp4", "cup_av1_g2.mp4"})
    for (const char* flags : {"faststart", "frag_keyframe", "frag_keyframe+empty_moov"})
      for (const int64_t offset : {0, 7000}) {
        INFO(source << ' ' << flags << ' ' << offset);
        const auto film = folder / "film.mp4";
        repack(clip(source), film, flags, offset);
        CHECK(told_by_header(film));
        VideoReader reader(film.string()), original(clip(source));
        REQUIRE(reader.num_frames() == original.num_frames());
        CHECK(at::equal(reader.frame(7), original.frame(7)));
      }
}

TEST_CASE("a seek finds the key frame itself where containers are sought by times of display") {
  const TemporaryFolder folder;
  for (const char* name : {"film.mkv", "film.mp4", "film.ts"}) {
    INFO(name);
    const auto film = folder / name;
    repack(clip("cup_h264_bframes.mp4"), film, "faststart");
    VideoReader jumping(film.string()), original(clip("cup_h264_bframes.mp4"));
    const auto table = jumping.table();
    REQUIRE(jumping.num_frames() == original.num_frames());
    for (const int64_t index : {70, 50, 3, 80, 47, 48, 49, 0})  // key frames are 0 and 48
      CHECK(at::equal(jumping.frame(index), original.frame(index)));
    if (std::string(name) == "film.ts") continue;  // sought by times of decoding
    REQUIRE(table->keys.size() == 2);
    CHECK(table->keys[1].dts < table->keys[1].pts);
    VideoFile file(film.string());
    REQUIRE(file.seek(table->keys[1]));
    REQUIRE(file.next_frame());
    CHECK(file.frame_pts() > table->pts[40]);  // not from frame 0 on
  }
}

// Bytes that this process has asked the system for; -1 where it does not say.
int64_t bytes_read() {
  std::ifstream counters("/proc/self/io");
  std::string name;
  int64_t value = 0;
  while (counters >> name >> value)
    if (name == "rchar:") return value;
  return -1;
}

TEST_CASE("opening a film reads its header and a few packets") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  if (bytes_read() < 0) FORESIGHT_SKIP("this system does not count what is read");
  const TemporaryFolder folder;
  const auto film = folder / "film.mp4";
  VideoWriter writer(film, {.crf = 0, .key_interval = 5, .preset = "ultrafast"});
  at::manual_seed(3);
  for (int i = 0; i < 20; ++i) writer.write(at::randint(0, 256, {20, 96, 96, 3}, at::kByte));
  writer.close();
  const auto size = static_cast<int64_t>(fs::file_size(film));
  REQUIRE(size > 4 << 20);
  const int64_t before = bytes_read();
  const VideoReader reader(film.string());
  CHECK(bytes_read() - before < size / 4);
  CHECK(reader.num_frames() == 400);
}

// A copy of a clip in which every box of a type is called "free", which readers pass over.
fs::path without_box(const TemporaryFolder& folder, const std::string& name, const char* type) {
  std::string bytes = io::read_text(clip(name));
  const auto place = bytes.find(type);
  REQUIRE(place != std::string::npos);
  bytes.replace(place, 4, "free");
  io::write_text(folder / name, bytes);
  return folder / name;
}

TEST_CASE("a header that calls every frame a key frame is not believed") {
  const TemporaryFolder folder;
  const auto film = without_box(folder, "cup_h264_bframes.mp4", "stss");
  CHECK_FALSE(VideoFile(film.string()).scan_header());
  VideoReader reader(film.string()), original(clip("cup_h264_bframes.mp4"));
  CHECK(reader.table()->keys.size() == original.table()->keys.size());
  CHECK(reader.pts() == original.pts());
  CHECK(at::equal(reader.frame(60), original.frame(60)));
}

TEST_CASE("a film that is cut is told when it is opened") {
  const TemporaryFolder folder;
  const auto film = folder / "film.mp4";
  for (const char* flags : {"faststart", "frag_keyframe+empty_moov"}) {
    repack(clip("cup_h264_bframes.mp4"), film, flags);
    const auto places = VideoReader(film.string()).table()->packets;
    REQUIRE(places.size() >= 80);
    const auto cut_to = [&](std::size_t packets, int64_t bytes) {
      INFO(flags << ", packet " << packets);
      fs::resize_file(film, static_cast<std::uintmax_t>(places[packets].offset + bytes));
      CHECK(fails_with(
          ErrorCategory::bad_file, [&] { VideoReader reader(film.string()); }, film.string(),
          "is cut"));
    };
    cut_to(places.size() - 1, places.back().size - 1);
    cut_to(54, 1);
    if (std::string(flags) == "faststart")
      CHECK(fails_with(
          ErrorCategory::bad_file, [&] { VideoReader reader(film.string()); },
          "its index lists " + std::to_string(places.size()) + " frames, only 54 are there"));
  }
}

}  // namespace
}  // namespace foresight::data::film_header_test
