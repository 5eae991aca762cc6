// SPDX-License-Identifier: Apache-2.0
// The global names that a state dict refers to. Everything else is refused.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <string_view>

namespace foresight::io {

/// What a known name stands for.
struct TorchGlobal {
  enum class Kind {
    ordered_dict,          ///< collections.OrderedDict
    size,                  ///< torch.Size
    device,                ///< torch.device
    rebuild_tensor,        ///< torch._utils._rebuild_tensor_v2
    rebuild_typed_tensor,  ///< torch._utils._rebuild_tensor_v3: the type is an argument
    rebuild_parameter,     ///< torch._utils._rebuild_parameter
    storage,               ///< torch.FloatStorage etc.; `dtype` tells which
    dtype,                 ///< torch.float32 etc.; `dtype` tells which
  };
  Kind kind = Kind::dtype;
  at::ScalarType dtype = at::kByte;
  std::string_view name;  ///< as accepted, e.g. "torch.FloatStorage"
};

/// The meaning of `module`.`name`, or nothing if state dicts do not use it.
std::optional<TorchGlobal> find_torch_global(std::string_view module, std::string_view name);

}  // namespace foresight::io
