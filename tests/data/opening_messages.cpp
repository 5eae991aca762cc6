// SPDX-License-Identifier: Apache-2.0
// What is said of recordings that do not open: the thing that is missing, and where it was looked
// for.
#include <filesystem>
#include <fstream>

#include "error_message.hpp"
#include "foresight/data/png.hpp"
#include "hdf5_recordings.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::opening_messages_test {
namespace {

namespace fs = std::filesystem;

const DatasetOptions kSkip = {.unreadable = Unreadable::skip};

void copy_to(const fs::path& source, const fs::path& target) {
  fs::copy(source, target, fs::copy_options::recursive);
}

TEST_CASE("a data set of which every film is gone names the first") {
  const TemporaryFolder folder;
  const auto set = folder / "set", pixels = set / "pixels";
  copy_to(recordings() / "tworoom" / "swm" / "video", set);
  for (const auto& entry : fs::directory_iterator(pixels))
    std::ofstream(entry.path()) << "not a video";
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(set, kSkip); },
      set.string() + ": none of its films can be read, the first: " + pixels.string() + "/ep_0.mp4",
      "not a readable video"));
  copy_to(recordings() / "tworoom" / "lerobot_v21", folder / "lerobot");
  if (!opened_or_skipped(folder / "lerobot")) return;
  fs::remove_all(folder / "lerobot" / "videos");
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder / "lerobot", kSkip); },
      (folder / "lerobot").string() + ": none of its films can be read, the first: ",
      "episode_000000.mp4: no such file"));
}

TEST_CASE("a data set without a camera says what would be one") {
  const TemporaryFolder folder;
  const auto set = folder / "set";
  copy_to(recordings() / "tworoom" / "swm" / "video", set);
  fs::remove_all(set / "pixels");
  fs::create_directory(set / "pixels");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(set); },
      set.string() + ": has no camera, that is, no folder with ep_0.mp4, ...",
      (set / "pixels").string() + ": is empty"));
  const auto list = folder / "notes.txt";
  std::ofstream(list) << "to do\n\nbuy milk\n";
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(list, kSkip); },
      list.string() + ": is read as a list of DROID episodes, a folder in each line, and none",
      (folder / "to do").string() + ": no such folder"));
  copy_to(layout_of("droid"), folder / "droid");
  for (const auto& entry : fs::recursive_directory_iterator(folder / "droid"))
    if (entry.path().extension() == ".mp4") fs::remove(entry.path());
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(folder / "droid", kSkip); },
      (folder / "droid").string() + ": has no camera that every episode names", "looked for ",
      ".mp4"));
}

TEST_CASE("a file of a data set is refused by the folder to give, another by what it is") {
  const auto sets = recordings() / "tworoom";
  const auto part_of = [](const fs::path& file, const std::string& set) {
    return fails_with(
        ErrorCategory::invalid_argument, [&] { open_dataset(file); },
        file.string() + ": is one file of the data set ", set + ", which is opened by its folder");
  };
  CHECK(part_of(sets / "folder" / "episode_0001.csv", "tworoom/folder"));
  CHECK(part_of(sets / "lerobot_v21" / "meta" / "info.json", "tworoom/lerobot_v21"));
  CHECK(part_of(sets / "lerobot_v21" / "data" / "chunk-000" / "episode_000000.parquet",
                "tworoom/lerobot_v21"));
  const TemporaryFolder folder;
  for (const char* name : {"a.csv", "a.PARQUET", "a.json"}) {
    std::ofstream(folder / name) << "{}";
    CHECK(fails_with(
        ErrorCategory::not_found, [&] { open_dataset(folder / name); },
        (folder / name).string() + ": is no recording by itself: give the folder"));
  }
}

TEST_CASE("films, pictures and tables are known by their endings in capitals too") {
  const auto source = recordings() / "tworoom" / "folder";
  const auto whole = open_dataset(source);
  const TemporaryFolder folder;
  fs::copy_file(source / "episode_0001.mp4", folder / "episode_0004.MP4");
  fs::copy_file(source / "episode_0001.csv", folder / "episode_0004.CSV");
  const auto data = open_dataset(folder.path());
  REQUIRE(data->num_episodes() == 1);
  CHECK(at::equal(data->read_frames(0, {3}), whole->read_frames(1, {3})));
  CHECK(at::equal(data->read_all_rows({"action_0"}, 0), whole->read_all_rows({"action_0"}, 1)));
  fs::rename(folder / "episode_0004.MP4", folder / "episode_0004.MOV");
  CHECK(open_dataset(folder.path())->length(0) == 7);
  fs::remove(folder / "episode_0004.MOV");
  fs::create_directory(folder / "episode_0004");
  for (int64_t t = 0; t < 7; ++t) {
    const auto name = std::to_string(t) + (t % 2 == 0 ? ".PNG" : ".png");
    std::ofstream(folder / "episode_0004" / name)
        << encode_png(at::full({8, 8, 3}, 10 * t, at::kByte));
    std::ofstream(folder / "episode_0004" / ("._" + name)) << "of the system";
  }
  CHECK(open_dataset(folder.path())->read_frames(0, {4})[0][0][0][0].item<int64_t>() == 40);
}

}  // namespace
}  // namespace foresight::data::opening_messages_test
