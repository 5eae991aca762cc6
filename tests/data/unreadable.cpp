// SPDX-License-Identifier: Apache-2.0
// Recordings that go bad while they are read: what is named, what is skipped, and what stays exact.
#include "foresight/data/unreadable.hpp"

#include <algorithm>
#include <set>

#include "catch.hpp"
#include "error_message.hpp"
#include "film_folder.hpp"
#include "foresight/data/loader.hpp"
#include "memory_dataset.hpp"

namespace foresight::data::unreadable_test {
namespace {

constexpr WindowOptions kWindows = {.frames = 3, .stride = 2};

ActionSpace actions_of(int64_t dim, int64_t block) {
  ActionSpace space;
  space.dim = dim;
  space.block = block;
  return space;
}

struct Delivered {
  std::vector<int64_t> windows;  // numbers, in the order of their places
  std::vector<SkippedWindow> skipped;
  std::vector<Tensor> pixels;
};

Delivered delivered(Loader& loader, int64_t epochs) {
  Delivered all;
  for (int64_t e = 0; e < epochs; ++e)
    while (const auto batch = loader.next()) {
      for (int64_t b = 0; b < batch->windows.size(0); ++b)
        all.windows.push_back(batch->windows[b][0].item<int64_t>());
      all.skipped.insert(all.skipped.end(), batch->skipped.begin(), batch->skipped.end());
      all.pixels.push_back(batch->pixels);
    }
  return all;
}

std::shared_ptr<MemoryDataset> rows_in_memory() {
  return std::make_shared<MemoryDataset>(std::vector<int64_t>{4, 9, 1, 20, 5, 12});
}

std::shared_ptr<const FrameCache> frames_of(std::shared_ptr<const Dataset> data, int64_t budget_mb,
                                            Unreadable unreadable) {
  return std::make_shared<FrameCache>(std::move(data),
                                      FrameCacheOptions{.budget_mb = budget_mb, .threads = 2},
                                      std::vector<int64_t>{}, unreadable);
}

TEST_CASE("a window that cannot be read is replaced, and nothing else changes") {
  const auto healthy = rows_in_memory(), damaged = rows_in_memory();
  damaged->break_frame(3, 8);
  const WindowIndex windows(*healthy, kWindows);
  std::set<int64_t> bad;  // windows of episode 3 that show row 8
  for (int64_t w = 0; w < windows.size(); ++w) {
    const auto rows = windows.frame_rows(windows[w]);
    if (windows[w].episode == 3 && std::find(rows.begin(), rows.end(), 8) != rows.end())
      bad.insert(w);
  }
  REQUIRE(bad.size() == 3);
  Loader reference(frames_of(healthy, 0, Unreadable::fail), windows, actions_of(2, 2),
                   {.batch = 5, .seed = 2, .last_batch = LastBatch::keep});
  const auto expected = delivered(reference, 3);

  std::vector<Delivered> runs;
  for (const int64_t threads : {0, 1, 4})
    for (const int64_t budget : {0, 100}) {
      Loader loader(frames_of(damaged, budget, Unreadable::skip), windows, actions_of(2, 2),
                    {.batch = 5,
                     .threads = threads,
                     .seed = 2,
                     .last_batch = LastBatch::keep,
                     .unreadable = Unreadable::skip});
      runs.push_back(delivered(loader, 3));
    }
  for (const auto& run : runs) {
    REQUIRE(run.windows.size() == expected.windows.size());
    int64_t replaced = 0;
    for (std::size_t place = 0; place < run.windows.size(); ++place) {
      CHECK_FALSE(bad.contains(run.windows[place]));
      if (!bad.contains(expected.windows[place]))
        CHECK(run.windows[place] == expected.windows[place]);
      else
        ++replaced;
    }
    CHECK(replaced == 9);            // each once an epoch
    CHECK(run.skipped.size() >= 9);  // a draw may meet another bad window
    for (const auto& skipped : run.skipped) {
      CHECK(bad.contains(skipped.window));
      CHECK(skipped.episode == 3);
      CHECK(skipped.name == "e3");
      CHECK(skipped.reason.find("e3.mp4: frame 8 is damaged") != std::string::npos);
    }
    // Threads and cache change nothing.
    CHECK(run.windows == runs.front().windows);
    CHECK(run.skipped.size() == runs.front().skipped.size());
    for (std::size_t i = 0; i < run.pixels.size(); ++i)
      CHECK(at::equal(run.pixels[i], runs.front().pixels[i]));
  }
}

TEST_CASE("a saved position goes on exactly over windows that cannot be read") {
  const auto damaged = rows_in_memory();
  damaged->break_frame(3, 8);
  const WindowIndex windows(*damaged, kWindows);
  const LoaderOptions options = {.batch = 4, .seed = 6, .unreadable = Unreadable::skip};
  const auto frames = frames_of(damaged, 0, Unreadable::skip);
  Loader whole(frames, windows, actions_of(2, 2), options);
  const auto expected = delivered(whole, 2);
  for (const int64_t from : {1, 3}) {
    Loader resumed(frames, windows, actions_of(2, 2), options);
    resumed.seek({0, from});
    const auto rest = delivered(resumed, 2);
    CHECK(rest.windows ==
          std::vector<int64_t>(expected.windows.begin() + 4 * from, expected.windows.end()));
  }
}

TEST_CASE("shards replace the same windows as one loader") {
  const auto damaged = rows_in_memory();
  damaged->break_frame(3, 8);
  const WindowIndex windows(*damaged, kWindows);
  const LoaderOptions options = {.batch = 8, .seed = 6, .unreadable = Unreadable::skip};
  const auto frames = frames_of(damaged, 0, Unreadable::skip);
  Loader one(frames, windows, actions_of(2, 2), options);
  Loader first(frames, windows, actions_of(2, 2), options, {0, 2}),
      second(frames, windows, actions_of(2, 2), options, {1, 2});
  while (const auto batch = one.next())
    CHECK(at::equal(at::cat({first.next()->windows, second.next()->windows}), batch->windows));
}

// A data set of which no frame can be read.
class FailingFrames final : public Dataset {
 public:
  FailingFrames(std::shared_ptr<const Dataset> base, ErrorCategory category)
      : base_(std::move(base)), category_(category) {}
  const std::string& name() const override { return base_->name(); }
  int64_t num_episodes() const override { return base_->num_episodes(); }
  int64_t length(int64_t episode) const override { return base_->length(episode); }
  std::string episode_name(int64_t episode) const override { return base_->episode_name(episode); }
  ImageSize image_size() const override { return base_->image_size(); }
  double fps() const override { return base_->fps(); }
  const std::vector<std::string>& columns() const override { return base_->columns(); }
  const std::vector<std::string>& action_columns() const override {
    return base_->action_columns();
  }
  const std::vector<std::string>& state_columns() const override { return base_->state_columns(); }
  LastAction last_action() const override { return base_->last_action(); }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    return base_->read_rows(columns, episode, first, count);
  }
  Tensor read_frames(int64_t, at::IntArrayRef) const override {
    throw Error(category_, "the camera's disk is gone");
  }

 private:
  std::shared_ptr<const Dataset> base_;
  ErrorCategory category_;
};

TEST_CASE("where nothing can be read, skipping ends with an error") {
  const auto data = std::make_shared<FailingFrames>(rows_in_memory(), ErrorCategory::io_failure);
  const WindowIndex windows(*data, kWindows);
  Loader loader(frames_of(data, 100, Unreadable::skip), windows, actions_of(2, 2),
                {.batch = 4, .unreadable = Unreadable::skip});
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { loader.next(); }, "65 windows in a row",
      "the camera's disk is gone"));
}

TEST_CASE("misuse is not taken for a window that cannot be read") {
  const auto data = std::make_shared<FailingFrames>(rows_in_memory(), ErrorCategory::unsupported);
  const WindowIndex windows(*data, kWindows);
  const auto held = [&] { frames_of(data, 100, Unreadable::skip); };
  CHECK(fails_with(ErrorCategory::unsupported, held, "disk is gone"));
  Loader loader(frames_of(data, 0, Unreadable::skip), windows, actions_of(2, 2),
                {.batch = 4, .threads = 0, .unreadable = Unreadable::skip});
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { loader.next(); }, "disk is gone"));
}

// ---- films ----

constexpr WindowOptions kFilmWindows = {.frames = 2, .stride = 2};

TEST_CASE("films that go bad during an epoch are named with their episode") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder folder(4, 12);
  const auto data = open_dataset(folder.path());
  const WindowIndex windows(*data, kFilmWindows);
  const auto first_problem = [&](const LoaderOptions& options) {
    Loader loader(frames_of(data, 0, Unreadable::fail), windows, actions_of(1, 2), options);
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      try {
        loader.next();
      } catch (const Error& error) {
        return std::string(to_string(error.category())) + ": " + error.what();
      }
    }
    return std::string("nothing");
  };
  const LoaderOptions in_order = {.batch = 5, .threads = 2, .order = Order::sequential};
  REQUIRE(first_problem(in_order) == "nothing");
  const auto contains = [](const std::string& text, const std::string& words) {
    INFO(text);
    CHECK(text.find(words) != std::string::npos);
  };
  folder.spoil(3);
  const auto spoiled = first_problem(in_order);
  contains(spoiled, "bad_file");
  contains(spoiled, folder.film(3).string() + ": frame ");
  contains(spoiled, " [episode_0003, rows ");  // whose file was named already
  contains(spoiled, "(--loader.unreadable skip) goes on without it");
  folder.cut(2);
  contains(first_problem(in_order), "bad_file");
  contains(first_problem(in_order), folder.film(2).string() + ": has changed");
  folder.remove(1);
  contains(first_problem(in_order), "not_found");
  contains(first_problem(in_order), folder.film(1).string() + ": no such file");
  contains(first_problem(in_order), "episode_0001, rows 0 to 2");
}

TEST_CASE("with films missing, cut and damaged, the others are trained on; all are counted") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder folder(6, 12);
  const auto data = open_dataset(folder.path());
  const WindowIndex windows(*data, kFilmWindows);
  const LoaderOptions options = {
      .batch = 6, .threads = 3, .seed = 3, .unreadable = Unreadable::skip};
  folder.remove(1);
  folder.cut(2);
  folder.spoil(3);
  std::vector<Delivered> runs;
  for (const int64_t budget : {0, 100}) {
    const auto frames = frames_of(data, budget, Unreadable::skip);
    if (budget > 0) {
      CHECK(frames->frames_held() == 3 * 12);
      CHECK(frames->readable({0, 1, 2, 3, 4, 5}) == std::vector<int64_t>{0, 4, 5});
    }
    Loader loader(frames, windows, actions_of(1, 2), options);
    runs.push_back(delivered(loader, 2));
  }
  const auto& run = runs.front();
  CHECK(run.windows.size() == 2 * 60);
  std::set<int64_t> named, shown;
  for (const auto& skipped : run.skipped) named.insert(skipped.episode);
  for (const auto number : run.windows) shown.insert(windows[number].episode);
  CHECK(named == std::set<int64_t>{1, 2, 3});
  CHECK((shown.contains(0) && shown.contains(4) && shown.contains(5)));
  CHECK_FALSE((shown.contains(1) || shown.contains(2)));
  CHECK(runs[1].windows == run.windows);
  for (std::size_t i = 0; i < run.pixels.size(); ++i)
    CHECK(at::equal(runs[1].pixels[i], run.pixels[i]));
}

// ---- growing and changing data sets ----

TEST_CASE("a data set that grows while it is read stays as it was opened") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  FilmFolder folder(3, 12);
  const auto data = open_dataset(folder.path());
  const WindowIndex windows(*data, kFilmWindows);
  const LoaderOptions options = {.batch = 5, .seed = 1};
  Loader before(frames_of(data, 0, Unreadable::fail), windows, actions_of(1, 2), options);
  const auto expected = delivered(before, 2);
  Loader during(frames_of(data, 0, Unreadable::fail), windows, actions_of(1, 2), options);
  auto seen = delivered(during, 1);
  folder.add();
  const auto more = delivered(during, 1);
  seen.windows.insert(seen.windows.end(), more.windows.begin(), more.windows.end());
  CHECK(seen.windows == expected.windows);
  CHECK(data->num_episodes() == 3);
  CHECK(open_dataset(folder.path())->num_episodes() == 4);
}

TEST_CASE("a film that was replaced since opening is refused by name, not mixed in") {
  if (!has_video_encoder()) FORESIGHT_SKIP("this FFmpeg has no H.264 encoder");
  const FilmFolder folder(2, 12), other(2, 12);
  const auto data = open_dataset(folder.path());
  data->read_frames(1, {0, 5});
  std::filesystem::rename(other.film(0), folder.film(1));  // as recorders replace files
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        data->read_frames(1, {0, 5});
      },
      folder.film(1).string() + ": has changed since the data set was opened",
      "open the data set again"));
  CHECK(data->read_frames(0, {3}).size(0) == 1);
  CHECK(open_dataset(folder.path())->read_frames(1, {0, 5}).size(0) == 2);
}

}  // namespace
}  // namespace foresight::data::unreadable_test
