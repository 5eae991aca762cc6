// SPDX-License-Identifier: Apache-2.0
// CRC-32C against RFC 3720, and files of tensors that tell whether they are what was written.
#include "foresight/io/checksum.hpp"

#include <fstream>

#include "../../src/io/crc32c_by_table.hpp"
#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/crc32c.hpp"
#include "temporary_folder.hpp"

namespace foresight::io::checksum_test {

using enum ErrorCategory;

TEST_CASE("CRC-32C agrees with published vectors") {
  CHECK(crc32c("") == 0u);
  CHECK(crc32c("123456789") == 0xE3069283u);
  // RFC 3720, section B.4
  CHECK(crc32c(std::string(32, '\x00')) == 0x8A9136AAu);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising.push_back(static_cast<char>(i));
    falling.push_back(static_cast<char>(31 - i));
  }
  CHECK(crc32c(rising) == 0x46DD794Eu);
  CHECK(crc32c(falling) == 0x113FDB5Cu);
  for (std::size_t cut = 0; cut <= rising.size(); ++cut) {  // in parts
    const auto first = rising.substr(0, cut), rest = rising.substr(cut);
    CHECK(crc32c(rest, crc32c(first)) == 0x46DD794Eu);
    CHECK(crc32c_by_table(rest, crc32c_by_table(first)) == 0x46DD794Eu);
  }
}

TEST_CASE("a file of tensors tells whether it is what was written") {
  const TemporaryFolder folder;
  const auto path = folder / "x.safetensors";
  const NamedTensors tensors{{"b", at::arange(6, at::kFloat).reshape({2, 3}).t()},
                             {"a", at::arange(4, at::kLong)}};
  write_with_checksum(path, tensors, {{"note", "n"}});
  const auto file = SafeTensors::open(path);
  REQUIRE(told_checksum(file).has_value());
  CHECK(told_checksum(file)->size() == 8);
  CHECK(file.metadata().at("note") == "n");
  CHECK_NOTHROW(require_checksum(file));
  // Other content under the same checksum: a value, a name, metadata.
  const auto with = [&](NamedTensors changed, std::string note) {
    const auto other = folder / "y.safetensors";
    write_safetensors(other, changed, {{"note", note}, {"crc32c", *told_checksum(file)}});
    require_checksum(SafeTensors::open(other));
  };
  CHECK_NOTHROW(with(tensors, "n"));
  CHECK(fails_with(
      bad_file, [&] { with(tensors, "m"); }, "y.safetensors: is damaged", *told_checksum(file)));
  CHECK(fails_with(
      bad_file, [&] { with({tensors[0], {"c", tensors[1].second}}, "n"); }, "is damaged"));
  CHECK(fails_with(
      bad_file, [&] { with({tensors[0], {"a", tensors[1].second + 1}}, "n"); }, "is damaged"));
  // Without one: of other writers.
  write_safetensors(path, tensors);
  CHECK_FALSE(told_checksum(SafeTensors::open(path)).has_value());
  CHECK_NOTHROW(require_checksum(SafeTensors::open(path)));
}

TEST_CASE("what no file can hold is refused with a checksum as without") {
  const TemporaryFolder folder;
  const auto write = [&](const Tensor& tensor) {
    return [&] { write_with_checksum(folder / "x.safetensors", {{"x", tensor}}, {}); };
  };
  CHECK(fails_with(invalid_argument, write({}), "'x' is undefined"));
  CHECK(fails_with(invalid_argument, write(at::zeros({2, 2}).to_sparse()), "'x' is sparse"));
}

TEST_CASE("a bundle is written with a checksum, the same for the same content") {
  const TemporaryFolder folder;
  BundleConfig config;
  config.family = "some";
  config.action.dim = 2;
  const NamedTensors tensors{{"b", at::ones({3})}, {"a", at::zeros({2})}};
  write_bundle(folder / "one", config, tensors);
  write_bundle(folder / "two", config, {tensors[1], tensors[0]});
  const auto one = read_bundle(folder / "one").tensors, two = read_bundle(folder / "two").tensors;
  REQUIRE(told_checksum(one).has_value());
  CHECK(told_checksum(one) == told_checksum(two));
  CHECK(one.metadata().at("format") == "pt");  // which Python's readers ask for
  CHECK_NOTHROW(require_checksum(one));
}

}  // namespace foresight::io::checksum_test
