// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/recording.hpp"

#include <limits>
#include <vector>

#include "foresight/core/error.hpp"

namespace foresight::envs {

Episode record_episode(Env& env, ScriptedPolicy& policy, std::uint64_t seed, int64_t image_size) {
  require(env.spec().max_episode_steps > 0, ErrorCategory::invalid_argument,
          "record_episode: environment '" + env.spec().name +
              "' has max_episode_steps = 0, an episode might never end; a limit > 0 is expected");
  require(env.spec().picture_planes == 0, ErrorCategory::unsupported,
          "record_episode: environment '" + env.spec().name + "' draws pictures of " +
              std::to_string(env.spec().picture_planes) +
              " planes; recordings are video and hold RGB pictures. Data to learn from is made in "
              "memory instead (envs/eb_trajectories.hpp)");
  constexpr std::uint64_t kPolicyStream = 0x706f6c69;  // separate from the draws of the reset
  PhiloxNoise noise(seed, kPolicyStream);
  std::vector<Tensor> frames, states, actions;
  std::vector<double> distances;
  auto keep = [&] {
    frames.push_back(env.render(image_size));
    states.push_back(env.state());
    distances.push_back(env.goal_distance());
  };

  env.reset(seed);
  policy.begin_episode();
  keep();
  EnvStep step;
  while (!step.terminated && !step.truncated) {
    actions.push_back(policy.act(env, noise));
    step = env.step(actions.back());
    keep();
  }
  actions.push_back(at::full_like(actions.back(), std::numeric_limits<float>::quiet_NaN()));

  Episode episode;
  episode.frames = at::stack(frames);
  episode.states = at::stack(states);
  episode.actions = at::stack(actions);
  episode.goal = env.goal();
  episode.distances = at::tensor(distances, at::kDouble);
  episode.terminated = step.terminated;
  episode.truncated = step.truncated;
  return episode;
}

}  // namespace foresight::envs
