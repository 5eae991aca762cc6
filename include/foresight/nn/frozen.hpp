// SPDX-License-Identifier: Apache-2.0
// Weights from which something was computed once, such as their form in fixed point: whoever uses
// that later can ask whether it still belongs to them.
#pragma once

#include <string_view>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

class FORESIGHT_API Frozen {
 public:
  /// Undefined tensors are left out.
  explicit Frozen(const std::vector<Tensor>& tensors);

  /// Whether no tensor was written to, converted or moved since. Writes through Tensor::data() or a
  /// plain pointer are not seen.
  bool unchanged() const;
  /// Throws Error(invalid_argument) naming `holder` unless unchanged().
  void check(std::string_view holder) const;

 private:
  struct Seen {
    Tensor tensor;
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;  // its address is not given out again
    const void* data;
    int64_t version;

    bool unchanged() const;
  };
  std::vector<Seen> seen_;
};

}  // namespace foresight::nn
