// SPDX-License-Identifier: Apache-2.0
// The last rungs of the ladder, and the guarantee: an action for every problem, within its limits.
#include <cmath>

#include "mpc_loop.hpp"

namespace foresight {

void Mpc::Loop::answer(Step& step) {
  auto& decision = step.decision;
  auto raw = plans_->next();
  const auto queued = raw.isfinite().all(1);
  for (int64_t row = 0; row < options_.batch; ++row) {
    const auto b = static_cast<std::size_t>(row);
    decision.sources[b] = step.failed[b] ? ActionSource::previous_plan : rungs_[b];
    if (queued.data_ptr<bool>()[row]) continue;
    raw[row].copy_(safe_[0]);
    decision.sources[b] = ActionSource::safe_action;
    if (step.well(row)) step.blame(row, Status::fell_back, Fault::no_plan);
  }
  if (monitor_) guard(step, raw);
  if (!space().discrete) raw = limits_.apply(raw, last_action_);
  decision.action = space().discrete ? as_symbols(raw) : raw;
  commit(raw);
}

void Mpc::Loop::commit(const Tensor& raw) {
  last_action_ = raw.clone();
  if (options_.latency_steps == 0) return;
  in_effect_ = committed_.select(1, 0).clone();
  committed_ = at::cat({committed_.narrow(1, 1, options_.latency_steps - 1), raw.unsqueeze(1)}, 1);
}

Tensor Mpc::Loop::as_symbols(const Tensor& one_hot) const {
  return one_hot.argmax(-1, /*keepdim=*/true);
}

Tensor Mpc::Loop::upcoming() const {
  auto queued = plans_->queued();  // [B,N,dim]
  const auto known = queued.isfinite();
  if (space().discrete)
    return as_symbols(queued).masked_fill(known.all(-1, /*keepdim=*/true).logical_not(), -1);
  auto previous = last_action_;
  for (int64_t k = 0; k < queued.size(1); ++k) {
    const auto here = known.select(1, k);
    const auto limited = limits_.apply(queued.select(1, k), previous);
    queued.select(1, k).copy_(limited.masked_fill(here.logical_not(), std::nan("")));
    previous = at::where(here, limited, previous);
  }
  return queued;
}

}  // namespace foresight
