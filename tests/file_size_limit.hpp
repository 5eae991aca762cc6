// SPDX-License-Identifier: Apache-2.0
// Lets writing to files fail as on a full disk: beyond a number of bytes.
#pragma once

#include <signal.h>
#include <sys/resource.h>

#include <cstdint>

namespace foresight {

/// While it exists, no file of this process can grow beyond `bytes`: the system refuses with an
/// error (EFBIG), as it does with ENOSPC when a disk is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = ::signal(SIGXFSZ, SIG_IGN);  // else the signal ends the process
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_ = SIG_DFL;
};

}  // namespace foresight
