// SPDX-License-Identifier: Apache-2.0
// Films whose frames are not equally spaced, and episodes that were recorded at several rates.
#include <filesystem>
#include <fstream>
#include <functional>

#include "../../src/data/video/video_frames.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/inspection.hpp"
#include "foresight/data/video_writer.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::uneven_rates_test {
namespace {

namespace fs = std::filesystem;

TEST_CASE("films that are an episode each are remarked where their frames are unevenly spaced") {
  Recording recording;
  std::vector<EpisodeClip> clips = {{.file = clip("cup_h264_bframes.mp4")},
                                    {.file = clip("cup_vfr_bframes.mp4")}};
  std::vector<int64_t> checked(2, 0);
  open_films(recording, clips, {},
             [&](std::size_t e, const VideoReader& film) { checked[e] = film.num_frames(); });
  CHECK(checked[0] > 0);
  CHECK(checked[1] > 0);
  REQUIRE(recording.remarks.size() == 1);
  CHECK(recording.remarks[0].find("cup_vfr_bframes.mp4: frames are not equally spaced") !=
        std::string::npos);
  CHECK(recording.fps > 0);
  CHECK(clips[1].table != nullptr);
}

TEST_CASE("every episode of DROID is thinned by its own rate, and other times are remarked") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  const auto path = folder / "droid";
  fs::copy(fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "droid", path,
           fs::copy_options::recursive);
  const auto film = path / "lab" / "01_episode" / "recordings" / "MP4" / "1001.mp4";
  std::shared_ptr<const Dataset> all;
  try {
    all = open_dataset(path);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
  const double rate = all->fps();
  const int64_t rows = all->length(1);
  REQUIRE(rows >= 3);
  const auto rewrite = [&](double fps) {
    VideoReader reader(film.string());
    const Tensor frames = reader.frames(reader.num_frames() == 6 ? at::IntArrayRef{0, 1, 2, 3, 4, 5}
                                                                 : at::IntArrayRef{0, 1, 2});
    VideoWriter writer(film, {.fps = fps, .crf = 1});
    writer.write(frames);
    writer.close();
  };
  const double level = all->read_frames(1, {2}).to(at::kDouble).mean().item<double>();
  rewrite(2 * rate);
  const auto remarked = [](const Dataset& data) {
    int64_t count = 0;
    for (const auto& remark : data.remarks())
      if (remark.find("covers different times") != std::string::npos) ++count;
    return count;
  };
  // Rows of the first come at its own rate, those of the second are thinned to it.
  const auto thinned = open_dataset(path, {.fps = rate});
  CHECK(thinned->length(0) == all->length(0));
  CHECK(thinned->length(1) == (rows + 1) / 2);
  CHECK(thinned->fps() == Approx(rate));
  CHECK(remarked(*thinned) == 0);
  CHECK(at::equal(thinned->read_rows(thinned->state_columns(), 1, 1, 1),
                  all->read_rows(all->state_columns(), 1, 2, 1)));
  CHECK(thinned->read_frames(1, {1}).to(at::kDouble).mean().item<double>() ==
        Approx(level).margin(2));
  CHECK(remarked(*open_dataset(path)) == 1);
}

// A plain folder of one film, and a table of which every row has a time.
class TimedFolder {
 public:
  explicit TimedFolder(const std::string& film) {
    fs::copy_file(clip(film), folder_ / "episode_0000.mp4");
  }
  const TimedFolder& write(int64_t rows, const std::function<double(int64_t)>& time) const {
    std::ofstream table(folder_ / "episode_0000.csv");
    table << "timestamp,action_0\n";
    for (int64_t t = 0; t < rows; ++t) table << number_text(time(t)) << ',' << t % 3 << '\n';
    return *this;
  }
  std::shared_ptr<const Dataset> open(int64_t tail = 0) const {
    return open_dataset(folder_.path(), {.tail_mismatch = tail});
  }
  fs::path path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
};

bool is_remarked(const Dataset& data, const std::string& words) {
  for (const auto& remark : data.remarks())
    if (remark.find(words) != std::string::npos) return true;
  return false;
}

void check_frames(const Dataset& data, const std::function<int64_t(int64_t)>& frame) {
  VideoReader film(clip("cup_vfr_bframes.mp4"));
  for (int64_t t = 0; t < data.length(0); ++t) {
    INFO("row " << t);
    CHECK(at::equal(data.read_frames(0, {t})[0], film.frame(frame(t))));
  }
}

TEST_CASE("rows that have the times of an unevenly spaced film are its frames") {
  const VideoReader film(clip("cup_vfr_bframes.mp4"));
  const TimedFolder folder("cup_vfr_bframes.mp4");
  // Times since 1970, and a clock that is off by less than half a step.
  const auto data = folder.write(23, [&](int64_t t) { return 1.7e9 + film.time(t); }).open();
  CHECK(data->remarks().empty());
  check_frames(*data, [](int64_t t) { return t; });
  const auto late =
      folder.write(23, [&](int64_t t) { return film.time(t) + (t > 4 ? 0.035 : 0); }).open();
  CHECK(late->remarks().empty());
  check_frames(*late, [](int64_t t) { return t; });
  for (const auto& warning : inspect(*data).warnings)
    CHECK(warning.find("matched by") == std::string::npos);
}

TEST_CASE("rows of another rate than an unevenly spaced film show the frames nearest in time") {
  const VideoReader film(clip("cup_vfr_bframes.mp4"));
  const TimedFolder folder("cup_vfr_bframes.mp4");
  const auto time = [](int64_t t) { return 0.125 * static_cast<double>(t); };
  const auto nearest = [&](int64_t t) { return film.nearest(time(t)); };
  const auto check = [&](const Dataset& data) {
    REQUIRE(data.length(0) == 15);
    CHECK(data.fps() == 8);
    CHECK(is_remarked(data, "rows are matched by the column timestamp: 15 rows, 23 frames"));
    check_frames(data, nearest);
  };
  check(*folder.write(15, [&](int64_t t) { return 20 + time(t); }).open());
  // Their frames are known again as those of that film, and as others than by number.
  Fnv1a by_time, by_number;
  folder.open()->identify_frames(by_time);
  folder.write(23, [&](int64_t t) { return film.time(t); }).open()->identify_frames(by_number);
  CHECK(by_time.value() != by_number.value());
  // A table that goes on behind the film, and one of JSON lines.
  folder.write(17, time);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { folder.open(); }, "has 17 rows", "23 frames",
      "by the column timestamp row 16, 2.000 s after the first, is 0.095 s away"));
  const auto shorter = folder.open(1);
  CHECK(shorter->length(0) == 16);
  CHECK(is_remarked(*shorter, "its last 1 row(s) are left out"));
  check_frames(*shorter, nearest);
  fs::remove(folder.path() / "episode_0000.csv");
  {
    std::ofstream table(folder.path() / "episode_0000.jsonl");
    for (int64_t t = 0; t < 15; ++t)
      table << R"({"timestamp": )" << number_text(time(t)) << R"(, "action_0": )" << t << "}\n";
  }
  check(*folder.open());
}

TEST_CASE("times that contradict an unevenly spaced film are remarked, or refused with the rows") {
  const TimedFolder folder("cup_vfr_bframes.mp4");
  const auto even = [](int64_t t) { return 0.05 * static_cast<double>(t); };
  const auto data = folder.write(23, even).open();
  CHECK(is_remarked(*data, "rows are matched by frame number: by the column timestamp row 3"));
  check_frames(*data, [](int64_t t) { return t; });
  folder.write(22, even);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { folder.open(); }, "has 22 rows", "by the column timestamp"));
  folder.write(23, [&](int64_t t) { return t == 7 ? 0.0 : even(t); });
  CHECK(is_remarked(*folder.open(), "the column timestamp does not ascend at row 7"));
}

TEST_CASE("a film of one rate keeps its frame numbers, whatever times its table has") {
  const TimedFolder folder("cup_h264_bframes.mp4");
  const auto data = folder.write(81, [](int64_t t) { return 5.0 * static_cast<double>(t); }).open();
  CHECK(data->remarks().empty());
  CHECK(data->fps() == Approx(26.777).epsilon(1e-3));
  VideoReader film(clip("cup_h264_bframes.mp4"));
  for (const int64_t t : {0, 40, 80}) CHECK(at::equal(data->read_frames(0, {t})[0], film.frame(t)));
  folder.write(27, [](int64_t t) { return static_cast<double>(t) * 3 / 26.777; });
  CHECK(fails_with(ErrorCategory::bad_file, [&] { folder.open(); }, "has 27 rows", "81 frames"));
}

}  // namespace
}  // namespace foresight::data::uneven_rates_test
