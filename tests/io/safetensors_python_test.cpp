// SPDX-License-Identifier: Apache-2.0
// Files written by the Python package hold what tests/data/io/make_fixtures.py says.
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "catch.hpp"
#include "foresight/io/safetensors.hpp"

namespace foresight::safetensors_python_test {

using foresight::io::SafeTensors;

namespace {

const std::string kFolder = FORESIGHT_TEST_DATA "/io/";

const std::vector<std::pair<std::string, at::ScalarType>> kTypes{
    {"bool", at::kBool},          {"u8", at::kByte},          {"i8", at::kChar},
    {"i16", at::kShort},          {"u16", at::kUInt16},       {"i32", at::kInt},
    {"u32", at::kUInt32},         {"i64", at::kLong},         {"u64", at::kUInt64},
    {"f16", at::kHalf},           {"bf16", at::kBFloat16},    {"f32", at::kFloat},
    {"f64", at::kDouble},         {"c64", at::kComplexFloat}, {"f8_e4m3", at::kFloat8_e4m3fn},
    {"f8_e5m2", at::kFloat8_e5m2}};

/// Element i of n, by the script's formula, as complex double.
double expected_value(const std::string& name, int64_t i, int64_t n) {
  if (name == "bool") return i % 3 == 0 ? 1 : 0;
  if (name.starts_with("f8")) return std::ldexp(1.0, static_cast<int>(i % 5 - 2));
  const bool real = name.find('f') != std::string::npos || name == "c64";
  return real ? static_cast<double>(i - n / 2) / 4 : static_cast<double>(i);
}

void check_values(const std::string& name, const Tensor& tensor) {
  const auto wide = at::real(tensor.to(at::kComplexDouble)).contiguous().view(-1);
  for (int64_t i = 0; i < wide.numel(); ++i) {
    INFO(name << "[" << i << "]");
    CHECK(wide[i].item<double>() == expected_value(name, i, wide.numel()));
  }
}

}  // namespace

TEST_CASE("every type, shape and text of a file written in Python is read") {
  const auto file = SafeTensors::open(kFolder + "python_all_dtypes.safetensors");
  CHECK(file.names().size() == kTypes.size() + 3);
  for (const auto& [name, dtype] : kTypes) {
    INFO(name);
    const auto tensor = file.at(name);
    CHECK(tensor.scalar_type() == dtype);
    CHECK(tensor.sizes() == at::IntArrayRef{3, 4});
    check_values(name, tensor);
  }
  CHECK(file.at("scalar").sizes() == at::IntArrayRef{});
  CHECK(file.at("scalar").item<float>() == 2.5f);
  CHECK(file.at("empty").sizes() == at::IntArrayRef{3, 0, 2});
  CHECK(file.at("empty").scalar_type() == at::kHalf);
  CHECK(file.at("five_axes").sizes() == at::IntArrayRef{1, 2, 3, 4, 1});
  check_values("f32", file.at("five_axes"));
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"},
                                                              {"note",
                                                               "gr\xc3\xbc\xc3\x9f"
                                                               "e \"quoted\" \\ \n end"}});
}

TEST_CASE("a file without tensors is valid") {
  const auto file = SafeTensors::open(kFolder + "python_no_tensors.safetensors");
  CHECK(file.names().empty());
  CHECK(file.tensors().empty());
  CHECK(file.metadata().empty());
}

TEST_CASE("misaligned tensors are copied, aligned ones are views") {
  const auto file = SafeTensors::open(kFolder + "python_misaligned.safetensors");
  for (const char* name : {"f64", "f32", "u8"}) {
    const auto tensor = file.at(name);
    check_values(name, tensor);
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr());
    CHECK(address % c10::elementSize(tensor.scalar_type()) == 0);
  }
  CHECK(file.at("f32").const_data_ptr() != file.at("f32").const_data_ptr());
  CHECK(file.at("u8").const_data_ptr() == file.at("u8").const_data_ptr());
}

}  // namespace foresight::safetensors_python_test
