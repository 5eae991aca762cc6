// SPDX-License-Identifier: Apache-2.0
// JSON text and files: what is read, what is refused, what is written.
#include "foresight/io/json_file.hpp"

#include <limits>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::json_file_test {

using nlohmann::json;

namespace {

template <class... Words>
bool refused(const std::string& text, const Words&... words) {
  const auto parse = [&] { io::parse_json(text, "config.json"); };
  INFO(error_message(ErrorCategory::bad_file, parse));
  CHECK(fails_with(ErrorCategory::bad_file, parse, "config.json: ", words...));
  return fails_with(ErrorCategory::bad_file, parse, words...);
}

}  // namespace

TEST_CASE("values survive writing and reading, keys in the given order") {
  TemporaryFolder folder;
  const nlohmann::ordered_json value{
      {"z", 1}, {"a", {0.1, -1e300, 9007199254740993}}, {"t", "\xc3\xa9\n\""}};
  io::write_json(folder / "x.json", value);
  CHECK(io::read_json(folder / "x.json") == json(value));
  const auto text = read_bytes(folder / "x.json");
  CHECK(text.find("\"z\"") < text.find("\"a\""));
  CHECK(text.ends_with("}\n"));
}

TEST_CASE("a syntax error is reported with its position") {
  CHECK(refused("", "not valid JSON", "line 1, column 1"));
  CHECK(refused("{\n\"a\": ,\n}", "line 2, column 6"));
  CHECK(refused("{} {}", "not valid JSON"));
  CHECK(refused(R"({"a": NaN})", "not valid JSON"));
  CHECK(refused(R"({"a": 1e999})", "not valid JSON"));
  CHECK(refused("\"\xff\"", "not valid JSON"));
  CHECK(refused(std::string("{}\0x", 4), "zero byte"));
}

TEST_CASE("what Python writes of numbers that are not finite is read where it is asked for") {
  const auto read = io::parse_python_json(
      R"({"NaN": NaN, "\"": [-1, Infinity, 2e-1, null], "a": "NaN, \\", "b": -Infinity, "c": 7})",
      "x");
  CHECK(std::isnan(read["NaN"].get<double>()));
  CHECK(read["\""] == json({-1, std::numeric_limits<double>::infinity(), 0.2, nullptr}));
  CHECK(read["a"] == "NaN, \\");
  CHECK(read["b"] == -std::numeric_limits<double>::infinity());
  CHECK(read["c"] == 7);
  CHECK(io::parse_python_json(R"(["NaN", 1])", "x") == json({"NaN", 1}));
  const auto refused_still = [](const char* text, const char* reason) {
    return fails_with(
        ErrorCategory::bad_file, [&] { io::parse_python_json(text, "x.jsonl:3"); },
        "x.jsonl:3: ", reason);
  };
  for (const char* text :
       {"{NaN: 1}", "[-NaN]", "[nan]", "[NaN1]", "[1NaN]", "[+Infinity]", "[NaN NaN]", "[NaN"})
    CHECK(refused_still(text, "not valid JSON"));
  CHECK(refused_still("[Infinity, ,1]", "line 1, column 12"));  // where it stands in the text
  CHECK(refused_still(R"({"a": NaN, "a": 1})", "key 'a' appears twice"));
}

TEST_CASE("a key given twice is refused, equal keys of different objects are not") {
  CHECK(refused(R"({"a": 1, "b": {"c": 1, "c": 2}})", "key 'c' appears twice"));
  CHECK(io::parse_json(R"([{"a": 1}, {"a": {"a": 2}}])", "x")[1]["a"]["a"] == 2);
}

TEST_CASE("nesting is read up to the limit and refused beyond it") {
  const auto nested = [](int levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  CHECK(io::parse_json(nested(io::kJsonDepth), "x").is_array());
  CHECK(refused(nested(io::kJsonDepth + 1), "nested deeper than 64 levels"));
  CHECK(refused(std::string(5'000'000, '['), "nested deeper"));
}

TEST_CASE("what JSON cannot express is refused and the previous file stays") {
  TemporaryFolder folder;
  const auto path = folder / "x.json";
  io::write_json(path, json{{"ok", true}});
  const auto before = read_bytes(path);
  const auto nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] {
        io::write_json(path, json{{"a", {{"b", nan}}}});
      },
      "x.json/a/b is not finite"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] {
        io::write_json(path, json::array({1.0, 1 / 0.0}));
      },
      "x.json/1"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        io::write_json(path, json{{"a", "\xff"}});
      },
      "UTF-8"));
  json deep = 1;
  for (int i = 0; i <= io::kJsonDepth; ++i) deep = json::array({deep});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { io::write_json(path, deep); }, "nested"));
  CHECK(read_bytes(path) == before);
}

TEST_CASE("reading respects the size limit") {
  TemporaryFolder folder;
  write_bytes(folder / "x.json", "[1, 2]");
  CHECK(io::read_json(folder / "x.json", 6).size() == 2);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { io::read_json(folder / "x.json", 5); }, "has 6 bytes",
      "at most 5"));
}

}  // namespace foresight::json_file_test
