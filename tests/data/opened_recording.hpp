// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Null where this build, or this machine, lacks the library that the recording needs; that is
/// said.
inline std::shared_ptr<const Dataset> opened_or_skipped(const std::filesystem::path& path,
                                                        const DatasetOptions& options = {}) {
  try {
    return open_dataset(path, options);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unsupported) throw;
    WARN("SKIPPED: " << error.what());
    return nullptr;
  }
}

}  // namespace foresight::data
