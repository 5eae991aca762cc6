// SPDX-License-Identifier: Apache-2.0
// Appending lines at a bounded rate.
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <mutex>

#include "foresight/control/incident.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/log.hpp"

namespace foresight {
namespace {

std::string utc_now() {
  using namespace std::chrono;
  const auto now = time_point_cast<milliseconds>(system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(system_clock::to_time_t(now)),
                     now.time_since_epoch().count() % 1000);
}

}  // namespace

std::vector<std::string> IncidentLogOptions::validate() const {
  Rules rules("IncidentLogOptions");
  rules.check(std::isfinite(per_second) && per_second > 0, "per_second", per_second,
              "must be positive");
  rules.check(burst >= 1, "burst", static_cast<double>(burst), "must be >= 1");
  rules.check(limit >= 1, "limit", static_cast<double>(limit), "must be >= 1");
  return rules.problems();
}

struct IncidentLog::File {
  File(std::filesystem::path where, IncidentLogOptions what,
       std::function<Problem::Clock::time_point()> clock)
      : path(std::move(where)), options(what), now(std::move(clock)) {
    require_valid(options);
    descriptor = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
    if (descriptor < 0) refuse("cannot open for appending");
    struct stat status {};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(descriptor);
      throw Error(ErrorCategory::io_failure,
                  path.string() + ": is not a regular file, incidents cannot be appended");
    }
    char last = '\n';
    if (status.st_size > 0 && ::pread(descriptor, &last, 1, status.st_size - 1) != 1) last = '\n';
    torn = last != '\n';
    tokens = static_cast<double>(options.burst);
    filled = now();
  }
  ~File() { ::close(descriptor); }

  [[noreturn]] void refuse(const char* what) const {
    throw Error(ErrorCategory::io_failure,
                fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
  }

  // A token bucket: `burst` at once, `per_second` in the long run.
  bool admit() {
    const auto time = now();
    const double passed = std::chrono::duration<double>(time - filled).count();
    tokens = std::min(tokens + std::max(passed, 0.0) * options.per_second,
                      static_cast<double>(options.burst));
    filled = time;
    if (written >= options.limit || tokens < 1) return false;
    tokens -= 1;
    return true;
  }

  bool append(std::string_view text) {
    while (!text.empty()) {
      const auto done = ::write(descriptor, text.data(), text.size());
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) return false;
      torn = true;  // until the newline is out
      text.remove_prefix(static_cast<std::size_t>(done));
    }
    torn = false;
    return true;
  }

  std::filesystem::path path;
  IncidentLogOptions options;
  std::function<Problem::Clock::time_point()> now;
  int descriptor = -1;
  bool torn = false;  // the file ends within a line
  double tokens = 0;
  Problem::Clock::time_point filled;
  int64_t written = 0, suppressed = 0, failed = 0, untold = 0;
  mutable std::mutex mutex;
};

IncidentLog::IncidentLog(const std::filesystem::path& path, IncidentLogOptions options,
                         std::function<Problem::Clock::time_point()> now)
    : file_(std::make_unique<File>(path, options, std::move(now))) {}
IncidentLog::~IncidentLog() = default;

bool IncidentLog::write(Incident incident) noexcept {
  return write([&] { return std::move(incident); });
}

bool IncidentLog::write_made(const std::function<Incident()>& make) noexcept {
  try {
    std::lock_guard lock(file_->mutex);
    auto& file = *file_;
    if (!file.admit()) {
      ++file.suppressed;
      ++file.untold;
      return false;
    }
    auto incident = make();
    if (incident.time.empty()) incident.time = utc_now();
    incident.suppressed = file.untold;
    std::string line(file.torn ? 1 : 0, '\n');
    line.append(incident_line(incident)).push_back('\n');
    if (!file.append(line)) {
      if (file.failed++ == 0)
        log(LogLevel::error, fmt::format("{}: incidents cannot be written: {}", file.path.string(),
                                         std::strerror(errno)));
      return false;
    }
    ++file.written;
    file.untold = 0;
    return true;
  } catch (...) {  // no memory for the line: the control loop goes on
    return false;
  }
}

int64_t IncidentLog::written() const {
  std::lock_guard lock(file_->mutex);
  return file_->written;
}
int64_t IncidentLog::suppressed() const {
  std::lock_guard lock(file_->mutex);
  return file_->suppressed;
}
int64_t IncidentLog::failed() const {
  std::lock_guard lock(file_->mutex);
  return file_->failed;
}

}  // namespace foresight
