// SPDX-License-Identifier: Apache-2.0
// What a model sees of recordings and of an environment: the right columns in the right fields.
#include "foresight/eval/recorded_input.hpp"

#include <nlohmann/json.hpp>

#include "captured_log.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/log.hpp"
#include "foresight/models/pose.hpp"

namespace foresight::eval::recorded_input_test {
namespace {

// Two episodes of nine rows. Column k of row r in episode e holds 100 e + 10 k + r / 100.
class CountingDataset final : public data::Dataset {
 public:
  CountingDataset(std::vector<std::string> actions, std::vector<std::string> states)
      : actions_(std::move(actions)), states_(std::move(states)), columns_(actions_) {
    columns_.insert(columns_.end(), states_.begin(), states_.end());
  }
  const std::string& name() const override { return name_; }
  int64_t num_episodes() const override { return 2; }
  int64_t length(int64_t) const override { return 9; }
  std::string episode_name(int64_t episode) const override {
    return std::string("e").append(std::to_string(episode));
  }
  data::ImageSize image_size() const override { return {4, 4}; }
  double fps() const override { return 10; }
  const std::vector<std::string>& columns() const override { return columns_; }
  const std::vector<std::string>& action_columns() const override { return actions_; }
  const std::vector<std::string>& state_columns() const override { return states_; }
  data::LastAction last_action() const override { return data::LastAction::applied; }
  Tensor read_rows(const std::vector<std::string>& columns, int64_t episode, int64_t first,
                   int64_t count) const override {
    auto rows = at::empty({count, static_cast<int64_t>(columns.size())}, at::kDouble);
    for (int64_t r = 0; r < count; ++r)
      for (std::size_t c = 0; c < columns.size(); ++c)
        rows[r][static_cast<int64_t>(c)] = value(columns[c], episode, first + r);
    return rows;
  }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override {
    std::vector<Tensor> frames;
    for (const auto row : indices)
      frames.push_back(at::full({4, 4, 3}, 10 * episode + row, at::kByte));
    return at::stack(frames);
  }
  double value(const std::string& column, int64_t episode, int64_t row) const {
    const auto place = std::find(columns_.begin(), columns_.end(), column);
    require(place != columns_.end(), ErrorCategory::not_found, "no column '" + column + "'");
    return 100.0 * static_cast<double>(episode) +
           10.0 * static_cast<double>(place - columns_.begin()) + 0.01 * static_cast<double>(row);
  }

 private:
  std::string name_ = "counting";
  std::vector<std::string> actions_, states_, columns_;
};

ModelSpec spec_of(std::vector<ObservationField> observation, int64_t block) {
  ModelSpec spec;
  spec.family = "some";
  spec.observation = std::move(observation);
  spec.action.block = block;
  spec.action.mean = {5.0};
  spec.action.std = {2.0};
  return spec;
}

const ObservationField kPicture{"pixels", {kAny, kAny, 3}, at::kByte};

}  // namespace

TEST_CASE("fields take state columns one after another, and actions are normalised blocks") {
  const auto dataset = std::make_shared<CountingDataset>(std::vector<std::string>{"push"},
                                                         std::vector<std::string>{"a", "b", "c"});
  const auto spec = spec_of({{"front", {1}}, kPicture, {"back", {2}}}, 2);
  const RecordedInput input(spec, *dataset);
  CHECK(input.columns() == std::vector<std::string>{"a", "b", "c"});
  CHECK(input.stride() == 2);
  const data::FrameCache frames(dataset);
  const auto seen = input.observation(frames, 1, {3, 8});
  CHECK_NOTHROW(spec.check(seen, 2));
  CHECK(seen.at("pixels")[1][0][0][0].item<int>() == 18);
  CHECK(seen.at("front")[0][0].item<float>() == Approx(dataset->value("a", 1, 3)));
  CHECK(seen.at("back")[1][1].item<float>() == Approx(dataset->value("c", 1, 8)));

  const auto blocks = input.blocks(*dataset, 0, 1, 3);
  REQUIRE(blocks.sizes() == at::IntArrayRef({3, 2}));
  CHECK(blocks[2][1].item<float>() == Approx((dataset->value("push", 0, 6) - 5.0) / 2.0));

  data::Loader loader(std::make_shared<const data::FrameCache>(dataset),
                      data::WindowIndex(*dataset, {.frames = 3, .stride = 2}),
                      input.loader_actions(*dataset),
                      {.batch = 4, .threads = 0, .order = data::Order::sequential});
  const auto batch = loader.next();
  REQUIRE(batch);
  const auto windows = input.windows(*dataset, *batch);
  REQUIRE(windows.observations.size() == 3);
  // Window 3 begins at row 3 of episode 0; its last frame is row 7.
  CHECK(windows.observations[2].at("back")[3][0].item<float>() ==
        Approx(dataset->value("b", 0, 7)));
  CHECK(at::equal(windows.actions, batch->actions));

  // Other columns, in another order, by name.
  const RecordedInput chosen(spec, *dataset, {"c", "push", "a"});
  CHECK(chosen.observation(frames, 0, {2}).at("front")[0][0].item<float>() ==
        Approx(dataset->value("c", 0, 2)));
}

TEST_CASE("V-JEPA 2-AC sees poses, and its actions are their changes over the trained stride") {
  const auto dataset = std::make_shared<CountingDataset>(
      std::vector<std::string>{"unread"},
      std::vector<std::string>{"x", "y", "z", "rx", "ry", "rz", "opening"});
  auto spec = spec_of({kPicture, {"proprio", {7}}}, 1);
  spec.family = "vjepa2_ac";
  spec.action.dim = 7;
  spec.action.mean = spec.action.std = {};
  io::BundleConfig bundle;
  bundle.provenance = {{"stride", 3}};
  const RecordedInput input(spec, *dataset, {}, bundle);
  CHECK(input.stride() == 3);
  const auto poses =
      dataset->read_rows(dataset->state_columns(), 1, 0, 9).index_select(0, at::arange(0, 9, 3));
  const auto expected = models::pose_difference(poses.narrow(0, 0, 2), poses.narrow(0, 1, 2));
  CHECK(at::allclose(input.blocks(*dataset, 1, 0, 2), expected.to(at::kFloat)));
  CHECK(expected[0][0].item<double>() == Approx(0.03));  // three rows on

  data::Loader loader(std::make_shared<const data::FrameCache>(dataset),
                      data::WindowIndex(*dataset, {.frames = 3, .stride = 3}, {1}),
                      input.loader_actions(*dataset),
                      {.batch = 3, .threads = 0, .order = data::Order::sequential});
  const auto windows = input.windows(*dataset, *loader.next());
  CHECK(at::allclose(windows.actions[0], expected.to(at::kFloat)));
  CHECK(windows.observations[1].at("proprio")[0][2].item<float>() ==
        Approx(dataset->value("z", 1, 3)));
}

TEST_CASE("columns of the training are preferred; what is missing or too much is named") {
  const auto dataset = std::make_shared<CountingDataset>(std::vector<std::string>{"push"},
                                                         std::vector<std::string>{"a", "b", "c"});
  const auto pair = spec_of({kPicture, {"proprio", {2}}}, 1);
  io::BundleConfig bundle;
  bundle.provenance = {{"observed_columns", {"c", "a"}}};
  CHECK(RecordedInput(pair, *dataset, {}, bundle).columns() == std::vector<std::string>{"c", "a"});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { RecordedInput(pair, *dataset); }, "observes 2 numbers",
      "a, b, c"));
  bundle.provenance = {{"observed_columns", {"gone", "a"}}};  // other recordings
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { RecordedInput(pair, *dataset, {}, bundle); },
      "counting: the model was trained to observe gone, a", "have no: gone.", "--states"));
  CHECK(RecordedInput(pair, *dataset, {"b", "c"}, bundle).columns() ==
        std::vector<std::string>{"b", "c"});  // as asked
  const auto many = spec_of({kPicture, {"proprio", {5}}}, 1);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { RecordedInput(many, *dataset); },
      "field 'proprio' of the model holds 5 numbers", "3 columns"));
  CHECK(fails_with(
      ErrorCategory::not_found,
      [&] {
        RecordedInput(pair, *dataset, {"a", "nowhere"});
      },
      "nowhere"));
  const auto map = spec_of({kPicture, {"map", {2, 2}}}, 1);
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { RecordedInput(map, *dataset); }, "'map' has shape"));
  CHECK(RecordedInput(spec_of({kPicture}, 1), *dataset).columns().empty());
}

TEST_CASE("recordings with none of the columns trained on show their states, with a warning") {
  const CountingDataset dataset({"push"}, {"a", "b"});
  const auto pair = spec_of({kPicture, {"proprio", {2}}}, 1);
  io::BundleConfig bundle;
  const CapturedLog log;
  bundle.provenance = {{"observed_columns", {"b", "a"}}};
  CHECK(RecordedInput(pair, dataset, {}, bundle).columns() == std::vector<std::string>{"b", "a"});
  CHECK(log.text().empty());
  bundle.provenance = {{"observed_columns", {"agent_x", "agent_y"}}};
  CHECK(RecordedInput(pair, dataset, {}, bundle).columns() == std::vector<std::string>{"a", "b"});
  CHECK_THAT(log.text(), Catch::Contains("counting: has none of the columns") &&
                             Catch::Contains("agent_x, agent_y") &&
                             Catch::Contains("state columns: a, b"));
}

TEST_CASE(
    "an environment's state fills the model's fields by name, or by the place it was recorded") {
  envs::EnvSpec world;
  world.name = "world";
  world.state_names = {"u", "v", "w"};
  const auto shown = Observation(kPixels, at::zeros({1, 4, 4, 3}, at::kByte))
                         .set(kProprio, at::tensor({1.0F, 2.0F, 3.0F}).unsqueeze(0));
  const auto spec = spec_of({kPicture, {"proprio", {2}}}, 1);
  const CountingDataset by_name({"push"}, {"w", "v"});
  auto seen = view_of(RecordedInput(spec, by_name), world, by_name)(shown);
  CHECK(at::equal(seen.at("proprio"), at::tensor({3.0F, 2.0F}).unsqueeze(0)));
  const CountingDataset by_place({"push"}, {"state_0", "state_1", "state_2"});
  seen = view_of(RecordedInput(spec, by_place, {"state_1", "state_0"}), world, by_place)(shown);
  CHECK(at::equal(seen.at("proprio"), at::tensor({2.0F, 1.0F}).unsqueeze(0)));
  const CountingDataset strange({"push"}, {"p", "q"});
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { view_of(RecordedInput(spec, strange), world, strange); },
      "'world' does not tell 'p'", "u, v, w"));
}

}  // namespace foresight::eval::recorded_input_test
