// SPDX-License-Identifier: Apache-2.0
#include "swap_folders.hpp"

#include <algorithm>
#include <cstdio>

#include "descriptor.hpp"
#include "foresight/core/error.hpp"
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

/// Removes a temporary folder unless it was put in place.
class RemoveFolderOnFailure {
 public:
  explicit RemoveFolderOnFailure(const fs::path& path) : path_(&path) {}
  ~RemoveFolderOnFailure() {
    std::error_code ignored;
    if (path_) fs::remove_all(*path_, ignored);
  }
  void dismiss() { path_ = nullptr; }

 private:
  const fs::path* path_;
};

/// Throws unless replacing `folder` destroys nothing but `files`.
void check_replaceable(const fs::path& folder, const fs::path& shown, const std::string& kind,
                       std::initializer_list<std::string_view> files) {
  std::error_code failure;
  const auto status = fs::status(folder, failure);
  if (!fs::exists(status)) return;
  require(fs::is_directory(status), ErrorCategory::invalid_argument,
          shown.string() + ": is a file, expected a folder to write the " + kind + " to");
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    require(std::find(files.begin(), files.end(), name) != files.end(),
            ErrorCategory::invalid_argument,
            shown.string() + ": holds '" + name + "', which is not part of a " + kind + "; a " +
                kind + " is written to a new or empty folder, or over another " + kind);
  }
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

void replace_folder(const fs::path& folder, const std::string& kind,
                    std::initializer_list<std::string_view> files,
                    const std::function<void(const fs::path&)>& write) {
  const fs::path target = resolved_target(folder);
  for (const auto file : files) remove_abandoned(target / file);  // one of them was replaced alone
  check_replaceable(target, folder, kind, files);
  remove_abandoned(target);

  const Temporary temporary = create_temporary_folder(target);
  RemoveFolderOnFailure guard(temporary.path);
  write(temporary.path);
  check_replaceable(target, folder, kind, files);  // again: writing took time
  put_in_place(temporary.path, target);
  guard.dismiss();
}

}  // namespace foresight::io
