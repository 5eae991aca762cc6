// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_sizes.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::models {

const Tensor& tensor_named(const io::NamedTensors& tensors, std::string_view name,
                           std::string_view source) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const auto& item) { return item.first == name; });
  require(found != tensors.end(), ErrorCategory::bad_file,
          std::string(source) + ": no tensor '" + std::string(name) + "'");
  return found->second;
}

int64_t extent(const io::NamedTensors& tensors, std::string_view name, int64_t dims, int64_t axis,
               std::string_view source) {
  const auto& tensor = tensor_named(tensors, name, source);
  require(tensor.dim() == dims, ErrorCategory::bad_file,
          std::string(source) + ": tensor '" + std::string(name) + "' has shape " +
              shape_string(tensor.sizes()) + ", expected " + std::to_string(dims) + " axes");
  require(tensor.numel() > 0, ErrorCategory::bad_file,
          std::string(source) + ": tensor '" + std::string(name) + "' is empty");
  return tensor.size(axis);
}

int64_t square_edge(const io::NamedTensors& tensors, std::string_view name, int64_t before,
                    std::string_view source) {
  const auto places = extent(tensors, name, 3, 1, source);
  const auto edge = std::llround(std::sqrt(static_cast<double>(places - before)));
  require(edge > 0 && edge * edge == places - before, ErrorCategory::bad_file,
          std::string(source) + ": '" + std::string(name) + "' has " + std::to_string(places) +
              " places, expected those of a square picture" +
              (before > 0 ? " and " + std::to_string(before) + " before them" : ""));
  return edge;
}

int64_t count_below(const io::NamedTensors& tensors, std::string_view list) {
  std::set<std::string> numbers;
  for (const auto& [key, tensor] : tensors) {
    if (!key.starts_with(list)) continue;
    const auto rest = std::string_view(key).substr(list.size());
    numbers.emplace(rest.substr(0, rest.find('.')));
  }
  return static_cast<int64_t>(numbers.size());
}

void expect_tensor(const io::NamedTensors& tensors, std::string_view name,
                   const std::vector<int64_t>& shape, std::string_view source,
                   std::string_view reason) {
  const auto& tensor = tensor_named(tensors, name, source);
  require(tensor.sizes() == at::IntArrayRef(shape), ErrorCategory::bad_file,
          std::string(source) + ": tensor '" + std::string(name) + "' has shape " +
              shape_string(tensor.sizes()) + ", expected " + shape_string(shape) +
              std::string(reason));
}

void expect_blocks(const io::NamedTensors& tensors, std::string_view list, int64_t depth,
                   int64_t width, int64_t mlp_width, std::string_view source,
                   std::string_view reason) {
  for (int64_t i = 0; i < depth; ++i) {
    const auto block = std::string(list) + std::to_string(i) + ".";
    expect_tensor(tensors, block + "attn.qkv.weight", {3 * width, width}, source, reason);
    expect_tensor(tensors, block + "mlp.fc1.weight", {mlp_width, width}, source, reason);
  }
}

}  // namespace foresight::models
