// SPDX-License-Identifier: Apache-2.0
// Tables, arrays and pictures that are replaced while a data set is read: named, not mixed in. (Of
// films, tests/data/unreadable.cpp.)
#include <filesystem>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/convert.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/png.hpp"
#include "foresight/io/files.hpp"
#include "opened_recording.hpp"
#include "recordings.hpp"

namespace foresight::data::changed_files_test {
namespace {

namespace fs = std::filesystem;

// A recorded set copied to a folder of the test's own; empty where it is not there.
fs::path copied(const TemporaryFolder& folder, const char* name) {
  const fs::path source = recordings() / name;
  if (!fs::exists(source)) return {};
  const fs::path copy = folder / source.filename().string();
  fs::copy(source, copy, fs::copy_options::recursive);
  return copy;
}

// As recorders and copying programs do: another file under the same name.
void replace(const fs::path& file) {
  const fs::path other = file.string() + ".new";
  fs::copy_file(file, other);
  fs::last_write_time(other, fs::last_write_time(file) + std::chrono::seconds(1));
  fs::rename(other, file);
}

template <class Read>
bool refused_as_changed(const fs::path& file, Read&& read) {
  return fails_with(ErrorCategory::bad_file, read,
                    file.string() + ": has changed since the data set was opened",
                    "open the data set again");
}

fs::path first_file(const fs::path& root, const std::string& extension) {
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.path().extension() == extension) return entry.path();
  FAIL("no file " << extension << " below " << root);
  return {};
}

void write_picture(const fs::path& file, int64_t level) {
  const auto png = encode_png(at::full({8, 8, 3}, level, at::kByte));
  io::replace_file_atomically(file,
                              [&](io::OutputFile& out) { out.write(png.data(), png.size()); });
}

}  // namespace

TEST_CASE("a Parquet file that was replaced since opening is refused by name") {
  const TemporaryFolder folder;
  const auto path = copied(folder, "tworoom/lerobot_v21");
  const auto data = path.empty() ? nullptr : opened_or_skipped(path);
  if (!data) return;
  const auto table = path / "data" / "chunk-000" / "episode_000003.parquet";
  replace(table);
  CHECK(refused_as_changed(table, [&] { data->read_rows({"action_0"}, 0, 0, 1); }));
  CHECK(refused_as_changed(table, [&] { data->read_text("task", 0, 0, 1); }));
  CHECK(open_dataset(path)->read_rows({"action_0"}, 0, 0, 1).numel() == 1);
}

TEST_CASE(
    "a Parquet file with pictures that was replaced or cut since opening is refused by name") {
  const TemporaryFolder folder;
  const FilmFolder films(3, 6);
  const auto path = folder / "set";
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  try {
    convert_dataset(films.path(), path, {.storage = FrameStorage::pictures, .data_file_mb = 0.001});
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    FORESIGHT_SKIP(error.what());
  }
  const auto data = open_dataset(path);
  data->read_frames(0, {0});
  data->read_rows(data->action_columns(), 0, 0, 1);  // numbers of all episodes are read at once
  const auto table = path / "data" / "chunk-000" / "file-002.parquet";
  REQUIRE(fs::exists(table));
  fs::resize_file(table, fs::file_size(table) / 2);
  CHECK(refused_as_changed(table, [&] { data->read_frames(2, {1}); }));
  CHECK(data->read_frames(1, {1}).size(0) == 1);
  // A loader that skips treats it as damage.
  const auto cache = std::make_shared<FrameCache>(data, FrameCacheOptions{.budget_mb = 0});
  Loader loader(cache, WindowIndex(*data, {.frames = 2, .stride = 1}), ActionSpace{},
                {.batch = 5, .unreadable = Unreadable::skip});
  int64_t skipped = 0;
  while (const auto batch = loader.next())
    for (const auto& one : batch->skipped) {
      CHECK(one.episode == 2);
      ++skipped;
    }
  CHECK(skipped > 0);
}

TEST_CASE("an HDF5 file that was replaced since opening is refused by name") {
  for (const char* name : {"tworoom/swm/tworoom_nan_gzip.h5", "tworoom/swm/tworoom_gzip.h5"}) {
    const TemporaryFolder folder;
    const auto path = copied(folder, name);
    const auto data = path.empty() ? nullptr : opened_or_skipped(path);
    if (!data) continue;
    INFO(name);
    data->read_frames(0, {0});
    replace(path);
    CHECK(refused_as_changed(path, [&] { data->read_frames(0, {0}); }));
    CHECK(refused_as_changed(path, [&] { data->read_rows({"reward"}, 0, 0, 1); }));
    CHECK(open_dataset(path)->read_frames(0, {0}).size(0) == 1);
  }
}

TEST_CASE("a trajectory of DROID that was replaced since opening is refused by name") {
  const TemporaryFolder folder;
  const auto source = fs::path(FORESIGHT_TEST_DATA) / "recordings" / "layouts" / "droid";
  fs::copy(source, folder / "droid", fs::copy_options::recursive);
  const auto data = opened_or_skipped(folder / "droid");
  if (!data) return;
  const auto table = folder / "droid" / "lab" / "00_episode" / "trajectory.h5";
  replace(table);
  CHECK(refused_as_changed(table, [&] { data->read_rows(data->state_columns(), 0, 0, 1); }));
}

TEST_CASE("pictures in files that were replaced since opening are refused by name") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "episode_0000");
  std::ofstream table(folder / "episode_0000.csv");
  table << "action_0\n0\n1\n2\n";
  table.close();
  const auto picture = [&](int64_t t) {
    return folder / "episode_0000" / (std::to_string(t) + ".png");
  };
  for (int64_t t = 0; t < 3; ++t) write_picture(picture(t), 10 * t);
  const auto data = open_dataset(folder.path(), {.fps = 10});
  CHECK(data->read_frames(0, {0, 1, 2})[2][0][0][0].item<int64_t>() == 20);
  replace(picture(1));
  CHECK(refused_as_changed(picture(1), [&] { data->read_frames(0, {0, 1}); }));
  data->announce_frames(0, {1});  // opened ahead, it is the same file still
  CHECK(refused_as_changed(picture(1), [&] { data->read_frames(0, {1}); }));
  CHECK(data->read_frames(0, {0, 2}).size(0) == 2);
  CHECK(open_dataset(folder.path(), {.fps = 10})->read_frames(0, {1}).size(0) == 1);
}

TEST_CASE("JPEG files of stable-worldmodel that were replaced since opening are refused by name") {
  const TemporaryFolder folder;
  const auto path = copied(folder, "tworoom/swm/folder");
  if (path.empty()) FORESIGHT_SKIP("the recording is not there");
  const auto data = open_dataset(path);
  const auto file = path / "pixels" / "ep_1_step_2.jpeg";
  REQUIRE(fs::exists(file));
  data->read_frames(1, {1, 2});
  replace(file);
  CHECK(refused_as_changed(file, [&] { data->read_frames(1, {1, 2}); }));
  CHECK(data->read_frames(1, {1, 3}).size(0) == 2);
}

TEST_CASE("a LeRobot v3.0 data set whose files were cut before opening is refused by name") {
  for (const char* extension : {".parquet", ".mp4"})
    for (const char* part : {"data", "videos", "meta"}) {
      const TemporaryFolder folder;
      const auto path = copied(folder, "tworoom/lerobot_v30_rollover");
      if (path.empty() || opened_or_skipped(path) == nullptr) return;
      if ((std::string(extension) == ".mp4") != (std::string(part) == "videos")) continue;
      for (const double share : {0.0, 0.3, 0.95}) {
        const auto file = first_file(path / part, extension);
        INFO(file << " cut to " << share);
        const std::string whole = io::read_text(file);
        fs::resize_file(file,
                        static_cast<std::uintmax_t>(share * static_cast<double>(whole.size())));
        const auto read_all = [&] {
          for (const auto& camera : {"observation.image", "observation.images.wide"}) {
            const auto data = open_dataset(path, {.camera = camera});
            for (int64_t e = 0; e < data->num_episodes(); ++e)
              data->read_frames(e, {0, data->length(e) - 1});
          }
        };
        const auto message = error_message(ErrorCategory::bad_file, read_all);
        CHECK(message.find(file.filename().string()) != std::string::npos);
        io::replace_file_atomically(
            file, [&](io::OutputFile& out) { out.write(whole.data(), whole.size()); });
      }
    }
}

}  // namespace foresight::data::changed_files_test
