// SPDX-License-Identifier: Apache-2.0
#include "stored_types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "foresight/core/error.hpp"

namespace foresight::cli {
namespace {

constexpr const char* kDefault = "default";
constexpr const char* kOthers = "others";
constexpr std::array<std::pair<std::string_view, at::ScalarType>, 7> kTypes{{
    {"float32", at::kFloat},
    {"float64", at::kDouble},
    {"bfloat16", at::kBFloat16},
    {"float16", at::kHalf},
    {"float8_e4m3fn", at::kFloat8_e4m3fn},
    {"float8_e5m2", at::kFloat8_e5m2},
    {"float8_e8m0fnu", at::kFloat8_e8m0fnu},
}};

// float32 for those that have no name here.
std::string name_of(at::ScalarType type) {
  for (const auto& [name, known] : kTypes)
    if (type == known) return std::string(name);
  return std::string(kTypes[0].first);
}

at::ScalarType type_named(const std::string& name) {
  for (const auto& [known, type] : kTypes)
    if (name == known) return type;
  return at::kFloat;
}

// Whether `other` is `tensor` in float32.
bool same_in_float32(const Tensor& other, const Tensor& tensor) {
  return at::allclose(other.to(at::kFloat), tensor, 0, 0, /*equal_nan=*/true);
}

}  // namespace

void add_stored_types(nlohmann::json& imported, const io::NamedTensors& read) {
  std::map<std::string, int64_t> counts;
  for (const auto& [name, tensor] : read)
    if (tensor.is_floating_point()) ++counts[name_of(tensor.scalar_type())];
  if (counts.empty()) return;
  const auto most =
      std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      })->first;
  if (counts.size() == 1) {
    if (most != name_of(at::kFloat)) imported[kStoredType] = most;
    return;
  }
  auto& types = imported[kStoredTypes];
  types[kDefault] = most;
  for (const auto& [name, tensor] : read)
    if (const auto type = name_of(tensor.scalar_type()); tensor.is_floating_point() && type != most)
      types[kOthers][name] = type;
}

int64_t keep_rounded(io::NamedTensors& tensors, const io::NamedTensors& read) {
  const auto count = tensors.size();
  for (const auto& [name, tensor] : read)
    if (tensor.scalar_type() == at::kDouble &&
        !at::equal(tensor.to(at::kFloat).to(at::kDouble), tensor))
      tensors.emplace_back(io::kImportedPrefix + name, tensor);
  return static_cast<int64_t>(tensors.size() - count);
}

void restore_types(io::NamedTensors& tensors, const io::Bundle& bundle, bool as_imported) {
  const auto& provenance = bundle.config.provenance;
  const auto imported = provenance.find("imported");
  if (imported == provenance.end() || !imported->is_object()) return;
  auto common = imported->value(kStoredType, std::string());
  auto others = nlohmann::json::object();
  const auto several = imported->find(kStoredTypes);
  const auto kept = bundle.tensors.tensors(io::kImportedPrefix);
  const std::map<std::string, Tensor> rounded(kept.begin(), kept.end());
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) names.insert(name);
  // A network may go back under other names than it came, as transformers' of its memory do.
  as_imported = as_imported && std::all_of(kept.begin(), kept.end(), [&](const auto& item) {
                  return names.contains(item.first);
                });
  if (!as_imported && (several != imported->end() || !rounded.empty())) {
    fmt::print("types: float32; those of the imported file belong to its own names\n");
    return;
  }
  if (several != imported->end()) {
    const auto texts = [](const nlohmann::json& values) {
      return values.is_object() && std::all_of(values.begin(), values.end(),
                                               [](const auto& value) { return value.is_string(); });
    };
    others = several->value(kOthers, nlohmann::json::object());
    require(several->contains(kDefault) && (*several)[kDefault].is_string() && texts(others),
            ErrorCategory::bad_file,
            "config.json: provenance.imported.stored_types must hold 'default', a type, and "
            "'others', types by name");
    common = (*several)[kDefault].get<std::string>();
  }
  int64_t unchanged = 0;
  for (auto& [name, tensor] : tensors) {
    const auto type = type_named(others.value(name, common));
    if (tensor.scalar_type() != at::kFloat || type == at::kFloat) continue;
    const auto found = rounded.find(name);
    const auto given = found == rounded.end() ? tensor.to(type) : found->second;
    if (same_in_float32(given, tensor))
      tensor = given;
    else
      ++unchanged;
  }
  if (unchanged > 0)
    fmt::print("types: {} tensors stay float32, their numbers are no longer the imported file's\n",
               unchanged);
}

}  // namespace foresight::cli
