// SPDX-License-Identifier: Apache-2.0
// What a repository cloned without git-lfs has in place of its large files: a few lines of text.
#pragma once

#include <string>
#include <string_view>

#include "foresight/core/error.hpp"

namespace foresight::io {

/// Throws Error(bad_file), opening with `name`, if `file` is such a text.
inline void require_no_lfs_pointer(std::string_view file, const std::string& name) {
  require(!file.starts_with("version https://git-lfs"), ErrorCategory::bad_file,
          name + ": a pointer of git-lfs, not the weights: fetch them (git lfs pull)");
}

}  // namespace foresight::io
