// SPDX-License-Identifier: Apache-2.0
#include "file_stamp.hpp"

#include <cerrno>
#include <cstring>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::data {

FileStamp file_stamp(const struct stat& status) {
  return {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

FileStamp file_stamp(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return file_stamp(status);
  const bool gone = errno == ENOENT || errno == ENOTDIR;
  throw Error(gone ? ErrorCategory::not_found : ErrorCategory::io_failure,
              path.string() + ": " + (gone ? "no such file" : std::strerror(errno)));
}

void require_unchanged(const std::filesystem::path& path, const FileStamp& then) {
  require_same(path, then, file_stamp(path));
}

void require_same(const std::filesystem::path& path, const FileStamp& then, const FileStamp& now) {
  if (now == then) return;
  throw Error(ErrorCategory::bad_file,
              path.string() + ": has changed since the data set was opened (" +
                  std::to_string(then.bytes) + " bytes then, " + std::to_string(now.bytes) +
                  " now); open the data set again");
}

}  // namespace foresight::data
