// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight {

/// While it lives, what this thread logs is written once: later messages of the same words are not
/// written, e.g. where a recording is opened again for each of its cameras. One within the life of
/// another adds nothing.
class FORESIGHT_API LogOnce {
 public:
  LogOnce();
  ~LogOnce();
  LogOnce(const LogOnce&) = delete;
  LogOnce& operator=(const LogOnce&) = delete;

  /// Whether this thread has such an object, and has logged the message since it was made. Notes
  /// the message.
  static bool repeats(std::string_view message);

 private:
  std::set<std::string, std::less<>> written_;
};

}  // namespace foresight
