// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/json_file.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "foresight/core/error.hpp"

namespace foresight::io {

namespace fs = std::filesystem;

namespace {

/// Numbers of a text that stand for others, by how many come before.
using OtherNumbers = std::map<std::size_t, double>;

/// Parser callback that refuses repeated keys and deep nesting while they are read, and puts
/// numbers in the place of those that stand for them.
class StrictReading {
 public:
  StrictReading(const std::string& name, const OtherNumbers& others)
      : name_(&name), others_(&others) {}

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
    if (event == Event::value && parsed.is_number())
      if (const auto other = others_->find(numbers_++); other != others_->end())
        parsed = other->second;
    return true;
  }

 private:
  const std::string* name_;
  const OtherNumbers* others_;
  std::size_t numbers_ = 0;  // that were read
  std::vector<std::set<std::string>> keys_;
};

nlohmann::json parse_strictly(std::string_view text, const std::string& name,
                              const OtherNumbers& others) {
  // The parser takes a zero byte for the end of its input and would not see what follows.
  require(text.find('\0') == std::string_view::npos, ErrorCategory::bad_file,
          name + ": not valid JSON: it holds a zero byte");
  try {
    return nlohmann::json::parse(text.begin(), text.end(), StrictReading(name, others));
  } catch (const nlohmann::json::exception& failure) {
    const std::string reason = failure.what();
    const auto bracket =
        reason.find("] ");  // drops the library's "[json.exception.parse_error.101] "
    throw Error(ErrorCategory::bad_file,
                name + ": not valid JSON: " +
                    (bracket == std::string::npos ? reason : reason.substr(bracket + 2)));
  }
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array<std::pair<std::string_view, double>, 3> kPythonNumbers{
    {{"NaN", std::numeric_limits<double>::quiet_NaN()},
     {"Infinity", kInfinity},
     {"-Infinity", -kInfinity}}};

/// Puts a 0 and blanks in the place of each of kPythonNumbers outside of strings, so that all else
/// keeps its position.
OtherNumbers take_python_numbers(std::string& text) {
  constexpr std::string_view kWords =
      "+-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  OtherNumbers taken;
  std::size_t numbers = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at)
        if (text[at] == '\\') ++at;
      ++at;
      continue;
    }
    const auto end = std::min(text.find_first_not_of(kWords, at), text.size());
    const auto word = std::string_view(text).substr(at, end - at);
    const auto known = std::find_if(kPythonNumbers.begin(), kPythonNumbers.end(),
                                    [&](const auto& number) { return number.first == word; });
    if (known != kPythonNumbers.end()) {
      taken.emplace(numbers++, known->second);
      text.replace(at, end - at, "0" + std::string(end - at - 1, ' '));
    } else if (!word.empty() && (word.front() == '-' || std::isdigit(word.front()) != 0)) {
      ++numbers;
    }
    at = std::max(end, at + 1);
  }
  return taken;
}

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
  return parse_strictly(text, name, {});
}

nlohmann::json parse_python_json(std::string_view text, const std::string& name) {
  try {
    return parse_json(text, name);
  } catch (const Error&) {
    std::string strict(text);
    const auto numbers = take_python_numbers(strict);
    if (numbers.empty()) throw;
    return parse_strictly(strict, name, numbers);
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
