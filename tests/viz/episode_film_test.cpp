// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/episode_film.hpp"

#include <filesystem>
#include <functional>
#include <limits>

#include "catch.hpp"
#include "demo_run.hpp"
#include "foresight/core/error.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/data/video_writer.hpp"

namespace foresight::viz::episode_film_test {

using foresight::Error;
using foresight::Tensor;

namespace {

// The agent walks from (10, 10) to (28, 28) in 10 steps of 2 pixels.
EpisodeFilm walk() {
  EpisodeFilm film;
  std::vector<Tensor> frames;
  std::vector<double> places;
  for (int t = 0; t < 10; ++t) {
    frames.push_back(foresight::test::demo_frame(10 + 2 * t, 10 + 2 * t));
    places.insert(places.end(), {10.0 + 2 * t, 10.0 + 2 * t});
  }
  film.frames = at::stack(frames);
  film.positions = at::tensor(places, at::kDouble).view({10, 2});
  film.scale = 5;
  return film;
}

std::vector<int64_t> colour_at(const Tensor& picture, int64_t x, int64_t y) {
  std::vector<int64_t> colour;
  for (int64_t c = 0; c < 3; ++c) colour.push_back(picture[y][x][c].item<int64_t>());
  return colour;
}
using Colour = std::vector<int64_t>;
const Colour kWhite = {255, 255, 255}, kFloor = {232, 232, 232}, kMagenta = {255, 61, 139};

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error was thrown";
}
bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a picture without overlays is the frame, enlarged") {
  auto film = walk();
  film.positions = Tensor();
  film.scale = 2;
  const auto picture = film_picture(film, 3);
  REQUIRE(picture.sizes() == at::IntArrayRef({128, 128, 3}));
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j = 0; j < 2; ++j)
      CHECK(at::equal(picture.slice(0, i, 128, 2).slice(1, j, 128, 2), film.frames[3]));
}

TEST_CASE("the path grows with the film") {
  const auto film = walk();
  const auto early = film_picture(film, 2), late = film_picture(film, 9);
  // Frame pixel 20 has its centre at picture pixel 5 * 20 + 2; the agent is there at t = 5.
  CHECK(colour_at(late, 102, 102) == kWhite);
  CHECK(colour_at(early, 102, 102) == kFloor);
  CHECK(colour_at(early, 52, 52) == kWhite);  // at t = 0
}

TEST_CASE("the plan is drawn from the current frame only, and not where it is not finite") {
  auto film = walk();
  film.positions = Tensor();
  film.plans = at::full({10, 3, 2}, std::numeric_limits<double>::quiet_NaN());
  film.plans[4] = at::tensor({20.0, 50.0, 25.0, 50.0, 1e30, 5.0}).view({3, 2});
  const auto picture = film_picture(film, 4);
  CHECK(colour_at(picture, 5 * 22 + 2, 5 * 50 + 2) == kMagenta);
  CHECK(colour_at(film_picture(film, 5), 5 * 22 + 2, 5 * 50 + 2) == kFloor);
}

TEST_CASE("points outside the frame are clipped") {
  auto film = walk();
  film.positions.fill_(-3000);
  film.positions[1].fill_(3000);
  CHECK_NOTHROW(film_picture(film, 9));
}

TEST_CASE("the goal stands beside the frame at half size") {
  auto film = walk();
  film.goal = foresight::test::demo_frame(50, 15);
  const auto picture = film_picture(film, 0);
  CHECK(picture.size(0) == 320);
  CHECK(picture.size(1) == 320 + 8 + 2 * 64 + 4);
  CHECK(colour_at(picture, 320 + 8 + 2 + 2 * 50, 2 + 2 * 15) ==
        Colour{214, 60, 60});  // the goal's agent
  CHECK(at::equal(picture.slice(1, 0, 320), [&] {
    film.goal = Tensor();
    return film_picture(film, 0);
  }()));
}

TEST_CASE("pictures have even sides, whatever the frame has") {
  EpisodeFilm film{at::zeros({1, 7, 9, 3}, at::kByte)};
  film.scale = 1;
  CHECK(film_picture(film, 0).sizes() == at::IntArrayRef({8, 10, 3}));
}

TEST_CASE("a written film plays back picture by picture") {
  if (!foresight::data::has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no libx264");
  auto film = walk();
  film.goal = foresight::test::demo_frame(50, 15);
  const auto path = std::filesystem::path(FORESIGHT_BINARY_DIR) / "demo_episode.mp4";
  write_episode_film(film, path);
  foresight::data::VideoReader reader(path.string());
  REQUIRE(reader.num_frames() == 10);
  CHECK(reader.info().average_rate == Approx(10));
  for (const int64_t t : {0, 5, 9}) {
    const auto difference =
        (reader.frame(t).to(at::kFloat) - film_picture(film, t).to(at::kFloat)).abs().mean();
    CHECK(difference.item<float>() < 4);  // of 255; colours are halved in 4:2:0
  }
}

TEST_CASE("films of wrong shapes are refused by name and leave no file") {
  const auto path = std::filesystem::path(FORESIGHT_BINARY_DIR) / "refused.mp4";
  auto refused = [&](const std::function<void(EpisodeFilm&)>& spoil) {
    auto film = walk();
    spoil(film);
    const auto message = message_of([&] { write_episode_film(film, path); });
    CHECK_FALSE(std::filesystem::exists(path));
    return message;
  };
  CHECK(contains(refused([](auto& film) { film.frames = Tensor(); }), "frames is undefined"));
  CHECK(contains(refused([](auto& film) { film.frames = at::zeros({2, 4, 4, 3}); }), "uint8"));
  CHECK(contains(refused([](auto& film) { film.positions = at::zeros({3, 2}); }), "positions"));
  CHECK(contains(refused([](auto& film) { film.plans = at::zeros({10, 3}); }), "plans"));
  CHECK(contains(refused([](auto& film) { film.goal = at::zeros({4, 4, 1}, at::kByte); }), "goal"));
  CHECK(contains(refused([](auto& film) { film.scale = 0; }), "scale = 0"));
  CHECK(contains(message_of([] { film_picture(walk(), 10); }), "t = 10 must be 0 to 9"));
}

}  // namespace foresight::viz::episode_film_test
