// SPDX-License-Identifier: Apache-2.0
// A bundle as a bad sector or a hole in a copy leaves it.
#pragma once

#include <filesystem>
#include <fstream>

#include "foresight/io/bundle.hpp"

namespace foresight {

/// Another value at the end of the last tensor.
inline void damage_bundle(const std::filesystem::path& bundle) {
  std::fstream file(bundle / io::kBundleTensorsFile,
                    std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(-2, std::ios::end);
  const auto byte = file.get();
  file.seekp(-2, std::ios::end);
  file.put(static_cast<char>(byte ^ 0x10));
}

}  // namespace foresight
