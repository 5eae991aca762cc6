// SPDX-License-Identifier: Apache-2.0
// Long episodes of large frames are gone through in pieces: how many bytes of decoded frames are
// alive at once, counted in a data set that knows when its frames are given back.
#include "../../src/data/video/frame_pieces.hpp"

#include <algorithm>
#include <atomic>
#include <map>

#include "../../src/data/video/picture.hpp"
#include "../../src/data/writers/convert_episode.hpp"
#include "catch.hpp"
#include "foresight/data/forwarded_dataset.hpp"
#include "foresight/data/frame_cache.hpp"
#include "foresight/data/resized_dataset.hpp"
#include "memory_dataset.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::frame_pieces_test {
namespace {

constexpr ImageSize kLarge = {720, 1280};
constexpr int64_t kLargeBytes = kLarge.height * kLarge.width * 3;

// Bytes of frames that are alive, now and at most.
class LiveBytes {
 public:
  Tensor frames(at::IntArrayRef rows) {
    const int64_t bytes = static_cast<int64_t>(rows.size()) * kLargeBytes;
    const int64_t now = now_ += bytes;
    for (int64_t most = most_; now > most && !most_.compare_exchange_weak(most, now);) {
    }
    auto* memory = new std::uint8_t[static_cast<std::size_t>(bytes)];
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::fill_n(memory + static_cast<int64_t>(i) * kLargeBytes, kLargeBytes,
                  static_cast<std::uint8_t>(rows[i]));
    return at::from_blob(
        memory, {static_cast<int64_t>(rows.size()), kLarge.height, kLarge.width, 3},
        [this, bytes](void* owned) {
          delete[] static_cast<std::uint8_t*>(owned);
          now_ -= bytes;
        },
        at::TensorOptions(at::kByte));
  }
  int64_t most() const { return most_; }

 private:
  std::atomic<int64_t> now_{0}, most_{0};
};

// Its frames are large, each of the grey level of its row.
class LargeFrames final : public ForwardedDataset {
 public:
  LargeFrames(std::vector<int64_t> lengths, std::shared_ptr<LiveBytes> live)
      : ForwardedDataset(std::make_shared<MemoryDataset>(std::move(lengths))),
        live_(std::move(live)) {}
  ImageSize image_size() const override { return kLarge; }
  Tensor read_frames(int64_t, at::IntArrayRef rows) const override { return live_->frames(rows); }

 private:
  std::shared_ptr<LiveBytes> live_;
};

// Forgets its rows; remembers grey levels and actions.
class RowSink final : public EpisodeWriter {
 public:
  void append(const RecordedRow& row) override {
    for (const auto& [camera, frame] : row.frames)
      levels[camera].push_back(frame[0][0][0].item<int64_t>());
    actions.push_back(row.values.at("action")[0].item<double>());
  }
  int64_t finish_episode(const std::string&) override { return finished++; }
  void discard_episode() override {}
  int64_t next_episode() const noexcept override { return finished; }
  int64_t rows() const noexcept override { return static_cast<int64_t>(actions.size()); }
  void finish() override {}

  std::map<std::string, std::vector<int64_t>> levels;
  std::vector<double> actions;
  int64_t finished = 0;
};

constexpr int64_t kRows = 3 * kPieceFrames + 5;

TEST_CASE("pieces are small, follow each other and cover everything") {
  for (const int64_t frame_bytes : {int64_t{1}, kLargeBytes, int64_t{1} << 40})
    for (const int64_t frames : {int64_t{0}, int64_t{1}, kPieceFrames, kRows}) {
      int64_t next = 0;
      visit_pieces(frames, frame_bytes, [&](int64_t first, int64_t count) {
        CHECK(first == next);
        CHECK((count <= kPieceFrames || count * frame_bytes <= kPieceBytes));
        next += count;
      });
      CHECK(next == frames);
    }
}

TEST_CASE("a cache of small frames holds few of the large ones that they are made of") {
  constexpr int64_t kThreads = 2;
  const auto live = std::make_shared<LiveBytes>();
  const auto small = std::make_shared<ResizedDataset>(
      std::make_shared<LargeFrames>(std::vector<int64_t>{kRows, 2, kRows}, live),
      ImageSize{32, 32});
  const FrameCache cache(small, {.threads = kThreads});
  CHECK(cache.frames_held() == 2 * kRows + 2);
  const Tensor levels = cache.held(2).select(1, 7).select(1, 9).select(1, 1);
  CHECK(at::equal(levels.to(at::kLong), at::arange(kRows)));
  CHECK(live->most() <= kThreads * kPieceFrames * kLargeBytes);
  CHECK(cache.readable({0, 1, 2}).size() == 3);
}

TEST_CASE("a file of frames is written in pieces") {
  constexpr int64_t kLong = kPieceFrames + 5;
  const auto live = std::make_shared<LiveBytes>();
  const auto large = std::make_shared<LargeFrames>(std::vector<int64_t>{2, kLong}, live);
  const TemporaryFolder folder;
  const FrameCache cache(large, {.threads = 1, .folder = folder.path().string()});
  CHECK(live->most() <= kPieceFrames * kLargeBytes);
  const Tensor levels = cache.held(1).select(1, 7).select(1, 9).select(1, 1);
  CHECK(at::equal(levels.to(at::kLong), at::arange(kLong)));
}

TEST_CASE("tensors that are shrunk while they are read are read in pieces") {
  LiveBytes live;
  const auto frames =
      tensor_frames([&](int64_t, at::IntArrayRef rows) { return live.frames(rows); },
                    {.height = 16, .width = 16});
  const Tensor read = frames->read(0, row_range(0, kRows));
  const Tensor levels = read.select(1, 3).select(1, 3).select(1, 0).to(at::kLong);
  CHECK((levels - at::arange(kRows)).abs().max().item<int64_t>() <= 2);  // as swscale rounds
  CHECK(live.most() <= kPieceFrames * kLargeBytes);
}

TEST_CASE("a conversion holds a piece of an episode, of all cameras together") {
  const auto live = std::make_shared<LiveBytes>();
  ConversionSource source;
  for (const char* camera : {"front", "left", "right", "wrist"}) {
    source.cameras.push_back(camera);
    source.datasets.push_back(std::make_shared<LargeFrames>(std::vector<int64_t>{kRows}, live));
  }
  RecordingOptions writing;
  writing.cameras = source.cameras;
  writing.features = {{.name = "action", .columns = {"up", "down"}, .type = at::kDouble}};
  RowSink sink;
  convert_episode(source, writing, 0, sink);
  CHECK(sink.finished == 1);
  REQUIRE(sink.rows() == kRows);
  for (const auto& [camera, levels] : sink.levels) {
    REQUIRE(static_cast<int64_t>(levels.size()) == kRows);
    for (int64_t t = 0; t < kRows; ++t) CHECK(levels[static_cast<std::size_t>(t)] == t);
  }
  CHECK(sink.actions[5] == 5);
  CHECK(live->most() <= 4 * kPieceFrames * kLargeBytes);
}

}  // namespace
}  // namespace foresight::data::frame_pieces_test
