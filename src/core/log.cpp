// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <mutex>

#include "foresight/core/log_once.hpp"

namespace foresight {
namespace {

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      break;
  }
  return spdlog::level::off;
}

// Swapped as a whole under the mutex: a spdlog logger's own sink list may not change while others
// log.
std::mutex mutex;
std::shared_ptr<spdlog::logger> current;

thread_local std::set<std::string, std::less<>>* written = nullptr;  // of LogOnce

std::shared_ptr<spdlog::logger> make_logger(spdlog::sink_ptr sink,
                                            spdlog::level::level_enum level) {
  auto logger = std::make_shared<spdlog::logger>("foresight", std::move(sink));
  logger->set_level(level);
  logger->flush_on(spdlog::level::warn);
  return logger;
}

std::shared_ptr<spdlog::logger> logger() {
  std::lock_guard lock(mutex);
  if (!current)
    current =
        make_logger(std::make_shared<spdlog::sinks::stderr_color_sink_mt>(), spdlog::level::warn);
  return current;
}

}  // namespace

void set_log_level(LogLevel level) { logger()->set_level(spdlog_level(level)); }

void set_log_sink(std::shared_ptr<spdlog::sinks::sink> sink) {
  auto replacement = make_logger(std::move(sink), logger()->level());
  std::lock_guard lock(mutex);
  current = std::move(replacement);
}

void log(LogLevel level, std::string_view message) {
  if (LogOnce::repeats(message)) return;
  logger()->log(spdlog_level(level), spdlog::string_view_t(message.data(), message.size()));
}

LogOnce::LogOnce() {
  if (written == nullptr) written = &written_;
}

LogOnce::~LogOnce() {
  if (written == &written_) written = nullptr;
}

bool LogOnce::repeats(std::string_view message) {
  return written != nullptr && !written->emplace(message).second;
}

}  // namespace foresight
