// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/csv.hpp"

#include <cmath>
#include <fstream>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "recordings.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::csv_test {
namespace {

CsvTable parse(std::string_view text, const CsvOptions& options = {}) {
  return parse_csv(text, "t.csv", options);
}

template <class... Words>
bool refused(std::string_view text, const CsvOptions& options, const Words&... words) {
  return fails_with(
      ErrorCategory::bad_file, [&] { parse(text, options); }, words...);
}

TEST_CASE("a table of numbers is read as float64, exactly") {
  const CsvTable table = parse("a,b\n1,-2.5e-3\n0.1,1e300\n-0,5e-324");
  CHECK(table.columns == std::vector<std::string>{"a", "b"});
  REQUIRE(table.values.sizes() == at::IntArrayRef({3, 2}));
  CHECK(
      at::equal(table.values,
                at::tensor({1.0, -2.5e-3, 0.1, 1e300, -0.0, 5e-324}, at::kDouble).reshape({3, 2})));
  CHECK(table.column("b") == 1);
}

TEST_CASE("line ends of either kind, blanks around cells and a byte order mark are accepted") {
  const CsvTable table = parse("\xEF\xBB\xBFx, y\r\n 1 ,\t2\r\n3,4\r\n");
  CHECK(table.columns == std::vector<std::string>{"x", "y"});
  CHECK(at::equal(table.values, at::tensor({1.0, 2.0, 3.0, 4.0}, at::kDouble).reshape({2, 2})));
}

TEST_CASE("what is not plainly a number in its place is an error with line and column") {
  CHECK(refused("", {}, "t.csv", "is empty"));
  CHECK(refused("a,b\n1,2\n3\n", {}, "t.csv:3:1", "1 cells, expected 2"));
  CHECK(refused("a,b\n1,2,3\n", {}, "t.csv:2:2", "3 cells, expected 2"));
  CHECK(refused("a,b\n1,2\n\n3,4\n", {}, "t.csv:3:1", "empty line"));
  CHECK(refused("a,b\n1,two\n", {}, "t.csv:2:2", "column 'b'", "'two'"));
  CHECK(refused("a,b\n1,\"2\"\n", {}, "t.csv:2:2", "quotes"));
  CHECK(refused("a,b\n1,2\r3,4\n", {}, "t.csv:2", "carriage return"));
  for (const char* word : {"inf", "-inf", "0x10", "1_000", "1e999", "1.2.3", "++1", "--1", "1e",
                           ".", "nan(1)", "1d3", "\xFF"}) {
    INFO(word);
    CHECK(refused(std::string("a\n") + word + "\n", {}, "t.csv:2:1", "not a finite number"));
  }
}

TEST_CASE("a header must be names, each once") {
  CHECK(refused("1,2\n3,4\n", {}, "t.csv:1:1", "header line is missing"));
  CHECK(refused("a,b,a\n", {}, "t.csv:1:3", "'a' occurs twice"));
  CHECK(refused("a,,b\n", {}, "t.csv:1:2", "without a name"));
  CHECK(parse("a,b\n").rows() == 0);
}

TEST_CASE("missing values are an error unless they are asked for") {
  for (const char* text : {"a,b\n1,nan\n", "a,b\n1,NaN\n", "a,b\n1,\n"}) {
    INFO(text);
    CHECK(refused(text, {}, "t.csv:2:2", "missing value"));
    const CsvTable table = parse(text, {.nan = NanPolicy::accept});
    CHECK(std::isnan(table.values[0][1].item<double>()));
    CHECK(table.values[0][0].item<double>() == 1.0);
  }
}

TEST_CASE("infinite values are numbers where missing ones are accepted, and in no other place") {
  const auto table = parse("a,b,c\ninf,-Infinity,+INF\n1,2,3\n",
                           {.nan = NanPolicy::accept, .text = TextPolicy::skip});
  REQUIRE(table.columns.size() == 3);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(table.values[0][0].item<double>() == infinity);
  CHECK(table.values[0][1].item<double>() == -infinity);
  CHECK(table.values[0][2].item<double>() == infinity);
  for (const char* word : {"infinit", "in f", "--inf", "infinityy", "i"}) {
    INFO(word);
    CHECK(refused(std::string("a\n") + word + "\n", {.nan = NanPolicy::accept}, "t.csv:2:1",
                  "not a finite number"));
  }
}

TEST_CASE("columns with words are left out on request, and asking for one says why") {
  const CsvTable table = parse("a,task,b\n1,2,3\n4,push,6\n", {.text = TextPolicy::skip});
  CHECK(table.columns == std::vector<std::string>{"a", "b"});
  CHECK(at::equal(table.values, at::tensor({1.0, 3.0, 4.0, 6.0}, at::kDouble).reshape({2, 2})));
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { table.column("task"); }, "t.csv:3:2", "'push'"));
}

TEST_CASE("whole numbers that float64 cannot hold keep their digits") {
  // Nanoseconds since 1970, 2^53 + 1, and the limits of int64.
  const auto table = parse_csv(
      "stamp,next,limit,exact,gap,mixed\n"
      "1717171717123456789,9007199254740993,-9223372036854775808,4611686018427387904,"
      "9007199254740993,9007199254740993\n"
      "1717171717223456790,12,9223372036854775807,2,nan,0.5\n",
      "t.csv", {.nan = NanPolicy::accept});
  REQUIRE(table.whole.size() == 3);
  CHECK(at::equal(table.whole.at("stamp"),
                  at::tensor({int64_t{1717171717123456789}, int64_t{1717171717223456790}})));
  CHECK(at::equal(table.whole.at("next"), at::tensor({int64_t{9007199254740993}, int64_t{12}})));
  CHECK(at::equal(table.whole.at("limit"), at::tensor({std::numeric_limits<int64_t>::min(),
                                                       std::numeric_limits<int64_t>::max()})));
  // As float64 they are the nearest there is, as before.
  CHECK(table.values[0][1].item<double>() == 9007199254740992.0);
  TemporaryFolder folder;
  std::ofstream(folder / "t.jsonl")
      << R"({"stamp": 1717171717123456789, "up": 18446744073709551615})"
      << "\n"
      << R"({"stamp": 3, "up": 1})"
      << "\n";
  const auto lines = read_jsonl(folder / "t.jsonl", {});
  REQUIRE(lines.whole.size() == 1);
  CHECK(at::equal(lines.whole.at("stamp"), at::tensor({int64_t{1717171717123456789}, int64_t{3}})));
}

TEST_CASE("a number may have a plus before it, once") {
  const CsvTable table = parse("a,b\n+0.5,+9007199254740993\n+1e3,-2\n");
  REQUIRE(table.columns.size() == 2);
  CHECK(table.values[0][0].item<double>() == 0.5);
  CHECK(table.values[1][0].item<double>() == 1000);
  REQUIRE(table.whole.contains("b"));
  CHECK(table.whole.at("b")[0].item<int64_t>() == 9007199254740993);
  for (const char* cell : {"+", "++1", "+-1", "-+1"})
    CHECK_THROWS_AS(parse(std::string("a\n") + cell + "\n"), Error);
}

TEST_CASE("words inside a list of a JSON line are kept") {
  TemporaryFolder folder;
  std::ofstream(folder / "t.jsonl") << R"({"x": 1, "labels": ["cup", "red"]})"
                                    << "\n"
                                    << R"({"x": 2, "labels": ["fork", null]})"
                                    << "\n";
  const auto table =
      read_jsonl(folder / "t.jsonl", {.nan = NanPolicy::accept, .text = TextPolicy::skip});
  CHECK(table.columns == std::vector<std::string>{"x"});
  CHECK(table.texts.at("labels_0") == std::vector<std::string>{"cup", "fork"});
  CHECK(table.texts.at("labels_1") == std::vector<std::string>{"red", ""});
}

TEST_CASE("a JSON line may hold NaN and infinite numbers, as Python writes them") {
  TemporaryFolder folder;
  const auto path = folder / "t.jsonl";
  std::ofstream(path) << R"({"x": [1, NaN], "task": "NaN", "mixed": 1})"
                      << "\n"
                      << R"({"x": [-Infinity, 2], "task": "b", "mixed": "word"})"
                      << "\n"
                      << R"({"x": [Infinity, 3], "task": "c", "mixed": NaN})"
                      << "\n";
  const auto table = read_jsonl(path, {.nan = NanPolicy::accept, .text = TextPolicy::skip});
  CHECK(table.columns == std::vector<std::string>{"x_0", "x_1"});
  const double infinity = std::numeric_limits<double>::infinity();
  const Tensor expected =
      at::tensor({1.0, std::nan(""), -infinity, 2.0, infinity, 3.0}, at::kDouble).view({3, 2});
  CHECK(at::allclose(table.values, expected, 0, 0, /*equal_nan=*/true));
  CHECK(table.texts.at("task") == std::vector<std::string>{"NaN", "b", "c"});
  CHECK(table.texts.at("mixed") == std::vector<std::string>{"", "word", "nan"});
  const auto refused = [&](const char* line, const char* why) {
    std::ofstream(path) << line;
    return fails_with(
        ErrorCategory::bad_file, [&] { read_jsonl(path, {.text = TextPolicy::skip}); },
        path.string() + ":1: ", why);
  };
  CHECK(refused(R"({"x": NaN})", "'x' is missing (NaN)"));
  CHECK(refused(R"({"x": Infinity})", "'x' is infinite"));
  CHECK(refused(R"({NaN: 1})", "not valid JSON"));
}

TEST_CASE("an unknown column suggests the nearest name") {
  const CsvTable table = parse("action_0,action_1\n1,2\n");
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { table.column("acton_1"); }, "t.csv", "acton_1",
      "did you mean 'action_1'"));
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { table.column("reward"); },
      "no column 'reward'. Columns: action_0, action_1"));
}

TEST_CASE("columns that are separated by anything but commas are refused by the header") {
  for (const char* separator : {";", "\t"}) {
    const std::string text = std::string("frame") + separator + "action_0\n0" + separator + "1\n";
    CHECK(fails_with(
        ErrorCategory::bad_file, [&] { parse(text); }, "t.csv:1:1: the header has one column",
        separator[0] == ';' ? "holds a ';'" : "holds a tab", "separated by commas"));
  }
  CHECK(parse("a;b,c\n1,2\n").columns == std::vector<std::string>{"a;b", "c"});
}

TEST_CASE("numbers are printed with the fewest digits that read back the same") {
  CHECK(number_text(0.1) == "0.1");
  CHECK(number_text(0.1f) == "0.1");
  CHECK(number_text(std::nan("")) == "nan");
  for (const double value : {1.0 / 3, -1e-300, 123456789.123, 0.9112207889556885}) {
    const CsvTable table = parse("a\n" + number_text(value) + "\n");
    CHECK(table.values.item<double>() == value);
  }
}

TEST_CASE("a recorded table is read whole") {
  const CsvTable table = read_csv(recordings() / "tworoom" / "folder" / "episode_0001.csv");
  CHECK(table.rows() == 7);
  CHECK(table.columns.size() == 13);
  CHECK(table.values[6][table.column("state_0")].item<double>() == 55.146378);
  CHECK(fails_with(
      ErrorCategory::not_found, [] { read_csv("/nowhere/t.csv"); }, "/nowhere/t.csv"));
}

}  // namespace
}  // namespace foresight::data::csv_test
