// SPDX-License-Identifier: Apache-2.0
// TwoRoom against rollouts and episodes recorded by the reference environment (stable-worldmodel
// 0.1.1).
#include <algorithm>
#include <string>

#include "catch.hpp"
#include "envs/recordings.hpp"
#include "foresight/envs/two_room.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight::envs::two_room_trace_test {
namespace {

TwoRoomOptions options_of(const nlohmann::json& sequence) {
  TwoRoomOptions options;
  options.wall_axis = sequence.at("wall_axis") == 1 ? WallAxis::vertical : WallAxis::horizontal;
  options.wall_thickness = sequence.at("wall_thickness");
  options.door_positions = sequence.at("door_positions").get<std::vector<int64_t>>();
  options.door_half_sizes = sequence.at("door_half_sizes").get<std::vector<int64_t>>();
  options.agent_radius = sequence.at("agent_radius");
  options.agent_speed = sequence.at("agent_speed");
  options.target_radius = sequence.at("target_radius");
  options.render_target = sequence.at("render_target") == 1;
  const auto& colors = sequence.at("colors");
  options.agent_color = colors.at("agent").get<std::vector<int64_t>>();
  options.target_color = colors.at("target").get<std::vector<int64_t>>();
  options.wall_color = colors.at("wall").get<std::vector<int64_t>>();
  options.door_color = colors.at("door").get<std::vector<int64_t>>();
  options.background_color = colors.at("background").get<std::vector<int64_t>>();
  options.max_episode_steps = 0;
  return options;
}

Tensor point(const nlohmann::json& xy) {
  return at::tensor({xy[0].get<float>(), xy[1].get<float>()});
}

std::string digest(const Tensor& picture) {
  return test::sha256(picture.data_ptr<std::uint8_t>(), static_cast<std::size_t>(picture.numel()));
}

struct Trace {
  nlohmann::json sequences =
      test::read_json(test::recordings() / "tworoom/env_trace.json").at("sequences");
  io::SafeTensors tensors =
      io::SafeTensors::open(test::recordings() / "tworoom/env_trace.safetensors");
};

}  // namespace

TEST_CASE("TwoRoom repeats every recorded step, distance and termination to the last bit") {
  const Trace trace;
  REQUIRE(trace.sequences.size() == 8);
  int64_t steps = 0;
  for (const auto& [name, sequence] : trace.sequences.items()) {
    INFO(name);
    const auto actions = trace.tensors.at(name + "/actions");
    const auto states = trace.tensors.at(name + "/states");
    const auto distance = trace.tensors.at(name + "/distance");
    const auto terminated = trace.tensors.at(name + "/terminated");
    TwoRoom room(options_of(sequence));
    auto step = room.reset_to(point(sequence.at("start")), point(sequence.at("target")));
    REQUIRE(at::equal(room.state(), states[0]));
    for (int64_t t = 0; t < actions.size(0); ++t, ++steps) {
      INFO("step " << t);
      step = room.step(actions[t]);
      REQUIRE(at::equal(room.state(), states[t + 1]));
      REQUIRE(room.goal_distance() == distance[t + 1].item<double>());
      REQUIRE(step.terminated == (terminated[t].item<int64_t>() != 0));
      REQUIRE_FALSE(step.truncated);
    }
    const auto expected = sequence.at("final_observation10").get<std::vector<float>>();
    REQUIRE(at::equal(step.observation, at::tensor(expected)));
  }
  REQUIRE(steps == 350);
}

TEST_CASE("TwoRoom draws every recorded frame within one grey level, nearly all exactly") {
  const Trace trace;
  int64_t frames = 0, exact_native = 0, exact_small = 0;
  for (const auto& [name, sequence] : trace.sequences.items()) {
    INFO(name);
    const auto states = trace.tensors.at(name + "/states");
    TwoRoom room(options_of(sequence));
    room.set_goal(point(sequence.at("target")));
    for (int64_t t = 0; t < states.size(0); ++t, ++frames) {
      room.set_state(states[t]);
      const auto at = static_cast<std::size_t>(t);
      const auto recorded = [at, &sequence = sequence](const char* key) {
        return sequence.at(key).at(at).get<std::string>();
      };
      exact_native += digest(room.render(224)) == recorded("rgb24_sha256_224");
      exact_small += digest(room.render(64)) == recorded("rgb24_sha256_64");
    }
    // The pixels themselves, where the trace holds them: what a machine with another exp() may
    // differ by.
    for (const int64_t size : {224, 64}) {
      const auto key = name + "/frames" + std::to_string(size);
      const auto pictures = trace.tensors.at(key), rows = trace.tensors.at(key + "_index");
      for (int64_t i = 0; i < rows.size(0); ++i) {
        room.set_state(states[rows[i].item<int64_t>()]);
        const auto error = (room.render(size).to(at::kInt) - pictures[i].to(at::kInt)).abs();
        REQUIRE(error.max().item<int>() <= 1);
        REQUIRE(error.to(at::kDouble).mean().item<double>() <= 3e-4);
      }
    }
  }
  REQUIRE(frames == 358);
  // The trace's exp() is ATen's of processors with AVX2; that of AVX-512 rounds otherwise.
  if (at::get_cpu_capability() != "AVX2") return;
  CHECK(exact_native == frames);
  CHECK(exact_small == frames);
}

TEST_CASE("TwoRoom replays the recorded training episodes exactly") {
  const auto folder = test::recordings() / "tworoom/folder";
  if (!std::filesystem::exists(folder / "episode_0000.csv"))
    FORESIGHT_SKIP("recordings without tworoom/folder");
  TwoRoom room;
  int64_t transitions = 0, wrong = 0;
  for (int64_t episode = 0; episode < 240; ++episode) {
    const auto rows = test::read_episode(folder, episode);
    if (rows.empty()) continue;
    room.set_goal(at::tensor({rows[0].goal[0], rows[0].goal[1]}));
    for (std::size_t t = 0; t + 1 < rows.size(); ++t, ++transitions) {
      room.set_state(at::tensor({rows[t].state[0], rows[t].state[1]}));
      const auto step = room.step(at::tensor({rows[t].action[0], rows[t].action[1]}));
      const auto after = room.state();
      wrong += after[0].item<float>() != rows[t + 1].state[0] ||
               after[1].item<float>() != rows[t + 1].state[1] ||
               step.terminated != rows[t + 1].terminated;
    }
  }
  CHECK(transitions > 1000);
  CHECK(wrong == 0);
}

}  // namespace foresight::envs::two_room_trace_test
