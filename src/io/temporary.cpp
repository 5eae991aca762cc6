// SPDX-License-Identifier: Apache-2.0
#include "temporary.hpp"

#include <sys/file.h>

#include <array>
#include <random>

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kTemporaryMark = ".tmp-";
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
constexpr std::size_t kRandomLetters = 12;
constexpr int kNameAttempts = 100;

fs::path random_name(const fs::path& target) {
  std::random_device entropy;
  std::string name = target.filename().string() + std::string(kTemporaryMark);
  for (std::size_t i = 0; i < kRandomLetters; ++i) name += kLetters[entropy() % kLetters.size()];
  return target.parent_path() / name;
}

/// The target for which random_name() makes `name`; empty: it makes no such name.
std::string target_of(const std::string& name) {
  const auto at = name.rfind(kTemporaryMark);
  if (at == std::string::npos || name.size() != at + kTemporaryMark.size() + kRandomLetters ||
      name.find_first_not_of(kLetters, at + kTemporaryMark.size()) != std::string::npos)
    return {};
  return name.substr(0, at);
}

/// Locks without waiting, and makes sure the name still leads to what was locked: a sweep may have
/// removed it between creation and locking.
bool lock_if_still_there(const Descriptor& handle, const fs::path& path) {
  if (::flock(handle.get(), LOCK_EX | LOCK_NB) != 0)
    return errno != EWOULDBLOCK;  // a filesystem without locks: go on unlocked
  struct stat opened {
  }, named{};
  return ::fstat(handle.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

template <class Create>
Temporary create_temporary(const fs::path& target, Create create) {
  for (int attempt = 0; attempt < kNameAttempts; ++attempt) {
    Temporary temporary{random_name(target), {}};
    temporary.handle = create(temporary.path);
    if (!temporary.handle) {
      if (errno == EEXIST || errno == ENOENT) {
        // ENOENT: either a sweep took the new folder before it was opened, or the parent does not
        // exist.
        if (errno == EEXIST || fs::is_directory(target.parent_path())) continue;
        throw Error(ErrorCategory::not_found, target.string() + ": cannot write: folder '" +
                                                  target.parent_path().string() +
                                                  "' does not exist");
      }
      throw Error(ErrorCategory::io_failure, target.string() + ": cannot create '" +
                                                 temporary.path.string() +
                                                 "': " + std::strerror(errno));
    }
    if (lock_if_still_there(temporary.handle, temporary.path)) return temporary;
  }
  throw Error(ErrorCategory::io_failure, target.string() + ": cannot create a temporary beside it");
}

/// Removes what nobody has locked of the temporaries in `folder` whose target `is_meant`.
template <class IsMeant>
void remove_unlocked(const fs::path& folder, IsMeant is_meant) noexcept {
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const auto target = target_of(entry.path().filename().string());
      if (target.empty() || !is_meant(target) || entry.is_symlink()) continue;
      Descriptor handle(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
      if (!handle || ::flock(handle.get(), LOCK_EX | LOCK_NB) != 0) continue;  // in use
      std::error_code ignored;
      fs::remove_all(entry.path(), ignored);
    }
  } catch (...) {  // an unreadable folder: nothing to clean
  }
}

}  // namespace

Temporary create_temporary_file(const fs::path& target) {
  return create_temporary(target, [](const fs::path& path) {
    return Descriptor(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666));
  });
}

Temporary create_temporary_folder(const fs::path& target) {
  return create_temporary(target, [](const fs::path& path) {
    if (::mkdir(path.c_str(), 0777) != 0) return Descriptor();
    return Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  });
}

void remove_abandoned(const fs::path& target) noexcept {
  remove_unlocked(target.parent_path(),
                  [&](const std::string& name) { return target.filename() == name; });
}

void remove_abandoned_in(const fs::path& folder) noexcept {
  remove_unlocked(folder, [](const std::string&) { return true; });
}

void sync_folder(const fs::path& folder) noexcept {
  Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle) ::fsync(handle.get());
}

fs::path resolved_target(const fs::path& target) {
  std::error_code failure;
  fs::path resolved = target;
  if (fs::is_symlink(resolved, failure)) {
    resolved = fs::weakly_canonical(resolved, failure);
    if (failure) throw system_error(target, "follow the link", failure.value());
  }
  if (!resolved.has_filename() && resolved.has_parent_path()) resolved = resolved.parent_path();
  if (!resolved.has_filename() || resolved.filename() == "." || resolved.filename() == "..")
    throw Error(ErrorCategory::invalid_argument,
                "'" + target.string() + "' does not end in a file name to write to");
  if (!resolved.has_parent_path()) resolved = "." / resolved;
  return resolved;
}

}  // namespace foresight::io
