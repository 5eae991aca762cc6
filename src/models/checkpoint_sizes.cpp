// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_sizes.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <set>
#include <string>

#include "foresight/core/error.hpp"
#include "foresight/io/load_tensors.hpp"

namespace foresight::models {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 20;

const Tensor* find_tensor(const io::NamedTensors& tensors, std::string_view name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const auto& item) { return item.first == name; });
  return found == tensors.end() ? nullptr : &found->second;
}

// A product of sizes that may be any; negative ones are of products that are too large to be told.
double numbers_of(const std::vector<int64_t>& shape) {
  double count = 1;
  for (const auto size : shape) {
    if (size < 0) return std::numeric_limits<double>::infinity();
    count *= static_cast<double>(size);
  }
  return count;
}

}  // namespace

const Tensor& tensor_named(const io::NamedTensors& tensors, std::string_view name,
                           std::string_view source) {
  if (const auto* found = find_tensor(tensors, name)) return *found;
  std::vector<std::string> names;
  for (const auto& [known, tensor] : tensors) names.push_back(known);
  const auto near = nearest_name(name, names);
  throw Error(ErrorCategory::bad_file, std::string(source) + ": no tensor '" + std::string(name) +
                                           "'" +
                                           (near.empty() ? "" : "; the nearest is '" + near + "'"));
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

void SizeFaults::add(std::string_view name, const std::vector<int64_t>* found,
                     const std::vector<int64_t>& expected, std::string_view reason) {
  text_ += text_.empty() ? "" : "\n  ";
  text_ += (found ? "tensor '" : "no tensor '") + std::string(name) + "'" +
           (found ? " has shape " + shape_string(*found) : std::string()) + ", expected " +
           shape_string(expected) + std::string(reason);
  lacking_ += std::max(0.0, numbers_of(expected) - (found ? numbers_of(*found) : 0.0));
}

void SizeFaults::throw_if_any(std::string_view source) const {
  require(empty(), ErrorCategory::bad_file, std::string(source) + ": " + text_);
}

void SizeFaults::throw_if_any(const io::NamedTensors& given, std::string_view source,
                              const std::function<io::NamedTensors()>& network) const {
  if (empty()) return;
  double numbers = 0;
  for (const auto& [name, tensor] : given) numbers += static_cast<double>(tensor.numel());
  std::optional<io::NamedTensors> expected;
  try {
    if (lacking_ <= numbers) expected = network();
  } catch (const std::exception&) {  // the sizes are no network's
  }
  if (expected) io::check_fit(*expected, given, source, io::DtypeRule::same_kind);
  throw_if_any(source);
}

void expect_tensor(const io::NamedTensors& tensors, std::string_view name,
                   const std::vector<int64_t>& shape, std::string_view source,
                   std::string_view reason, SizeFaults* faults) {
  const auto* tensor = find_tensor(tensors, name);
  if (tensor && tensor->sizes() == at::IntArrayRef(shape)) return;
  SizeFaults own;
  const auto found = tensor ? tensor->sizes().vec() : std::vector<int64_t>();
  (faults ? *faults : own).add(name, tensor ? &found : nullptr, shape, reason);
  own.throw_if_any(source);
}

void expect_blocks(const io::NamedTensors& tensors, std::string_view list, int64_t depth,
                   int64_t width, int64_t mlp_width, std::string_view source,
                   std::string_view reason, SizeFaults* faults) {
  for (int64_t i = 0; i < depth; ++i) {
    const auto block = std::string(list) + std::to_string(i) + ".";
    expect_tensor(tensors, block + "attn.qkv.weight", {3 * width, width}, source, reason, faults);
    expect_tensor(tensors, block + "mlp.fc1.weight", {mlp_width, width}, source, reason, faults);
    if (!faults) continue;
    expect_tensor(tensors, block + "attn.proj.weight", {width, width}, source, reason, faults);
    expect_tensor(tensors, block + "mlp.fc2.weight", {width, mlp_width}, source, reason, faults);
  }
}

void require_few_tokens(int64_t side, int64_t patch, int64_t slots, const std::string& setting) {
  const auto rows = side / patch;
  require(rows <= kMostTokens && rows * rows <= kMostTokens / slots, ErrorCategory::invalid_option,
          setting + " = " + std::to_string(side) + " makes " + std::to_string(slots) + " x " +
              std::to_string(rows) + " x " + std::to_string(rows) +
              " tokens of a clip, expected at most " + std::to_string(kMostTokens));
}

}  // namespace foresight::models
