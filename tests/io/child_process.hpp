// SPDX-License-Identifier: Apache-2.0
// Running a piece of a test in a forked child: with its own resource limits, or to be killed.
#pragma once

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <stdexcept>
#include <utility>

namespace foresight {

/// A forked child that runs `body` and exits with what it returns (99 for an exception). The body
/// must not start parallel work: the threads of the parent do not exist in it.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<int()>& body) : id_(::fork()) {
    if (id_ < 0) throw std::runtime_error("cannot fork");
    if (id_ > 0) return;
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  ~ChildProcess() {
    if (id_ > 0) kill();
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Waits; the exit code, or -signal if a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(id_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  /// SIGKILL, then wait().
  int kill() {
    ::kill(id_, SIGKILL);
    return wait();
  }

 private:
  pid_t id_;
};

/// Makes every file of this process fail to grow beyond `bytes`, as on a full disk (EFBIG instead
/// of ENOSPC).
inline void limit_file_size(std::size_t bytes) {
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{bytes, bytes};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(98);
}

}  // namespace foresight
