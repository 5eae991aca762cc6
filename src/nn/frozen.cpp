// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/frozen.hpp"

#include <algorithm>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::nn {
namespace {

// Tensors made in inference mode count no versions.
int64_t version_of(const Tensor& tensor) {
  return tensor.is_inference() ? 0 : static_cast<int64_t>(tensor._version());
}

}  // namespace

Frozen::Frozen(const std::vector<Tensor>& tensors) {
  for (const auto& tensor : tensors)
    if (tensor.defined())
      seen_.push_back({tensor, tensor.storage().getWeakStorageImpl(), tensor.const_data_ptr(),
                       version_of(tensor)});
}

bool Frozen::Seen::unchanged() const {
  return tensor.storage().unsafeGetStorageImpl() == storage._unsafe_get_target() &&
         tensor.const_data_ptr() == data && version_of(tensor) == version;
}

bool Frozen::unchanged() const {
  return std::all_of(seen_.begin(), seen_.end(), [](const Seen& seen) { return seen.unchanged(); });
}

void Frozen::check(std::string_view holder) const {
  for (const auto& seen : seen_)
    require(seen.unchanged(), ErrorCategory::invalid_argument,
            std::string(holder) + ": a weight " + shape_string(seen.tensor.sizes()) +
                " was written to, converted or moved after it was packed for fixed point; make a "
                "new fixed-point copy of the model");
}

}  // namespace foresight::nn
