// SPDX-License-Identifier: Apache-2.0
// config.json of a bundle: reading, writing, checking.
#include <algorithm>
#include <array>
#include <set>

#include "foresight/core/error.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/bundle.hpp"
#include "import_hint.hpp"

namespace foresight::io {

namespace {

constexpr std::array<std::string_view, 9> kKeys{"schema",      "family",  "options",
                                                "observation", "action",  "history",
                                                "heads",       "planner", "provenance"};
constexpr std::size_t kRequired = 6;  // the first six of kKeys

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 8> kObservationTypes{{
    {"bool", at::kBool},
    {"uint8", at::kByte},
    {"int32", at::kInt},
    {"int64", at::kLong},
    {"float16", at::kHalf},
    {"bfloat16", at::kBFloat16},
    {"float32", at::kFloat},
    {"float64", at::kDouble},
}};

std::string accepted_types() {
  std::string list;
  for (const auto& [name, type] : kObservationTypes)
    list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

std::string_view type_name(at::ScalarType type) {
  for (const auto& [name, known] : kObservationTypes)
    if (known == type) return name;
  return {};
}

/// Reads `key` of `object` into `target`; a wrong type is an error that names the path.
template <class T>
void read_key(const nlohmann::json& object, const char* key, T& target, const std::string& path) {
  const auto found = object.find(key);
  require(found != object.end(), ErrorCategory::bad_file, path + ": key '" + key + "' is missing");
  detail::read_value(target, *found, path + ": " + key);
}

void check_keys(const nlohmann::json& object, const auto& known, const std::string& path) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto suggestion = nearest_name(key, known);
    throw Error(ErrorCategory::bad_file,
                path + ": unknown key '" + key + "'" +
                    (suggestion.empty() ? "" : ", did you mean '" + suggestion + "'?"));
  }
}

ObservationField read_field(const nlohmann::json& object, const std::string& path) {
  require(object.is_object(), ErrorCategory::bad_file, path + " is not an object");
  check_keys(object, std::array<std::string_view, 3>{"name", "shape", "dtype"}, path);
  ObservationField field;
  read_key(object, "name", field.name, path);
  read_key(object, "shape", field.shape, path);
  std::string dtype;
  read_key(object, "dtype", dtype, path);
  for (const auto& [name, type] : kObservationTypes) {
    if (name != dtype) continue;
    field.dtype = type;
    return field;
  }
  throw Error(ErrorCategory::bad_file,
              path + ": dtype = \"" + dtype + "\" is unknown, accepted: " + accepted_types());
}

/// A section whose content belongs to others: any object.
nlohmann::json read_section(const nlohmann::json& object, const char* key,
                            const std::string& name) {
  const auto found = object.find(key);
  if (found == object.end()) return nlohmann::json::object();
  require(found->is_object(), ErrorCategory::bad_file, name + ": " + key + " is not an object");
  return *found;
}

void check_schema(const nlohmann::json& object, const std::string& name) {
  require(object.is_object(), ErrorCategory::bad_file, name + ": is not a JSON object");
  int64_t schema = 0;
  require(!object.contains("learn"), ErrorCategory::bad_file,
          name +
              ": is the configuration of a training, not of a bundle, which is the folder "
              "'bundle' beside it");
  require(
      object.contains("schema"), ErrorCategory::bad_file,
      name + ": key 'schema' is missing; this is not the configuration of a bundle" + kImportHint);
  read_key(object, "schema", schema, name);
  require(schema >= 1, ErrorCategory::bad_file,
          name + ": schema = " + std::to_string(schema) + " must be at least 1");
  require(schema <= kBundleSchema, ErrorCategory::unsupported,
          name + ": schema = " + std::to_string(schema) + " is newer than " +
              std::to_string(kBundleSchema) +
              ", the newest that this version of foresight reads; update foresight");
}

}  // namespace

BundleConfig BundleConfig::of(const ModelSpec& spec) {
  BundleConfig config;
  config.family = spec.family;
  config.observation = spec.observation;
  config.action = spec.action;
  config.history = spec.history;
  return config;
}

std::vector<std::string> BundleConfig::validate() const {
  Rules rules("BundleConfig");
  rules.check(!family.empty(), "family", family, "must not be empty");
  rules.check(history >= 1, "history", static_cast<double>(history), "must be at least 1");
  rules.nested("action", action.validate());
  std::set<std::string> names;
  for (const auto& field : observation) {
    rules.check(!field.name.empty() && names.insert(field.name).second, "observation", field.name,
                "must be a field name that is not empty and not repeated");
    for (const int64_t size : field.shape)
      rules.check(size >= 1 || size == kAny, "observation." + field.name + ".shape",
                  static_cast<double>(size), "must be at least 1, or -1 for any");
    rules.check(!type_name(field.dtype).empty(), "observation." + field.name + ".dtype",
                c10::toString(field.dtype), "must be one of " + accepted_types());
  }
  for (const auto& [section, value] :
       {std::pair<const char*, const nlohmann::json&>("options", options),
        {"heads", heads},
        {"planner", planner},
        {"provenance", provenance}})
    rules.check(value.is_object(), section, value.type_name(), "must be a JSON object");
  if (heads.is_object())
    for (const auto& [head, value] : heads.items())
      rules.check(!head.empty() && head.find('.') == std::string::npos && value.is_object(),
                  "heads." + head, value.type_name(),
                  "must be an object under a name without dots");
  return rules.problems();
}

nlohmann::ordered_json write_bundle_config(const BundleConfig& config) {
  auto fields = nlohmann::ordered_json::array();
  for (const auto& field : config.observation)
    fields.push_back(
        {{"name", field.name}, {"shape", field.shape}, {"dtype", type_name(field.dtype)}});
  nlohmann::ordered_json object{{"schema", kBundleSchema},
                                {"family", config.family},
                                {"options", config.options},
                                {"observation", std::move(fields)},
                                {"action", write_options(config.action)},
                                {"history", config.history}};
  if (!config.heads.empty()) object["heads"] = config.heads;
  object["planner"] = config.planner;
  object["provenance"] = config.provenance;
  return object;
}

BundleConfig read_bundle_config(const nlohmann::json& object, const std::string& name) {
  check_schema(object, name);
  check_keys(object, kKeys, name);
  for (std::size_t i = 0; i < kRequired; ++i)
    require(object.contains(kKeys[i]), ErrorCategory::bad_file,
            name + ": key '" + std::string(kKeys[i]) + "' is missing");

  BundleConfig config;
  read_key(object, "family", config.family, name);
  config.options = read_section(object, "options", name);
  const auto& fields = object.at("observation");
  require(fields.is_array(), ErrorCategory::bad_file, name + ": observation is not an array");
  for (std::size_t i = 0; i < fields.size(); ++i)
    config.observation.push_back(
        read_field(fields[i], name + ": observation[" + std::to_string(i) + "]"));
  read_options(config.action, object.at("action"), name + ": action");
  read_key(object, "history", config.history, name);
  config.heads = read_section(object, "heads", name);
  config.planner = read_section(object, "planner", name);
  config.provenance = read_section(object, "provenance", name);
  if (auto problems = config.validate(); !problems.empty()) {
    for (auto& problem : problems) problem.insert(0, name + ": ");
    throw_if_any(problems);
  }
  return config;
}

}  // namespace foresight::io
