// SPDX-License-Identifier: Apache-2.0
// Recordings are known again by their stored pictures too: a film that was encoded again, or
// replaced, is told; one that is lost is not held against the others; earlier versions, which knew
// less, are compared by what they told.
#include <algorithm>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/identity.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/resized_dataset.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::picture_identity_test {
namespace {

namespace fs = std::filesystem;

DataIdentity identity_at(const fs::path& path, const DatasetOptions& options = {}) {
  const auto dataset = open_dataset(path, options);
  return identity_of(*dataset, dataset->action_columns(), {});
}

int64_t parts_of_pictures(const DataIdentity& identity) {
  return std::count(identity.pictures.begin(), identity.pictures.end(), ',') + 1;
}

// Columns stay as they are; the films of `episode` show the same, encoded with another quality.
void encode_again(const FilmFolder& films, int64_t episode) {
  const auto dataset = open_dataset(films.path());
  const auto frames = dataset->read_frames(episode, {0, 1, 2, 3, 4, 5});
  VideoWriter writer(films.film(episode), {.fps = 10, .crf = 30});
  writer.write(frames);
  writer.close();
}

}  // namespace

TEST_CASE("a film that was encoded again is told, by its episode") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(5, 6);
  const auto before = identity_at(films.path());
  CHECK(before.pictures.starts_with("2:"));
  CHECK(parts_of_pictures(before) == 5);
  CHECK(differences(identity_at(films.path()), before).empty());
  encode_again(films, 3);
  const auto after = identity_at(films.path());
  CHECK(after.fingerprint == before.fingerprint);  // the numbers are the same
  CHECK(differences(after, before) ==
        std::vector<std::string>{"pictures: those of episodes 3 are others here than then"});
}

TEST_CASE(
    "pictures are known at another place, size and by another decoding; time does not count") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(3, 6);
  const TemporaryFolder folder;
  fs::copy(films.path(), folder / "moved", fs::copy_options::recursive);
  fs::last_write_time(folder / "moved" / "episode_0001.mp4", fs::file_time_type::clock::now());
  const auto before = identity_at(films.path());
  for (const auto& options : {DatasetOptions{}, DatasetOptions{.video = {.height = 8, .width = 8}}})
    CHECK(identity_at(folder / "moved", options).pictures == before.pictures);
  const ResizedDataset resized(open_dataset(films.path()), {8, 8});
  CHECK(identity_of(resized, {"action_0"}, {}).pictures == before.pictures);
}

TEST_CASE("bytes in the middle of a film of the same size and time count") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(2, 6);  // films below 12 KiB are read whole
  REQUIRE(fs::file_size(films.film(1)) < 12'288);
  const auto before = identity_at(films.path());
  films.spoil(1);
  CHECK(differences(identity_at(films.path()), before) ==
        std::vector<std::string>{"pictures: those of episodes 1 are others here than then"});
}

TEST_CASE("a lost film is not held against the others, and a version that told less is compared") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder films(4, 6);
  const auto before = identity_at(films.path());
  films.remove(2);
  const DatasetOptions skip = {.unreadable = Unreadable::skip};
  const auto lost = identity_at(films.path(), skip);
  CHECK(lost.pictures.find(",-,") != std::string::npos);
  CHECK(differences(lost, before).empty());
  auto earlier = before;
  earlier.pictures.clear();
  CHECK(differences(lost, earlier).empty());
  earlier.pictures = "2:somehow else";  // of a later version
  CHECK(differences(lost, earlier).empty());
  auto other_camera = before;
  other_camera.pictures = "2:0,0,0,0";
  CHECK(differences(lost, other_camera).size() == 1);
  other_camera.camera = "wrist";
  CHECK(differences(lost, other_camera) ==
        std::vector<std::string>{"camera: \"pixels\" here, \"wrist\" then"});
}

TEST_CASE("of many episodes, every file's size counts, in at most 32 parts") {
  const TemporaryFolder folder;
  const auto write = [&](int64_t episode, int64_t side) {
    const auto name = "episode_" + std::to_string(episode);
    fs::create_directories(folder / name);
    for (int t = 0; t < 2; ++t)
      std::ofstream(folder / name / (std::to_string(t) + ".png"), std::ios::binary) << encode_png(
          at::arange(side * side * 3).remainder(251).view({side, side, 3}).to(at::kByte));
    std::ofstream(folder / (name + ".csv")) << "action_0\n0\n1\n";
  };
  for (int64_t e = 0; e < 70; ++e) write(e, 8);
  const DatasetOptions options = {.video = {.height = 8, .width = 8}, .fps = 10};
  const auto before = identity_at(folder.path(), options);
  CHECK(parts_of_pictures(before) == 32);
  write(36, 9);  // not the first of its part: 35 * 70 / 32 begins with 35
  const auto found = differences(identity_at(folder.path(), options), before);
  CHECK(found ==
        std::vector<std::string>{"pictures: those of episodes 35..36 are others here than then"});
}

TEST_CASE("pictures inside HDF5, Parquet and saved tensors are told apart, too") {
  const auto sets = recordings();
  const std::vector<fs::path> paths = {
      sets / "tworoom" / "lerobot_v21",
      sets / "tworoom" / "lerobot_v30_rollover",
      sets / "tworoom" / "swm" / "tworoom_nan_gzip.h5",
      sets / "tworoom" / "swm" / "folder",
      fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "dino_wm_maze",
      fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "robomimic"};
  std::vector<std::string> seen;
  for (const auto& path : paths) {
    INFO(path);
    try {
      const auto identity = identity_at(path, {.missing_states = NanPolicy::accept});
      CHECK(parts_of_pictures(identity) == std::min<int64_t>(32, identity.episodes));
      CHECK(identity.pictures.find('-') == std::string::npos);
      CHECK(std::find(seen.begin(), seen.end(), identity.pictures) == seen.end());
      seen.push_back(identity.pictures);
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::unsupported) throw;
      WARN("SKIPPED: " << error.what());
    }
  }
}

TEST_CASE("where no numbers tell recordings apart, pictures do") {
  const TemporaryFolder folder;
  for (const char* set : {"a", "b"}) {
    fs::create_directories(folder / set);
    for (int n = 0; n < 3; ++n)
      std::ofstream(folder / set / (std::to_string(n) + ".png"), std::ios::binary)
          << encode_png(at::full({8, 8, 3}, 10 * n + (*set == 'b' ? 100 : 0), at::kByte));
  }
  const auto a = open_dataset(folder / "a"), b = open_dataset(folder / "b");
  const auto learned_from = identity_of(*a, {}, {});
  CHECK(holds(*a, learned_from));
  CHECK_FALSE(holds(*b, learned_from));
}

TEST_CASE("a column whose name is not UTF-8 is refused by name and recording") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "episode_0");
  std::ofstream(folder / "episode_0" / "0.png", std::ios::binary)
      << encode_png(at::zeros({8, 8, 3}, at::kByte));
  std::ofstream(folder / "episode_0.csv") << "action_0,action_gr\xF6\xDF"
                                          << "e\n0,1\n";
  const auto dataset = open_dataset(folder.path(), {.fps = 10});
  CHECK(dataset->action_columns().size() == 2);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { identity_of(*dataset, dataset->action_columns(), {}); },
      folder.path().string(), "action_gr\\xF6\\xDFe", "UTF-8"));
  CHECK_FALSE(identity_of(*dataset, {"action_0"}, {}).fingerprint.empty());
}

TEST_CASE("columns of a vector that are not in the order of their numbers are told") {
  CHECK(unnumbered_order({"action_0", "action_1", "action_10", "action_2"}).find("action_10") !=
        std::string::npos);
  CHECK(unnumbered_order({"action_0", "action_2", "action_10"}).empty());
  CHECK(unnumbered_order({"y_1", "x_0", "y_2", "x_10", "grip"}).empty());
  CHECK(unnumbered_order({}).empty());
}

}  // namespace foresight::data::picture_identity_test
