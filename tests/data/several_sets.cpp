// SPDX-License-Identifier: Apache-2.0
// Folders in which several data sets lie: DINO-WM's two are one set of two splits, others are
// refused, and none is taken for films alone.
#include <algorithm>
#include <filesystem>

#include "error_message.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/png.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "hdf5_recordings.hpp"
#include "killed_recorder.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::several_sets_test {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& file, const std::string& bytes = "{}") {
  fs::create_directories(file.parent_path());
  io::write_text(file, bytes);
}

std::string grey_picture() { return encode_png(at::full({4, 4, 3}, 7, at::kByte)); }

void copy_layout(const char* name, const fs::path& to) {
  fs::remove_all(to);
  fs::copy(layout_of(name), to, fs::copy_options::recursive);
}

std::uint64_t identity(const fs::path& path) {
  Fnv1a hash;
  open_dataset(path)->identify_frames(hash);
  return hash.value();
}

TEST_CASE("DINO-WM's train/ and val/ are one data set with these splits") {
  const TemporaryFolder folder;
  for (const char* split : {"train", "val"}) copy_layout("dino_wm_maze", folder / split);
  const auto one = open_dataset(layout_of("dino_wm_maze")), data = open_dataset(folder.path());
  const int64_t count = one->num_episodes();
  CHECK(data->name() == folder.path().string());
  REQUIRE(data->num_episodes() == 2 * count);
  CHECK(data->episode_name(count) == "val: episode 0");
  CHECK(data->columns() == one->columns());
  CHECK(data->splits() == std::vector<std::string>{"train", "val"});
  CHECK(data->episodes_of_split("train").size() == static_cast<std::size_t>(count));
  CHECK(data->episodes_of_split("val").front() == count);
  CHECK(data->episodes_of_split("val").back() == 2 * count - 1);
  CHECK(
      fails_with(ErrorCategory::not_found, [&] { data->episodes_of_split("test"); }, "train, val"));
  for (const int64_t first : {int64_t{0}, count}) {
    CHECK(at::equal(data->read_frames(first + 1, {1}), one->read_frames(1, {1})));
    CHECK(at::equal(data->read_all_rows(data->columns(), first + 1),
                    one->read_all_rows(one->columns(), 1)));
  }
  const auto known = identity(folder.path());
  CHECK(identity(folder.path()) == known);
  const auto picture = folder / "val" / "obses" / "episode_001.pth";
  fs::last_write_time(picture, fs::file_time_type::clock::now());
  CHECK(identity(folder.path()) != known);

  const auto alone = open_dataset(folder.path(), {.split = "val"});
  CHECK(alone->name() == folder.path().string());
  CHECK(alone->num_episodes() == count);
  CHECK(alone->splits() == std::vector<std::string>{"val"});
  CHECK(alone->episodes_of_split("val").size() == static_cast<std::size_t>(count));
  CHECK(at::equal(alone->read_frames(1, {1}), one->read_frames(1, {1})));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(folder.path(), {.split = "test"}); },
      "has no split 'test'", "it has: train, val"));

  copy_layout("dino_wm_pusht", folder / "val");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path()); },
      folder.path().string() + ": its folders are no one data set: train and val differ: columns",
      "Name the folder"));
  fs::remove(folder / "val" / "states.pth");  // films alone, beside a set
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { open_dataset(folder.path()); },
      folder.path().string() + ": is no data set, but folders in it are: train."));
}

TEST_CASE("a folder of several data sets is refused by their names, not taken for films alone") {
  const TemporaryFolder folder;
  put(folder / "a" / "meta" / "info.json");
  put(folder / "a" / "videos" / "front" / "film.mp4");
  put(folder / "b" / "nested" / "ep_len.npz");
  put(folder / "b" / "nested" / "pixels" / "0.png", grey_picture());
  put(folder / "c10" / "episode_0000.csv", "action_0\n1\n");
  put(folder / "c2" / "episode_0000.csv", "action_0\n1\n");
  put(folder / "d" / "train" / "states.pth");
  put(folder / "d" / "val" / "states.pth");
  put(folder / ".trash" / "states.pth");
  put(folder / "film.mp4");
  const auto refused = [&](const DatasetOptions& options, const std::string& names) {
    return fails_with(
        ErrorCategory::invalid_argument, [&] { open_dataset(folder.path(), options); },
        folder.path().string() + ": is no data set, but folders in it are: " + names,
        "Open one of them: " + (folder / "a").string() + ";");
  };
  CHECK(refused({}, "a, b/nested, c2, c10, d."));
  CHECK(refused({.split = "train"}, "a, b/nested, c2, c10, d."));
  for (const char* more : {"e", "f"}) put(folder / more / "states.pth");
  CHECK(refused({}, "a, b/nested, c2, c10, d and 2 more."));
}

TEST_CASE("one of DINO-WM's splits keeps its name where it is converted") {
  const TemporaryFolder maze, folder;
  for (const char* split : {"train", "val"}) copy_layout("dino_wm_maze", maze / split);
  for (const auto format : writable_formats()) {
    const bool lerobot = format == TargetFormat::lerobot;
    const auto target = folder / (lerobot ? "lerobot" : "folder");
    convert_dataset(maze.path(), target, {.format = format, .reading = {.split = "val"}});
    const auto told = io::read_json(target / (lerobot ? "meta/info.json" : "dataset.json"));
    CHECK(told.at("splits") == nlohmann::json{{"val", lerobot ? "0:2" : "0-1"}});
    CHECK(open_dataset(target)->splits() == std::vector<std::string>{"val"});
  }
}

TEST_CASE("what alone would open as films, or not at all, is no data set in a folder of films") {
  const TemporaryFolder folder;
  for (const char* set : {"a", "b"})
    put(folder / set / "videos" / "chunk-000" / "front" / "1.png", grey_picture());
  put(folder / "lance" / "_versions" / "1.manifest");
  for (const char* table : {"episode_labels.csv", "episode_notes.jsonl"})
    put(folder / "labelled" / table);
  put(folder / "network" / "model.h5");
  for (const char* task : {"1", "2"}) put(folder / "tasks" / task / "0.hdf5");
  for (const char* film : {"0", "1"}) {
    put(folder / "part1" / "fold" / (std::string(film) + ".hdf5"));
    for (const char* below : {"labelled", "network", "tasks/1", "part1/fold"})
      put(folder / below / (std::string(film) + ".png"), grey_picture());
  }
  fs::create_directory_symlink(layout_of("dino_wm_maze"), folder / "link");
  CHECK(
      fails_with(ErrorCategory::bad_file, [&] { open_dataset(folder / "a"); }, "not copied whole"));
  CHECK(open_dataset(folder / "part1" / "fold")->num_episodes() == 2);
  CHECK(open_dataset(folder.path())->num_episodes() == 10);
  put(folder / "labelled" / "episode_0000.csv", "action_0\n1\n");
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { open_dataset(folder.path()); },
      "folders in it are: labelled."));
}

TEST_CASE("an HDF5 file beside films makes a data set of them if it holds recordings") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto other = layout_of("droid") / "lab" / "00_episode" / "trajectory.h5";
  const auto recordings = layout_of("robomimic") / "low_dim.hdf5";
  for (const char* name : {"1.png", "2.png"}) put(folder / "films" / name, grey_picture());
  fs::copy_file(other, folder / "films" / "features.h5");
  fs::create_directory(folder / "features");
  for (const char* name : {"1.h5", "2.h5"}) fs::copy_file(other, folder / "features" / name);
  CHECK(open_dataset(folder.path())->num_episodes() == 2);
  const auto refused = [&](const std::string& names) {
    return fails_with(
        ErrorCategory::invalid_argument, [&] { open_dataset(folder.path()); },
        "folders in it are: " + names + ".");
  };
  fs::remove(folder / "films" / "features.h5");
  fs::copy_file(recordings, folder / "films" / "demonstrations.hdf5");
  CHECK(refused("films"));
  fs::copy_file(flat_arrays(), folder / "films" / "more.h5");
  CHECK(refused("films"));
  // The first of several may be none.
  fs::copy_file(flat_arrays(), folder / "features" / "2.h5", fs::copy_options::overwrite_existing);
  CHECK(refused("features, films"));
}

TEST_CASE("several HDF5 files are the data set, whatever pictures lie beside or below them") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto one = open_dataset(flat_arrays());
  for (const char* name : {"a.h5", "b.H5", "._a.h5"}) {
    if (name[0] == '.')
      put(folder / name, "of the system");
    else
      fs::copy_file(flat_arrays(), folder / name);
  }
  put(folder / "previews" / "1.png", grey_picture());
  const auto data = open_dataset(folder.path());
  CHECK(data->num_episodes() == 2 * one->num_episodes());
  CHECK(data->action_columns() == one->action_columns());
  const auto remarks = data->remarks();
  CHECK(std::any_of(remarks.begin(), remarks.end(), [&](const auto& remark) {
    return remark.starts_with(folder.path().string() + ": the data set is its HDF5 files") &&
           remark.find("left out (one is previews/1.png)") != std::string::npos;
  }));

  put(folder / "converted" / "ep_len.npz");
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { open_dataset(folder.path()); },
      folder.path().string() + ": is no one data set: it holds HDF5 files (a.h5, b.H5) and folders "
                               "that are data sets: converted. Open one of them: ",
      (folder / "converted").string() + " or " + (folder / "a.h5").string()));
}

TEST_CASE("HDF5 files that hold no recording are remarked beside the pictures that are one") {
  if (!hdf5_is_built_in()) return;
  const TemporaryFolder folder;
  const auto features = layout_of("droid") / "lab" / "00_episode" / "trajectory.h5";
  for (const char* name : {"1.h5", "2.h5"}) fs::copy_file(features, folder / name);
  put(folder / "1.png", grey_picture());
  const auto data = open_dataset(folder.path());
  CHECK(data->num_episodes() == 1);
  REQUIRE(data->remarks().size() == 1);
  CHECK_THAT(data->remarks().front(), Catch::Contains("hold no recording that can be read") &&
                                          Catch::Contains("left out: 1.h5, 2.h5"));
}

TEST_CASE("folders of pictures below each other are pictures alone, whatever is hidden in them") {
  const TemporaryFolder folder;
  for (const char* kind : {"cats", "dogs"}) put(folder / kind / "1.png", grey_picture());
  put(folder / "cats" / ".cache" / "states.pth");
  put(folder / "dogs" / "dataset.json", "{");
  CHECK(open_dataset(folder.path())->num_episodes() == 2);
}

}  // namespace
}  // namespace foresight::data::several_sets_test
