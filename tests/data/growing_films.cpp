// SPDX-License-Identifier: Apache-2.0
// Films of several episodes that take up another one while they are read, as LeRobot's recorder
// makes them: it joins the packets of the old film and the new one in a file of its own, and moves
// that into place.
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "../../src/data/file_stamp.hpp"
#include "../../src/data/video/coded_bytes.hpp"
#include "../../src/data/video/ffmpeg.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/identity.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::growing_films_test {
namespace {

namespace fs = std::filesystem;

struct CloseOutput {
  void operator()(AVFormatContext* context) const {
    avio_closep(&context->pb);
    avformat_free_context(context);
  }
};
using Output = std::unique_ptr<AVFormatContext, CloseOutput>;

ffmpeg::Input opened_film(const fs::path& path) {
  AVFormatContext* context = nullptr;
  REQUIRE(avformat_open_input(&context, path.c_str(), nullptr, nullptr) == 0);
  ffmpeg::Input film(context);
  REQUIRE(avformat_find_stream_info(context, nullptr) >= 0);
  return film;
}

struct Joining {
  int64_t late = 0;           // ticks by which all frames come later
  bool header_first = false;  // "faststart"
};

// The packets of both films in one mp4, the second's after the first's.
void join_films(const fs::path& first, const fs::path& second, const fs::path& joined,
                const Joining& joining = {}) {
  AVFormatContext* context = nullptr;
  REQUIRE(avformat_alloc_output_context2(&context, nullptr, "mp4", joined.c_str()) >= 0);
  const Output out(context);
  REQUIRE(avio_open(&context->pb, joined.c_str(), AVIO_FLAG_WRITE) >= 0);
  AVStream* stream = avformat_new_stream(context, nullptr);
  int64_t end = joining.late;
  for (const auto& path : {first, second}) {
    const auto film = opened_film(path);
    const AVStream* from = film->streams[0];
    if (path == first) {
      REQUIRE(avcodec_parameters_copy(stream->codecpar, from->codecpar) == 0);
      stream->time_base = from->time_base;
      AVDictionary* flags = nullptr;
      if (joining.header_first) av_dict_set(&flags, "movflags", "faststart", 0);
      REQUIRE(avformat_write_header(context, &flags) >= 0);
      av_dict_free(&flags);
    }
    const auto packet = ffmpeg::make_packet();
    const int64_t start = end;
    while (av_read_frame(film.get(), packet.get()) == 0) {
      av_packet_rescale_ts(packet.get(), from->time_base, stream->time_base);
      packet->pts += start;
      packet->dts += start;
      packet->stream_index = 0;
      end = std::max(end, packet->pts + packet->duration);
      REQUIRE(av_interleaved_write_frame(context, packet.get()) == 0);
    }
  }
  REQUIRE(av_write_trailer(context) == 0);
}

// A LeRobot set of the test's own, one of whose films holds episodes 5 and 6.
struct Growing {
  TemporaryFolder folder;
  fs::path set = folder / "set", film, other;
  std::shared_ptr<const Dataset> data;
  std::vector<Tensor> frames;  // of both episodes, as they are before

  Growing() {
    fs::copy(recordings() / "tworoom/lerobot_v30_rollover", set, fs::copy_options::recursive);
    const auto films = set / "videos" / "observation.image";
    film = films / "chunk-001" / "file-001.mp4";
    other = films / "chunk-002" / "file-000.mp4";
    data = opened_or_skipped(set, {.camera = "observation.image"});
    if (!data) return;
    for (const int64_t episode : {5, 6})
      frames.push_back(data->read_frames(episode, rows(episode)));
  }

  std::vector<int64_t> rows(int64_t episode) const {
    std::vector<int64_t> all(static_cast<std::size_t>(data->length(episode)));
    for (std::size_t row = 0; row < all.size(); ++row) all[row] = static_cast<int64_t>(row);
    return all;
  }
  void put(const fs::path& first, const fs::path& second, const Joining& joining = {}) const {
    join_films(first, second, folder / "joined.mp4", joining);
    fs::rename(folder / "joined.mp4", film);
  }
  void grow(const Joining& joining = {}) const { put(film, other, joining); }
  std::shared_ptr<const Dataset> opened() const {
    return open_dataset(set, {.camera = "observation.image"});
  }
  bool shows_the_same(const Dataset& now) const {
    return at::equal(now.read_frames(5, rows(5)), frames[0]) &&
           at::equal(now.read_frames(6, rows(6)), frames[1]);
  }
};

}  // namespace

TEST_CASE("a film that takes up another episode while it is read goes on being read") {
  const Growing growing;
  if (!growing.data) return;
  const auto bytes = fs::file_size(growing.film);
  growing.grow();
  REQUIRE(fs::file_size(growing.film) > bytes);
  CHECK(growing.shows_the_same(*growing.data));
  growing.grow();  // once more
  CHECK(growing.shows_the_same(*growing.data));
  CHECK(growing.shows_the_same(*growing.opened()));
}

TEST_CASE("threads that read a film while it grows see the same pictures") {
  const Growing growing;
  if (!growing.data) return;
  std::atomic<bool> same = true;
  std::vector<std::thread> readers;
  for (int t = 0; t < 4; ++t)
    readers.emplace_back([&] {
      for (int i = 0; i < 10; ++i)
        if (!growing.shows_the_same(*growing.data)) same = false;
    });
  growing.grow();
  growing.grow();
  for (auto& reader : readers) reader.join();
  CHECK(same);
}

TEST_CASE("a film that grew is known again by the packets of its episodes, another one is not") {
  const Growing growing;
  if (!growing.data) return;
  const auto before = identity_of(*growing.data, {"action_0"}, {});
  REQUIRE(!before.pictures.empty());
  growing.grow();
  const auto grown = growing.opened();
  CHECK(identity_of(*growing.data, {"action_0"}, {}).pictures == before.pictures);
  CHECK(identity_of(*grown, {"action_0"}, {}).pictures == before.pictures);
  growing.put(growing.other, growing.film);
  const auto other = growing.opened();
  CHECK(identity_of(*other, {"action_0"}, {}).pictures != before.pictures);
}

TEST_CASE("a film that begins otherwise than when the data set was opened is refused by name") {
  const Growing growing;
  if (!growing.data) return;
  growing.put(growing.other, growing.film);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { growing.data->read_frames(5, {0}); },
      growing.film.string() + ": has changed since the data set was opened"));
}

TEST_CASE("a film that is cut is waited for once, not at every read") {
  const Growing growing;
  if (!growing.data) return;
  fs::resize_file(growing.film, fs::file_size(growing.film) / 2);
  const auto read = [&] { growing.data->read_frames(5, {0}); };
  const auto said = growing.film.string() + ": has changed since the data set was opened";
  CHECK(fails_with(ErrorCategory::bad_file, read, said));
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) CHECK(fails_with(ErrorCategory::bad_file, read, said));
  // 20 waits of two seconds would be 40.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("a film of one episode is known again when it took up a second one") {
  const Growing growing;
  if (!growing.data) return;
  const auto alone = identity_of(*growing.data, {"action_0"}, {}).pictures;
  join_films(growing.other, growing.film, growing.folder / "joined.mp4");
  fs::rename(growing.folder / "joined.mp4", growing.other);
  CHECK(identity_of(*growing.data, {"action_0"}, {}).pictures == alone);
  const auto grown = growing.opened();
  CHECK(identity_of(*grown, {"action_0"}, {}).pictures == alone);
}

TEST_CASE("a film that was replaced before it was first read is refused by name") {
  const Growing growing;
  if (!growing.data) return;
  const auto fresh = growing.opened();
  growing.put(growing.other, growing.film);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { fresh->read_frames(5, {0}); },
      growing.film.string() + ": has changed since the data set was opened"));
}

TEST_CASE("a film that takes up another episode before it is first read is read as it was") {
  const Growing growing;
  if (!growing.data) return;
  const auto pictures = identity_of(*growing.data, {"action_0"}, {}).pictures;
  for (const bool header_first : {false, true}) {
    const auto fresh = growing.opened(), other = growing.opened();
    growing.grow({.header_first = header_first});
    CHECK(growing.shows_the_same(*fresh));
    growing.grow();
    CHECK(growing.shows_the_same(*fresh));
    CHECK(growing.shows_the_same(*other));  // whose film has grown twice
    CHECK(identity_of(*fresh, {"action_0"}, {}).pictures == pictures);
  }
}

TEST_CASE("threads that first read a film while it grows see the same pictures") {
  const Growing growing;
  if (!growing.data) return;
  for (int i = 0; i < 5; ++i) {
    const auto fresh = growing.opened();
    std::atomic<bool> same = true;
    std::vector<std::thread> readers;
    for (int t = 0; t < 4; ++t)
      readers.emplace_back([&] {
        try {
          if (!growing.shows_the_same(*fresh)) same = false;
        } catch (const Error&) {
          same = false;
        }
      });
    growing.grow();
    for (auto& reader : readers) reader.join();
    CHECK(same);
  }
}

TEST_CASE("a film that changed before it was first read is refused with other times or shorter") {
  const Growing growing;
  if (!growing.data) return;
  const auto refused = [&](const Dataset& data) {
    return fails_with(
        ErrorCategory::bad_file, [&] { data.read_frames(6, {0}); },
        growing.film.string() + ": has changed since the data set was opened");
  };
  const auto late = growing.opened();
  const auto bytes = fs::file_size(growing.film);
  growing.grow({.late = 100'000});
  REQUIRE(fs::file_size(growing.film) > bytes);
  CHECK(refused(*late));
  const auto shortened = growing.opened();
  fs::copy_file(growing.other, growing.film, fs::copy_options::overwrite_existing);
  REQUIRE(fs::file_size(growing.film) < bytes);
  CHECK(refused(*shortened));
}

TEST_CASE("a film that grew before it was first read is refused where it had ended otherwise") {
  const Growing growing;
  if (!growing.data) return;
  const auto then = coded_bytes(growing.film, file_stamp(growing.film));
  REQUIRE(then.has_value());
  REQUIRE(then->count > 8192);  // so that its end is not a part of its beginning
  const auto fresh = growing.opened();
  growing.grow();
  const auto now = coded_bytes(growing.film, file_stamp(growing.film));
  REQUIRE(now.has_value());
  REQUIRE(now->count > then->count);
  {
    std::fstream film(growing.film, std::ios::binary | std::ios::in | std::ios::out);
    film.seekp(now->offset + then->count - 100);
    film.write("other", 5);
  }
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { fresh->read_frames(6, {0}); },
      growing.film.string() + ": has changed since the data set was opened"));
}

}  // namespace foresight::data::growing_films_test
