// SPDX-License-Identifier: Apache-2.0
// A validation that ends between two batches, and an encoding that ends between two episodes, when
// the run is asked to stop.
#pragma once

#include "foresight/train/interrupt.hpp"

namespace foresight::train {

/// While one lives, the validations and encodings that this thread computes may end early; where
/// several processes train (`shared`), those that tell each other of it, so that none ends alone.
class StoppableValidation {
 public:
  explicit StoppableValidation(bool shared) : outer_(current()), shared_(shared) {
    current() = this;
  }
  ~StoppableValidation() { current() = outer_; }
  StoppableValidation(const StoppableValidation&) = delete;
  StoppableValidation& operator=(const StoppableValidation&) = delete;

  /// Whether that of this process should. `together`: it tells the other processes.
  static bool is_asked(bool together) {
    return current() != nullptr && (together || !current()->shared_) && InterruptGuard::requested();
  }
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
  bool shared_;
  bool cut_ = false;
};

}  // namespace foresight::train
