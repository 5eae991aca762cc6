// SPDX-License-Identifier: Apache-2.0
// What a process occupies itself, as against pages of files that the system may drop.
#pragma once

#include <malloc.h>

#include <fstream>
#include <string>

#include "sanitized.hpp"

namespace foresight {

/// A line of /proc/self/status ("VmHWM:"), MiB; negative where the system does not tell.
inline double status_line(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return std::stod(line.substr(key.size())) / 1024;
  return -1;
}

/// Memory that is this process's own, not a file's, MiB; negative where the system does not tell,
/// and under sanitizers, which keep what is freed. What is free goes back to the system before.
inline double anonymous_memory() {
#if FORESIGHT_SANITIZED
  return -1;
#else
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
  return status_line("RssAnon:");
#endif
}

}  // namespace foresight
