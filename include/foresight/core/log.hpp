// SPDX-License-Identifier: Apache-2.0
// Logging through one spdlog logger named "foresight", quiet (warnings only) until the application
// asks for more. What a user should know is a warning, or what a command prints of its own; info is
// for whoever follows what the library does (files that are decoded anew, tensors left out).
// Applications route it by setting their own sink; spdlog's headers are not needed to log.
#pragma once

#include <memory>
#include <string_view>

#include "foresight/core/export.hpp"

namespace spdlog::sinks {
class sink;
}

namespace foresight {

enum class LogLevel { debug, info, warning, error, off };

/// Lowest level that is written. Default: warning, because a library should not chat.
FORESIGHT_API void set_log_level(LogLevel level);

/// Replaces the destination (default: standard error) by any spdlog sink.
FORESIGHT_API void set_log_sink(std::shared_ptr<spdlog::sinks::sink> sink);

/// Writes one message. Thread-safe.
FORESIGHT_API void log(LogLevel level, std::string_view message);

}  // namespace foresight
