// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/json_file.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "foresight/core/error.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

/// Parser callback that refuses repeated keys and deep nesting while they are read.
class StrictReading {
 public:
  explicit StrictReading(const std::string& name) : name_(&name) {}

  bool operator()(int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    using Event = nlohmann::json::parse_event_t;
    const bool opens = event == Event::object_start || event == Event::array_start;
    require(!opens || depth < kJsonDepth, ErrorCategory::bad_file,
            *name_ + ": JSON is nested deeper than " + std::to_string(kJsonDepth) + " levels");
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end) keys_.pop_back();
    if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      require(keys_.back().insert(key).second, ErrorCategory::bad_file,
              *name_ + ": key '" + key + "' appears twice in one object");
    }
    return true;
  }

 private:
  const std::string* name_;
  std::vector<std::set<std::string>> keys_;
};

void check_writable(const nlohmann::ordered_json& value, const std::string& path, int depth) {
  if (value.is_number_float())
    require(std::isfinite(value.get<double>()), ErrorCategory::non_finite,
            path + " is not finite; JSON cannot express it");
  if (!value.is_structured()) return;
  require(depth < kJsonDepth, ErrorCategory::invalid_argument,
          path + ": JSON is nested deeper than " + std::to_string(kJsonDepth) + " levels");
  for (const auto& [key, item] : value.items()) check_writable(item, path + "/" + key, depth + 1);
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& name) {
  // The parser takes a zero byte for the end of its input and would not see what follows.
  require(text.find('\0') == std::string_view::npos, ErrorCategory::bad_file,
          name + ": not valid JSON: it holds a zero byte");
  try {
    return nlohmann::json::parse(text.begin(), text.end(), StrictReading(name));
  } catch (const nlohmann::json::exception& failure) {
    const std::string reason = failure.what();
    const auto bracket =
        reason.find("] ");  // drops the library's "[json.exception.parse_error.101] "
    throw Error(ErrorCategory::bad_file,
                name + ": not valid JSON: " +
                    (bracket == std::string::npos ? reason : reason.substr(bracket + 2)));
  }
}

nlohmann::json read_json(const fs::path& path, std::uint64_t limit) {
  return parse_json(read_text(path, limit), path.string());
}

void write_json(const fs::path& path, const nlohmann::ordered_json& value) {
  check_writable(value, path.string(), 0);
  std::string text;
  try {
    text = value.dump(2) + "\n";
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCategory::invalid_argument, path.string() + ": a text is not valid UTF-8");
  }
  write_text(path, text);
}

}  // namespace foresight::io
