// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM as a question that a loop asks, so that training ends with a checkpoint.
#pragma once

#include <exception>

#include "foresight/core/export.hpp"

namespace foresight::train {

/// While one exists, the first SIGINT or SIGTERM only sets a flag; the second one acts as it did
/// before (usually it ends the process). One at a time per process: a second one is an Error.
class FORESIGHT_API InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// The signal that has come since the guard was made; 0: none.
  static int signal() noexcept;
  static bool requested() noexcept { return signal() != 0; }
};

/// Thrown by what takes minutes and was asked to stop, as a measurement of TrainHooks::success: it
/// has no result, and whoever goes on does it again.
class FORESIGHT_API Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "asked to stop"; }
};

}  // namespace foresight::train
