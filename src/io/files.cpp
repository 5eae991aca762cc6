// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/files.hpp"

#include <algorithm>

#include "descriptor.hpp"
#include "temporary.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPiece = std::size_t{1} << 30;  // Linux writes at most 2 GiB per call

}  // namespace

void OutputFile::write(const void* bytes, std::size_t size) {
  auto* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::write(descriptor_, next, std::min(size, kPiece));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse(size);
    next += written;
    size -= static_cast<std::size_t>(written);
  }
}

void OutputFile::write_at(std::int64_t offset, const void* bytes, std::size_t size) {
  auto* next = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t written = ::pwrite(descriptor_, next, std::min(size, kPiece), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) refuse(size);
    next += written;
    offset += written;
    size -= static_cast<std::size_t>(written);
  }
}

void OutputFile::refuse(std::size_t left) const {
  throw Error(ErrorCategory::io_failure, target_.string() + ": cannot write " +
                                             std::to_string(left) +
                                             " more bytes: " + std::strerror(errno));
}

namespace {

/// Removes the temporary file unless the rename succeeded.
class RemoveOnFailure {
 public:
  explicit RemoveOnFailure(const fs::path& path) : path_(&path) {}
  ~RemoveOnFailure() {
    if (path_) ::unlink(path_->c_str());
  }
  void dismiss() { path_ = nullptr; }

 private:
  const fs::path* path_;
};

}  // namespace

void replace_file_atomically(const fs::path& target,
                             const std::function<void(OutputFile&)>& write) {
  const fs::path final_path = resolved_target(target);
  struct stat previous {};
  const bool replaces = ::stat(final_path.c_str(), &previous) == 0;
  if (replaces && !S_ISREG(previous.st_mode))
    throw Error(ErrorCategory::io_failure,
                target.string() + ": is not a regular file and is not replaced");
  remove_abandoned(final_path);

  Temporary temporary = create_temporary_file(final_path);
  RemoveOnFailure guard(temporary.path);
  const int descriptor = temporary.handle.get();
  if (replaces) ::fchmod(descriptor, previous.st_mode & 07777);
  OutputFile file(descriptor, temporary.path, target);
  write(file);
  if (::fsync(descriptor) != 0) throw system_error(target, "flush to disk");
  if (::rename(temporary.path.c_str(), final_path.c_str()) != 0)
    throw system_error(target, "rename the finished file to it");
  guard.dismiss();
  sync_folder(final_path.parent_path());
}

void write_text(const fs::path& target, std::string_view text) {
  replace_file_atomically(target, [&](OutputFile& file) { file.write(text); });
}

std::string read_all(const Descriptor& file, const struct stat& status, const fs::path& shown,
                     std::uint64_t limit) {
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > limit)
    throw Error(ErrorCategory::bad_file, shown.string() + ": has " + std::to_string(size) +
                                             " bytes, accepted are at most " +
                                             std::to_string(limit));
  std::string text(size, '\0');
  std::size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t count = ::read(file.get(), text.data() + filled, text.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw system_error(shown, "read");
    if (count == 0) break;  // shortened while we read: the caller's parser reports what is missing
    filled += static_cast<std::size_t>(count);
  }
  text.resize(filled);
  return text;
}

std::string read_text(const fs::path& path, std::uint64_t limit) {
  struct stat status {};
  const Descriptor file = open_regular(AT_FDCWD, path, path, status);
  return read_all(file, status, path, limit);
}

}  // namespace foresight::io
