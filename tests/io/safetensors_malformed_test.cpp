// SPDX-License-Identifier: Apache-2.0
// Damaged and hostile safetensors files: each is refused with a message that says what is wrong,
// before anything is allocated for it.
#include <sys/stat.h>

#include <filesystem>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/safetensors.hpp"
#include "raw_file.hpp"
#include "temporary_folder.hpp"

namespace foresight::safetensors_malformed_test {

using foresight::io::SafeTensors;

namespace {

const TemporaryFolder& folder() {
  static const TemporaryFolder shared;
  return shared;
}

/// Whether a file of these bytes is refused as `category` with all `words` and the file's name in
/// the message.
template <class... Words>
bool refused(const std::string& bytes, ErrorCategory category, const Words&... words) {
  const auto path = folder() / "damaged.safetensors";
  write_bytes(path, bytes);
  const auto open = [&] { SafeTensors::open(path); };
  INFO(error_message(category, open));
  CHECK(fails_with(category, open, "damaged.safetensors: ", words...));
  return fails_with(category, open, words...);
}

template <class... Words>
bool bad_header(const std::string& header, std::size_t data_size, const Words&... words) {
  return refused(safetensors_bytes(header, data_size), ErrorCategory::bad_file, words...);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

}  // namespace

TEST_CASE("a file shorter than its length field is refused") {
  CHECK(refused("", ErrorCategory::bad_file, "has 0 bytes"));
  CHECK(refused("1234567", ErrorCategory::bad_file, "has 7 bytes", "at least 8"));
}

TEST_CASE("a header length beyond the file or the format's limit is refused") {
  CHECK(refused(length_field(0), ErrorCategory::bad_file, "does not begin with '{'"));
  CHECK(refused(length_field(3) + "{}", ErrorCategory::bad_file, "header length 3", "truncated"));
  CHECK(refused(length_field(100'000'001) + "{}", ErrorCategory::bad_file, "limit of 100000000"));
  CHECK(refused(length_field(~0ull) + "{}", ErrorCategory::bad_file, "18446744073709551615"));
  CHECK(refused(length_field(~0ull - 7) + "{}", ErrorCategory::bad_file, "limit"));
}

TEST_CASE("a file cut anywhere is refused") {
  const auto path = folder() / "whole.safetensors";
  io::write_safetensors(path, {{"a", at::arange(6.0)}, {"b", at::ones({3}, at::kByte)}});
  const std::string whole = read_bytes(path);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK(refused(whole.substr(0, length), ErrorCategory::bad_file));
  CHECK(refused(whole + '\0', ErrorCategory::bad_file, "tensors cover"));
}

TEST_CASE("a header that is not the expected JSON is refused") {
  CHECK(bad_header("[]", 0, "does not begin with '{'"));
  CHECK(bad_header(" {}", 0, "does not begin with '{'"));
  CHECK(bad_header("{", 0, "not valid JSON"));
  CHECK(bad_header("{}x", 0, "not valid JSON"));
  CHECK(bad_header("{}{}", 0, "not valid JSON"));
  CHECK(bad_header(R"({"a")", 0, "not valid JSON"));
  CHECK(bad_header("{\"\xff\":1}", 0, "not valid JSON"));  // not UTF-8
  CHECK(bad_header(std::string("{}\0", 3), 0, "not valid JSON"));
  CHECK(bad_header(R"({"a":1})", 0, "'a'", "number"));
  CHECK(bad_header(R"({"a":null})", 0, "'a'", "null"));
  CHECK(bad_header(R"({"a":true})", 0, "'a'", "true"));
  CHECK(bad_header(R"({"a":"F32"})", 0, "'a'", "text"));
  CHECK(bad_header(R"({"a":[]})", 0, "'a'", "array"));
  CHECK(bad_header(R"({"":)" + entry("U8", "[1]", "[0,1]") + "}", 1, "empty name"));
  CHECK(bad_header(R"({"a":{"dtype":{}}})", 0, "'a'", "object"));
  CHECK(bad_header(R"({"a":{"dtype":["U8"]}})", 0, "'a'", "array"));
  CHECK(bad_header(R"({"a":{"shape":[[1]]}})", 0, "'a'", "array"));
  CHECK(bad_header(R"({"a":{"shape":["1"]}})", 0, "'a'", "text"));
  CHECK(bad_header(R"({"a":{"strides":[1]}})", 0, "'a'", "array"));
  CHECK(bad_header(R"({"a":{"other":"x"}})", 0, "'a'", "text"));
}

TEST_CASE("a tensor entry without a part of it is refused") {
  CHECK(bad_header(R"({"a":{}})", 0, "'a' has no 'dtype'"));
  CHECK(bad_header(R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0, "'a' has no 'shape'"));
  CHECK(bad_header(R"({"a":{"dtype":"U8","shape":[0]}})", 0, "'a' has no 'data_offsets'"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[1]", "[0]") + "}", 1, "1 numbers, expected 2"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[1]", "[0,1,1]") + "}", 1, "3 numbers"));
}

TEST_CASE("repeated keys are refused") {
  const auto one = entry("U8", "[1]", "[0,1]");
  CHECK(bad_header(R"({"a":)" + one + R"(,"a":)" + one + "}", 1, "'a' appears twice"));
  CHECK(bad_header(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1,
                   "'dtype' appears twice"));
  CHECK(bad_header(R"({"__metadata__":{"k":"1","k":"2"}})", 0, "'k' appears twice"));
  CHECK(bad_header(R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__", "appears twice"));
}

TEST_CASE("metadata that is not text is refused") {
  CHECK(bad_header(R"({"__metadata__":{"loss":NaN}})", 0, "not valid JSON"));
  CHECK(bad_header(R"({"__metadata__":{"loss":1.5}})", 0, "__metadata__"));
  CHECK(bad_header(R"({"__metadata__":{"epoch":1}})", 0, "__metadata__"));
  CHECK(bad_header(R"({"__metadata__":{"x":null}})", 0, "__metadata__"));
  CHECK(bad_header(R"({"__metadata__":{"x":{}}})", 0, "__metadata__"));
  CHECK(bad_header(R"({"__metadata__":"x"})", 0, "__metadata__"));
}

TEST_CASE("deep nesting is refused at its second bracket") {
  const std::size_t levels = 1'000'000;
  CHECK(bad_header(R"({"a":)" + std::string(levels, '['), 0, "'a'"));
  CHECK(bad_header(R"({"a":{"shape":)" + std::string(levels, '['), 0, "'a'"));
  std::string objects;
  for (std::size_t i = 0; i < levels / 4; ++i) objects += R"({"a":)";
  CHECK(bad_header(objects, 0, "'a'"));
}

TEST_CASE("unknown element types are refused") {
  CHECK(bad_header(R"({"a":)" + entry("F33", "[1]", "[0,4]") + "}", 4, "'F33'", "BF16"));
  CHECK(bad_header(R"({"a":)" + entry("f32", "[1]", "[0,4]") + "}", 4, "'f32'"));
  CHECK(refused(safetensors_bytes(R"({"a":)" + entry("F4", "[2]", "[0,1]") + "}", 1),
                ErrorCategory::unsupported, "'F4'"));
}

TEST_CASE("sizes that are negative, fractional or do not fit are refused") {
  CHECK(bad_header(R"({"a":)" + entry("U8", "[-1]", "[0,1]") + "}", 1, "negative number -1"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[1.0]", "[0,1]") + "}", 1, "1.0"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[1e0]", "[0,1]") + "}", 1, "1e0"));
  CHECK(
      bad_header(R"({"a":)" + entry("U8", "[18446744073709551616]", "[0,1]") + "}", 1, "63 bits"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[9223372036854775808]", "[0,1]") + "}", 1, "63 bits"));
  CHECK(
      bad_header(R"({"a":)" + entry("U8", "[1]", "[0,18446744073709551615]") + "}", 1, "63 bits"));
  std::string axes = "[1";
  for (int i = 0; i < 64; ++i) axes += ",1";
  CHECK(bad_header(R"({"a":)" + entry("U8", axes + "]", "[0,1]") + "}", 1, "more than 64 axes"));
}

TEST_CASE("shapes whose size overflows are refused, also when an axis is zero") {
  CHECK(bad_header(R"({"a":)" + entry("U8", "[4294967296,4294967296]", "[0,0]") + "}", 0,
                   "overflows"));
  CHECK(bad_header(R"({"a":)" + entry("F64", "[2305843009213693952]", "[0,0]") + "}", 0,
                   "overflows"));
  CHECK(bad_header(
      R"({"a":)" + entry("U8", "[0,9223372036854775807,9223372036854775807]", "[0,0]") + "}", 0,
      "overflows"));
}

TEST_CASE("data offsets that do not fit the shape are refused") {
  CHECK(bad_header(R"({"a":)" + entry("F32", "[2]", "[0,4]") + "}", 4, "needs 8 bytes"));
  CHECK(bad_header(R"({"a":)" + entry("F32", "[2]", "[0,12]") + "}", 12, "needs 8 bytes"));
  CHECK(bad_header(R"({"a":)" + entry("F32", "[2]", "[8,0]") + "}", 8, "needs 8 bytes"));
  CHECK(bad_header(R"({"a":)" + entry("F32", "[]", "[0,8]") + "}", 8, "needs 4 bytes"));
  CHECK(bad_header(R"({"a":)" + entry("F32", "[0]", "[0,4]") + "}", 4, "needs 0 bytes"));
}

TEST_CASE("data outside the file, overlaps and holes are refused") {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":)" + entry("U8", "[4]", a) + R"(,"b":)" + entry("U8", "[4]", b) + "}";
  };
  CHECK(bad_header(two("[0,4]", "[4,8]"), 7, "ends at byte 8", "only 7"));
  CHECK(bad_header(two("[0,4]", "[4,8]"), 9, "cover 8 bytes", "holds 9"));
  CHECK(bad_header(two("[0,4]", "[2,6]"), 6, "'b' begins at byte 2, inside another tensor"));
  CHECK(bad_header(two("[0,4]", "[0,4]"), 4, "inside another tensor"));
  CHECK(bad_header(two("[0,4]", "[5,9]"), 9, "'b' begins at byte 5, after a hole"));
  CHECK(bad_header(two("[1,5]", "[5,9]"), 9, "'a' begins at byte 1, after a hole"));
  CHECK(bad_header(R"({"a":)" + entry("U8", "[0]", "[5,5]") + "}", 9, "after a hole"));
}

TEST_CASE("a BOOL tensor with other bytes than 0 and 1 is refused when it is read") {
  const auto path = folder() / "bool.safetensors";
  write_bytes(path, safetensors_bytes(R"({"a":)" + entry("BOOL", "[3]", "[0,3]") + "}", 0) +
                        std::string("\x01\x00\x02", 3));
  const auto file = SafeTensors::open(path);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { file.at("a"); }, "BOOL tensor 'a'"));
}

TEST_CASE("what is not a regular file is refused without waiting for it") {
  CHECK(fails_with(
      ErrorCategory::not_found, [] { SafeTensors::open(folder() / "absent"); }, "absent"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { SafeTensors::open(folder().path()); }, "is a folder"));
  const auto pipe = folder() / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { SafeTensors::open(pipe); }, "special file"));
  CHECK(fails_with(
      ErrorCategory::bad_file, [] { SafeTensors::open("/dev/zero"); }, "special file"));
}

TEST_CASE("zero-size tensors may share an offset with their neighbours") {
  const auto path = folder() / "zero.safetensors";
  const std::string header =
      R"({"z1":)" + entry("F32", "[0,3]", "[0,0]") + R"(,"a":)" + entry("U8", "[4]", "[0,4]") +
      R"(,"z2":)" + entry("I64", "[0]", "[4,4]") + R"(,"b":)" + entry("U8", "[]", "[4,5]") + "}   ";
  write_bytes(path, safetensors_bytes(header, 5));
  const auto file = SafeTensors::open(path);
  CHECK(file.names() == std::vector<std::string>{"a", "b", "z1", "z2"});
  CHECK(file.at("z1").sizes() == at::IntArrayRef{0, 3});
  CHECK(file.at("b").dim() == 0);
  CHECK(file.dtype("z2") == at::kLong);
  CHECK(file.shape("a") == std::vector<int64_t>{4});
}

}  // namespace foresight::safetensors_malformed_test
