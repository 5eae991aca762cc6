// SPDX-License-Identifier: Apache-2.0
// The safety monitor inside the control step: it sees each transition that a history gains, and has
// the last word on the action.
#include <fmt/format.h>

#include "foresight/control/incident.hpp"
#include "foresight/core/error.hpp"
#include "mpc_loop.hpp"

namespace foresight {

using detail::append;
using detail::index_tensor;

void Mpc::Loop::watch(std::shared_ptr<SafetyMonitor> monitor,
                      std::shared_ptr<IncidentLog> incidents) {
  require(!monitor || options_.history_mode == HistoryMode::incremental ||
              plans_->options().history >= 2,
          ErrorCategory::unsupported,
          "Mpc::watch: in window mode with a history of one observation there is no transition to "
          "judge; use history_mode incremental or a longer history");
  monitor_ = std::move(monitor);
  incidents_ = std::move(incidents);
}

void Mpc::Loop::judge(const std::vector<int64_t>& rows, const State& before,
                      const std::map<int64_t, State>& after) {
  std::vector<int64_t> kept, places;
  std::vector<State> parts;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto seen = after.find(rows[i]);
    if (seen == after.end()) continue;  // its state is not finite, which is told already
    kept.push_back(rows[i]);
    places.push_back(static_cast<int64_t>(i));
    parts.push_back(seen->second);
  }
  if (kept.empty()) return;
  judge(kept, kept.size() == rows.size() ? before : before.select(index_tensor(places)),
        State::cat(parts), /*lag=*/0);
}

void Mpc::Loop::judge(const std::vector<int64_t>& rows, const State& before, const State& after,
                      int64_t lag) {
  try {
    const bool windowed = options_.history_mode == HistoryMode::window;
    const auto steps = plans_->block_steps();
    const auto commands = plans_->executed(rows, lag + steps).narrow(1, 0, steps);
    const auto known = commands.isfinite().all(2).all(1);
    std::vector<int64_t> kept, places;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto place = static_cast<int64_t>(i);
      if (!known[place].item<bool>()) continue;
      // Beside longer histories a short window is padded: its last transition did not happen.
      if (windowed && plans_->frames_available(rows[i], lag) < 2) continue;
      kept.push_back(rows[i]);
      places.push_back(place);
    }
    if (kept.empty()) return;
    const auto index = index_tensor(places);
    const bool whole = kept.size() == rows.size();
    const auto block = plans_->as_block(commands.index_select(0, index));
    const auto device = before.fields().front().second.device();
    monitor_->judge(kept, whole ? before : before.select(index), block.to(device),
                    whole ? after : after.select(index));
  } catch (...) {  // whatever is wrong here must not stop the control step; nothing was judged
  }
}

void Mpc::Loop::guard(Step& step, Tensor& raw) {
  auto& decision = step.decision;
  decision.safety = monitor_->conclude(options_.batch);
  for (int64_t row = 0; row < options_.batch; ++row) {
    const auto b = static_cast<std::size_t>(row);
    const auto& verdict = decision.safety[b];
    if (!verdict.message.empty()) append(decision.message, verdict.message);
    if (verdict.change == FlagChange::cleared)
      append(decision.message, fmt::format("problem {}: no longer surprised", row));
    if (!verdict.flagged) continue;
    append(decision.message,
           verdict.judged()
               ? fmt::format("problem {}: surprise {:.3g} beside a threshold of {:.3g}", row,
                             verdict.surprise, verdict.threshold)
               : fmt::format("problem {}: surprised", row));
    if (verdict.response == SafetyResponse::report) continue;
    if (step.well(row)) step.blame(row, Status::fell_back, Fault::surprised);
    const bool hold = verdict.response == SafetyResponse::hold && previous_known(row);
    raw[row].copy_(hold ? last_action_[row] : safe_[0]);
    decision.sources[b] = hold ? ActionSource::previous_plan : ActionSource::safe_action;
  }
}

void Mpc::Loop::record_incidents(const Observation& observation,
                                 const Decision& decision) noexcept {
  try {
    for (std::size_t b = 0; b < decision.safety.size(); ++b) {
      const auto& verdict = decision.safety[b];
      if (verdict.change == FlagChange::none && !(verdict.flagged && verdict.judged())) continue;
      incidents_->write(
          [&] { return incident_of(observation, decision, space(), static_cast<int64_t>(b)); });
    }
  } catch (...) {  // a record is lost, the robot is not
  }
}

}  // namespace foresight
