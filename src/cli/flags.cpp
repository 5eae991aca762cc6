// SPDX-License-Identifier: Apache-2.0
#include "flags.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <sstream>
#include <utility>

namespace foresight::cli {
namespace {

constexpr const char* kEmptyList = "none";

// Null for what is no number. Digits may be missing on one side of the point, unlike in JSON.
nlohmann::json parsed_number(const std::string& text) {
  auto parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_number()) return parsed;
  double value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end && std::isfinite(value) ? nlohmann::json(value)
                                                                     : nlohmann::json();
}

nlohmann::json number(const nlohmann::json& like, const std::string& text,
                      const std::string& flag) {
  const auto parsed = parsed_number(text);
  const bool fits = like.is_number_integer() ? parsed.is_number_integer() : parsed.is_number();
  require(
      fits, ErrorCategory::invalid_option,
      flag + ": '" + text + "' is not " + (like.is_number_integer() ? "an integer" : "a number"));
  return parsed;
}

// What --help says of a field's values.
std::string kind_of(const FieldFlag& field) {
  if (!field.names.empty()) return fmt::format("{{{}}}", fmt::join(field.names, ","));
  if (field.preset.is_boolean()) return "{true,false}";
  if (field.preset.is_number_integer()) return "INT";
  if (field.preset.is_number()) return "FLOAT";
  return field.preset.is_array() ? "LIST" : "TEXT";
}

constexpr const char* kMeasured = "it is measured over the episodes that are trained on";

// Options that are no flags, and what decides them.
constexpr std::array<std::pair<const char*, const char*>, 8> kDecided = {
    {{"loader.seed", "--seed decides it"},
     {"loader.states", "what is trained decides whether states are read, --reading.states which"},
     {"critic.latent", "--model.latent decides it"},
     {"model.action.dim", "it is the number of action columns (--reading.actions)"},
     {"model.action.block", "--windows.stride decides it"},
     {"model.action.mean", kMeasured},
     {"model.action.std", kMeasured},
     {"model.action.discrete", "recorded actions are read as numbers, not as symbols"}}};

// `where`: how it was given.
[[noreturn]] void refuse_as_decided(const std::string& where, const std::string& path) {
  std::string why = "data or other options decide it";
  for (const auto& [decided, by] : kDecided)
    if (path == decided) why = by;
  throw Error(ErrorCategory::invalid_option, where + path + " cannot be chosen: " + why);
}

// Whether `value`, given for the option at `path`, sets the one at `decided`.
bool sets(const std::string& path, const nlohmann::json& value, const std::string& decided) {
  if (path == decided) return true;
  if (!decided.starts_with(path + ".") || !value.is_object()) return false;
  const auto fields = value.items();
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) {
    return sets(path + "." + field.key(), field.value(), decided);
  });
}

// Every run of a grid that varies one would be the same.
void require_undecided(const std::string& grid_file, const std::vector<std::string>& paths) {
  const auto grid = io::read_json(grid_file);
  if (!grid.is_object()) return;  // which sweep_points() says
  for (const auto& [path, values] : grid.items())
    for (const auto& value : values)
      for (const auto& decided : paths)
        if (sets(path, value, decided)) refuse_as_decided(grid_file + ": ", decided);
}

// Which names with commas in them need.
bool is_json_list(const std::string& text) { return text.starts_with('[') && text.ends_with(']'); }

}  // namespace

nlohmann::json flag_value(const nlohmann::json& like, const std::string& text,
                          const std::string& flag) {
  if (like.is_boolean()) {
    require(text == "true" || text == "false", ErrorCategory::invalid_option,
            flag + ": '" + text + "' is neither true nor false");
    return text == "true";
  }
  if (like.is_number()) return number(like, text, flag);
  if (!like.is_array()) return text;
  auto list = nlohmann::json::array();
  if (text == kEmptyList) return list;
  if (is_json_list(text)) {
    list = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    require(list.is_array(), ErrorCategory::invalid_option,
            flag + ": '" + text + R"(' is no JSON list, expected e.g. '["a, b","c"]')");
    return list;
  }
  std::istringstream stream(text);
  for (std::string item; std::getline(stream, item, ',');) {
    // An empty default does not tell its kind: what reads as a number is one.
    auto parsed = parsed_number(item);
    list.push_back(parsed.is_number() && (like.empty() || like.front().is_number())
                       ? parsed
                       : nlohmann::json(item));
  }
  return list;
}

std::string flag_text(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  std::string text;
  bool plain = true;  // as the items are read back
  for (const auto& item : value) {
    const auto word = flag_text(item);
    plain = plain && (!item.is_string() || word.find(',') == std::string::npos);
    text += (text.empty() ? "" : ",") + word;
  }
  if (text.empty()) return kEmptyList;
  return plain && !is_json_list(text) ? text : value.dump();
}

void OptionFlags::set(const std::string& path, const nlohmann::json& value) {
  auto* object = &patch;
  std::istringstream stream(path);
  std::string key;
  std::getline(stream, key, '.');
  const auto below = [&]() -> nlohmann::json& {
    require(object->is_object() || object->is_null(), ErrorCategory::invalid_option,
            "option '" + path + "': what stands before '." + key + "' was given a value");
    return (*object)[key];
  };
  for (std::string next; std::getline(stream, next, '.'); key = next) object = &below();
  below() = value;
}

void add_field_flags(CLI::App& app, const std::vector<FieldFlag>& fields, OptionFlags& flags) {
  for (const auto& field : fields) {
    const auto dot = field.path.rfind('.');
    app.add_option_function<std::string>(
           "--" + field.path,
           [&flags, field](const std::string& text) {
             flags.set(field.path, flag_value(field.preset, text, "--" + field.path));
           },
           field.help)
        ->type_name(kind_of(field))
        ->default_str(flag_text(field.preset))
        ->group(dot == std::string::npos ? "Options" : field.path.substr(0, dot));
  }
  if (std::any_of(fields.begin(), fields.end(),
                  [](const FieldFlag& field) { return field.preset.is_array(); }))
    add_note(app, fmt::format("LIST: values with commas between, or JSON; {}: an empty one.",
                              kEmptyList));
  if (std::any_of(fields.begin(), fields.end(),
                  [](const FieldFlag& field) { return !field.names.empty(); }))
    add_note(app,
             "{a,b,...}: the names there are; not every option takes all of them, nor with all "
             "others.");
}

void refuse_decided(CLI::App& app, const std::vector<std::string>& paths) {
  for (const auto& path : paths) {
    const auto flag = "--" + path;
    if (app.get_option_no_throw(flag) != nullptr) continue;  // in the command's own words
    app.add_option_function<std::string>(
           flag, [path](const std::string&) { refuse_as_decided("--", path); })
        ->group(std::string());  // not in --help
  }
  if (auto* sweep = app.get_option_no_throw("--sweep"); sweep != nullptr && !paths.empty())
    sweep->check([paths](const std::string& grid_file) {
      require_undecided(grid_file, paths);
      return std::string();
    });
}

void add_note(CLI::App& app, const std::string& text) {
  const auto notes = app.get_footer();
  if (notes.find(text) != std::string::npos) return;  // said already
  app.footer(notes.empty() ? text : notes + "\n" + text);
}

void add_fields(CLI::App& app, const std::vector<FieldFlag>& fields, OptionFlags& flags) {
  app.add_option("--config", flags.file, "JSON file with these options; flags override it")
      ->check(CLI::ExistingFile);
  add_field_flags(app, fields, flags);
}

}  // namespace foresight::cli
