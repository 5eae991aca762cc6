// SPDX-License-Identifier: Apache-2.0
#include "recording_lock.hpp"

#include <sys/file.h>

#include "foresight/core/log.hpp"

namespace foresight::data {

RecordingLock::RecordingLock(const std::filesystem::path& folder)
    : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (!folder_) throw io::system_error(folder, "open");
  if (::flock(folder_.get(), LOCK_EX | LOCK_NB) == 0) return;
  require(errno != EWOULDBLOCK, ErrorCategory::invalid_argument,
          folder.string() +
              ": another process is recording here, or another writer of this one; wait until it "
              "is finished, or record into another folder");
  log(LogLevel::warning, folder.string() + ": cannot be locked (" + std::strerror(errno) +
                             "): another recorder here would not be noticed");
}

}  // namespace foresight::data
