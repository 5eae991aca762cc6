// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "foresight/core/replica_part.hpp"
#include "foresight/train/learn.hpp"
#include "stoppable_validation.hpp"

namespace foresight::train {
namespace {

constexpr int64_t kEncodeBatch = 512;

// Rows first..first+length of `latents`, from the frames of one episode.
void encode_episode(const WorldModel& model, const data::FrameCache& frames, int64_t episode,
                    const Tensor& latents) {
  PhiloxNoise noise(0, static_cast<std::uint64_t>(episode));  // of stochastic encoders
  const auto length = latents.size(0);
  for (int64_t first = 0; first < length; first += kEncodeBatch) {
    std::vector<int64_t> rows(static_cast<std::size_t>(std::min(kEncodeBatch, length - first)));
    std::iota(rows.begin(), rows.end(), first);
    const Observation observation(kPixels, frames.frames(episode, rows).to(latents.device()));
    latents.narrow(0, first, static_cast<int64_t>(rows.size()))
        .copy_(model.encode(observation, noise).flatten(1));
  }
}

}  // namespace

EpisodeLatents encode_episodes(const WorldModel& model, const data::FrameCache& frames,
                               const std::vector<int64_t>& episodes, const Replicas* processes) {
  c10::InferenceMode inference;
  EpisodeLatents result;
  result.first.push_back(0);
  for (const auto episode : episodes)
    result.first.push_back(result.first.back() + frames.dataset()->length(episode));
  const auto& spec = model.spec();
  const auto like = model.initial(1).fields().front().second.options();
  const auto count = static_cast<int64_t>(episodes.size());
  const auto part = processes != nullptr ? part_of(count, processes->rank(), processes->count())
                                         : ReplicaPart{0, count};
  result.latents = at::zeros({result.first.back(), spec.tokens * spec.channels}, like);
  for (auto i = static_cast<std::size_t>(part.first);
       i < static_cast<std::size_t>(part.first + part.count); ++i) {
    if (processes == nullptr && StoppableValidation::is_asked(false)) throw Interrupted();
    encode_episode(
        model, frames, episodes[i],
        result.latents.narrow(0, result.first[i], result.first[i + 1] - result.first[i]));
  }
  // Exact whatever the order of the sum: one number and zeros.
  if (processes != nullptr) result.latents = processes->sum(result.latents);
  return result;
}

}  // namespace foresight::train
