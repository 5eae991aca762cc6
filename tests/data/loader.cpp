// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/loader.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "memory_dataset.hpp"
#include "recordings.hpp"

namespace foresight::data::loader_test {
namespace {

constexpr WindowOptions kShape = {.frames = 3, .stride = 2};
ActionSpace real_actions(int64_t dim, int64_t block) {
  ActionSpace space;
  space.dim = dim;
  space.block = block;
  return space;
}

ActionSpace symbols_of(int64_t count) {
  ActionSpace space = real_actions(count, 1);
  space.discrete = true;
  return space;
}

const ActionSpace kActions = [] {
  ActionSpace space = real_actions(2, 2);
  space.mean = {1, -1};
  space.std = {2, 4};
  return space;
}();

std::shared_ptr<MemoryDataset> dataset() {
  return std::make_shared<MemoryDataset>(std::vector<int64_t>{4, 9, 1, 20, 5, 12});
}

std::shared_ptr<const FrameCache> cache(std::shared_ptr<const Dataset> data,
                                        int64_t budget_mb = 100) {
  return std::make_shared<FrameCache>(std::move(data),
                                      FrameCacheOptions{.budget_mb = budget_mb, .threads = 2});
}

// Window numbers of one epoch in the order of delivery.
std::vector<int64_t> epoch_of(Loader& loader) {
  std::vector<int64_t> numbers;
  while (const auto batch = loader.next())
    for (int64_t b = 0; b < batch->windows.size(0); ++b)
      numbers.push_back(batch->windows[b][0].item<int64_t>());
  return numbers;
}

TEST_CASE("a batch holds the frames, actions and states of its windows") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  Loader loader(cache(data), windows, kActions, {.batch = 5, .seed = 3});
  int64_t seen = 0;
  while (const auto batch = loader.next()) {
    REQUIRE(batch->pixels.sizes() == at::IntArrayRef({5, 3, 2, 3, 3}));
    REQUIRE(batch->actions.sizes() == at::IntArrayRef({5, 2, 4}));
    REQUIRE(batch->states.sizes() == at::IntArrayRef({5, 3, 1}));
    for (int64_t b = 0; b < 5; ++b) {
      const int64_t episode = batch->windows[b][1].item<int64_t>(),
                    start = batch->windows[b][2].item<int64_t>();
      CHECK(windows[batch->windows[b][0].item<int64_t>()] == Window{episode, start});
      for (int64_t t = 0; t < 3; ++t) {
        const int64_t row = start + 2 * t;
        CHECK((batch->pixels[b][t].select(-1, 0) == episode).all().item<bool>());
        CHECK((batch->pixels[b][t].select(-1, 1) == row).all().item<bool>());
        CHECK(batch->states[b][t][0].item<float>() == 1000.f * episode + row);
      }
      for (int64_t t = 0; t < 2; ++t)
        for (int64_t k = 0; k < 2; ++k) {
          const auto row =
              static_cast<float>(start + 2 * t + k);  // action of that row: (row, -row)
          CHECK(batch->actions[b][t][2 * k].item<float>() == (row - 1) / 2);
          CHECK(batch->actions[b][t][2 * k + 1].item<float>() == (-row + 1) / 4);
        }
      ++seen;
    }
  }
  CHECK(seen == windows.size() / 5 * 5);
}

TEST_CASE("the order depends on seed and epoch, not on threads, queue or cache") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  std::vector<std::vector<int64_t>> first, second;
  for (const int64_t threads : {0, 1, 2, 4})
    for (const int64_t budget : {0, 100}) {
      Loader loader(cache(data, budget), windows, kActions,
                    {.batch = 4, .threads = threads, .queue = 1 + threads, .seed = 11});
      first.push_back(epoch_of(loader));
      second.push_back(epoch_of(loader));
    }
  for (const auto& order : first) CHECK(order == first.front());
  for (const auto& order : second) CHECK(order == second.front());
  CHECK(first.front() != second.front());
  Loader other(cache(data), windows, kActions, {.batch = 4, .seed = 12});
  CHECK(epoch_of(other) != first.front());
}

TEST_CASE("an epoch shows every window once when the last batch is kept") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  Loader loader(cache(data), windows, kActions, {.batch = 7, .last_batch = LastBatch::keep});
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::vector<int64_t> numbers = epoch_of(loader);
    std::sort(numbers.begin(), numbers.end());
    std::vector<int64_t> all(static_cast<std::size_t>(windows.size()));
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
    CHECK(numbers == all);
  }
  Loader sequential(cache(data), windows, kActions, {.batch = 4, .order = Order::sequential});
  const auto numbers = epoch_of(sequential);
  CHECK(std::is_sorted(numbers.begin(), numbers.end()));
}

TEST_CASE("a saved position continues exactly") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  const LoaderOptions options = {.batch = 3, .seed = 5};
  Loader whole(cache(data), windows, kActions, options);
  std::vector<std::vector<int64_t>> epochs = {epoch_of(whole), epoch_of(whole)};

  Loader interrupted(cache(data), windows, kActions, options);
  for (int64_t i = 0; i < interrupted.batches_per_epoch() + 4; ++i)
    if (!interrupted.next()) --i;
  const LoaderPosition saved = interrupted.position();
  CHECK(saved == LoaderPosition{1, 4});
  Loader resumed(cache(data), windows, kActions, options);
  resumed.next();
  resumed.seek(saved);
  const auto rest = epoch_of(resumed);
  CHECK(rest == std::vector<int64_t>(epochs[1].begin() + 12, epochs[1].end()));
  resumed.seek({0, 0});
  CHECK(epoch_of(resumed) == epochs[0]);
  CHECK(resumed.position() == LoaderPosition{1, 0});
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        resumed.seek({0, resumed.batches_per_epoch()});
      },
      "no batch"));
  CHECK(epoch_of(resumed) == epochs[1]);  // a refused seek changes nothing
}

TEST_CASE("what fails in a thread surfaces in next() at its place, and loading goes on") {
  const auto data = dataset();
  data->break_frame(3, 8);
  const WindowIndex windows(*data, kShape);
  for (const int64_t threads : {0, 3}) {
    Loader loader(cache(data, 0), windows, kActions,
                  {.batch = 4, .threads = threads, .order = Order::sequential});
    std::vector<int64_t> failed;
    for (int64_t i = 0; i < loader.batches_per_epoch(); ++i) {
      const std::string message = error_message(ErrorCategory::bad_file, [&] { loader.next(); });
      if (message != "NOTHING WAS THROWN") {
        CHECK(message.find("e3.mp4: frame 8 is damaged") != std::string::npos);
        failed.push_back(i);
      }
    }
    // Windows of episode 3 that show row 8 start at rows 4, 6, 8; before them lie 5 windows of
    // episode 1.
    CHECK(failed == std::vector<int64_t>{(5 + 4) / 4, (5 + 8) / 4});
    CHECK_FALSE(loader.next());
  }
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { cache(data); }, "e3.mp4"));
}

TEST_CASE("a loader stops in the middle of an epoch, also when nobody took a batch") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  for (int i = 0; i < 20; ++i) {
    Loader loader(cache(data), windows, kActions, {.batch = 2, .threads = 4, .queue = 2});
    for (int taken = 0; taken < i % 3; ++taken) REQUIRE(loader.next());
  }
}

TEST_CASE("no more batches are prepared than the queue holds") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  Loader loader(cache(data, 0), windows, kActions, {.batch = 2, .threads = 4, .queue = 3});
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(data->frames_read() == 3 * 2 * 3);  // 3 batches of 2 windows of 3 frames
}

TEST_CASE("symbols become one-hot rows") {
  const auto data = dataset();
  class Symbols final : public Dataset {
   public:
    explicit Symbols(std::shared_ptr<MemoryDataset> base) : base_(std::move(base)) {}
    const std::string& name() const override { return base_->name(); }
    int64_t num_episodes() const override { return base_->num_episodes(); }
    int64_t length(int64_t episode) const override { return base_->length(episode); }
    std::string episode_name(int64_t episode) const override {
      return base_->episode_name(episode);
    }
    ImageSize image_size() const override { return base_->image_size(); }
    double fps() const override { return base_->fps(); }
    const std::vector<std::string>& columns() const override { return base_->columns(); }
    const std::vector<std::string>& action_columns() const override { return actions_; }
    const std::vector<std::string>& state_columns() const override { return none_; }
    LastAction last_action() const override { return base_->last_action(); }
    Tensor read_rows(const std::vector<std::string>& c, int64_t e, int64_t first,
                     int64_t n) const override {
      return base_->read_rows(c, e, first, n);
    }
    Tensor read_frames(int64_t e, at::IntArrayRef i) const override {
      return base_->read_frames(e, i);
    }

   private:
    std::shared_ptr<MemoryDataset> base_;
    std::vector<std::string> actions_ = {"up"}, none_;
  };
  const auto symbols = std::make_shared<Symbols>(data);
  const WindowIndex windows(*symbols, {.frames = 2, .stride = 1});
  Loader loader(cache(symbols), windows, symbols_of(20), {.batch = 6});
  const auto batch = loader.next();
  REQUIRE(batch);
  CHECK_FALSE(batch->states.defined());
  REQUIRE(batch->actions.sizes() == at::IntArrayRef({6, 1, 20}));
  for (int64_t b = 0; b < 6; ++b) {
    CHECK(batch->actions[b].sum().item<float>() == 1);
    CHECK(batch->actions[b][0][batch->windows[b][2].item<int64_t>()].item<float>() == 1);
  }
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] { Loader l(cache(symbols), windows, symbols_of(4), {.batch = 6}); }, "e1 row 4", "0..3"));
}

TEST_CASE("parts that do not fit together are refused") {
  const auto data = dataset();
  const auto frames = cache(data);
  const WindowIndex windows(*data, kShape);
  const auto making = [&](const WindowIndex& w, const ActionSpace& a, const LoaderOptions& o) {
    return [&, a, o] { Loader loader(frames, w, a, o); };
  };
  CHECK(fails_with(ErrorCategory::invalid_argument, making(windows, real_actions(2, 5), {}),
                   "block = 5", "stride = 2"));
  CHECK(fails_with(ErrorCategory::invalid_argument, making(windows, real_actions(3, 2), {}),
                   "dim = 3", "2 action column"));
  CHECK(fails_with(ErrorCategory::invalid_argument, making(windows, kActions, {.batch = 1000}),
                   "batch = 1000"));
  CHECK(fails_with(ErrorCategory::invalid_option, making(windows, kActions, {.batch = 0}),
                   "batch = 0"));
  const WindowIndex none(*data, {.frames = 50, .stride = 2});
  CHECK(fails_with(ErrorCategory::invalid_argument, making(none, kActions, {}), "99 rows"));
}

TEST_CASE("a cache holds whole episodes up to its budget and reads the others when asked") {
  const auto data = dataset();
  const FrameCache all(data, {.budget_mb = 1});
  CHECK(all.frames_held() == 51);
  CHECK(data->frames_read() == 51);
  CHECK(all.frames(3, {19, 0})
            .select(-1, 1)
            .select(-1, 0)
            .select(-1, 0)
            .equal(at::tensor({19, 0}, at::kByte)));
  CHECK(data->frames_read() == 51);
  CHECK(all.held(1).sizes() == at::IntArrayRef({9, 2, 3, 3}));
  const FrameCache nothing(data, {.budget_mb = 0});
  CHECK(nothing.frames_held() == 0);
  CHECK_FALSE(nothing.held(1).defined());
  CHECK(at::equal(nothing.frames(3, {19, 0}), all.frames(3, {19, 0})));
  const FrameCache some(data, {.budget_mb = 1}, {3, 0, 3});
  CHECK(some.frames_held() == 24);
  CHECK_FALSE(some.held(1).defined());
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { all.frames(0, {4}); }, "frame 4"));
}

TEST_CASE("batches of recorded episodes hold the reference's frames and actions") {
  const auto data = open_dataset(recordings() / "tworoom" / "native224",
                                 {.video = {.conversion = ColourConversion::accurate}});
  const auto golden = folder_goldens("tworoom/native224");
  const auto frames = cache(data);
  CHECK(frames->frames_held() == 96);
  int compared = 0;
  for (const auto& expected : golden.at("windows")) {
    const WindowIndex windows(*data, {.frames = expected.at("num_steps"),
                                      .stride = expected.at("frameskip"),
                                      .span = WindowSpan::blocks});
    const ActionSpace actions = real_actions(2, windows.options().stride);
    Loader loader(frames, windows, actions, {.batch = 1, .order = Order::sequential});
    loader.seek({0, expected.at("index").get<int64_t>()});
    const auto batch = loader.next();
    REQUIRE(batch);
    for (int64_t t = 0; t < windows.options().frames; ++t)
      CHECK(picture_hash(batch->pixels[0][t]) ==
            expected.at("sha256_hwc_u8_accurate").at(t).get<std::string>());
    const Tensor blocks = numbers(expected.at("action").at("data"))
                              .view({windows.options().frames, -1})
                              .to(at::kFloat);
    CHECK(at::equal(batch->actions[0], blocks.narrow(0, 0, windows.options().frames - 1)));
    ++compared;
  }
  CHECK(compared >= 8);
}

TEST_CASE("shards of a loader are the batches of one loader, cut into equal parts") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  const LoaderOptions whole = {.batch = 8, .seed = 3};
  for (const int64_t count : {2, 4}) {
    Loader one(cache(data), windows, kActions, whole);
    std::vector<std::unique_ptr<Loader>> parts;
    for (int64_t i = 0; i < count; ++i)
      parts.push_back(
          std::make_unique<Loader>(cache(data), windows, kActions, whole, Shard{i, count}));
    int64_t batches = 0;
    while (const auto expected = one.next()) {
      std::vector<Tensor> shown, pixels, actions;
      for (const auto& part : parts) {
        const auto batch = part->next();
        REQUIRE(batch);
        CHECK(batch->position == expected->position);
        REQUIRE(batch->windows.size(0) == 8 / count);
        shown.push_back(batch->windows);
        pixels.push_back(batch->pixels);
        actions.push_back(batch->actions);
      }
      CHECK(at::equal(at::cat(shown), expected->windows));
      CHECK(at::equal(at::cat(pixels), expected->pixels));
      CHECK(at::equal(at::cat(actions), expected->actions));
      ++batches;
    }
    CHECK(batches == one.batches_per_epoch());
    for (const auto& part : parts) CHECK_FALSE(part->next());  // the epoch ends for all
  }
}

TEST_CASE("a position taken with two shards goes on with four, or alone") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  const LoaderOptions whole = {.batch = 8, .seed = 5};
  Loader first(cache(data), windows, kActions, whole, Shard{1, 2});
  first.next();
  const auto position = first.position();
  Loader alone(cache(data), windows, kActions, whole);
  alone.seek(position);
  const auto expected = alone.next();
  for (int64_t i = 0; i < 4; ++i) {
    Loader part(cache(data), windows, kActions, whole, Shard{i, 4});
    part.seek(position);
    CHECK(at::equal(part.next()->windows, expected->windows.narrow(0, 2 * i, 2)));
  }
}

TEST_CASE("shards that cannot be equal are refused") {
  const auto data = dataset();
  const WindowIndex windows(*data, kShape);
  const auto refused = [&](const LoaderOptions& options, const Shard& shard, const char* words) {
    return fails_with(
        ErrorCategory::invalid_option,
        [&] { Loader(cache(data), windows, kActions, options, shard); }, words);
  };
  CHECK(refused({.batch = 6}, {0, 4}, "must be a multiple of Shard.count = 4"));
  CHECK(refused({.batch = 8}, {4, 4}, "Shard.index = 4"));
  CHECK(refused({.batch = 8}, {0, 0}, "Shard.count = 0"));
  CHECK(refused({.batch = 8, .last_batch = LastBatch::keep}, {0, 2}, "last_batch = keep"));
}

}  // namespace
}  // namespace foresight::data::loader_test
