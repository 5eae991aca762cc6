// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/amortised.hpp"

#include <fmt/format.h>

#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"

namespace foresight {
namespace {

/// State of batch shape [B,S] and the step 0..H-1 -> blocks or logits [B,S,A].
using Actor = std::function<Tensor(const State& state, int64_t step)>;

// Noise that leaves candidate 0 alone: [B,count,A].
Tensor others_only(const Tensor& noise) {
  auto result = noise.clone();
  result.select(1, 0).zero_();
  return result;
}

Tensor varied(const Tensor& blocks, const ActionSpace& space, double spread, Noise& noise) {
  const bool sampled = spread > 0 && blocks.size(1) > 1;
  if (space.discrete) {
    auto logits = blocks;
    if (sampled) {
      const auto u = noise.uniform(blocks.sizes(), blocks.options());
      logits = logits - others_only(at::log(-at::log(u)) * spread);
    }
    const auto symbols = logits.unflatten(-1, {space.block, space.dim});
    return at::zeros_like(symbols)
        .scatter_(-1, symbols.argmax(-1, /*keepdim=*/true), 1.0)
        .flatten(-2);
  }
  auto result = blocks;
  if (sampled)
    result = result + others_only(noise.normal(blocks.sizes(), blocks.options()) * spread);
  if (!space.bounded()) return result;
  return at::clamp(result, space.block_low(result.options()), space.block_high(result.options()));
}

Tensor rolled(const WorldModel& model, const State& state, const Actor& actor, int64_t horizon,
              int64_t count, double spread, Noise& noise) {
  require(horizon >= 1 && count >= 1 && std::isfinite(spread) && spread >= 0,
          ErrorCategory::invalid_argument,
          fmt::format("proposals need horizon >= 1, count >= 1 and spread >= 0, got {}, {} and {}",
                      horizon, count, spread));
  const auto& space = model.spec().action;
  const auto batch = state.batch_shape();
  require(
      batch.size() == 1, ErrorCategory::invalid_argument,
      fmt::format("proposals start from a state of batch shape [B], got {}", shape_string(batch)));
  WithoutGradients no_gradients;
  auto current = state.expand(count);
  std::vector<Tensor> plan;
  for (int64_t h = 0; h < horizon; ++h) {
    const auto wanted = actor(current, h);
    check_shape("proposed blocks", wanted, {batch[0], count, space.width()}, "[B,count,A]");
    plan.push_back(varied(wanted, space, spread, noise));
    if (h + 1 < horizon) current = model.step(current, plan.back(), noise).next;
  }
  return at::stack(plan, 2);
}

}  // namespace

Tensor policy_proposals(const WorldModel& model, const State& state, const Policy& policy,
                        int64_t horizon, int64_t count, double spread, Noise& noise) {
  const auto actor = [&](const State& now, int64_t) { return policy.act(now, noise); };
  return rolled(model, state, actor, horizon, count, spread, noise);
}

Tensor inverse_dynamics_proposals(const WorldModel& model, const State& state, const Tensor& goal,
                                  const InverseDynamics& inverse, int64_t horizon, int64_t count,
                                  double spread, Noise& noise, std::string_view latent) {
  require(static_cast<bool>(inverse), ErrorCategory::invalid_argument,
          "inverse_dynamics_proposals: no inverse dynamics given");
  check_shape("goal", goal, state.at(latent).sizes(), "the latent's [B,P,D]");
  const auto actor = [&](const State& now, int64_t step) {
    const auto from = now.at(latent);  // [B,count,P,D]
    const auto left = static_cast<double>(horizon - step);
    const auto to = from + (goal.unsqueeze(1) - from) / left;
    return inverse(from.flatten(0, 1), to.flatten(0, 1)).unflatten(0, {from.size(0), from.size(1)});
  };
  return rolled(model, state, actor, horizon, count, spread, noise);
}

}  // namespace foresight
