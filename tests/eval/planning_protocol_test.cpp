// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/planning_protocol.hpp"

#include <cmath>
#include <fstream>
#include <set>

#include "catch.hpp"
#include "envs/recordings.hpp"
#include "error_message.hpp"
#include "foresight/core/error.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/envs/two_room.hpp"
#include "temporary_folder.hpp"

namespace foresight::eval::planning_protocol_test {
namespace {

// Episodes whose state is (episode, step).
std::vector<Tensor> labelled_episodes(const std::vector<int64_t>& lengths) {
  std::vector<Tensor> episodes;
  for (std::size_t e = 0; e < lengths.size(); ++e) {
    const auto steps = at::arange(lengths[e], at::kDouble);
    episodes.push_back(at::stack({at::full_like(steps, static_cast<double>(e)), steps}, 1));
  }
  return episodes;
}

}  // namespace

TEST_CASE("The recorded planning problems are read in full") {
  const auto file = test::recordings() / "tworoom/eval_instances.json";
  CHECK(planning_protocol_names(file) == std::vector<std::string>{"code_25_50", "far_50_100"});
  const auto protocol = read_planning_protocol(file, "far_50_100");
  CHECK(protocol.goal_offset == 50);
  CHECK(protocol.budget == 100);
  REQUIRE(protocol.instances.size() == 50);
  for (const auto& instance : protocol.instances) {
    CHECK(instance.goal_step == instance.start_step + 50);
    CHECK(instance.start_state.size() == 2);
  }
  CHECK(protocol.instances.back().episode == 222);
  CHECK(protocol.instances.back().start_step == 40);
  CHECK(protocol.instances.back().goal_state[0] == 21);
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { read_planning_protocol(file, "code"); }, "code_25_50"));
}

TEST_CASE("Damaged problem files fail with file and key") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "problems.json";
  CHECK_THROWS_AS(read_planning_protocol(path, "p"), Error);
  auto attempt = [&](const std::string& text) {
    std::ofstream(path) << text;
    return read_planning_protocol(path, "p");
  };
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { attempt("{"); }, "protocols"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { attempt(R"({"protocols": {"p": {"goal_offset": 0}}})"); },
      "goal_offset"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        attempt(R"({"protocols": {"p": {"goal_offset": 2, "eval_budget": 4,
                               "instances": []}}})");
      },
      "instances"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        attempt(R"({"protocols": {"p": {"goal_offset": 2, "eval_budget": 4,
                               "instances": [{"episode": 0, "start_step": 3, "goal_step": 3}]}}})");
      },
      "instances[0]", "goal_step"));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        attempt(R"({"protocols": {"p": {"goal_offset": 2, "eval_budget": 4, "instances":
        [{"episode": 0, "start_step": 3, "goal_step": 5, "start_state": [1, 2], "goal_state": [1, "a"]}]}}})");
      },
      "goal_state"));
}

TEST_CASE("Sampled problems lie inside their episodes and are distinct, sorted and repeatable") {
  const auto episodes = labelled_episodes({30, 5, 100, 26, 25});
  const ProtocolOptions options{.goal_offset = 25, .budget = 50, .count = 40, .seed = 1};
  const auto protocol = sample_planning_protocol(episodes, options);
  REQUIRE(protocol.instances.size() == 40);
  CHECK(protocol.budget == 50);
  std::set<std::pair<int64_t, int64_t>> seen;
  std::pair<int64_t, int64_t> previous{-1, -1};
  for (const auto& instance : protocol.instances) {
    const std::pair row{instance.episode, instance.start_step};
    CHECK(previous < row);
    previous = row;
    CHECK(seen.insert(row).second);
    CHECK(instance.goal_step == instance.start_step + 25);
    CHECK(instance.start_state == std::vector<double>{static_cast<double>(instance.episode),
                                                      static_cast<double>(instance.start_step)});
    CHECK(instance.goal_state[1] == static_cast<double>(instance.goal_step));
    CHECK(instance.goal_step < episodes[static_cast<std::size_t>(instance.episode)].size(0));
  }
  const auto again = sample_planning_protocol(episodes, options);
  CHECK(again.instances[7].start_step == protocol.instances[7].start_step);
  // Candidates: 5 + 0 + 75 + 1 + 0 rows.
  CHECK(sample_planning_protocol(episodes, {.goal_offset = 25, .count = 81}).instances.size() ==
        81);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { sample_planning_protocol(episodes, {.goal_offset = 25, .count = 82}); }, "81"));
  CHECK_THROWS_AS(sample_planning_protocol(episodes, {.goal_offset = 0}), Error);
}

TEST_CASE("Problems drawn from an environment are judged by its own rule") {
  envs::TwoRoom reaches;
  CHECK(sample_environment_protocol(reaches, 50, 2, 0).solved_when == SolvedWhen::terminated);
  CHECK(reaches.spec().problem_steps == 50);
  envs::EbTwoRooms stays({.success_distance = 3});
  const auto protocol = sample_environment_protocol(stays, 60, 2, 0);
  CHECK(protocol.solved_when == SolvedWhen::near_at_end);
  CHECK(protocol.success_distance == 3);
  CHECK(protocol.budget == 60);
  // As EB-JEPA evaluates: 200 steps, 4.5 px.
  CHECK(envs::EbTwoRooms().spec().problem_steps == 200);
  CHECK(envs::EbTwoRooms().spec().end_distance == 4.5);
}

TEST_CASE("Problems drawn from an environment start unsolved, anywhere, and repeat for a seed") {
  envs::TwoRoom env;
  const auto protocol = sample_environment_protocol(env, 150, 200, 5);
  REQUIRE(protocol.instances.size() == 200);
  CHECK(protocol.budget == 150);
  CHECK_FALSE(protocol.recorded());
  int64_t crossings = 0;
  for (const auto& instance : protocol.instances) {
    const auto& [x, y] = std::pair{instance.start_state[0], instance.start_state[1]};
    const auto distance = std::hypot(instance.goal_state[0] - x, instance.goal_state[1] - y);
    CHECK(distance >= env.options().success_distance);
    crossings += (x < envs::TwoRoom::kCenter) != (instance.goal_state[0] < envs::TwoRoom::kCenter);
  }
  // Start and goal are independent and the rooms alike: half of the problems cross, 5 sigma = 35.
  CHECK(std::abs(crossings - 100) < 35);
  const auto again = sample_environment_protocol(env, 150, 200, 5);
  CHECK(again.instances[199].goal_state == protocol.instances[199].goal_state);
  int64_t in_common = 0;  // with the next seed
  for (const auto& one : sample_environment_protocol(env, 150, 200, 6).instances)
    for (const auto& other : protocol.instances) in_common += one.start_state == other.start_state;
  CHECK(in_common == 0);
  CHECK(sample_environment_protocol(env, 150, 1, 9).instances[0].start_state !=
        protocol.instances[0].start_state);
  CHECK_THROWS_AS(sample_environment_protocol(env, 0, 10, 5), Error);
  CHECK_THROWS_AS(sample_environment_protocol(env, 10, 0, 5), Error);
  envs::TwoRoom always_there(envs::TwoRoomOptions{.success_distance = 1000});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { sample_environment_protocol(always_there, 10, 1, 5); },
      "two_room"));
}

TEST_CASE("The recorded data set offers as many problems as the reference counts") {
  const auto folder = test::recordings() / "tworoom/folder";
  if (!std::filesystem::exists(folder / "episode_0000.csv"))
    FORESIGHT_SKIP("recordings without tworoom/folder");
  std::vector<int64_t> lengths;
  for (int64_t e = 0; e < 240; ++e)
    lengths.push_back(static_cast<int64_t>(test::read_episode(folder, e).size()));
  const auto episodes = labelled_episodes(lengths);
  if (std::find(lengths.begin(), lengths.end(), 0) != lengths.end())
    FORESIGHT_SKIP("only some of the recorded episodes are there");
  CHECK_NOTHROW(sample_planning_protocol(episodes, {.goal_offset = 25, .count = 8914}));
  CHECK_THROWS_AS(sample_planning_protocol(episodes, {.goal_offset = 25, .count = 8915}), Error);
  CHECK_NOTHROW(sample_planning_protocol(episodes, {.goal_offset = 50, .count = 4746}));
  CHECK_THROWS_AS(sample_planning_protocol(episodes, {.goal_offset = 50, .count = 4747}), Error);
}

}  // namespace foresight::eval::planning_protocol_test
