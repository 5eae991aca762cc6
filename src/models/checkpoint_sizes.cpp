// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_sizes.hpp"

#include <algorithm>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::models {

void expect_tensor(const io::NamedTensors& tensors, std::string_view name,
                   const std::vector<int64_t>& shape, std::string_view source) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const auto& item) { return item.first == name; });
  const auto opener = std::string(source) + ": ";
  require(found != tensors.end(), ErrorCategory::bad_file,
          opener + "no tensor '" + std::string(name) + "'");
  require(found->second.sizes() == at::IntArrayRef(shape), ErrorCategory::bad_file,
          opener + "tensor '" + std::string(name) + "' has shape " +
              shape_string(found->second.sizes()) + ", expected " + shape_string(shape) +
              " as the other tensors have it");
}

void expect_blocks(const io::NamedTensors& tensors, std::string_view list, int64_t depth,
                   int64_t width, int64_t mlp_width, std::string_view source) {
  for (int64_t i = 0; i < depth; ++i) {
    const auto block = std::string(list) + std::to_string(i) + ".";
    expect_tensor(tensors, block + "attn.qkv.weight", {3 * width, width}, source);
    expect_tensor(tensors, block + "mlp.fc1.weight", {mlp_width, width}, source);
  }
}

}  // namespace foresight::models
