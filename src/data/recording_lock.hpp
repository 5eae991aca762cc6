// SPDX-License-Identifier: Apache-2.0
// One writer a folder: two would take the same numbers for their episodes. Private to the data
// folder.
#pragma once

#include <filesystem>

#include "../io/descriptor.hpp"

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

}  // namespace foresight::data
