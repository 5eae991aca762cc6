// SPDX-License-Identifier: Apache-2.0
// Reading and writing safetensors files: round trips and what the reader promises about memory.
#include "foresight/io/safetensors.hpp"

#include <filesystem>
#include <fstream>

#include "catch.hpp"
#include "error_message.hpp"
#include "golden.hpp"
#include "temporary_folder.hpp"

namespace foresight::safetensors_test {

using foresight::io::SafeTensors;
using foresight::io::write_safetensors;

TEST_CASE("every dtype, scalars and zero-size tensors survive writing and reading") {
  TemporaryFolder folder;
  const auto path = folder / "all.safetensors";
  io::NamedTensors tensors;
  for (const auto dtype :
       {at::kBool, at::kByte, at::kChar, at::kShort, at::kUInt16, at::kInt, at::kUInt32, at::kLong,
        at::kUInt64, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble, at::kComplexFloat,
        at::kFloat8_e4m3fn, at::kFloat8_e5m2, at::kFloat8_e8m0fnu})
    tensors.emplace_back(c10::toString(dtype), at::tensor({0., 1., 1., 0., 1.}).to(dtype));
  tensors.emplace_back("scalar", at::scalar_tensor(2.5));
  tensors.emplace_back("empty", at::empty({3, 0, 2}, at::kHalf));
  tensors.emplace_back("strided", at::arange(6).view({2, 3}).t());
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "\"quoted\" \xc3\xa9"}});

  const auto file = SafeTensors::open(path);
  CHECK(file.names().size() == tensors.size());
  CHECK(file.metadata().at("note") == "\"quoted\" \xc3\xa9");
  for (const auto& [name, expected] : tensors) {
    INFO(name);
    const Tensor actual = file.at(name);
    CHECK(actual.scalar_type() == expected.scalar_type());
    CHECK(actual.sizes() == expected.sizes());
    CHECK(actual.view(-1).view(at::kByte).equal(expected.contiguous().view(-1).view(at::kByte)));
  }
}

TEST_CASE("a tensor outlives its file object and writing into it leaves the file alone") {
  TemporaryFolder folder;
  const auto path = folder / "model.safetensors";
  write_safetensors(path, {{"weight", at::arange(4.0)}});
  Tensor weight = SafeTensors::open(path).at("weight");
  weight.fill_(-1.0);
  CHECK(weight.sum().item<double>() == -4.0);
  CHECK(SafeTensors::open(path).at("weight").equal(at::arange(4.0)));
}

TEST_CASE("an unknown tensor is reported with the nearest name") {
  TemporaryFolder folder;
  write_safetensors(folder / "m.safetensors", {{"encoder.weight", at::zeros({2})}});
  const auto file = SafeTensors::open(folder / "m.safetensors");
  CHECK(error_message(ErrorCategory::not_found, [&] { file.at("encoder.wieght"); }) ==
        (folder / "m.safetensors").string() +
            ": no tensor 'encoder.wieght' among its 1, did you mean 'encoder.weight'?");
}

}  // namespace foresight::safetensors_test
