// SPDX-License-Identifier: Apache-2.0
// A recording that has lost a film since a run began: opened with Unreadable::skip, it has the same
// episodes and rows, so that the run goes on with the same windows.
#include <filesystem>
#include <functional>
#include <numeric>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/inspection.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/statistics.hpp"
#include "hdf5_recordings.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::unreadable_at_opening_test {
namespace {

namespace fs = std::filesystem;

// `spoil` takes the frames of episode `lost` away.
void check_lost(const fs::path& path, int64_t lost, const std::function<void()>& spoil) {
  const auto whole = opened_or_skipped(path);
  if (!whole) return;
  INFO(path << ", episode " << lost);
  const int64_t other = lost == 0 ? 1 : 0;
  const Tensor frames = whole->read_frames(other, {0});
  const Tensor actions = whole->read_all_rows(whole->action_columns(), lost);
  spoil();
  CHECK_THROWS_AS(open_dataset(path), Error);
  const auto data = open_dataset(path, {.unreadable = Unreadable::skip});
  REQUIRE(data->num_episodes() == whole->num_episodes());
  for (int64_t e = 0; e < data->num_episodes(); ++e) CHECK(data->length(e) == whole->length(e));
  CHECK(data->image_size() == whole->image_size());
  CHECK(data->fps() == Approx(whole->fps()));
  CHECK(at::equal(data->read_frames(other, {0}), frames));
  CHECK(at::allclose(data->read_all_rows(data->action_columns(), lost), actions, 0, 0, true));
  REQUIRE(data->unreadable_episodes().size() == 1);
  CHECK(data->unreadable_episodes().begin()->first == lost);
  data->announce_frames(lost, {0});
  CHECK(error_message(ErrorCategory::bad_file, [&] { data->read_frames(lost, {0}); }) ==
        data->unreadable_episodes().at(lost));
  CHECK_FALSE(inspect(*data).usable());
}

void copy_recording(const fs::path& from, const fs::path& to) {
  fs::copy(from, to, fs::copy_options::recursive);
}

TEST_CASE("a plain folder keeps the episode whose film is gone, cut or too short") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  for (const int64_t lost : {0, 2}) {
    const FilmFolder gone(3, 6), cut(3, 6), shorter(3, 6), short_one(3, 5);
    check_lost(gone.path(), lost, [&] { gone.remove(lost); });
    check_lost(cut.path(), lost, [&] { cut.cut(lost); });
    check_lost(shorter.path(), lost, [&] {
      fs::copy_file(short_one.film(lost), shorter.film(lost), fs::copy_options::overwrite_existing);
    });
  }
}

TEST_CASE("a run goes on with the same windows, those of the lost film skipped") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(4, 6);
  const auto windows_of = [&] {
    const auto data = open_dataset(films.path(), {.unreadable = Unreadable::skip});
    Loader loader(std::make_shared<FrameCache>(data, FrameCacheOptions{.budget_mb = 0}),
                  WindowIndex(*data, {.frames = 2, .stride = 1}), ActionSpace{},
                  {.batch = 4, .seed = 3, .unreadable = Unreadable::skip});
    std::vector<int64_t> windows;
    int64_t skipped = 0;
    while (const auto batch = loader.next()) {
      for (const auto& one : batch->skipped) CHECK(one.episode == 1);
      skipped += std::ssize(batch->skipped);
      for (int64_t b = 0; b < batch->windows.size(0); ++b)
        windows.push_back(batch->windows[b][1].item<int64_t>());  // episode
    }
    return std::pair(windows, skipped);
  };
  const auto [before, none] = windows_of();
  CHECK(none == 0);
  films.remove(1);
  const auto [after, skipped] = windows_of();
  CHECK(skipped > 0);
  REQUIRE(after.size() == before.size());
  for (std::size_t w = 0; w < before.size(); ++w)
    if (before[w] != 1) CHECK(after[w] == before[w]);
}

TEST_CASE("stable-worldmodel, DINO-WM and LeRobot keep an episode whose frames are gone") {
  const auto layouts = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts";
  for (const int64_t lost : {0, 1}) {
    const std::string n = std::to_string(lost);
    const TemporaryFolder folder;
    copy_recording(recordings() / "tworoom" / "swm" / "video", folder / "swm");
    check_lost(folder / "swm", lost,
               [&] { fs::remove(folder / "swm" / "pixels" / ("ep_" + n + ".mp4")); });
    copy_recording(layouts / "dino_wm_pusht", folder / "pusht");
    check_lost(folder / "pusht", lost,
               [&] { fs::remove(folder / "pusht" / "obses" / ("episode_00" + n + ".mp4")); });
    copy_recording(layouts / "dino_wm_maze", folder / "maze");
    check_lost(folder / "maze", lost,
               [&] { fs::remove(folder / "maze" / "obses" / ("episode_00" + n + ".pth")); });
    copy_recording(recordings() / "tworoom" / "lerobot_v21", folder / "lerobot");
    check_lost(folder / "lerobot", lost, [&] {
      for (const auto& entry : fs::recursive_directory_iterator(folder / "lerobot" / "videos"))
        if (entry.path().filename() == "episode_00000" + n + ".mp4") fs::remove(entry.path());
    });
  }
}

// The numbers of `lost` are gone, too.
void check_without_numbers(const Dataset& data, const Dataset& whole, int64_t lost) {
  REQUIRE(data.num_episodes() == whole.num_episodes());
  REQUIRE(data.unreadable_episodes().size() == 1);
  CHECK(data.unreadable_episodes().begin()->first == lost);
  CHECK(at::isnan(data.read_all_rows(data.action_columns(), lost)).all().item<bool>());
  CHECK(at::isnan(data.read_all_rows(data.state_columns(), lost)).all().item<bool>());
  CHECK_THROWS_AS(data.read_frames(lost, {0}), Error);
  for (int64_t e = 0; e < data.num_episodes(); ++e) {
    if (e == lost) continue;
    REQUIRE(data.length(e) == whole.length(e));
    CHECK(at::equal(data.read_frames(e, {0}), whole.read_frames(e, {0})));
    CHECK(at::equal(data.read_all_rows(data.state_columns(), e),
                    whole.read_all_rows(whole.state_columns(), e)));
  }
}

TEST_CASE("DROID keeps an episode whose film is gone or whose metadata are cut") {
  for (const int64_t lost : {0, 1}) {
    const std::string n = std::to_string(lost);
    const TemporaryFolder folder;
    const auto copied = [&](const char* name) {
      copy_recording(layout_of("droid"), folder / name);
      return folder / name / "lab" / ("0" + n + "_episode");
    };
    const auto film = copied("film") / "recordings" / "MP4" / ("100" + n + ".mp4");
    REQUIRE(fs::exists(film));
    check_lost(folder / "film", lost, [&] { fs::remove(film); });
    const auto metadata = copied("metadata") / ("metadata_" + n + ".json");
    REQUIRE(fs::exists(metadata));
    check_lost(folder / "metadata", lost, [&] { fs::resize_file(metadata, 5); });
  }
}

TEST_CASE("DROID keeps the rows of an episode whose trajectory is cut or gone") {
  if (!hdf5_is_built_in()) return;
  for (const int64_t lost : {0, 1})
    for (const bool gone : {false, true}) {
      const TemporaryFolder folder;
      copy_recording(layout_of("droid"), folder / "droid");
      const auto table =
          folder / "droid" / "lab" / ("0" + std::to_string(lost) + "_episode") / "trajectory.h5";
      INFO(table << (gone ? " gone" : " cut"));
      if (gone)
        fs::remove(table);
      else
        fs::resize_file(table, 100);
      CHECK(fails_with(
          gone ? ErrorCategory::not_found : ErrorCategory::bad_file,
          [&] { open_dataset(folder / "droid"); }, table.string(),
          gone ? "unreadable = skip" : ""));
      const auto data = open_dataset(folder / "droid", {.unreadable = Unreadable::skip});
      const auto whole = open_dataset(layout_of("droid"));
      CHECK(data->length(lost) == 6);  // frames of the film, whatever rows the trajectory had
      check_without_numbers(*data, *whole, lost);
    }
}

// Makes every array of a trajectory of DROID one without rows, as HDF5 writes it: no rows in its
// dataspace (version 1, with maxima), no bytes and no place in its layout (version 3, contiguous).
void leave_no_rows(const fs::path& trajectory, int64_t rows) {
  auto bytes = io::read_text(trajectory);
  int emptied = 0;
  for (const auto& [rank, width] : {std::pair('\1', 1), std::pair('\2', 6)}) {
    const std::string space = {'\1', rank, '\1', 0, 0, 0, 0, 0};
    for (auto place = bytes.find(space + eight_bytes(rows)); place != std::string::npos;
         place = bytes.find(space + eight_bytes(rows)), ++emptied) {
      bytes.replace(place + space.size(), 8, eight_bytes(0));
      std::size_t layout = bytes.find("\3\1", place);
      while (layout != std::string::npos &&
             bytes.compare(layout + 10, 8, eight_bytes(8 * rows * width)) != 0)
        layout = bytes.find("\3\1", layout + 1);
      REQUIRE(layout != std::string::npos);
      bytes.replace(layout + 2, 16, std::string(8, '\xFF') + eight_bytes(0));
    }
  }
  REQUIRE(emptied == 3);  // pose, gripper, and the recorded velocities
  io::write_text(trajectory, bytes);
}

TEST_CASE("DROID keeps an episode whose trajectory has no rows, with its film or without") {
  if (!hdf5_is_built_in()) return;
  for (const bool filmed : {true, false}) {
    INFO((filmed ? "with" : "without") << " its film");
    const TemporaryFolder folder;
    copy_recording(layout_of("droid"), folder / "droid");
    const auto episode = folder / "droid" / "lab" / "01_episode";
    leave_no_rows(episode / "trajectory.h5", 5);
    if (!filmed) fs::remove(episode / "recordings" / "MP4" / "1001.mp4");
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { open_dataset(folder / "droid"); },
        "01_episode/trajectory.h5: has no rows"));
    const auto data = open_dataset(folder / "droid", {.unreadable = Unreadable::skip});
    CHECK(data->length(1) == (filmed ? 6 : 1));
    check_without_numbers(*data, *open_dataset(layout_of("droid")), 1);
  }
}

TEST_CASE("films of DROID without a trajectory are an episode only where metadata name them") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  copy_recording(layout_of("droid"), folder / "droid");
  const auto episode = folder / "droid" / "lab" / "01_episode";
  fs::remove(episode / "trajectory.h5");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(episode); }, "trajectory.h5", "skip"));
  fs::remove(episode / "metadata_1.json");
  CHECK(open_dataset(episode)->action_columns().empty());  // videos alone
}

TEST_CASE("films of no episode are left out of a set of DROID and named") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  copy_recording(layout_of("droid"), folder / "droid");
  const auto films = folder / "droid" / "lab" / "02_calibration" / "recordings" / "MP4";
  const auto metadata = folder / "droid" / "lab" / "02_calibration" / "metadata_2.json";
  fs::create_directories(films.parent_path());
  copy_recording(folder / "droid" / "lab" / "01_episode" / "recordings" / "MP4", films);
  const auto whole = open_dataset(layout_of("droid"));
  for (const auto unreadable : {Unreadable::fail, Unreadable::skip}) {
    const auto data = open_dataset(folder / "droid", {.unreadable = unreadable});
    REQUIRE(data->num_episodes() == 2);
    CHECK(data->unreadable_episodes().empty());
    CHECK(at::equal(data->read_all_rows(data->state_columns(), 1),
                    whole->read_all_rows(whole->state_columns(), 1)));
    REQUIRE(data->remarks().size() == whole->remarks().size() + 1);
    CHECK_THAT(data->remarks().front(), Catch::Contains(films.string()));
  }
  // Metadata are written after a trajectory: it has been lost, also where they are damaged.
  for (const char* text : {R"({"left_mp4_path": "elsewhere/1001.mp4"})", R"({"left_mp4)"}) {
    io::write_text(metadata, text);
    CHECK_THROWS_AS(open_dataset(folder / "droid"), Error);
    const auto data = open_dataset(folder / "droid", {.unreadable = Unreadable::skip});
    REQUIRE(data->num_episodes() == 3);
    CHECK(data->unreadable_episodes().contains(2));
  }
}

// Spoils the object that holds the link `name` for the `nth` time in the file.
void spoil_link(const fs::path& file, const std::string& name, int nth) {
  auto bytes = io::read_text(file);
  std::size_t place = bytes.find(name);
  for (int i = 0; i < nth; ++i) place = bytes.find(name, place + 1);
  REQUIRE(place != std::string::npos);
  bytes[place + 1] = static_cast<char>(bytes[place + 1] ^ 0x15);  // its checksum is wrong now
  io::write_text(file, bytes);
}

TEST_CASE("robomimic keeps a demonstration that has lost its pictures, or everything") {
  if (!hdf5_is_built_in()) return;
  const auto whole = open_dataset(layout_of("robomimic"));
  for (const std::string& link : {std::string("agentview_image"), std::string("actions")})
    for (const int nth : {0, 4}) {
      INFO(link << ", number " << nth);
      const TemporaryFolder folder;
      const auto file = folder / "low_dim.hdf5";
      fs::copy_file(layout_of("robomimic") / "low_dim.hdf5", file);
      spoil_link(file, link, nth);
      CHECK_THROWS_AS(open_dataset(file), Error);
      const auto data = open_dataset(file, {.unreadable = Unreadable::skip});
      REQUIRE(data->unreadable_episodes().size() == 1);
      const auto lost = data->unreadable_episodes().begin()->first;
      if (link == "actions") {
        check_without_numbers(*data, *whole, lost);
        // Its integers are no zeros that statistics would count.
        std::vector<int64_t> others(static_cast<std::size_t>(whole->num_episodes()));
        std::iota(others.begin(), others.end(), 0);
        others.erase(others.begin() + lost);
        const auto counted = column_statistics(*data, {"dones"}, LastRow::include);
        const auto expected = column_statistics(*whole, {"dones"}, LastRow::include, others);
        CHECK(counted.count == expected.count);
        CHECK(counted.mean == expected.mean);
        continue;
      }
      check_rest(*data, *whole, lost);
      for (int64_t e = 0; e < data->num_episodes(); ++e)
        if (e != lost)
          CHECK(at::equal(data->read_all_rows(data->state_columns(), e),
                          whole->read_all_rows(whole->state_columns(), e)));
    }
}

TEST_CASE("of pictures in files, the one that is gone is the one that cannot be read") {
  const TemporaryFolder folder;
  copy_recording(recordings() / "tworoom" / "swm" / "folder", folder / "set");
  const auto whole = open_dataset(folder / "set");
  fs::remove(folder / "set" / "pixels" / "ep_0_step_0.jpeg");
  CHECK_THROWS_AS(open_dataset(folder / "set"), Error);
  const auto data = open_dataset(folder / "set", {.unreadable = Unreadable::skip});
  CHECK_THROWS_AS(data->read_frames(0, {0}), Error);
  CHECK(at::equal(data->read_frames(0, {1}), whole->read_frames(0, {1})));
  CHECK(at::equal(data->read_frames(1, {0}), whole->read_frames(1, {0})));
}

}  // namespace
}  // namespace foresight::data::unreadable_at_opening_test
