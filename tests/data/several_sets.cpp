// SPDX-License-Identifier: Apache-2.0
// Folders in which several data sets lie: DINO-WM's two are one set of two splits, others are
// refused, and none is taken for films alone.
#include <algorithm>
#include <filesystem>

#include "error_message.hpp"
#include "foresight/data/png.hpp"
#include "foresight/io/files.hpp"
#include "hdf5_recordings.hpp"
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
  CHECK(alone->name() == (folder / "val").string());
  CHECK(alone->num_episodes() == count);
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
        "--data " + (folder / "a").string() + ";");
  };
  CHECK(refused({}, "a, b/nested, c2, c10, d."));
  CHECK(refused({.split = "train"}, "a, b/nested, c2, c10, d."));
  for (const char* more : {"e", "f"}) put(folder / more / "states.pth");
  CHECK(refused({}, "a, b/nested, c2, c10, d and 2 more."));
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
