// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/inspection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "episode_selection.hpp"
#include "formats/irregular_steps.hpp"
#include "frame_sample.hpp"
#include "remarks.hpp"
#include "stored_statistics_check.hpp"
#include "video/frame_pieces.hpp"

namespace foresight::data {
namespace {

// " of episode(s) 0-2,5".
std::string of_episodes(const std::vector<int64_t>& episodes) {
  return " of episode(s) " + episode_ranges(episodes);
}

// "episode 3 (episode_0004.csv)": the number is what `convert --episodes` takes.
std::string numbered_name(const Dataset& dataset, int64_t episode) {
  const auto number = fmt::format("episode {}", episode), name = dataset.episode_name(episode);
  return name == number ? name : fmt::format("{} ({})", number, name);
}

class Inspector {
 public:
  Inspector(const Dataset& dataset, const InspectionOptions& options,
            const std::vector<std::shared_ptr<const Dataset>>& others)
      : dataset_(dataset), options_(options), cameras_{&dataset} {
    for (const auto& other : others) cameras_.push_back(other.get());
  }

  Inspection run() {
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e)
      found_.lengths.push_back(dataset_.length(e));
    std::sort(found_.lengths.begin(), found_.lengths.end());
    look_for_odd_values();
    look_at_actions();
    const auto states = with_values(dataset_.state_columns());
    if (!states.empty()) found_.states = column_statistics(dataset_, states, LastRow::include);
    look_at_stored_statistics();
    look_at_clock();
    for (const auto* camera : cameras_) look_at_frames(*camera);
    judge();
    return std::move(found_);
  }

 private:
  std::vector<std::string> that_can_be_read(std::vector<std::string> columns) const {
    std::erase_if(columns, [this](const auto& column) { return found_.unread.contains(column); });
    return columns;
  }

  void look_at_actions() {
    std::vector<std::string> columns;  // that have a value in some row that counts
    for (const auto& column : that_can_be_read(dataset_.action_columns())) {
      bool any = false;
      for (int64_t e = 0; e < dataset_.num_episodes() && !any; ++e)
        any = !at::isnan(dataset_.read_rows({column}, e, 0, dataset_.length(e) - 1))
                   .all()
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
      const auto infinite = at::isinf(values).any(1).sum().item<int64_t>();
      found_.infinite_actions += infinite;
      if (infinite > 0) with_infinite_actions_.push_back(e);
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

  std::vector<std::string> with_values(const std::vector<std::string>& all) const {
    auto columns = that_can_be_read(all);
    std::erase_if(columns, [this](const auto& column) { return among(found_.empty, column); });
    return columns;
  }

  // One odd column must not hide what is to be said of the others.
  void look_for_odd_values() {
    for (const auto& column : dataset_.columns()) {
      try {
        look_for_odd_values_of(column);
      } catch (const Error& error) {
        found_.unread.emplace(column, error.what());
      }
    }
  }

  void look_for_odd_values_of(const std::string& column) {
    MissingValues missing{column}, infinite{column};
    const auto count = [](MissingValues& found, int64_t rows, int64_t episode) {
      found.rows += rows;
      if (rows > 0) found.episodes.push_back(episode);
    };
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e) {
      const Tensor values = dataset_.read_all_rows({column}, e).contiguous();
      const double *first = values.const_data_ptr<double>(), *end = first + values.numel();
      count(missing, std::count_if(first, end, [](double one) { return std::isnan(one); }), e);
      count(infinite, std::count_if(first, end, [](double one) { return std::isinf(one); }), e);
    }
    const bool action = among(dataset_.action_columns(), column);
    if (missing.rows == dataset_.total_rows())
      found_.empty.push_back(column);
    else if (missing.rows > 0 && !action)
      found_.missing.push_back(std::move(missing));
    if (infinite.rows > 0 && !action) found_.infinite.push_back(std::move(infinite));
  }

  void look_at_stored_statistics() {
    auto columns = dataset_.action_columns();
    for (const auto& column : dataset_.state_columns())
      if (!among(columns, column)) columns.push_back(column);
    auto check = check_stored_statistics(dataset_, with_values(columns));
    found_.stored = std::move(check.stored);
    stored_problem_ = std::move(check.problem);
  }

  void look_at_clock() {
    found_.timed = dataset_.fps() > 0 && among(that_can_be_read(dataset_.columns()), kTimeColumn);
    if (!found_.timed) return;
    for (int64_t e = 0; e < dataset_.num_episodes(); ++e) {
      const int64_t steps = irregular_steps(dataset_, e, options_.clock);
      found_.irregular_steps += steps;
      if (steps > 0) irregular_.push_back(e);
    }
  }

  // Opens every text about frames where there are several cameras.
  std::string of_camera(const std::string& camera) const {
    return cameras_.size() > 1 ? fmt::format("camera '{}': ", camera) : std::string();
  }

  void add_unreadable(const Dataset& camera, int64_t episode, const std::string& problem) {
    found_.unreadable.push_back(fmt::format("{}{}: {}", of_camera(camera.camera()),
                                            numbered_name(camera, episode), problem));
  }

  void look_at_frames(const Dataset& camera) {
    auto& seen = found_.cameras.emplace_back(CameraInspection{camera.camera()});
    const auto unreadable = camera.unreadable_episodes();
    for (const auto& [e, problem] : unreadable) add_unreadable(camera, e, problem);
    std::vector<int64_t> readable;
    for (int64_t e = 0; e < camera.num_episodes(); ++e)
      if (!unreadable.contains(e)) readable.push_back(e);
    int64_t before = -1, damaged = -1;  // episodes
    for (const auto& rows : frame_sample(camera, readable, options_.frames, options_.frozen)) {
      if (rows.episode == damaged) continue;
      try {
        look_at_rows(camera, rows, seen);
        if (rows.episode != before) ++seen.episodes_seen;
        before = rows.episode;
      } catch (const Error& error) {
        add_unreadable(camera, rows.episode, error.what());
        damaged = rows.episode;
      }
    }
  }

  // In pieces, so that a long stretch of large frames does not fill the memory.
  void look_at_rows(const Dataset& camera, const Stretch& rows, CameraInspection& seen) {
    const ImageSize size = camera.image_size();
    Tensor previous;
    int64_t equal = 1;  // frames of the stretch that ends here
    const auto end_stretch = [&](int64_t end) {
      if (equal >= options_.frozen && equal <= end - rows.first)
        seen.frozen.push_back({rows.episode, end - equal, equal});
    };
    visit_pieces(rows.count, size.height * size.width * 3, [&](int64_t place, int64_t count) {
      const int64_t first = rows.first + place;
      const Tensor frames = camera.read_frames(rows.episode, row_range(first, count));
      for (int64_t i = 0; i < frames.size(0); ++i) {
        const Tensor frame = frames[i].to(at::kFloat);
        const bool same =
            previous.defined() && (frame - previous).abs().mean().item<double>() < options_.still;
        if (!same) {
          end_stretch(first + i);
          equal = 0;
        } else {
          ++seen.repeated_frames;
        }
        ++equal;
        previous = frame;
      }
      seen.frames_seen += frames.size(0);
    });
    end_stretch(rows.first + rows.count);
  }

  void warn(std::string text) { found_.warnings.push_back(std::move(text)); }

  void fault(std::string text) { found_.faults.push_back(std::move(text)); }

  void tell_unread() {
    std::map<std::string, bool> needed;  // by problem, which columns of one feature share
    for (const auto& [column, problem] : found_.unread)
      needed["numbers cannot be read: " + problem] |=
          among(dataset_.action_columns(), column) || among(dataset_.state_columns(), column);
    for (const auto& [problem, is_needed] : needed)
      (is_needed ? found_.faults : found_.warnings).push_back(problem);
  }

  void look_for_faults() {
    for (const auto& column : dataset_.state_columns())
      if (among(found_.empty, column)) fault(fmt::format("state '{}' has no value at all", column));
    for (const auto& one : found_.missing)
      if (among(dataset_.state_columns(), one.column))
        fault(fmt::format("state '{}' has no value in {} row(s){}", one.column, one.rows,
                          of_episodes(one.episodes)));
    for (const auto& one : found_.infinite)
      if (among(dataset_.state_columns(), one.column))
        fault(fmt::format("state '{}' is infinite in {} row(s){}", one.column, one.rows,
                          of_episodes(one.episodes)));
    if (dataset_.action_columns().empty()) return;  // pictures alone: for encoders
    if (found_.lengths.back() < 2)
      fault("every episode has one row: no action leads anywhere, there is no window to train on");
    if (found_.infinite_actions > 0)
      fault(fmt::format("{} row(s){} have an infinite action: mean and loss become infinite too",
                        found_.infinite_actions, of_episodes(with_infinite_actions_)));
    if (found_.lengths.back() >= 2)
      for (const auto& column : valueless_)
        fault(fmt::format("action '{}' has no value in any row that leads to another", column));
    const auto& actions = found_.actions;
    if (!actions.count.empty() && found_.missing_actions == actions.count[0] + actions.missing[0])
      fault("every row lacks an action: there is nothing to normalise by");
    if (!found_.constant.empty() && found_.constant.size() == found_.actions.columns.size())
      fault("no action ever changes: nothing can be learned of what actions do");
  }

  // What the reader noticed while opening.
  void pass_on_remarks() {
    std::vector<std::string> remarks;
    for (const auto* camera : cameras_)
      for (auto& remark : camera->remarks())
        if (!among(remarks, remark)) remarks.push_back(std::move(remark));
    for (auto& remark : shown_remarks(remarks)) warn(std::move(remark));
  }

  void judge() {
    tell_unread();
    look_for_faults();
    pass_on_remarks();
    if (found_.lengths.front() < 2 && !dataset_.action_columns().empty())
      warn(fmt::format("{} episode(s) have one row: no action leads anywhere in them",
                       std::count(found_.lengths.begin(), found_.lengths.end(), int64_t{1})));
    for (const auto& column : found_.constant)
      warn(fmt::format(
          "action '{}' never changes: leave it out of DatasetOptions.actions (--reading.actions)",
          column));
    for (const auto& one : found_.saturation)
      if (one.share > options_.saturated && !among(found_.constant, one.column))
        warn(
            fmt::format("action '{}' stands at its limit in {:.0f} % of the rows: clipped, or "
                        "bang-bang",
                        one.column, 100 * one.share));
    if (found_.missing_actions > 0)
      warn(fmt::format("{} row(s) within episodes lack an action, which counts as the mean one",
                       found_.missing_actions));
    const auto is_state = [this](const auto& column) {  // a fault
      return among(dataset_.state_columns(), column);
    };
    for (const auto& column : found_.empty)
      if (!is_state(column)) warn(fmt::format("column '{}' has no value at all", column));
    for (const auto& one : found_.missing)
      if (!is_state(one.column))
        warn(fmt::format("column '{}' has no value in {} row(s){}", one.column, one.rows,
                         of_episodes(one.episodes)));
    for (const auto& one : found_.infinite)
      if (!is_state(one.column))
        warn(fmt::format("column '{}' is infinite in {} row(s){}", one.column, one.rows,
                         of_episodes(one.episodes)));
    if (found_.irregular_steps > 0)
      warn(fmt::format(
          "{} step(s) in time{} are not 1/{} s: frames were dropped, or the clock jumped",
          found_.irregular_steps, of_episodes(irregular_), dataset_.fps()));
    if (!stored_problem_.empty()) warn(stored_problem_);
    for (const auto& seen : found_.cameras) judge_frames(seen);
  }

  void judge_frames(const CameraInspection& seen) {
    const auto camera = of_camera(seen.camera);
    int64_t frozen = 0;
    std::vector<int64_t> episodes;
    for (const auto& stretch : seen.frozen) {
      frozen += stretch.length - 1;
      if (episodes.empty() || episodes.back() != stretch.episode)
        episodes.push_back(stretch.episode);
    }
    const auto repeated = static_cast<double>(seen.repeated_frames - frozen);
    if (repeated > options_.repeated * static_cast<double>(seen.frames_seen))
      warn(fmt::format(
          "{}{:.0f} % of the frames looked at repeat the one before: the camera is slower than the "
          "rows, or frames were dropped",
          camera, 100 * repeated / static_cast<double>(seen.frames_seen)));
    if (seen.frozen.empty()) return;
    const auto longest =
        std::max_element(seen.frozen.begin(), seen.frozen.end(),
                         [](const auto& a, const auto& b) { return a.length < b.length; });
    warn(fmt::format(
        "{}{} stretch(es) of equal frames{}, the longest {} frames from row {} of {}: a frozen "
        "camera, or a robot that waits",
        camera, seen.frozen.size(), of_episodes(episodes), longest->length, longest->first,
        numbered_name(dataset_, longest->episode)));
  }

  const Dataset& dataset_;
  const InspectionOptions& options_;
  std::vector<const Dataset*> cameras_;  // the data set's own first
  Inspection found_;
  std::string stored_problem_;                              // of stored statistics
  std::vector<std::string> valueless_;                      // action columns
  std::vector<int64_t> with_infinite_actions_, irregular_;  // episodes
};

// Of one that cannot be read: a dark cross.
void cross_out(const Tensor& frame) {
  constexpr int kDark = 64;
  const int64_t bottom = frame.size(0) - 1, right = frame.size(1) - 1;
  const int64_t steps = std::max<int64_t>(1, std::max(bottom, right));
  for (int64_t i = 0; i <= steps; ++i) {
    const int64_t row = i * bottom / steps, column = i * right / steps;
    frame[row][column].fill_(kDark);
    frame[row][right - column].fill_(kDark);
  }
}

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

Inspection inspect(const Dataset& dataset, const InspectionOptions& options,
                   const std::vector<std::shared_ptr<const Dataset>>& others) {
  require_valid(options);
  return Inspector(dataset, options, others).run();
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
    for (std::size_t c = 0; c < rows.size(); ++c) {
      const Tensor frame =
          sheet.narrow(0, line * (size.height + kGap), size.height)
              .narrow(1, static_cast<int64_t>(c) * (size.width + kGap), size.width);
      try {
        frame.copy_(dataset.read_frames(episode, {rows[c]})[0]);
      } catch (const Error&) {
        cross_out(frame);
      }
    }
  }
  return sheet;
}

}  // namespace foresight::data
