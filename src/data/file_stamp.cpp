// SPDX-License-Identifier: Apache-2.0
#include "file_stamp.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::data {
namespace {

constexpr std::int64_t kPiece = 4096;

// Adds `count` bytes from `offset` on. False unless all are there.
bool add_bytes(Fnv1a& hash, const io::Descriptor& file, std::int64_t offset, std::int64_t count) {
  std::array<char, kPiece> bytes{};
  while (count > 0) {
    const auto wanted = std::min(count, static_cast<std::int64_t>(bytes.size()));
    const auto got = ::pread(file.get(), bytes.data(), static_cast<std::size_t>(wanted), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    hash.add(bytes.data(), static_cast<std::size_t>(got));
    offset += got;
    count -= got;
  }
  return true;
}

}  // namespace

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

io::Descriptor open_unchanged(const std::filesystem::path& path, const FileStamp& then) {
  io::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      file_stamp(status) != then)
    return {};
  return file;
}

bool add_sample(Fnv1a& hash, const std::filesystem::path& path, const FileStamp& then) {
  const auto file = open_unchanged(path, then);
  if (!file) return false;
  if (then.bytes <= 3 * kPiece) return add_bytes(hash, file, 0, then.bytes);
  return add_bytes(hash, file, 0, kPiece) &&
         add_bytes(hash, file, (then.bytes - kPiece) / 2, kPiece) &&
         add_bytes(hash, file, then.bytes - kPiece, kPiece);
}

bool add_piece(Fnv1a& hash, const std::filesystem::path& path, const FileStamp& then,
               std::int64_t offset, std::int64_t count) {
  const auto file = open_unchanged(path, then);
  return file && add_bytes(hash, file, offset, std::min(count, kPiece));
}

void require_same(const std::filesystem::path& path, const FileStamp& then, const FileStamp& now) {
  if (now == then) return;
  throw Error(ErrorCategory::bad_file,
              path.string() + ": has changed since the data set was opened (" +
                  std::to_string(then.bytes) + " bytes then, " + std::to_string(now.bytes) +
                  " now); open the data set again");
}

}  // namespace foresight::data
