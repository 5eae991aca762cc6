// SPDX-License-Identifier: Apache-2.0
// Command-line flags from option structs. Every field becomes --path.to.field with its default and
// help text, but for those that data or other options decide. What the user gives is collected as a
// JSON patch, so that a flag and a key of a JSON file mean the same and are checked by the same
// code (core/options_json.hpp).
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

/// The JSON value that the text of a flag stands for, given a value of the field's kind. Lists are
/// comma-separated, or JSON: '["a, b","c"]'.
nlohmann::json flag_value(const nlohmann::json& like, const std::string& text,
                          const std::string& flag);

/// Text of a default as it would be typed.
std::string flag_text(const nlohmann::json& value);

/// What was given for the options of one sub-command.
struct OptionFlags {
  std::string file;                                 ///< --config: JSON with the same keys
  nlohmann::json patch = nlohmann::json::object();  ///< flags, by path

  void set(const std::string& path, const nlohmann::json& value);
};

/// One field of an option struct, without its type.
struct FieldFlag {
  std::string path;       ///< "training.optimizer.lr"
  nlohmann::json preset;  ///< its default, which also tells its kind
  std::string help;
  std::vector<std::string> names = {};  ///< those of an enumeration; validate() may refuse some
};

/// The names of a field's values; none where it is no enumeration.
template <class Field>
std::vector<std::string> names_of(const Field&) {
  std::vector<std::string> names;
  if constexpr (NamedEnum<Field>)
    for (const auto& [name, value] : EnumNames<Field>::names) names.emplace_back(name);
  return names;
}

template <OptionStruct Options>
void list_fields(const Options& defaults, const std::string& path, std::vector<FieldFlag>& list) {
  Options::fields(defaults, [&](const char* name, const auto& field, const char* help) {
    const auto full = path.empty() ? std::string(name) : path + "." + name;
    if constexpr (OptionStruct<std::decay_t<decltype(field)>>)
      list_fields(field, full, list);
    else
      list.push_back({full, foresight::detail::write_value(field), help, names_of(field)});
  });
}

/// Adds one flag per field.
void add_field_flags(CLI::App& app, const std::vector<FieldFlag>& fields, OptionFlags& flags);

/// The same, and --config.
void add_fields(CLI::App& app, const std::vector<FieldFlag>& fields, OptionFlags& flags);

/// A line under the command's --help.
void add_note(CLI::App& app, const std::string& text);

/// No flags for `paths`, which data or other options decide, nor values in a grid of --sweep, where
/// the command has that already: whoever gives one is told what decides it. A flag that the command
/// has already stays.
void refuse_decided(CLI::App& app, const std::vector<std::string>& paths);

/// Flags for all fields of `defaults` but those `without`: refuse_decided().
template <OptionStruct Options>
void add_options(CLI::App& app, const Options& defaults, OptionFlags& flags,
                 const std::vector<std::string>& without = {}) {
  std::vector<FieldFlag> fields;
  list_fields(defaults, {}, fields);
  std::erase_if(fields, [&](const FieldFlag& field) {
    return std::find(without.begin(), without.end(), field.path) != without.end();
  });
  add_fields(app, fields, flags);
  refuse_decided(app, without);
}

/// `defaults`, then the file, then the flags; not yet validated. Throws Error(invalid_option).
template <OptionStruct Options>
Options overlaid(const Options& defaults, const OptionFlags& flags,
                 const std::string& file_key = {}) {
  Options options = defaults;
  if (!flags.file.empty()) {
    auto object = io::read_json(flags.file);
    // A run's config.json holds the options under a key of its own.
    if (!file_key.empty() && object.is_object() && object.contains(file_key))
      object = object[file_key];
    read_options(options, object, flags.file);
  }
  read_options(options, flags.patch, "flags");
  return options;
}

/// The same, validated.
template <OptionStruct Options>
Options resolve(const Options& defaults, const OptionFlags& flags,
                const std::string& file_key = {}) {
  auto options = overlaid(defaults, flags, file_key);
  require_valid(options);
  return options;
}

}  // namespace foresight::cli
