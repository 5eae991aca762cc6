// SPDX-License-Identifier: Apache-2.0
// The trajectories that EB-JEPA's model learns from: exact for recorded draws, and their statistics
// against those of the reference generator's trajectories.
#include "foresight/envs/eb_trajectories.hpp"

#include <cmath>
#include <deque>
#include <map>

#include "catch.hpp"
#include "envs/eb_golden_options.hpp"
#include "error_message.hpp"
#include "golden.hpp"
#include "threads.hpp"

namespace foresight::envs {
namespace {

// Replays one queue of numbers per kind of draw.
class QueuedDraws final : public EbDraws {
 public:
  QueuedDraws(const Golden& golden, const std::string& sample) {
    const std::map<EbDraw, const char*> names{{EbDraw::layout, "layout"},
                                              {EbDraw::start, "start_uniform"},
                                              {EbDraw::inside_wall, "inside_wall_u"},
                                              {EbDraw::between, "between_u"},
                                              {EbDraw::heading, "bias_u"},
                                              {EbDraw::turn, "vonmises"},
                                              {EbDraw::step, "step_norms"},
                                              {EbDraw::cross, "cross_u"},
                                              {EbDraw::door_y, "door_y"},
                                              {EbDraw::door_step, "door_step"},
                                              {EbDraw::door_angle, "angle_u"},
                                              {EbDraw::flip, "flip_u"},
                                              {EbDraw::window, "subsequence"}};
    for (const auto& [what, name] : names) {
      const auto values = golden.input(sample + "." + name).to(at::kDouble);
      for (int64_t i = 0; i < values.numel(); ++i)
        queues_[what].push_back(values[i].item<double>());
    }
  }
  double uniform(EbDraw what) override { return next(what); }
  int64_t integer(EbDraw what, int64_t low, int64_t high) override {
    const auto value = static_cast<int64_t>(next(what));
    CHECK((value >= low && value < high));
    return value;
  }
  double von_mises(EbDraw what, double) override { return next(what); }
  double truncated_normal(EbDraw what, double, double, double low, double high) override {
    const double value = next(what);
    CHECK((value >= low && value <= high));
    return value;
  }
  bool empty() const {
    for (const auto& [what, queue] : queues_)
      if (!queue.empty()) return false;
    return true;
  }

 private:
  double next(EbDraw what) {
    auto& queue = queues_[what];
    if (queue.empty()) {
      FAIL_CHECK("no draw left of kind " << static_cast<int>(what));
      return 0.5;
    }
    const double value = queue.front();
    queue.pop_front();
    return value;
  }
  std::map<EbDraw, std::deque<double>> queues_;
};

double quantile_of(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))];
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double deviation_of(const std::vector<double>& values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// What the fixture's statistics are made of.
struct WalkStatistics {
  std::vector<double> x, y, start_x, start_y, length, turn, absolute_turn, wall, door;
  double blocked = 0, crossings = 0, both_rooms = 0;

  void add(const EbTrajectory& walk, int64_t steps) {
    const auto p = walk.positions.accessor<float, 2>(), a = walk.actions.accessor<float, 2>();
    const auto wall_x = static_cast<float>(walk.layout.wall_x);
    wall.push_back(wall_x);
    door.push_back(static_cast<double>(walk.layout.door_y));
    start_x.push_back(p[0][0]);
    start_y.push_back(p[0][1]);
    bool left = false, right = false;
    double blocked_here = 0;
    for (int64_t i = 0; i <= steps; ++i) {
      x.push_back(p[i][0]);
      y.push_back(p[i][1]);
      (p[i][0] < wall_x ? left : right) = true;
      if (i == steps) break;
      length.push_back(std::hypot(a[i][0], a[i][1]));
      blocked_here += p[i + 1][0] == p[i][0] && p[i + 1][1] == p[i][1];
      crossings += (p[i][0] < wall_x) != (p[i + 1][0] < wall_x);
      if (i == 0) continue;
      const double cross =
          static_cast<double>(a[i - 1][0]) * a[i][1] - static_cast<double>(a[i - 1][1]) * a[i][0];
      const double dot =
          static_cast<double>(a[i - 1][0]) * a[i][0] + static_cast<double>(a[i - 1][1]) * a[i][1];
      turn.push_back(std::atan2(cross, dot));
      absolute_turn.push_back(std::abs(turn.back()));
    }
    both_rooms += left && right;
    blocked += blocked_here / static_cast<double>(steps);
  }
};

}  // namespace

TEST_CASE("trajectories for recorded draws are the reference's", "[parity]") {
  for_each_golden("eb_jepa/dataset", [](Golden& golden) {
    const auto options = eb_trajectory_options_of(golden.config());
    for (int64_t i = 0; i < golden.config().at("samples").get<int64_t>(); ++i) {
      const auto name = "s" + std::to_string(i);
      INFO(name);
      QueuedDraws draws(golden, name);
      const auto walk = eb_trajectory(options, draws);
      CHECK(draws.empty());
      golden.compare(name + ".wall_x", at::tensor({walk.layout.wall_x}));
      golden.compare(name + ".door_y", at::tensor({walk.layout.door_y}));
      golden.compare(name + ".all_locations", walk.positions);
      golden.compare(name + ".all_actions", walk.actions);
      const auto window = walk.actions.narrow(0, walk.first_row, options.window);
      golden.compare(name + ".actions", window.t());
      const auto seen = walk.positions.narrow(0, walk.first_row, options.window);
      golden.compare(name + ".locations_normalized", eb_normalise_positions(seen).t());
    }
  });
}

TEST_CASE("the trajectories' distribution is the reference generator's", "[parity]") {
  for_each_golden("eb_jepa/dataset_stats", [](Golden& golden) {
    const auto options = eb_trajectory_options_of(golden.config());
    const EbTrajectorySource source(options, 1);
    const int64_t steps = options.positions - 1;
    // So many more that the reference's own sampling error is nearly all that is left.
    const int64_t drawn = golden.output("number_of_trajectories").item<int64_t>();
    const int64_t walks = 16 * drawn;
    WalkStatistics s;
    for (int64_t i = 0; i < walks; ++i) s.add(source.trajectory(i), steps);

    const auto near = [&](const char* key, const std::vector<double>& values, double tolerance,
                          int64_t first = 0, int64_t count = 1 << 30) {
      const auto shape = golden.output(key).sizes().vec();
      auto where = at::zeros({static_cast<int64_t>(values.size())}, at::kBool);
      where.slice(0, first, first + count).fill_(true);
      golden.compare_sampled(key, at::tensor(values, at::kDouble).view(shape), tolerance,
                             where.view(shape));
    };
    // What the fixture's README says of 1200 walks.
    const double fewer = std::sqrt(1200 / static_cast<double>(drawn));
    const double pixels = 0.5 * fewer, fraction = 0.015 * fewer;
    // One standard error of a mean position is as large (16.7 px / sqrt(1200) = 0.48), and the
    // reference's mean start is 0.64 off the middle: two of them.
    const double mean_pixels = 2 * deviation_of(s.start_y) / std::sqrt(static_cast<double>(drawn));
    const std::vector location{mean_of(s.x), mean_of(s.y), deviation_of(s.x), deviation_of(s.y)};
    near("location_mean_std", location, mean_pixels, 0, 2);
    near("location_mean_std", location, pixels, 2);
    const std::vector start{mean_of(s.start_x), mean_of(s.start_y), deviation_of(s.start_x),
                            deviation_of(s.start_y)};
    near("start_mean_std", start, mean_pixels, 0, 2);
    near("start_mean_std", start, pixels, 2);
    const auto extent = [](const std::vector<double>& values) {
      return std::vector{quantile_of(values, 0), quantile_of(values, 1), mean_of(values)};
    };
    near("wall_min_max_mean", extent(s.wall), 0, 0, 2);
    near("wall_min_max_mean", extent(s.wall), pixels, 2);
    near("door_min_max_mean", extent(s.door), 0, 0, 2);
    near("door_min_max_mean", extent(s.door), pixels, 2);
    // Of every step of every walk: 90 times as many, which the README names no figure for.
    const double of_steps = 0.005;
    const std::vector length{mean_of(s.length), deviation_of(s.length), quantile_of(s.length, 0),
                             quantile_of(s.length, 1)};
    near("step_norm_mean_std_min_max", length, of_steps, 0, 2);
    near("step_norm_mean_std_min_max", length, 1e-3, 2);
    const auto quantiles = [](const std::vector<double>& values) {
      std::vector<double> result;
      for (const double q : {0.05, 0.25, 0.5, 0.75, 0.95}) result.push_back(quantile_of(values, q));
      return result;
    };
    near("step_norm_quantiles", quantiles(s.length), of_steps);
    near("turn_abs_quantiles", quantiles(s.absolute_turn), of_steps);
    near("turn_mean_std", {mean_of(s.turn), deviation_of(s.turn)}, of_steps);
    const auto number = static_cast<double>(walks);
    near("trajectories_in_both_rooms_fraction", {s.both_rooms / number}, fraction);
    near("wall_crossings_per_trajectory", {s.crossings / number}, fraction);
    near("blocked_step_fraction", {s.blocked / number}, fraction);
    CHECK(golden.uncompared("outputs") ==
          std::vector<std::string>{"outputs/number_of_trajectories"});
  });
}

TEST_CASE("positions are normalised as the reference's probe expects them, and back", "[parity]") {
  for_each_golden("eb_jepa/normalizer", [](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      const auto normalised = eb_normalise_positions(golden.input("locations", type));
      const auto compare = [&](const std::string& key, const Tensor& actual) {
        if (type == at::kDouble)
          golden.compare_within("outputs64/" + key, actual, {2e-6, 1e-7, 0},
                                "the original's float64 run has statistics of float32, and no "
                                "guard of the division on the way back");
        else
          golden.compare("outputs/" + key, actual);
      };
      compare("location", normalised);
      compare("unnormalized_location", eb_denormalise_positions(normalised));
    }
  });
}

TEST_CASE("a trajectory is a function of options, seed and number, whatever the batch") {
  EbTrajectoryOptions options;
  options.window = 5;
  const EbTrajectorySource source(options, 3), other(options, 4);
  const auto together = source.batch(10, 4), last = source.batch(13, 1);
  CHECK(together.pixels.sizes() == at::IntArrayRef({4, 5, 2, 65, 65}));
  CHECK(together.pixels[3].equal(last.pixels[0]));
  CHECK(together.actions[3].equal(last.actions[0]));
  CHECK(together.positions[3].equal(last.positions[0]));
  CHECK_FALSE(together.positions[0].equal(together.positions[1]));
  CHECK_FALSE(other.batch(10, 1).positions[0].equal(together.positions[0]));

  const auto walk = source.trajectory(13);
  CHECK(walk.positions.narrow(0, walk.first_row, 5).equal(last.positions[0]));
  const auto dot = last.positions[0][2];
  CHECK(last.pixels[0][2].equal(eb_two_rooms_picture(
      options.geometry, walk.layout, {dot[0].item<float>(), dot[1].item<float>()})));
}

TEST_CASE("a batch of trajectories is the same on any number of threads, bit for bit") {
  EbTrajectoryOptions options;
  options.window = 5;
  const EbTrajectorySource source(options, 3);
  CHECK(same_on_four_threads([&] {
    const auto batch = source.batch(7, 21);  // six tasks
    return at::cat({batch.pixels.flatten().to(at::kFloat), batch.actions.flatten(),
                    batch.positions.flatten()});
  }));
}

TEST_CASE("the last position of a walk is never in a window") {
  EbTrajectoryOptions options;
  options.positions = 6;
  options.window = 4;
  const EbTrajectorySource source(options, 0);
  std::array<int, 2> starts{};
  for (int64_t i = 0; i < 40; ++i) {
    const auto first = source.trajectory(i).first_row;
    REQUIRE((first == 0 || first == 1));
    ++starts[static_cast<std::size_t>(first)];
  }
  CHECK((starts[0] > 5 && starts[1] > 5));
}

TEST_CASE("trajectory options that cannot be are refused with their rule") {
  EbTrajectoryOptions options;
  options.window = 91;
  options.step_min = 1.2;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { EbTrajectorySource source(options, 0); }, "window",
      "step_min"));
  const EbTrajectorySource source({}, 0);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { source.batch(0, 0); }, ">= 1"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { source.trajectory(-1); }, ">= 0"));
}

}  // namespace foresight::envs
