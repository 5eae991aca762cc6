// SPDX-License-Identifier: Apache-2.0
// Recordings without a table: what is an episode, which size, what is left out, and that every
// frame is the file's.
#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/video_writer.hpp"
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

void write_photo(const fs::path& path, const Tensor& picture) {
  fs::create_directories(path.parent_path());
  const auto bytes = encode_png(picture);
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
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

}  // namespace foresight::data::pictures_alone
