// SPDX-License-Identifier: Apache-2.0
// Which tensors are copied between places or types: those that the code under test asks for by
// to(), not those by which the stand-in device computes (stand_in_device.hpp).
#pragma once

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

namespace foresight {

struct CopyMade {
  at::Device from, to;
  at::ScalarType type;
  int64_t rows;  ///< first size
};

/// Records copies of this thread while it lives. One at a time.
class CopiesMade {
 public:
  CopiesMade() {
    made().clear();
    depth = 0;
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                             .needsInputs(true)
                                             .scopes({at::RecordScope::FUNCTION}));
  }
  ~CopiesMade() { at::removeCallback(handle_); }
  CopiesMade(const CopiesMade&) = delete;
  CopiesMade& operator=(const CopiesMade&) = delete;

  const std::vector<CopyMade>& all() const { return made(); }

 private:
  static std::vector<CopyMade>& made() {
    static thread_local std::vector<CopyMade> copies;
    return copies;
  }
  // to() is called by the code (depth 0) and calls _to_copy() if there is something to do.
  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& call) {
    const std::string_view name = call.name();
    if (depth == 0) asked = name == "aten::to";
    if (depth == 1 && asked && name == "aten::_to_copy") {
      const auto& tensor = call.inputs()[0].toTensor();
      const auto& place = call.inputs()[3];
      if (tensor.dim() > 0)
        made().push_back({tensor.device(), place.isNone() ? tensor.device() : place.toDevice(),
                          tensor.scalar_type(), tensor.size(0)});
    }
    ++depth;
    return nullptr;
  }
  static void end(const at::RecordFunction&, at::ObserverContext*) { --depth; }

  static inline thread_local int64_t depth = 0;
  static inline thread_local bool asked = false;
  at::CallbackHandle handle_{};
};

/// How many times numbers of tokens, or other indices, went to `device`.
inline int64_t ids_brought_to(at::Device device, const CopiesMade& copies) {
  return std::count_if(copies.all().begin(), copies.all().end(), [&](const CopyMade& copy) {
    return copy.type == at::kLong && copy.from.is_cpu() && copy.to == device && !device.is_cpu();
  });
}

}  // namespace foresight
