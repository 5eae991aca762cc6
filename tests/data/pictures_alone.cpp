// SPDX-License-Identifier: Apache-2.0
// Recordings without a table: what is an episode, which size, what is left out, and that every
// frame is the file's.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/video_writer.hpp"
#include "foresight/io/files.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::pictures_alone {
namespace {

namespace fs = std::filesystem;

void write_grey_film(const fs::path& path, int64_t rows, int64_t height, int64_t width) {
  VideoWriter writer(path, {.fps = 10, .key_interval = 4, .preset = "ultrafast"});
  auto frames = at::empty({rows, height, width, 3}, at::kByte);
  for (int64_t r = 0; r < rows; ++r) frames[r].fill_(20 + 10 * r);
  writer.write(frames);
  writer.close();
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void write_photo(const fs::path& path, const Tensor& picture) {
  write_bytes(path, encode_png(picture));
}

// As seen by an ordinary user, whom root becomes for a while.
struct AsOrdinaryUser {
  AsOrdinaryUser() : was_root(::geteuid() == 0) {
    if (was_root) REQUIRE(::seteuid(65534) == 0);
  }
  ~AsOrdinaryUser() {
    if (was_root && ::seteuid(0) != 0) std::abort();
  }
  AsOrdinaryUser(const AsOrdinaryUser&) = delete;
  AsOrdinaryUser& operator=(const AsOrdinaryUser&) = delete;
  bool was_root;
};

// A JPEG picture of 64x64, row 2 of episode 1 of stable-worldmodel's folder.
std::string recorded_jpeg() {
  return io::read_text(recordings() / "tworoom" / "swm" / "folder" / "pixels" / "ep_1_step_2.jpeg");
}

}  // namespace

TEST_CASE(
    "films, clips of pictures and single pictures are episodes, in the order of their names") {
  const TemporaryFolder folder;
  write_grey_film(folder / "b.mp4", 6, 32, 32);
  write_grey_film(folder / "a.MP4", 4, 32, 32);
  for (int64_t r = 0; r < 3; ++r)
    write_photo(folder.path() / "episode_0007" / ("frame_" + std::to_string(r) + ".png"),
                at::full({32, 32, 3}, 100 + r, at::kByte));
  write_photo(folder.path() / "photos" / "one.png", at::full({32, 32, 3}, 7, at::kByte));
  std::ofstream(folder / "notes.txt") << "nothing to see";
  std::ofstream(folder / "._b.mp4") << "of the system";
  const auto dataset = open_dataset(folder.path());
  REQUIRE(dataset->num_episodes() == 4);
  CHECK(dataset->episode_name(0) == "a.MP4");
  CHECK(dataset->length(0) == 4);
  CHECK(dataset->episode_name(1) == "b.mp4");
  CHECK(dataset->episode_name(2) == "episode_0007");
  CHECK(dataset->length(2) == 3);
  CHECK(dataset->episode_name(3) == "photos/one.png");
  CHECK(dataset->image_size() == ImageSize{32, 32});
  CHECK(dataset->fps() == Approx(10));
  CHECK(dataset->columns().empty());
  CHECK(dataset->remarks().empty());
  const auto film = dataset->read_frames(1, {5, 0});
  CHECK(film[0].to(at::kFloat).mean().item<double>() == Approx(70).margin(3));
  CHECK(film[1].to(at::kFloat).mean().item<double>() == Approx(20).margin(3));
  CHECK(dataset->read_frames(2, {1})[0][0][0][0].item<int>() == 101);
  CHECK(dataset->read_frames(3, {0})[0][0][0][0].item<int>() == 7);
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { dataset->read_rows({"x"}, 0, 0, 1); }, "pictures alone"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { open_dataset(folder.path(), {.states = {"x"}}); },
      "no column 'x'"));

  // Windows without actions.
  ActionSpace none;
  none.dim = 0;
  none.block = 2;
  Loader loader(std::make_shared<const FrameCache>(dataset),
                WindowIndex(*dataset, {.frames = 2, .stride = 2}), none,
                {.batch = 3, .threads = 0, .order = Order::sequential});
  const auto batch = loader.next();
  REQUIRE(batch);
  CHECK(batch->actions.sizes() == at::IntArrayRef({3, 1, 0}));
  CHECK(batch->pixels[2][1].to(at::kFloat).mean().item<double>() == Approx(40).margin(3));
}

TEST_CASE("names that were numbered without zeros keep the order of their numbers") {
  const TemporaryFolder folder;
  for (const int64_t number : {10, 2, 1, 100})
    write_photo(folder.path() / "photos" / ("p" + std::to_string(number) + ".png"),
                at::full({8, 8, 3}, number, at::kByte));
  for (const int64_t episode : {11, 3})
    for (const int64_t row : {12, 7})
      write_photo(
          folder.path() / ("episode_" + std::to_string(episode)) / (std::to_string(row) + ".png"),
          at::full({8, 8, 3}, row, at::kByte));
  const auto data = open_dataset(folder.path());
  std::vector<std::string> names;
  for (int64_t e = 0; e < data->num_episodes(); ++e) names.push_back(data->episode_name(e));
  CHECK(names == std::vector<std::string>{"episode_3", "episode_11", "photos/p1.png",
                                          "photos/p2.png", "photos/p10.png", "photos/p100.png"});
  CHECK(data->read_frames(0, {0})[0][0][0][0].item<int64_t>() == 7);
  CHECK(data->read_frames(1, {1})[0][0][0][0].item<int64_t>() == 12);
}

TEST_CASE(
    "pictures of other sizes are scaled to cover the commonest one and cut about the centre") {
  const TemporaryFolder folder;
  for (const auto* name : {"a.png", "b.png"})
    write_photo(folder / name, at::full({16, 16, 3}, 50, at::kByte));
  // Twice as large and wider: its middle columns remain; the resize filter reaches two columns far.
  auto wide = at::full({32, 64, 3}, 10, at::kByte);
  wide.narrow(1, 16, 32).fill_(200);
  write_photo(folder / "wide.png", wide);
  const auto dataset = open_dataset(folder.path());
  CHECK(dataset->image_size() == ImageSize{16, 16});
  CHECK(dataset->remarks().size() == 1);
  const auto shown = dataset->read_frames(2, {0})[0];
  REQUIRE(shown.sizes() == at::IntArrayRef({16, 16, 3}));
  CHECK(shown.narrow(1, 3, 10).eq(200).all().item<bool>());
  const auto larger = open_dataset(folder.path(), {.video = {.height = 20, .width = 24}});
  CHECK(larger->image_size() == ImageSize{20, 24});
  CHECK(larger->read_frames(0, {0}).eq(50).all().item<bool>());
}

TEST_CASE("files that cannot be opened end the opening, or are named and left out") {
  const TemporaryFolder folder;
  write_grey_film(folder / "good.mp4", 4, 32, 32);
  std::ofstream(folder / "bad.mp4") << "no video";
  std::ofstream(folder / "cut.png") << "\x89PNG";
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path()); }, "bad.mp4",
      "unreadable = skip"));
  const auto alone =  // nothing would be left
      error_message(ErrorCategory::bad_file, [&] { open_dataset(folder / "bad.mp4"); });
  CHECK_THAT(alone, Catch::Contains("bad.mp4") && !Catch::Contains("skip"));
  const auto dataset = open_dataset(folder.path(), {.unreadable = Unreadable::skip});
  REQUIRE(dataset->num_episodes() == 1);
  REQUIRE(dataset->remarks().size() == 1);
  CHECK_THAT(dataset->remarks()[0], Catch::Contains("2 file(s)") && Catch::Contains("bad.mp4") &&
                                        Catch::Contains("cut.png"));
  fs::remove(folder / "good.mp4");
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] { open_dataset(folder.path(), {.unreadable = Unreadable::skip}); }, "none of its 2"));
}

TEST_CASE(
    "single pictures and clips of them that were replaced since opening are refused by name") {
  const TemporaryFolder folder;
  for (const auto* name : {"episode_0000/a.png", "episode_0000/b.png", "one.png"})
    write_photo(folder / name, at::full({8, 8, 3}, 5, at::kByte));
  const auto dataset = open_dataset(folder.path());
  REQUIRE(dataset->num_episodes() == 2);
  dataset->announce_frames(0, {0, 1});
  dataset->announce_frames(1, {0});
  CHECK(dataset->read_frames(0, {1}).eq(5).all().item<bool>());
  CHECK(dataset->read_frames(1, {0}).eq(5).all().item<bool>());
  for (const auto* name : {"episode_0000/b.png", "one.png"}) {
    const auto changed = fs::last_write_time(folder / name) + std::chrono::seconds(1);
    write_photo(folder / name, at::full({8, 8, 3}, 6, at::kByte));
    fs::last_write_time(folder / name, changed);
  }
  CHECK(dataset->read_frames(0, {0}).eq(5).all().item<bool>());
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { dataset->read_frames(0, {1}); }, "b.png: has changed since"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { dataset->read_frames(1, {0}); },
      "one.png: has changed since"));
}

TEST_CASE("a picture that was announced is the file of then, though its name is gone") {
  const TemporaryFolder folder;
  for (const auto* name : {"a.png", "b.png"})
    write_photo(folder / name, at::full({8, 8, 3}, 5, at::kByte));
  const auto dataset = open_dataset(folder.path());
  dataset->announce_frames(0, {0});
  for (const auto* name : {"a.png", "b.png"}) fs::remove(folder / name);
  CHECK(dataset->read_frames(0, {0}).eq(5).all().item<bool>());
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { dataset->read_frames(1, {0}); }, "b.png"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { dataset->announce_frames(-1, {0}); }, "episode -1"));
  CHECK_NOTHROW(dataset->announce_frames(0, {1}));  // no such row: left to who reads it
  CHECK_NOTHROW(dataset->announce_frames(0, {-1}));
}

TEST_CASE("JPEG pictures alone are reduced while they are decoded if asked for") {
  const TemporaryFolder folder;
  write_bytes(folder / "a.jpg", recorded_jpeg());
  const auto shown = [](const fs::path& path, int64_t episode, int64_t row,
                        JpegReduction reduction) {
    return open_dataset(path, {.video = {.height = 16, .width = 16, .jpeg_reduction = reduction}})
        ->read_frames(episode, {row});
  };
  const auto table = recordings() / "tworoom" / "swm" / "folder";
  for (const auto reduction : {JpegReduction::after_decoding, JpegReduction::while_decoding})
    CHECK(at::equal(shown(folder.path(), 0, 0, reduction), shown(table, 1, 2, reduction)));
  CHECK_FALSE(at::equal(shown(folder.path(), 0, 0, JpegReduction::after_decoding),
                        shown(folder.path(), 0, 0, JpegReduction::while_decoding)));
}

TEST_CASE("JPEG pictures with fill bytes before a marker are pictures") {
  const TemporaryFolder folder;
  const auto plain = recorded_jpeg();
  write_bytes(folder / "a.jpg", plain);
  write_bytes(folder / "b.jpg", plain.substr(0, 2) + "\xFF\xFF\xFF" + plain.substr(2));
  const auto dataset = open_dataset(folder.path());
  REQUIRE(dataset->num_episodes() == 2);
  CHECK(at::equal(dataset->read_frames(0, {0}), dataset->read_frames(1, {0})));
}

TEST_CASE("hidden folders and ones that may not be read are passed over") {
  const TemporaryFolder folder;
  fs::permissions(folder.path(), fs::perms(0755));
  for (const auto* name :
       {"DCIM/.thumbnails/1.png", ".Trash-1000/files/2.png", "DCIM/3.png", "lost+found/4.png"})
    write_photo(folder / name, at::full({8, 8, 3}, 5, at::kByte));
  fs::permissions(folder / "lost+found", fs::perms::none);
  std::vector<std::string> names;
  bool reached = false;
  {
    const AsOrdinaryUser user;
    std::error_code problem;
    reached = fs::directory_iterator(folder.path(), problem) != fs::directory_iterator();
    if (reached) {
      const auto dataset = open_dataset(folder.path());
      for (int64_t e = 0; e < dataset->num_episodes(); ++e)
        names.push_back(dataset->episode_name(e));
    }
  }
  fs::permissions(folder / "lost+found", fs::perms::owner_all);
  if (!reached) FORESIGHT_SKIP("the temporary folder is closed to ordinary users");
  CHECK(names == std::vector<std::string>{"DCIM/3.png"});
}

TEST_CASE("pictures that claim to be too large, or would be to cover the others, are bad files") {
  const TemporaryFolder folder;
  for (const auto* name : {"a.png", "b.png"})
    write_photo(folder / name, at::full({16, 16, 3}, 50, at::kByte));
  auto claim = encode_png(at::full({16, 16, 3}, 50, at::kByte));
  claim.replace(16, 8, 8, '\xFF');  // width and height
  write_bytes(folder / "claim.png", claim);
  const auto strip = at::full({32768, 1, 3}, 50, at::kByte);
  write_photo(folder / "strip.png", strip);
  write_photo(folder / "episode_0001" / "0.png", at::full({16, 16, 3}, 70, at::kByte));
  write_photo(folder / "episode_0001" / "1.png", strip);
  DatasetOptions asked{.video = {.height = 224, .width = 224}};
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), asked); },
      "claim.png: claims 4294967295x4294967295", "unreadable = skip"));
  asked.unreadable = Unreadable::skip;
  const auto dataset = open_dataset(folder.path(), asked);
  CHECK(dataset->num_episodes() == 3);
  REQUIRE(dataset->remarks().size() == 2);
  CHECK_THAT(dataset->remarks()[0], Catch::Contains("1 file(s)") && Catch::Contains("claim.png"));
  CHECK_THAT(dataset->remarks()[1], Catch::Contains("1 file(s)") &&
                                        Catch::Contains("strip.png: is 1x32768") &&
                                        Catch::Contains("to cover 224x224"));
  REQUIRE(dataset->episode_name(2) == "episode_0001");
  CHECK(dataset->read_frames(2, {0}).to(at::kFloat).mean().item<double>() == Approx(70).margin(1));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { dataset->read_frames(2, {1}); }, "1.png: is 1x32768"));
  fs::remove(folder / "claim.png");
  asked.unreadable = Unreadable::fail;
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { open_dataset(folder.path(), asked); }, "strip.png",
      "unreadable = skip"));
}

TEST_CASE("a table beside a film of its name is said not to be read") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const TemporaryFolder folder;
  for (const char* name : {"run_a.mp4", "run_b.mp4"}) write_grey_film(folder / name, 4, 16, 16);
  write_bytes(folder / "labels.csv", "film,label\nrun_a,1\n");
  CHECK(open_dataset(folder.path())->remarks().empty());
  for (const char* name : {"run_a.csv", "run_b.csv"})
    write_bytes(folder / name, "action_0\n1\n2\n3\n4\n");
  const auto remarks = open_dataset(folder.path())->remarks();
  REQUIRE(remarks.size() == 1);
  CHECK_THAT(remarks.front(), Catch::Contains((folder / "run_a.csv").string()) &&
                                  Catch::Contains("one of 2") && Catch::Contains("episode_0000"));
}

}  // namespace foresight::data::pictures_alone
