// SPDX-License-Identifier: Apache-2.0
// Which windows of time a data set offers for training, and which episodes are kept for validation.
//
// A window of T frames with stride k takes rows start, start+k, ..., start+(T-1)k of one episode,
// and the actions of *all* rows from start up to, not including, its last frame: (T-1) blocks of k
// actions, block i leading from frame i to frame i+1. No window crosses an episode, and none uses
// the action of an episode's last row, which leads nowhere (and is often an artefact of the
// recorder).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Which starts count.
enum class WindowSpan {
  frames,  ///< every start whose last frame is in the episode: (T-1)k + 1 rows are needed
  blocks,  ///< T whole blocks must fit: Tk rows, as stable-worldmodel and DINO-WM count. Fewer
           ///< windows, same content
};

struct FORESIGHT_API WindowOptions {
  int64_t frames = 4;                    ///< T: observed steps of a window; LeWM trains on 4
  int64_t stride = 5;                    ///< k: rows between them = actions per block; LeWM uses 5
  WindowSpan span = WindowSpan::frames;  ///< which starts count

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("frames", self.frames, "observed steps of a window");
    visit("stride", self.stride, "rows between observed steps = actions per block");
    visit("span", self.span, "rows that a window needs: frames ((T-1)k+1) or blocks (Tk)");
  }
  std::vector<std::string> validate() const;

  /// Rows that an episode must have.
  int64_t rows() const {
    return span == WindowSpan::frames ? (frames - 1) * stride + 1 : frames * stride;
  }
  /// Dense actions of a window: (T-1)k.
  int64_t actions() const { return (frames - 1) * stride; }
};

/// One window: rows start, start + stride, ... of an episode.
struct Window {
  int64_t episode = 0;
  int64_t start = 0;
  bool operator==(const Window&) const = default;
};

/// All windows of chosen episodes, numbered by episode, then start. Holds one number per episode,
/// not per window.
class FORESIGHT_API WindowIndex {
 public:
  /// `lengths[e]` rows of episode e; `episodes` which of them to use, in this order; empty: all.
  /// Throws Error(invalid_argument) for an episode that does not exist.
  WindowIndex(std::vector<int64_t> lengths, const WindowOptions& options,
              std::vector<int64_t> episodes = {});
  WindowIndex(const Dataset& dataset, const WindowOptions& options,
              std::vector<int64_t> episodes = {});

  const WindowOptions& options() const noexcept { return options_; }
  /// Episodes that were chosen; those too short for a window are among them.
  const std::vector<int64_t>& episodes() const noexcept { return episodes_; }
  int64_t size() const noexcept { return first_.back(); }
  /// Window number `index`. Throws Error(invalid_argument) outside 0..size()-1.
  Window operator[](int64_t index) const;
  /// Rows of the T frames of a window.
  std::vector<int64_t> frame_rows(const Window& window) const;

 private:
  WindowOptions options_;
  std::vector<int64_t> episodes_;
  std::vector<int64_t>
      first_;  // first_[i]: windows before episodes_[i]; one more entry than episodes_
};

/// Rows at given times around a row, as LeRobot samples them.
struct RowsAround {
  std::vector<int64_t> rows;
  std::vector<bool>
      outside;  ///< the time lies outside the episode: its first or last row stands in
};

/// The rows of `episode` that lie `seconds` from `row`, each clamped to the episode. Windows never
/// leave their episode; this does, and says so. Throws Error(invalid_argument) for a row outside
/// the episode, for a time that is no multiple of 1/fps to within `tolerance_s`, and where the
/// recording has no rate.
FORESIGHT_API RowsAround rows_around(const Dataset& dataset, int64_t episode, int64_t row,
                                     const std::vector<double>& seconds, double tolerance_s = 1e-4);

/// Episodes for training and for validation, ascending.
struct EpisodeSplit {
  std::vector<int64_t> train;
  std::vector<int64_t> validation;
};

/// Splits by episode, never by window: overlapping windows on both sides would let the validation
/// loss leak. The split is a pure function of the arguments. round(fraction * count) episodes are
/// for validation, but with 0 < fraction < 1 and at least two episodes neither side is empty.
/// Throws Error(invalid_argument) for a fraction outside 0..1.
FORESIGHT_API EpisodeSplit split_episodes(int64_t count, double validation_fraction,
                                          std::uint64_t seed);

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::WindowSpan> {
  static constexpr std::array<std::pair<std::string_view, data::WindowSpan>, 2> names = {
      {{"frames", data::WindowSpan::frames}, {"blocks", data::WindowSpan::blocks}}};
};
