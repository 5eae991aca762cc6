// SPDX-License-Identifier: Apache-2.0
// Freed memory stays with the process. The C library hands large freed blocks back to the system,
// and every new one costs a page fault for each 4 kB that is first written: a planner that takes
// and frees a few megabytes at every control step can spend more time there than on planning.
#pragma once

#include "foresight/core/export.hpp"

namespace foresight {

/// Has glibc keep up to 64 MB of freed memory, in blocks of up to 32 MB, for the next allocation.
/// That is the end of the range over which it adapts by itself; a program that has set
/// M_MMAP_THRESHOLD or M_TRIM_THRESHOLD, by mallopt() or the environment, keeps what it set. Takes
/// effect once for the process, and nowhere with other C libraries. Planners call it.
FORESIGHT_API void keep_freed_memory() noexcept;

/// Has glibc keep up to 2 GB of freed memory, in blocks of up to 1 GB: for a process that trains,
/// each of whose steps takes and frees the same hundreds of megabytes. What the environment sets
/// (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES) stays; mallopt() may set other
/// limits afterwards. Takes effect once for the process, and nowhere with other C libraries.
/// train::train() calls it.
FORESIGHT_API void keep_all_freed_memory() noexcept;

}  // namespace foresight
