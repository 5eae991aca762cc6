// SPDX-License-Identifier: Apache-2.0
#include "../../src/data/tables/npz.hpp"

#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "stored_zip.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::npz_test {
namespace {

// A .npy file of format 1.0 with this header and data.
std::string npy_file(std::string header, const std::string& data) {
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + little_endian(header.size(), 2) + header + data;
}

std::string npy_header(const char* type, const char* shape, const char* fortran = "False") {
  return std::string("{'descr': '") + type + "', 'fortran_order': " + fortran +
         ", 'shape': " + shape + ", }";
}

template <class Value>
std::string raw_bytes(std::initializer_list<Value> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(Value)};
}

TEST_CASE("numpy arrays keep type, shape and order") {
  const auto rows = parse_npy(
      npy_file(npy_header("<f4", "(2, 3)"), raw_bytes<float>({1, 2, 3, 4, 5, 6})), "a.npy");
  CHECK(at::equal(rows.numbers, at::tensor({1.F, 2.F, 3.F, 4.F, 5.F, 6.F}).view({2, 3})));
  const auto columns = parse_npy(
      npy_file(npy_header("<f8", "(2, 3)", "True"), raw_bytes<double>({1, 4, 2, 5, 3, 6})), "a");
  CHECK(at::equal(columns.numbers,
                  at::tensor({1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, at::kDouble).view({2, 3})));
  const auto wide =
      parse_npy(npy_file(npy_header("<u2", "(2,)"), raw_bytes<std::uint16_t>({7, 65535})), "a");
  CHECK(at::equal(wide.numbers, at::tensor({7, 65535}, at::kLong)));
  const auto scalar = parse_npy(npy_file(npy_header("|b1", "()"), std::string(1, '\1')), "a");
  CHECK(at::equal(scalar.numbers, at::scalar_tensor(true, at::kBool)));
  const auto words = parse_npy(
      npy_file(npy_header("<U2", "(2,)"), raw_bytes<std::uint32_t>({'a', 0, 0xB5, 0x1F600})), "a");
  CHECK(words.texts == std::vector<std::string>{"a", "\xC2\xB5\xF0\x9F\x98\x80"});
}

TEST_CASE("damaged and hostile numpy files are refused by name") {
  const auto refused = [](ErrorCategory category, const std::string& bytes, const char* word) {
    return fails_with(
        category, [&] { parse_npy(bytes, "col.npy"); }, "col.npy", word);
  };
  const auto bad = ErrorCategory::bad_file;
  CHECK(refused(bad, "not an array", "no npy array"));
  CHECK(refused(bad, npy_file(npy_header("<f4", "(3,)"), raw_bytes<float>({1, 2})), "12"));
  CHECK(refused(bad, npy_file(npy_header("<f4", "(99999999999, 99999999999)"), ""), "too large"));
  CHECK(refused(bad, npy_file(npy_header("<f4", "(-1,)"), ""), "shape"));
  CHECK(refused(bad, npy_file(npy_header("<f4", "(1,)") + "x", "0000"), "after its dictionary"));
  CHECK(refused(bad, npy_file("{'descr': '<f4'}", ""), "three keys"));
  CHECK(refused(bad, npy_file(npy_header("<f4", "(1,)"), "0000").substr(0, 20), "cut off"));
  CHECK(refused(ErrorCategory::unsupported, npy_file(npy_header("|O", "(1,)"), "x"), "objects"));
}

TEST_CASE("numpy arrays of big-endian numbers are refused by the name of their type") {
  for (const auto* type : {">f4", ">f8", ">f2", ">i4", ">i8", ">u2", ">U1"})
    CHECK(fails_with(
        ErrorCategory::unsupported,
        [&] { parse_npy(npy_file(npy_header(type, "(1,)"), std::string(8, '0')), "col.npy"); },
        "col.npy", type, "little-endian"));
}

TEST_CASE("an npz file of one stored array is read, one of two refused") {
  TemporaryFolder folder;
  const auto array = npy_file(npy_header("<i4", "(2,)"), raw_bytes<std::int32_t>({3, 4}));
  const auto write = [&](const std::string& bytes) {
    std::ofstream(folder / "a.npz", std::ios::binary) << bytes;
    return folder / "a.npz";
  };
  CHECK(at::equal(read_npz(write(stored_zip({{"arr_0.npy", array}}))).numbers,
                  at::tensor({3, 4}, at::kInt)));
  CHECK(fails_with(
      ErrorCategory::bad_file,
      [&] {
        read_npz(write(stored_zip({{"arr_0.npy", array}, {"b.npy", array}})));
      },
      "2 arrays"));
}

}  // namespace
}  // namespace foresight::data::npz_test
