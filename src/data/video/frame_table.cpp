// SPDX-License-Identifier: Apache-2.0
#include "frame_table.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace foresight::data {
namespace {

int64_t numbered(const FrameTable& table, std::size_t place) {
  return table.by_time.empty() ? static_cast<int64_t>(place) : table.by_time[place];
}

// How many places, in order of time, come before the first whose time is not `before`.
template <class Before>
std::size_t places_before(const FrameTable& table, Before&& before) {
  std::size_t low = 0, high = table.pts.size();
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    if (before(table.time(numbered(table, middle))))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace

void FrameTable::order_by_time(const std::array<int64_t, 2>& ticks) {
  time_base = ticks;
  by_time.clear();
  if (std::is_sorted(pts.begin(), pts.end())) return;
  by_time.resize(pts.size());
  std::iota(by_time.begin(), by_time.end(), 0);
  std::stable_sort(by_time.begin(), by_time.end(), [this](int64_t a, int64_t b) {
    return pts[static_cast<std::size_t>(a)] < pts[static_cast<std::size_t>(b)];
  });
}

double FrameTable::time(int64_t frame) const {
  return static_cast<double>(pts[static_cast<std::size_t>(frame)]) *
         static_cast<double>(time_base[0]) / static_cast<double>(time_base[1]);
}

int64_t FrameTable::on_display(double seconds) const {
  // A time that was computed as pts * time_base elsewhere must find its own frame.
  const double limit = seconds + 1e-9 * std::max(1.0, std::abs(seconds));
  const std::size_t after = places_before(*this, [limit](double time) { return time <= limit; });
  return numbered(*this, after == 0 ? 0 : after - 1);
}

int64_t FrameTable::nearest(double seconds) const {
  const std::size_t after = places_before(*this, [seconds](double time) { return time < seconds; });
  if (after == pts.size()) return numbered(*this, after - 1);
  if (after == 0) return numbered(*this, 0);
  const int64_t earlier = numbered(*this, after - 1), later = numbered(*this, after);
  return seconds - time(earlier) <= time(later) - seconds ? earlier : later;
}

}  // namespace foresight::data
