// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "foresight/train/learn.hpp"

namespace foresight::train {
namespace {

constexpr int64_t kEncodeBatch = 512;

}  // namespace

EpisodeLatents encode_episodes(const WorldModel& model, const data::FrameCache& frames,
                               const std::vector<int64_t>& episodes) {
  c10::InferenceMode inference;
  PhiloxNoise noise(0);  // of stochastic encoders
  EpisodeLatents result;
  std::vector<Tensor> parts;
  result.first.push_back(0);
  const auto like = model.initial(1).fields().front().second.options();
  for (const auto episode : episodes) {
    const auto length = frames.dataset()->length(episode);
    for (int64_t first = 0; first < length; first += kEncodeBatch) {
      std::vector<int64_t> rows(static_cast<std::size_t>(std::min(kEncodeBatch, length - first)));
      std::iota(rows.begin(), rows.end(), first);
      const Observation observation(kPixels, frames.frames(episode, rows).to(like.device()));
      parts.push_back(model.encode(observation, noise).flatten(1));
    }
    result.first.push_back(result.first.back() + length);
  }
  const auto& spec = model.spec();
  result.latents =
      parts.empty() ? at::empty({0, spec.tokens * spec.channels}, like) : at::cat(parts);
  return result;
}

}  // namespace foresight::train
