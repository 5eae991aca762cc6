// SPDX-License-Identifier: Apache-2.0
// A file descriptor that closes itself, and how the system's refusals become errors.
// Private to the library.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include "foresight/core/error.hpp"

namespace foresight::io {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int value) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }

 private:
  int value_ = -1;
};

/// Error for a failed system call on `path`: "DIR/model.safetensors: cannot open: Permission
/// denied".
inline Error system_error(const std::filesystem::path& path, const std::string& action,
                          int code = errno) {
  return Error(code == ENOENT ? ErrorCategory::not_found : ErrorCategory::io_failure,
               path.string() + ": cannot " + action + ": " + std::strerror(code));
}

/// Opens a regular file for reading. `folder` may be AT_FDCWD; `shown` is the name in messages.
/// Never blocks, even on a pipe.
inline Descriptor open_regular(int folder, const std::filesystem::path& name,
                               const std::filesystem::path& shown, struct stat& status) {
  Descriptor file(::openat(folder, name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) throw system_error(shown, "open");
  if (::fstat(file.get(), &status) != 0) throw system_error(shown, "read its size");
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorCategory::bad_file, shown.string() + ": is a " +
                                             (S_ISDIR(status.st_mode) ? "folder" : "special file") +
                                             ", expected a regular file");
  return file;
}

/// Content of an open regular file of at most `limit` bytes.
std::string read_all(const Descriptor& file, const struct stat& status,
                     const std::filesystem::path& shown, std::uint64_t limit);

}  // namespace foresight::io
