// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/particles.hpp"

#include <fmt/format.h>

namespace foresight {
namespace {

constexpr std::string_view kPrefix = "particles.";
constexpr std::string_view kReward = "reward", kDiscount = "discount";

bool holds_particles(std::string_view field) { return field.substr(0, kPrefix.size()) == kPrefix; }

// Every entry of an axis `times` in a row. (repeat_interleave may read its counts on the host.)
Tensor repeated(const Tensor& tensor, int64_t times, int64_t axis = 1) {
  if (!tensor.defined() || times == 1) return tensor;
  auto shape = tensor.sizes().vec();
  shape.insert(shape.begin() + axis + 1, times);
  return tensor.unsqueeze(axis + 1).expand(shape).flatten(axis, axis + 1);
}

// [B,S,H,M,...] -> [B,S*M,H,...].
Tensor spread(const Tensor& particles) { return particles.movedim(3, 2).flatten(1, 2); }

// [B,S*K,H,...] -> [B,S,H,K,...].
Tensor gathered(const Tensor& candidates, int64_t particles) {
  return candidates.unflatten(1, {candidates.size(1) / particles, particles}).movedim(2, 3);
}

Tensor represented(const Tensor& particles) {
  return particles.is_floating_point() ? particles.mean(3) : particles.select(3, 0);
}

}  // namespace

std::string particle_field(std::string_view field) {
  return std::string(kPrefix) + std::string(field);
}

int64_t particle_count(const State& states) {
  int64_t count = 0;
  for (const auto& [name, value] : states.fields()) {
    if (!holds_particles(name)) continue;
    require(value.dim() > states.batch_dims(), ErrorCategory::invalid_argument,
            fmt::format("field '{}' {} lacks the axis of particles", name,
                        shape_string(value.sizes())));
    const auto here = value.size(states.batch_dims());
    require(count == 0 || here == count, ErrorCategory::invalid_argument,
            fmt::format("field '{}' has {} particles, others have {}", name, here, count));
    count = here;
  }
  return count == 0 ? 1 : count;
}

Trajectory spread_particles(const Trajectory& trajectory) {
  const auto& states = trajectory.states;
  bool any = false;
  for (const auto& [name, value] : states.fields()) any = any || holds_particles(name);
  if (!any) return trajectory;
  const auto count = particle_count(states);
  const auto of = [&](std::string_view field, const Tensor& own) {
    const auto name = particle_field(field);
    return states.has(name) ? spread(states.at(name)) : repeated(own, count);
  };
  Trajectory result;
  result.actions = repeated(trajectory.actions, count);
  result.rewards = of(kReward, trajectory.rewards);
  result.discounts = of(kDiscount, trajectory.discounts);
  result.states = State(3);
  result.states.set_filled(states.filled());
  for (const auto& [name, value] : states.fields()) {
    if (!holds_particles(name)) {
      result.states.set(name, of(name, value));
      continue;
    }
    const auto field = name.substr(kPrefix.size());
    if (field != kReward && field != kDiscount && !states.has(field))
      result.states.set(field, spread(value));
  }
  return result;
}

Trajectory gather_particles(const Trajectory& trajectory, int64_t particles) {
  const auto candidates = trajectory.actions.size(1);
  require(particles >= 1 && candidates % particles == 0, ErrorCategory::invalid_argument,
          fmt::format("gather_particles: {} candidates are not rolled out {} times each",
                      candidates, particles));
  if (particles == 1) return trajectory;
  const auto& states = trajectory.states;
  const auto own_particles = particle_count(states);
  // Of a candidate that has particles already, what they share is said for each of them.
  const auto shared = [&](const Tensor& together) { return repeated(together, own_particles, 3); };
  Trajectory result;
  result.actions =
      trajectory.actions.unflatten(1, {candidates / particles, particles}).select(2, 0);
  result.states = State(3);
  result.states.set_filled(states.filled());
  for (const auto& [name, value] : states.fields()) {
    const auto together = gathered(value, particles);  // [B,S,H,K,...]
    if (holds_particles(name)) {
      result.states.set(name, together.flatten(3, 4));
    } else {
      result.states.set(name, represented(together));
      if (!states.has(particle_field(name)))
        result.states.set(particle_field(name), shared(together));
    }
  }
  const auto gather_scalar = [&](const Tensor& own, std::string_view field) {
    if (!own.defined()) return own;
    const auto together = gathered(own, particles);
    if (!states.has(particle_field(field)))
      result.states.set(particle_field(field), shared(together));
    return together.mean(3);
  };
  result.rewards = gather_scalar(trajectory.rewards, kReward);
  result.discounts = gather_scalar(trajectory.discounts, kDiscount);
  return result;
}

}  // namespace foresight
