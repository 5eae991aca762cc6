// SPDX-License-Identifier: Apache-2.0
// What foresight logs meanwhile, for tests of warnings.
#pragma once

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>
#include <sstream>
#include <string>

#include "foresight/core/log.hpp"

namespace foresight {

/// While it exists, log messages go here and nowhere else.
class CapturedLog {
 public:
  CapturedLog() { set_log_sink(std::make_shared<spdlog::sinks::ostream_sink_mt>(stream_)); }
  ~CapturedLog() { set_log_sink(std::make_shared<spdlog::sinks::stderr_color_sink_mt>()); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::string text() const { return stream_.str(); }
  bool says(const std::string& words) const { return text().find(words) != std::string::npos; }

 private:
  std::ostringstream stream_;
};

}  // namespace foresight
