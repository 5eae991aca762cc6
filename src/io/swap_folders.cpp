// SPDX-License-Identifier: Apache-2.0
#include "swap_folders.hpp"

#include <cstdio>

#include "descriptor.hpp"
#include "temporary.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

constexpr int kSwapAttempts = 100;  // against other writers that create and remove the same target

bool cannot_exchange(int code) { return code == ENOSYS || code == EINVAL || code == EOPNOTSUPP; }

/// Two renames. The previous folder waits under a name that is not swept, so that a crash in
/// between loses nothing.
void exchange_in_two_steps(const fs::path& finished, const fs::path& target) {
  const fs::path previous = finished.string() + ".previous";
  if (::rename(target.c_str(), previous.c_str()) != 0 && errno != ENOENT)
    throw system_error(target, "move the previous folder away");
  if (::rename(finished.c_str(), target.c_str()) != 0) {
    const int code = errno;
    ::rename(previous.c_str(), target.c_str());
    throw system_error(target, "rename the finished folder to it", code);
  }
  std::error_code ignored;
  fs::remove_all(previous, ignored);
}

}  // namespace

void put_in_place(const fs::path& finished, const fs::path& target) {
  for (int attempt = 0; attempt < kSwapAttempts; ++attempt) {
    if (::renameat2(AT_FDCWD, finished.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0)
      return sync_folder(target.parent_path());
    if (errno != EEXIST) break;
    if (::renameat2(AT_FDCWD, finished.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) == 0) {
      sync_folder(target.parent_path());
      std::error_code ignored;
      fs::remove_all(finished, ignored);  // now the previous folder
      return;
    }
    if (errno != ENOENT) break;  // else another writer removed the target meanwhile
  }
  if (!cannot_exchange(errno)) throw system_error(target, "rename the finished folder to it");
  exchange_in_two_steps(finished, target);
  sync_folder(target.parent_path());
}

}  // namespace foresight::io
