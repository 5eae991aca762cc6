// SPDX-License-Identifier: Apache-2.0
// Task positions: a few named non-negative integers as JSON text.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace foresight::train {

std::string write_position(const std::vector<std::pair<const char*, int64_t>>& values);

/// The values of `names`. Throws Error(bad_file) unless `text` has exactly these, all integers >=
/// 0.
std::vector<int64_t> read_position(const std::string& text, const std::vector<std::string>& names);

}  // namespace foresight::train
