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

NameLock::NameLock(const std::filesystem::path& path, const std::string& refusal)
    : path_(path.string() + ".lock") {
  for (;;) {
    file_ = io::Descriptor(::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666));
    if (!file_) throw io::system_error(path_, "create");
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
      require(errno != EWOULDBLOCK, ErrorCategory::invalid_argument, refusal);
      return;
    }
    // The one before may have removed the file between its opening and its locking.
    struct stat opened {
    }, named{};
    if (::fstat(file_.get(), &opened) == 0 && ::stat(path_.c_str(), &named) == 0 &&
        opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)
      return;
  }
}

NameLock::~NameLock() { ::unlink(path_.c_str()); }  // still locked

}  // namespace foresight::data
