// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/inspection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "frame_pieces.hpp"

namespace foresight::data {
namespace {

// `count` numbers evenly spread over 0..size-1, first and last among them.
std::vector<int64_t> spread(int64_t count, int64_t size) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < count; ++i)
    places.push_back(count == 1 ? 0 : i * (size - 1) / (count - 1));
  places.erase(std::unique(places.begin(), places.end()), places.end());
  return places;
}

class Inspector {
 public:
  Inspector(const Dataset& dataset, const InspectionOptions& options)
      : dataset_(dataset), options_(options) {}

  Inspection run() {
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e)
      found_.lengths.push_back(dataset_.length(e));
    std::sort(found_.lengths.begin(), found_.lengths.end());
    look_at_actions();
    look_for_odd_values();
    const auto states = with_values(dataset_.state_columns());
    if (!states.empty()) found_.states = column_statistics(dataset_, states, LastRow::include);
    look_at_clock();
    look_at_frames();
    judge();
    return std::move(found_);
  }

 private:
  void look_at_actions() {
    std::vector<std::string> columns;  // that have a value in some row that counts
    for (const auto& column : dataset_.action_columns()) {
      bool any = false;
      for (int64_t e = 0; e < dataset_.num_episodes() && !any; ++e)
        any = at::isnan(dataset_.read_rows({column}, e, 0, dataset_.length(e) - 1))
                  .logical_not()
                  .any()
                  .item<bool>();
      (any ? columns : valueless_).push_back(column);
    }
    if (columns.empty()) return;
    found_.actions = column_statistics(dataset_, columns, LastRow::exclude);
    std::vector<int64_t> at_limit(columns.size(), 0);
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e) {
      const int64_t rows = dataset_.length(e) - 1;
      const Tensor values = dataset_.read_rows(columns, e, 0, rows);
      found_.missing_actions += at::isnan(values).any(1).sum().item<int64_t>();
      found_.infinite_actions += at::isinf(values).any(1).sum().item<int64_t>();
      for (std::size_t c = 0; c < columns.size(); ++c) {
        const Tensor column = values.select(1, static_cast<int64_t>(c));
        at_limit[c] += ((column == found_.actions.min[c]) | (column == found_.actions.max[c]))
                           .sum()
                           .item<int64_t>();
      }
    }
    for (std::size_t c = 0; c < columns.size(); ++c) {
      if (found_.actions.min[c] == found_.actions.max[c]) found_.constant.push_back(columns[c]);
      found_.saturation.push_back({columns[c], static_cast<double>(at_limit[c]) /
                                                   static_cast<double>(found_.actions.count[c])});
    }
  }

  static bool among(const std::vector<std::string>& names, const std::string& column) {
    return std::find(names.begin(), names.end(), column) != names.end();
  }

  std::vector<std::string> with_values(std::vector<std::string> columns) const {
    std::erase_if(columns, [this](const auto& column) { return among(found_.empty, column); });
    return columns;
  }

  void look_for_odd_values() {
    for (const auto& column : dataset_.columns()) {
      int64_t rows = 0, infinite = 0;
      for (int64_t e = 0; e < dataset_.num_episodes(); ++e) {
        const Tensor values = dataset_.read_all_rows({column}, e);
        rows += at::isnan(values).sum().item<int64_t>();
        infinite += at::isinf(values).sum().item<int64_t>();
      }
      const bool action = among(dataset_.action_columns(), column);
      if (rows == dataset_.total_rows())
        found_.empty.push_back(column);
      else if (rows > 0 && !action)
        found_.missing.push_back({column, rows});
      if (infinite > 0 && !action) found_.infinite.push_back({column, infinite});
    }
  }

  void look_at_clock() {
    const auto& columns = dataset_.columns();
    found_.timed = dataset_.fps() > 0 &&
                   std::find(columns.begin(), columns.end(), "timestamp") != columns.end();
    if (!found_.timed) return;
    const double step = 1 / dataset_.fps();
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e) {
      const Tensor times = dataset_.read_all_rows({"timestamp"}, e).flatten().contiguous();
      const auto* time = times.const_data_ptr<double>();
      for (int64_t t = 1; t < times.numel(); ++t)
        // Not "> clock": a missing time counts too.
        if (!(std::abs(time[t] - time[t - 1] - step) <= options_.clock * step))
          ++found_.irregular_steps;
    }
  }

  void look_at_frames() {
    const auto unreadable = dataset_.unreadable_episodes();
    for (const auto& [e, problem] : unreadable)
      found_.unreadable.push_back(dataset_.episode_name(e) + ": " + problem);
    const int64_t episodes = dataset_.num_episodes();
    const int64_t mean_length = std::max<int64_t>(1, dataset_.total_rows() / episodes);
    const int64_t wanted = std::clamp<int64_t>(options_.frames / mean_length, 1, episodes);
    for (const int64_t e : spread(wanted, episodes)) {
      if (found_.frames_seen >= options_.frames) return;
      if (unreadable.contains(e)) continue;
      try {
        look_at_episode(e);
      } catch (const Error& error) {
        found_.unreadable.push_back(dataset_.episode_name(e) + ": " + error.what());
      }
    }
  }

  // In pieces, so that a long episode of large frames does not fill the memory.
  void look_at_episode(int64_t episode) {
    const int64_t length = dataset_.length(episode);
    const ImageSize size = dataset_.image_size();
    Tensor previous;
    int64_t equal = 1;  // frames of the stretch that ends here
    visit_pieces(length, size.height * size.width * 3, [&](int64_t first, int64_t count) {
      const Tensor frames = dataset_.read_frames(episode, row_range(first, count));
      for (int64_t i = 0; i < frames.size(0); ++i) {
        const Tensor frame = frames[i].to(at::kFloat);
        const bool same =
            previous.defined() && (frame - previous).abs().mean().item<double>() < options_.still;
        if (!same) {
          end_stretch(episode, first + i, equal);
          equal = 0;
        } else {
          ++found_.repeated_frames;
        }
        ++equal;
        previous = frame;
      }
      found_.frames_seen += frames.size(0);
    });
    end_stretch(episode, length, equal);
  }

  void end_stretch(int64_t episode, int64_t end, int64_t equal) {
    if (equal >= options_.frozen && equal <= end)
      found_.frozen.push_back({episode, end - equal, equal});
  }

  void warn(std::string text) { found_.warnings.push_back(std::move(text)); }

  void fault(std::string text) { found_.faults.push_back(std::move(text)); }

  void look_for_faults() {
    for (const auto& column : dataset_.state_columns())
      if (among(found_.empty, column)) fault(fmt::format("state '{}' has no value at all", column));
    for (const auto& one : found_.missing)
      if (among(dataset_.state_columns(), one.column))
        fault(fmt::format("state '{}' has no value in {} row(s)", one.column, one.rows));
    for (const auto& one : found_.infinite)
      if (among(dataset_.state_columns(), one.column))
        fault(fmt::format("state '{}' is infinite in {} row(s)", one.column, one.rows));
    if (dataset_.action_columns().empty()) return;  // pictures alone: for encoders
    if (found_.lengths.back() < 2)
      fault("every episode has one row: no action leads anywhere, there is no window to train on");
    if (found_.infinite_actions > 0)
      fault(fmt::format("{} row(s) have an infinite action: mean and loss become infinite too",
                        found_.infinite_actions));
    if (found_.lengths.back() >= 2)
      for (const auto& column : valueless_)
        fault(fmt::format("action '{}' has no value in any row that leads to another", column));
    if (!found_.constant.empty() && found_.constant.size() == found_.actions.columns.size())
      fault("no action ever changes: nothing can be learned of what actions do");
  }

  // What the reader noticed while opening; of many, the first: it has logged them all.
  void pass_on_remarks() {
    constexpr std::size_t kShown = 3;
    const auto remarks = dataset_.remarks();
    for (std::size_t i = 0; i < std::min(kShown, remarks.size()); ++i) warn(remarks[i]);
    if (remarks.size() > kShown)
      warn(fmt::format("{} more remark(s) of the reader, see the log", remarks.size() - kShown));
  }

  void judge() {
    look_for_faults();
    pass_on_remarks();
    if (found_.lengths.front() < 2 && !dataset_.action_columns().empty())
      warn(fmt::format("{} episode(s) have one row: no action leads anywhere in them",
                       std::count(found_.lengths.begin(), found_.lengths.end(), int64_t{1})));
    for (const auto& column : found_.constant)
      warn(
          fmt::format("action '{}' never changes: leave it out of DatasetOptions.actions", column));
    for (const auto& one : found_.saturation)
      if (one.share > options_.saturated &&
          std::find(found_.constant.begin(), found_.constant.end(), one.column) ==
              found_.constant.end())
        warn(
            fmt::format("action '{}' stands at its limit in {:.0f} % of the rows: clipped, or "
                        "bang-bang",
                        one.column, 100 * one.share));
    if (found_.missing_actions > 0)
      warn(fmt::format("{} row(s) within episodes have no action: they count as the mean action",
                       found_.missing_actions));
    const auto is_state = [this](const auto& column) {  // a fault
      return among(dataset_.state_columns(), column);
    };
    for (const auto& column : found_.empty)
      if (!is_state(column)) warn(fmt::format("column '{}' has no value at all", column));
    for (const auto& one : found_.missing)
      if (!is_state(one.column))
        warn(fmt::format("column '{}' has no value in {} row(s)", one.column, one.rows));
    for (const auto& one : found_.infinite)
      if (!is_state(one.column))
        warn(fmt::format("column '{}' is infinite in {} row(s)", one.column, one.rows));
    if (found_.irregular_steps > 0)
      warn(
          fmt::format("{} step(s) in time are not 1/{} s: frames were dropped, or the clock jumped",
                      found_.irregular_steps, dataset_.fps()));
    int64_t frozen = 0;
    for (const auto& stretch : found_.frozen) frozen += stretch.length - 1;
    const auto repeated = static_cast<double>(found_.repeated_frames - frozen);
    if (repeated > options_.repeated * static_cast<double>(found_.frames_seen))
      warn(
          fmt::format("{:.0f} % of the frames repeat the one before: the camera is slower than the "
                      "rows, or frames were dropped",
                      100 * repeated / static_cast<double>(found_.frames_seen)));
    if (!found_.frozen.empty()) {
      const auto longest =
          std::max_element(found_.frozen.begin(), found_.frozen.end(),
                           [](const auto& a, const auto& b) { return a.length < b.length; });
      warn(
          fmt::format("{} stretch(es) of equal frames, the longest {} frames from row {} of {}: a "
                      "frozen camera, or a robot that waits",
                      found_.frozen.size(), longest->length, longest->first,
                      dataset_.episode_name(longest->episode)));
    }
  }

  const Dataset& dataset_;
  const InspectionOptions& options_;
  Inspection found_;
  std::vector<std::string> valueless_;  // action columns
};

}  // namespace

std::vector<std::string> InspectionOptions::validate() const {
  Rules rules("InspectionOptions");
  rules.at_least("frames", static_cast<double>(frames), 0);
  rules.at_least("still", still, 0);
  rules.at_least("frozen", static_cast<double>(frozen), 2);
  rules.within("repeated", repeated, 0, 1);
  rules.within("saturated", saturated, 0, 1);
  rules.within("clock", clock, 0, 1);
  return rules.problems();
}

Inspection inspect(const Dataset& dataset, const InspectionOptions& options) {
  require_valid(options);
  return Inspector(dataset, options).run();
}

Tensor contact_sheet(const Dataset& dataset, int64_t episodes, int64_t columns) {
  require(episodes >= 1 && columns >= 1, ErrorCategory::invalid_argument,
          "contact_sheet: episodes and columns must be >= 1");
  constexpr int kGap = 1, kGrey = 128;
  const ImageSize size = dataset.image_size();
  const auto chosen = spread(std::min(episodes, dataset.num_episodes()), dataset.num_episodes());
  const auto lines = static_cast<int64_t>(chosen.size());
  Tensor sheet =
      at::full({lines * (size.height + kGap) - kGap, columns * (size.width + kGap) - kGap, 3},
               kGrey, at::kByte);
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t episode = chosen[static_cast<std::size_t>(line)];
    const auto rows = spread(std::min(columns, dataset.length(episode)), dataset.length(episode));
    const Tensor frames = dataset.read_frames(episode, rows);
    for (int64_t c = 0; c < frames.size(0); ++c)
      sheet.narrow(0, line * (size.height + kGap), size.height)
          .narrow(1, c * (size.width + kGap), size.width)
          .copy_(frames[c]);
  }
  return sheet;
}

}  // namespace foresight::data
