// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/ensemble.hpp"

#include <algorithm>

#include "foresight/core/particles.hpp"
#include "preconditions.hpp"

namespace foresight::models {
namespace {

// [K,N*n,...] -> [N,K*n,...] and back: particles of one member together, or of one row.
Tensor by_row(const Tensor& members, int64_t per_member) {
  return members.unflatten(1, {members.size(1) / per_member, per_member})
      .movedim(0, 1)
      .flatten(1, 2);
}
Tensor by_member(const Tensor& rows, int64_t count) {
  return rows.unflatten(1, {count, rows.size(1) / count}).movedim(1, 0).flatten(1, 2);
}

// Particles [N,M,...] in the order of `index` [N,M].
Tensor reordered(const Tensor& particles, const Tensor& index) {
  std::vector<int64_t> view(static_cast<std::size_t>(particles.dim()), 1);
  view[0] = index.size(0);
  view[1] = index.size(1);
  return particles.gather(1, index.view(view).expand(particles.sizes()));
}

template <class F>
State mapped(const State& state, int64_t batch_dims, F&& f) {
  State result(batch_dims);
  result.set_filled(state.filled());
  for (const auto& [name, value] : state.fields()) result.set(name, f(value));
  return result;
}

State row_of(const State& members, int64_t member) {
  return mapped(members, 1, [&](const Tensor& value) { return value.select(0, member); });
}

// K states [N] -> one [K,N].
State stacked(const std::vector<State>& states) {
  State result(2);
  result.set_filled(states.front().filled());
  for (const auto& [name, unused] : states.front().fields()) {
    std::vector<Tensor> parts;
    for (const auto& state : states) parts.push_back(state.at(name));
    result.set(name, at::stack(parts, 0));
  }
  return result;
}

// Undefined unless every member has one.
Tensor stacked_or_none(const std::vector<Tensor>& parts) {
  for (const auto& part : parts)
    if (!part.defined()) return {};
  return at::stack(parts, 0);
}

class SideBySide final : public EnsembleMembers {
 public:
  explicit SideBySide(std::vector<std::shared_ptr<const WorldModel>> members)
      : members_(std::move(members)) {}

  int64_t count() const override { return static_cast<int64_t>(members_.size()); }
  const ModelSpec& spec() const override { return members_.front()->spec(); }

  State initial(int64_t batch) const override {
    return each([&](const WorldModel& member, int64_t) { return member.initial(batch); });
  }
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override {
    return each([&](const WorldModel& member, int64_t k) {
      return member.observe(row_of(previous, k), last_action, observation, noise);
    });
  }
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    std::vector<Tensor> rewards, discounts;
    auto next = each([&](const WorldModel& member, int64_t k) {
      auto transition = member.step(row_of(state, k), action.select(0, k), noise);
      rewards.push_back(std::move(transition.reward));
      discounts.push_back(std::move(transition.discount));
      return std::move(transition.next);
    });
    return {std::move(next), stacked_or_none(rewards), stacked_or_none(discounts)};
  }

 private:
  template <class F>
  State each(F&& f) const {
    std::vector<State> states;
    for (int64_t k = 0; k < count(); ++k)
      states.push_back(f(*members_[static_cast<std::size_t>(k)], k));
    return stacked(states);
  }

  std::vector<std::shared_ptr<const WorldModel>> members_;
};

bool same_observation(const ModelSpec& a, const ModelSpec& b) {
  if (a.observation.size() != b.observation.size()) return false;
  for (std::size_t i = 0; i < a.observation.size(); ++i)
    if (a.observation[i].name != b.observation[i].name ||
        a.observation[i].shape != b.observation[i].shape ||
        a.observation[i].dtype != b.observation[i].dtype)
      return false;
  return true;
}

// What differs between two specs that ought to agree; empty: nothing.
std::string difference(const ModelSpec& a, const ModelSpec& b) {
  if (!same_observation(a, b)) return "observation fields";
  if (a.action.dim != b.action.dim || a.action.block != b.action.block ||
      a.action.discrete != b.action.discrete || a.action.mean != b.action.mean ||
      a.action.std != b.action.std)
    return "action space";
  if (a.tokens != b.tokens || a.channels != b.channels) return "latent shape";
  if (a.imagined != b.imagined) return "imagined fields";
  return "";
}

}  // namespace

std::shared_ptr<const EnsembleMembers> side_by_side(
    std::vector<std::shared_ptr<const WorldModel>> members) {
  require(!members.empty(), ErrorCategory::invalid_argument,
          "side_by_side needs at least one member");
  for (std::size_t k = 0; k < members.size(); ++k) {
    require(members[k] != nullptr, ErrorCategory::invalid_argument,
            "side_by_side: member " + std::to_string(k) + " is null");
    const auto what = difference(members.front()->spec(), members[k]->spec());
    require(what.empty(), ErrorCategory::invalid_argument,
            "side_by_side: member " + std::to_string(k) + " differs from member 0 in its " + what);
  }
  return std::make_shared<SideBySide>(std::move(members));
}

std::vector<std::string> EnsembleOptions::validate() const {
  Rules rules("EnsembleOptions");
  rules.check(particles_per_member >= 1, "particles_per_member",
              static_cast<double>(particles_per_member), "must be >= 1");
  return rules.problems();
}

Ensemble::Ensemble(std::shared_ptr<const EnsembleMembers> members, EnsembleOptions options)
    : members_(std::move(members)), options_(options) {
  require(members_ != nullptr, ErrorCategory::invalid_argument, "Ensemble needs members");
  require_valid(options_);
  spec_ = members_->spec();
  spec_.family = "ensemble";
  for (const auto& field : members_->spec().imagined)
    spec_.imagined.push_back(particle_field(field));
}

// [N...] with particles -> [K,N*n].
State Ensemble::packed(const State& state) const {
  const auto flat = state.batch_dims() == 1 ? state : state.flatten();
  State result(2);
  result.set_filled(state.filled());
  for (const auto& [name, value] : flat.fields()) {
    const auto own = particle_field("");
    if (name.compare(0, own.size(), own) != 0) continue;
    require(value.dim() >= 2 && value.size(1) == particles(), ErrorCategory::invalid_argument,
            "Ensemble: field '" + name + "' has shape " + shape_string(value.sizes()) +
                ", expected [N," + std::to_string(particles()) + ",...]");
    result.set(name.substr(own.size()), by_member(value, members_->count()));
  }
  require(!result.empty(), ErrorCategory::invalid_argument,
          "Ensemble: the state has no particles; it does not come from this model");
  return result;
}

// The reverse; `batch` is the batch shape, N its product.
State Ensemble::unpacked(const State& members, at::IntArrayRef batch) const {
  State flat(1);
  flat.set_filled(members.filled());
  const auto& imagined = members_->spec().imagined;
  for (const auto& [name, value] : members.fields()) {
    const auto particles = by_row(value, options_.particles_per_member);
    if (std::find(imagined.begin(), imagined.end(), name) != imagined.end())
      flat.set(name, particles.mean(1));
    flat.set(particle_field(name), particles);
  }
  return batch.size() == 1 ? flat : flat.unflatten(batch);
}

State Ensemble::initial(int64_t batch) const {
  require(batch >= 1, ErrorCategory::invalid_argument,
          "initial: batch = " + std::to_string(batch) + " must be >= 1");
  return unpacked(members_->initial(batch * options_.particles_per_member), {batch});
}

State Ensemble::observe(const State& previous, const Tensor& last_action,
                        const Observation& observation, Noise& noise) const {
  const auto batch = previous.batch_shape();
  check_batch(previous, "observe");
  spec_.check(observation, batch[0]);
  if (last_action.defined())
    check_shape("action", last_action, {batch[0], spec_.action.width()}, "[B,A]");
  const auto per_member = options_.particles_per_member;
  if (per_member == 1)
    return unpacked(members_->observe(packed(previous), last_action, observation, noise), batch);
  const auto rows = at::arange(batch[0], at::kLong).repeat_interleave(per_member);
  const auto action = last_action.defined()
                          ? last_action.index_select(0, rows.to(last_action.device()))
                          : last_action;
  return unpacked(members_->observe(packed(previous), action, observation.select(rows), noise),
                  batch);
}

// One step of packed particles [K,N*n] under actions [N,A].
Transition Ensemble::advance(const State& packed, const Tensor& action, Noise& noise) const {
  const auto count = members_->count(), per_member = options_.particles_per_member;
  const auto rows = action.size(0);
  const auto width = action.size(1);
  const auto actions = action.unsqueeze(1)
                           .expand({rows, per_member, width})
                           .reshape({1, rows * per_member, width})
                           .expand({count, rows * per_member, width});
  if (options_.sampling == TrajectorySampling::ts_infinity)
    return members_->step(packed, actions, noise);
  // A permutation of each row's particles deals them out to the members in equal shares; undone
  // afterwards, so that particle m of one step continues particle m of the last. Stable: devices
  // must deal alike where two uniforms are equal.
  const auto order =
      at::argsort(noise.uniform({rows, particles()}, action.options().dtype(at::kFloat)),
                  /*stable=*/true, 1, false);
  const auto back = order.argsort(int64_t{1}, false);
  const auto dealt = [&](const Tensor& value, const Tensor& index) {
    if (!value.defined()) return value;
    return by_member(reordered(by_row(value, per_member), index), count);
  };
  auto transition = members_->step(
      mapped(packed, 2, [&](const Tensor& value) { return dealt(value, order); }), actions, noise);
  transition.next =
      mapped(transition.next, 2, [&](const Tensor& value) { return dealt(value, back); });
  transition.reward = dealt(transition.reward, back);
  transition.discount = dealt(transition.discount, back);
  return transition;
}

Transition Ensemble::step(const State& state, const Tensor& action, Noise& noise) const {
  const auto batch = state.batch_shape();
  auto expected = batch;
  expected.push_back(spec_.action.width());
  check_shape("action", action, expected, "[...,A]");
  auto transition = advance(packed(state), action.reshape({-1, spec_.action.width()}), noise);
  const auto mean = [&](const Tensor& value) {
    return value.defined() ? by_row(value, options_.particles_per_member).mean(1).reshape(batch)
                           : value;
  };
  return {unpacked(transition.next, batch), mean(transition.reward), mean(transition.discount)};
}

Trajectory Ensemble::rollout(const State& state, const Tensor& actions, Noise& noise) const {
  const auto batch = state.batch_shape();
  check_rollout(state, actions, spec_.action.width());
  const auto samples = actions.size(1), horizon = actions.size(2);
  auto current = packed(state.expand(samples));
  std::vector<State> kept;
  std::vector<Tensor> rewards, discounts;
  for (int64_t h = 0; h < horizon; ++h) {
    auto transition =
        advance(current, actions.select(2, h).reshape({-1, spec_.action.width()}), noise);
    State imagined(2);
    for (const auto& field : members_->spec().imagined)
      imagined.set(field, transition.next.at(field));
    imagined.set_filled(transition.next.filled());
    kept.push_back(std::move(imagined));
    if (transition.reward.defined()) rewards.push_back(transition.reward);
    if (transition.discount.defined()) discounts.push_back(transition.discount);
    current = std::move(transition.next);
  }
  // [K,B*S*n,H,...] -> [B,S,H,K*n,...].
  const auto per_candidate = [&](const Tensor& members) {
    return members.unflatten(1, {batch[0], samples, options_.particles_per_member})
        .movedim({0, 3}, {3, 4})
        .flatten(3, 4);
  };
  Trajectory trajectory;
  trajectory.actions = actions;
  trajectory.states = State(3);
  const auto steps = State::stack(kept);
  trajectory.states.set_filled(steps.filled());
  for (const auto& [name, value] : steps.fields()) {
    const auto particles = per_candidate(value);
    trajectory.states.set(name, particles.mean(3));
    trajectory.states.set(particle_field(name), particles);
  }
  const auto scalar = [&](const std::vector<Tensor>& parts, std::string_view field) {
    if (parts.empty()) return Tensor();
    const auto particles = per_candidate(at::stack(parts, 2));
    trajectory.states.set(particle_field(field), particles);
    return particles.mean(3);
  };
  trajectory.rewards = scalar(rewards, "reward");
  trajectory.discounts = scalar(discounts, "discount");
  return trajectory;
}

}  // namespace foresight::models
