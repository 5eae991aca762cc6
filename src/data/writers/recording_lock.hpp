// SPDX-License-Identifier: Apache-2.0
// One writer a folder: two would take the same numbers for their episodes. Private to the data
// folder.
#pragma once

#include <filesystem>
#include <string>

#include "../../io/descriptor.hpp"

namespace foresight::data {

/// Keeps other writers out of a folder while it lives; the system frees it when a process ends.
class RecordingLock {
 public:
  /// Throws Error(invalid_argument) if another writer is at work there, Error(io_failure) or
  /// Error(not_found) if the folder cannot be opened. Where the file system has no locks, that is
  /// logged.
  explicit RecordingLock(const std::filesystem::path& folder);

 private:
  io::Descriptor folder_;
};

/// Keeps others from a name while it lives, whatever happens to a folder that has it: that may be
/// removed, made anew and renamed. What is locked is a file `<path>.lock`, which tells the process
/// and is removed at the end, unless it has become another's.
class NameLock {
 public:
  /// Throws Error(invalid_argument) if another holds it: `refusal` and the other's process;
  /// Error(io_failure) or Error(not_found) if the file cannot be made. Where the file system has no
  /// locks, that is logged.
  NameLock(const std::filesystem::path& path, const std::string& refusal);
  ~NameLock();

 private:
  std::filesystem::path path_;
  io::Descriptor file_;
  bool locked_ = false;
};

}  // namespace foresight::data
