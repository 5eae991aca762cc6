// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "elapsed.hpp"

namespace foresight::train {
namespace {

using Clock = std::chrono::steady_clock;

std::string duration(double seconds) {
  const auto total = static_cast<int64_t>(seconds + 0.5);
  if (total >= 3600)
    return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

}  // namespace

Progress::Progress(std::string label, int64_t total, int64_t first, ProgressStyle style,
                   std::FILE* stream)
    : label_(std::move(label)),
      total_(total),
      first_(first),
      style_(style),
      stream_(stream),
      start_(Clock::now()),
      last_(start_) {
  if (style_ == ProgressStyle::automatic)
    style_ = isatty(fileno(stream_)) ? ProgressStyle::rewritten : ProgressStyle::plain;
}

Progress::~Progress() {
  if (open_line_) std::fputc('\n', stream_);
}

std::string Progress::line(int64_t step, int64_t samples, double seconds,
                           std::string_view detail) const {
  const auto done = static_cast<double>(step - first_);
  const auto rate = seconds > 0 ? done / seconds : 0.0;
  const auto left = rate > 0 ? static_cast<double>(total_ - step) / rate : 0.0;
  return fmt::format("{} {}/{}  {}%  {:.0f} samples/s  ETA {}  {}", label_, step, total_,
                     total_ > 0 ? 100 * step / total_ : 100, rate * static_cast<double>(samples),
                     duration(left), detail);
}

void Progress::update(int64_t step, int64_t samples, std::string_view detail) {
  if (style_ == ProgressStyle::silent) return;
  const bool terminal = style_ == ProgressStyle::rewritten;
  // Often enough to look alive, rarely enough to keep a log file short.
  const double interval = terminal ? 0.2 : 10.0;
  if (printed_ && step < total_ && seconds_since(last_) < interval) return;
  const auto text = line(step, samples, seconds_since(start_), detail);
  if (terminal) {
    fmt::print(stream_, "\r{}\x1b[K", text);
    open_line_ = true;
  } else {
    fmt::print(stream_, "{}\n", text);
  }
  std::fflush(stream_);
  last_ = Clock::now();
  printed_ = true;
}

}  // namespace foresight::train
