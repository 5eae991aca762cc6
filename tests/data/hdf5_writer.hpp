// SPDX-License-Identifier: Apache-2.0
// HDF5 files in the states that recorders leave them in, written with the library itself. A test
// that uses it returns where kWritesHdf5 is false.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "foresight/core/tensor.hpp"

#if FORESIGHT_HAS_HDF5
#include <hdf5.h>

namespace foresight::data {

inline constexpr bool kWritesHdf5 = true;

enum class Hdf5Writer { done, at_work };  // at work: has the file open in SWMR mode

/// As h5py stores them.
inline hid_t hdf5_booleans() {
  static const hid_t type = [] {
    const hid_t made = H5Tenum_create(H5T_NATIVE_INT8);
    using Member = std::pair<const char*, signed char>;
    for (const auto& [name, value] : {Member{"FALSE", 0}, Member{"TRUE", 1}})
      REQUIRE(H5Tenum_insert(made, name, &value) >= 0);
    return made;
  }();
  return type;
}

inline hid_t hdf5_type_of(const Tensor& values) {
  switch (values.scalar_type()) {
    case at::kBool:
      return hdf5_booleans();
    case at::kByte:
      return H5T_NATIVE_UINT8;
    case at::kInt:
      return H5T_NATIVE_INT32;
    case at::kLong:
      return H5T_NATIVE_INT64;
    default:
      REQUIRE(values.scalar_type() == at::kFloat);
      return H5T_NATIVE_FLOAT;
  }
}

/// A file with these arrays, of at least one dimension, whose rows may become more.
inline void write_hdf5(const std::filesystem::path& path,
                       const std::map<std::string, Tensor>& arrays, Hdf5Writer writer) {
  const auto open = path.string() + ".open";
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (writer == Hdf5Writer::at_work)
    H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(open.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  REQUIRE(file >= 0);
  for (const auto& [name, values] : arrays) {
    const Tensor rows = values.contiguous();
    std::vector<hsize_t> shape(rows.sizes().begin(), rows.sizes().end()), chunk = shape,
                                                                          most = shape;
    chunk[0] = 4;
    most[0] = H5S_UNLIMITED;
    const int rank = static_cast<int>(shape.size());
    const hid_t space = H5Screate_simple(rank, shape.data(), most.data());
    const hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(layout, rank, chunk.data());
    const hid_t array =
        H5Dcreate2(file, name.c_str(), hdf5_type_of(rows), space, H5P_DEFAULT, layout, H5P_DEFAULT);
    REQUIRE(H5Dwrite(array, hdf5_type_of(rows), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                     rows.const_data_ptr()) >= 0);
    H5Dclose(array);
    H5Pclose(layout);
    H5Sclose(space);
  }
  if (writer == Hdf5Writer::at_work) REQUIRE(H5Fstart_swmr_write(file) >= 0);
  H5Fflush(file, H5F_SCOPE_LOCAL);
  if (writer == Hdf5Writer::at_work) std::filesystem::copy_file(open, path);
  H5Fclose(file);
  H5Pclose(access);
  if (writer == Hdf5Writer::done) std::filesystem::copy_file(open, path);
  std::filesystem::remove(open);
}

}  // namespace foresight::data

#else

namespace foresight::data {

inline constexpr bool kWritesHdf5 = false;
enum class Hdf5Writer { done, at_work };
inline void write_hdf5(const std::filesystem::path&, const std::map<std::string, Tensor>&,
                       Hdf5Writer) {}

}  // namespace foresight::data

#endif
