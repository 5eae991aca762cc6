// SPDX-License-Identifier: Apache-2.0
// What to do when recorded frames cannot be read in the middle of a training: a video that was
// damaged, cut, moved away or replaced.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/core/options.hpp"

namespace foresight::data {

/// Frames that cannot be read.
enum class Unreadable {
  fail,  ///< an Error that names file, frame and episode
  skip,  ///< another window takes the place; it is counted and named
};

/// A window whose place in a batch another one took.
struct SkippedWindow {
  int64_t window = 0, episode = 0, start = 0;
  std::string name;    ///< of the episode
  std::string reason;  ///< names file and frame
};

/// Whether an error says that recorded frames cannot be read, as opposed to misuse.
inline bool is_unreadable(const Error& error) {
  return error.category() == ErrorCategory::bad_file ||
         error.category() == ErrorCategory::not_found ||
         error.category() == ErrorCategory::io_failure;
}

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::Unreadable> {
  static constexpr std::array<std::pair<std::string_view, data::Unreadable>, 2> names = {
      {{"fail", data::Unreadable::fail}, {"skip", data::Unreadable::skip}}};
};
