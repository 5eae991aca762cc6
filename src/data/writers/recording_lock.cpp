// SPDX-License-Identifier: Apache-2.0
#include "recording_lock.hpp"

#include <sys/file.h>

#include "foresight/core/log.hpp"

namespace foresight::data {
namespace {

// As in ". It is process 812 on node3"; nothing where the file does not tell yet.
std::string told_holder(const io::Descriptor& file) {
  char text[256];
  const auto size = ::pread(file.get(), text, sizeof text, 0);
  return size <= 0 ? "" : ". It is " + std::string(text, static_cast<std::size_t>(size));
}

// For messages: it is the lock that counts, and a full disk does not end it.
void tell_holder(const io::Descriptor& file) {
  char machine[128] = {};
  ::gethostname(machine, sizeof machine - 1);
  const auto text = "process " + std::to_string(::getpid()) + " on " + machine;
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), text.data(), text.size(), 0) < 0)
    log(LogLevel::debug, text + ": cannot be told in a lock file: " + std::strerror(errno));
}

bool names(const std::filesystem::path& path, const io::Descriptor& file) {
  struct stat opened{}, named{};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

// EACCES: what a lock on SMB shares says of a file that this process may well open.
bool is_held_by_another(int reason) { return reason == EWOULDBLOCK || reason == EACCES; }

}  // namespace

RecordingLock::RecordingLock(const std::filesystem::path& folder)
    : folder_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (!folder_) throw io::system_error(folder, "open");
  if (::flock(folder_.get(), LOCK_EX | LOCK_NB) == 0) return;
  require(!is_held_by_another(errno), ErrorCategory::invalid_argument,
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
      const int reason = errno;
      require(!is_held_by_another(reason), ErrorCategory::invalid_argument,
              refusal + told_holder(file_));
      log(LogLevel::warning, path_.string() + ": cannot be locked (" + std::strerror(reason) +
                                 "): another process at work here would not be noticed");
      return;
    }
    // The one before may have removed the file between its opening and its locking.
    if (names(path_, file_)) break;
  }
  locked_ = true;
  tell_holder(file_);
}

NameLock::~NameLock() {  // still locked; where the folder was removed and made anew, it is
                         // another's
  if (locked_ && names(path_, file_)) ::unlink(path_.c_str());
}

}  // namespace foresight::data
