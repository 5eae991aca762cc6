// SPDX-License-Identifier: Apache-2.0
// A validation that ends between two batches when the run is asked to stop.
#pragma once

#include "foresight/train/interrupt.hpp"

namespace foresight::train {

/// While one lives, the validations that this thread computes may end early.
class StoppableValidation {
 public:
  StoppableValidation() : outer_(current()) { current() = this; }
  ~StoppableValidation() { current() = outer_; }
  StoppableValidation(const StoppableValidation&) = delete;
  StoppableValidation& operator=(const StoppableValidation&) = delete;

  /// Whether that of this process should.
  static bool is_asked() { return current() != nullptr && InterruptGuard::requested(); }
  /// Told by one that has, in every process that shared it.
  static void tell_cut() {
    if (current() != nullptr) current()->cut_ = true;
  }
  bool was_cut() const { return cut_; }

 private:
  static StoppableValidation*& current() {
    static thread_local StoppableValidation* scope = nullptr;
    return scope;
  }

  StoppableValidation* outer_;
  bool cut_ = false;
};

}  // namespace foresight::train
