// SPDX-License-Identifier: Apache-2.0
// Types of numbers in HDF5 files.
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "../../src/data/tables/hdf5_file.hpp"
#include "foresight/data/convert.hpp"
#include "hdf5_recordings.hpp"
#include "hdf5_writer.hpp"
#include "temporary_folder.hpp"

namespace foresight::data::hdf5_types_test {
namespace {

namespace fs = std::filesystem;

#if FORESIGHT_HAS_HDF5

using Members = std::vector<std::pair<const char*, signed char>>;

// A file with one array of this enumeration, of int8 or uint8: bytes 0, 1, 2 and 255.
void write_enumeration(const fs::path& path, hid_t number, const Members& members) {
  const hid_t type = H5Tenum_create(number);
  for (const auto& [name, value] : members) REQUIRE(H5Tenum_insert(type, name, &value) >= 0);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t rows = 4;
  const hid_t space = H5Screate_simple(1, &rows, nullptr);
  const hid_t array =
      H5Dcreate2(file, "values", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const unsigned char bytes[] = {0, 1, 2, 255};
  REQUIRE(H5Dwrite(array, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) >= 0);
  H5Dclose(array);
  H5Sclose(space);
  H5Fclose(file);
  H5Tclose(type);
}

TEST_CASE("h5py's booleans are read as booleans, other enumerations of a byte as their numbers") {
  struct Case {
    hid_t number;
    Members members;
    Tensor values;
  };
  const Tensor booleans = at::tensor({0, 1, 1, 1}).to(at::kBool);  // as h5py reads them
  const Tensor numbers = at::tensor({0, 1, 2, -1}).to(at::kChar);
  const std::vector<Case> cases = {
      {H5T_NATIVE_INT8, {{"FALSE", 0}, {"TRUE", 1}}, booleans},
      {H5T_NATIVE_UINT8, {{"TRUE", 1}, {"FALSE", 0}}, booleans},
      {H5T_NATIVE_INT8, {{"FALSE", 1}, {"TRUE", 0}}, numbers},
      {H5T_NATIVE_INT8, {{"FALSE", 0}, {"TRUE", 1}, {"UNKNOWN", 2}}, numbers},
      {H5T_NATIVE_INT8, {{"OPEN", 0}, {"SHUT", 1}}, numbers},
      {H5T_NATIVE_UINT8, {{"OPEN", 0}, {"SHUT", 1}}, at::tensor({0, 1, 2, 255}).to(at::kByte)}};
  const TemporaryFolder folder;
  for (std::size_t c = 0; c < cases.size(); ++c) {
    INFO("case " << c);
    const auto path = folder / (std::to_string(c) + ".h5");
    write_enumeration(path, cases[c].number, cases[c].members);
    const Hdf5File file(path);
    CHECK(file.array("values").type == cases[c].values.scalar_type());
    const Tensor values = file.read("values");
    REQUIRE(values.scalar_type() == cases[c].values.scalar_type());
    CHECK(at::equal(values, cases[c].values));
  }
}

#endif

TEST_CASE("booleans of an HDF5 recording stay booleans in a folder, and from there in LeRobot's") {
  if (!hdf5_is_built_in() || !kWritesHdf5) return;
  const TemporaryFolder folder;
  const Tensor done = at::tensor({0, 0, 1, 0, 0, 0, 1}).to(at::kBool);
  auto from = folder / "set.h5";
  write_hdf5(from,
             {{"pixels", at::zeros({7, 16, 16, 3}, at::kByte)},
              {"action", at::rand({7, 2})},
              {"state", at::rand({7, 2})},
              {"terminated", done},
              {"ep_len", at::tensor({3, 4}).to(at::kInt)},
              {"ep_offset", at::tensor({0, 3})}},
             Hdf5Writer::done);
  CHECK(open_dataset(from)->column_type("terminated") == at::kBool);
  for (const auto format : {TargetFormat::folder, TargetFormat::lerobot}) {
    const auto to = folder / std::string(enum_name(format));
    try {
      convert_dataset(from, to, {.format = format, .task = "reach"});
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::unsupported) throw;
      WARN("SKIPPED: " << error.what());  // no Parquet
      return;
    }
    INFO(to);
    const auto copy = open_dataset(to);
    CHECK(copy->column_type("terminated") == at::kBool);
    const Tensor rows =
        at::cat({copy->read_all_rows({"terminated"}, 0), copy->read_all_rows({"terminated"}, 1)});
    CHECK(at::equal(rows.flatten().to(at::kBool), done));
    from = to;
  }
}

}  // namespace
}  // namespace foresight::data::hdf5_types_test
