// SPDX-License-Identifier: Apache-2.0
// Films whose frames are not equally spaced, and episodes that were recorded at several rates.
#include <filesystem>

#include "../../src/data/video_frames.hpp"
#include "catch.hpp"
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

}  // namespace
}  // namespace foresight::data::uneven_rates_test
